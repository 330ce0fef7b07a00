using System.Net;
using System.Runtime.InteropServices;
using System.Text;
using Markdig;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Studies;

namespace ReasonGen.Host.Notebooks;

/// <summary>Writes executed notebooks as one HTML page that needs nothing from outside.</summary>
internal static class Report
{
    private static readonly MarkdownPipeline Markdown = new MarkdownPipelineBuilder().UsePipeTables().Build();

    internal static string Write(string folder, IReadOnlyList<NotebookOutcome> outcomes, IReadOnlyDictionary<string, string> parameters)
    {
        var path = Path.Combine(folder, "report.html");
        var page = new StringBuilder();
        page.Append("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">")
            .Append("<link rel=\"icon\" href=\"data:,\"><title>ReasonGen.Notebooks</title><style>").Append(Asset("report.css")).Append("</style></head><body>")
            .Append("<a class=\"skip\" href=\"#main\">Skip to the notebooks</a><nav aria-label=\"Contents\"><a href=\"#summary\"><b>ReasonGen.Notebooks</b></a><ol start=\"0\">");
        foreach (var outcome in outcomes)
        {
            page.Append($"<li><a href=\"#{outcome.Name}\">{Escape(outcome.Title)}</a>{(outcome.Ok ? "" : " <span class=\"failed\">failed</span>")}</li>");
        }

        page.Append("</ol></nav><main id=\"main\">").Append(Summary(outcomes, parameters));
        foreach (var outcome in outcomes)
        {
            page.Append($"<section id=\"{outcome.Name}\" aria-label=\"{Escape(outcome.Title)}\">");
            if (File.Exists(outcome.Executed))
            {
                foreach (var cell in NotebookFile.Read(outcome.Executed).Cells)
                {
                    page.Append(Cell(cell));
                }
            }

            if (!outcome.Ok)
            {
                page.Append($"<pre class=\"error\">{Escape(outcome.Error)}</pre>");
            }

            page.Append("</section>");
        }

        page.Append("</main>");
        if (page.ToString().Contains("rg-plotly"))
        {
            page.Append("<script>").Append(PlotlyScript()).Append("</script><script>").Append(Asset("report.js")).Append("</script>");
        }

        page.Append("</body></html>");
        File.WriteAllText(path, page.ToString());
        return path;
    }

    private static string Summary(IReadOnlyList<NotebookOutcome> outcomes, IReadOnlyDictionary<string, string> parameters)
    {
        (string Name, string Value)[] facts =
        [
            ("Settings", parameters.Count == 0 ? "defaults of the notebooks" : string.Join(", ", parameters.Select(pair => $"{pair.Key} = {pair.Value}"))),
            ("Code", $"revision {RunRecord.CurrentCommit}"),
            ("Machine", $"{RuntimeInformation.OSDescription}, {Environment.ProcessorCount} processors, {RuntimeInformation.FrameworkDescription}"),
            ("Libraries", $"TorchSharp {typeof(TorchSharp.torch).Assembly.GetName().Version}, computing on {ComputeTarget.Default}"),
            ("Time", $"{outcomes.Sum(outcome => outcome.Seconds) / 60:0.0} minutes, at most {outcomes.Select(outcome => outcome.PeakBytes).DefaultIfEmpty().Max() / 1073741824.0:0.0} GiB"),
        ];
        var rows = string.Concat(facts.Select(fact => $"<tr><th scope=\"row\">{fact.Name}</th><td>{Escape(fact.Value)}</td></tr>"));
        var runs = string.Concat(outcomes.Select(outcome => $"<tr><td><a href=\"#{outcome.Name}\">{Escape(outcome.Title)}</a></td><td class=\"number\">{outcome.Seconds:0.0} s</td>"
            + $"<td class=\"number\">{outcome.PeakBytes / 1048576.0:0} MiB</td><td>{(outcome.Ok ? "ok" : "<span class=\"failed\">failed</span>")}</td></tr>"));
        return $"<section id=\"summary\"><h1>ReasonGen-R1, step by step</h1><p>An autoregressive image generator learns to think before it draws.</p><table>{rows}</table>"
            + $"{Results()}<h2>Notebooks</h2><table><thead><tr><th>Notebook</th><th>Time</th><th>Memory</th><th>Ended</th></tr></thead><tbody>{runs}</tbody></table></section>";
    }

