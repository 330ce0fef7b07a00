using System.Text;
using static ReasonGen.Notebook.Html;

namespace ReasonGen.Host.Notebooks;

/// <summary>Writes executed notebooks as one HTML page that needs nothing from outside, with scripts or without.</summary>
internal static class Report
{
    /// <summary>Writes report.html and gives its path.</summary>
    /// <param name="folder">Where to.</param>
    /// <param name="outcomes">The notebooks, in reading order.</param>
    /// <param name="parameters">As given on the command line.</param>
    /// <param name="command">The command that makes the report again.</param>
    internal static string Write(
        string folder, IReadOnlyList<NotebookOutcome> outcomes, IReadOnlyDictionary<string, string> parameters, string command)
    {
        var names = outcomes.Select(outcome => outcome.Name).ToHashSet();
        var (contents, body) = (new StringBuilder(), new StringBuilder());
        foreach (var (index, outcome) in outcomes.Index())
        {
            var cells = new ReportCells(outcome.Name, names);
            body.Append($"<section id=\"{outcome.Name}\" aria-label=\"{Escape(outcome.Title)}\">")
                .Append($"<p class=\"eyebrow\">Notebook {Escape(Number(outcome.Name))}</p>");
            foreach (var cell in File.Exists(outcome.Executed) ? NotebookFile.Read(outcome.Executed).Cells : [])
            {
                body.Append(cells.Cell(cell));
            }

            body.Append(outcome.Ok ? "" : $"<pre class=\"error\">{Escape(outcome.Error)}</pre>");
            body.Append(outcomes.ElementAtOrDefault(index + 1) is { } next
                ? $"<p class=\"next\"><a href=\"#{next.Name}\">Next: {Escape(next.Title)}</a></p></section>" : "</section>");
            contents.Append($"<li><a href=\"#{outcome.Name}\"><span>{Escape(Number(outcome.Name))}</span>{Escape(outcome.Title)}")
                .Append(outcome.Ok ? "</a>" : " <b class=\"no\">failed</b></a>");
            var headings = string.Concat(cells.Headings.Select(heading => $"<li><a href=\"#{heading.Id}\">{Escape(heading.Text)}</a></li>"));
            contents.Append(headings.Length == 0 ? "</li>" : $"<ul>{headings}</ul></li>");
        }

        var page = $"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
            <meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>ReasonGen-R1, step by step</title>
            <meta name="description" content="ReasonGen-R1 taken apart in C# notebooks: results, figures and code">
            <style>{Asset("report.css")}</style></head><body>
            <a class="skip" href="#main">Skip to the notebooks</a>
            <nav aria-label="Contents"><div class="bar"><a href="#summary">ReasonGen.Notebooks</a>
            <button id="menu" type="button" aria-expanded="false" aria-controls="contents" hidden>Contents</button></div>
            <div id="contents"><ol><li><a href="#summary"><span></span>Summary</a></li>{contents}</ol>
            <button id="fold" type="button" hidden>Fold all code</button></div></nav>
            <main id="main" tabindex="-1">{ReportSummary.Of(outcomes, parameters, command)}{body}</main>

            """;
        var plotly = body.ToString().Contains("rg-plotly") ? $"<script>{PlotlyScript()}</script>" : "";
        var path = Path.Combine(folder, "report.html");
        File.WriteAllText(path, $"{page}{plotly}<script>{Asset("report.js")}</script></body></html>\n");
        return path;
    }

    // "08" of "08-the-rl-run"
    private static string Number(string name) => name.Split('-')[0] is var first && first.All(char.IsDigit) ? first : name;

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
}