    // The recorded runs, which the notebooks read: what they reached and how long they took.
    private static string Results()
    {
        try
        {
            var data = Path.Combine(Study.DataFolder(), "runs");
            var runs = Study.Foundations.Concat(Study.Arms).Select(stage => RunRecord.Load(data, stage)).ToArray();
            static string Score(RunRecord run, string temperature) => (double?)run.Results[temperature]?["mean"] is { } mean ? mean.ToString("0.000") : "";
            var rows = string.Concat(runs.Select(run => $"<tr><td>{Escape(run.Name)}</td><td class=\"number\">{run.Count}</td><td class=\"number\">{run.Seconds / 60:0.0} min</td><td class=\"number\">{Score(run, "t1")}</td>"
                + $"<td class=\"number\">{Score(run, "t0.5")}</td><td class=\"number\">{Score(run, "greedy")}</td></tr>"));
            return $"<h2>Recorded runs</h2><p>Mean share of right pictures over the benchmark's six tasks, seed {runs[0].Seed}, trained from scratch in {runs.Sum(run => run.Seconds) / 60:0} minutes on {Escape(runs[0].Machine)}.</p>"
                + $"<table><thead><tr><th>Run</th><th>Steps</th><th>Training</th><th>T 1</th><th>T 0.5</th><th>greedy</th></tr></thead><tbody>{rows}</tbody></table>";
        }
        catch (Checkpoints.CheckpointException e)
        {
            return $"<p class=\"failed\">{Escape(e.Message)}</p>";
        }
    }

    private static string Cell(JObject cell)
    {
        var source = NotebookFile.Source(cell);
        if ((string?)cell["cell_type"] == "markdown")
        {
            return $"<div class=\"text\">{Markdig.Markdown.ToHtml(source, Markdown)}</div>";
        }

        var outputs = string.Concat((cell["outputs"] as JArray ?? []).Cast<JObject>().Select(Output));
        return source.Trim().Length == 0 ? outputs : $"<details class=\"code\" open><summary>code</summary><pre><code>{Escape(source)}</code></pre></details><div class=\"output\">{outputs}</div>";
    }

    private static string Output(JObject output) => (string?)output["output_type"] switch
    {
        "stream" => $"<pre class=\"{output["name"]}\">{Escape((string?)output["text"] ?? "")}</pre>",
        "error" => $"<pre class=\"error\">{Escape((string?)output["evalue"] ?? "")}</pre>",
        _ => output["data"] is JObject data ? (string?)data["text/html"] ?? (data["text/markdown"] is { } text ? Markdig.Markdown.ToHtml((string)text!, Markdown) : null)
            ?? (data["image/png"] is { } png ? $"<img alt=\"\" src=\"data:image/png;base64,{png}\"/>" : $"<pre>{Escape(data.Properties().FirstOrDefault()?.Value.ToString() ?? "")}</pre>") : "",
    };

    private static string PlotlyScript()
    {
        var assembly = typeof(Plotly.NET.GenericChart).Assembly;
        var name = assembly.GetManifestResourceNames().First(resource => resource.EndsWith(".min.js"));
        using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd().Replace("</script", "<\\/script");
    }

    private static string Asset(string name)
    {
        using var reader = new StreamReader(typeof(Report).Assembly.GetManifestResourceStream(name)!);
        return reader.ReadToEnd();
    }

    private static string Escape(string text) => WebUtility.HtmlEncode(text);
}
