using System.Security.Cryptography;
using System.Text;
using ReasonGen.Files;
using static ReasonGen.Notebook.Html;

namespace ReasonGen.Host.Notebooks;

/// <summary>What a report is made of.</summary>
/// <param name="Outcomes">The notebooks, in reading order.</param>
/// <param name="Parameters">As given on the command line.</param>
/// <param name="Command">The command that makes the report again.</param>
/// <param name="Trust">Whether the notebooks' own scripts run in the page, and may fetch what they want.</param>
internal sealed record ReportContent(IReadOnlyList<NotebookOutcome> Outcomes,
    IReadOnlyDictionary<string, string> Parameters, string Command, bool Trust)
{
    /// <summary>How long the notebooks took, with what lies between them.</summary>
    internal TimeSpan Took { get; init; }

    private static readonly string[] Own = ["summary", "main", "menu", "contents", "fold"];

    /// <summary>Ids of the notebooks' sections, in their order.</summary>
    internal IReadOnlyList<string> Ids { get; } = Named(Outcomes);

    private static string[] Named(IReadOnlyList<NotebookOutcome> outcomes)
    {
        var ids = new ReportIds("", Own);
        return [.. outcomes.Select(outcome => ids.For(outcome.Name))];
    }
}

/// <summary>
/// Writes executed notebooks as one HTML page that needs nothing from outside, with scripts or without. A content
/// security policy lets the browser run the page's own scripts and no others, and fetch nothing.
/// </summary>
internal static class Report
{
    /// <summary>Name of the file.</summary>
    internal const string FileName = "report.html";

    private const string Title = "<title>ReasonGen-R1, step by step</title>";

    /// <summary>Whether a file is a report.</summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    internal static bool IsOne(string path) => File.ReadLines(path).Take(20).Any(line => line.Contains(Title));

    /// <summary>Writes report.html, whole or not at all, and gives its path.</summary>
    /// <exception cref="IOException">It cannot be written; one that was there is as it was.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be written.</exception>
    internal static string Write(string folder, ReportContent content)
    {
        var (contents, body) = (new StringBuilder(), new StringBuilder());
        foreach (var (index, outcome) in content.Outcomes.Index())
        {
            var (id, label) = (content.Ids[index], Escape(Number(outcome.Name)));
            var (cells, headings) = Cells(content, outcome, id);
            body.Append(
                $"<section id=\"{id}\" aria-label=\"{Escape(outcome.Title)}\"><p class=\"eyebrow\">"
                + $"Notebook {label}</p>").Append(cells)
                .Append(outcome.Skipped.Count == 0 ? ""
                    : $"<p class=\"no\">Did not run, since only C# runs "
                        + $"here: {Escape(string.Join(", ", outcome.Skipped))}</p>")
                .Append(outcome.Error.Length == 0 ? "" : $"<pre class=\"error\">{Escape(outcome.Error)}</pre>")
                .Append(index + 1 == content.Outcomes.Count ? "</section>"
                    : $"<p class=\"next\"><a "
                        + $"href=\"#{content.Ids[index + 1]}\">Next: "
                        + $"{Escape(content.Outcomes[index + 1].Title)}</a></p></section>");
            contents.Append($"<li><a href=\"#{id}\"><span>{label}</span>{Escape(outcome.Title)}")
                .Append(outcome.Ok ? "</a>" : $" <b class=\"no\">{ReportSummary.State(outcome)}</b></a>");
            var list = string.Concat(
                headings.Select(heading => $"<li><a href=\"#{heading.Id}\">{Escape(heading.Text)}</a></li>"));
            contents.Append(list.Length == 0 ? "</li>" : $"<ul>{list}</ul></li>");
        }

        string[] scripts = [.. body.ToString().Contains("rg-plotly") ? [PlotlyScript()] : Array.Empty<string>(),
            Asset("report.js")];
        var page = $"""
            <!doctype html>
            <html lang="en"><head><meta charset="utf-8">{(content.Trust ? "" : Policy(scripts))}<meta name="viewport" content="width=device-width,initial-scale=1">
            <meta name="color-scheme" content="light dark"><link rel="icon" href="data:,">{Title}
            <meta name="description" content="ReasonGen-R1 taken apart in C# notebooks: results, figures and code">
            <style>{Asset("report.css")}</style></head><body>
            <a class="skip" href="#main">Skip to the notebooks</a>
            <nav aria-label="Contents"><div class="bar"><a href="#summary">ReasonGen.Notebooks</a>
            <button id="menu" type="button" aria-expanded="false" aria-controls="contents" hidden>Contents</button></div>
            <div id="contents"><ol><li><a href="#summary"><span></span>Summary</a></li>{contents}</ol>
            <button id="fold" type="button" hidden>Fold all code</button></div></nav>
            <main id="main" tabindex="-1">{ReportSummary.Of(content)}{body}</main>

            """;
        var path = Path.Combine(folder, FileName);
        AtomicFile.Write(path,
            $"{page}{string.Concat(scripts.Select(script => $"<script>{script}</script>"))}</body></html>\n");
        return path;
    }

    // one notebook never costs the report, whatever became of its copy
    private static (string Html, IReadOnlyList<(string Id, string Text)> Headings) Cells(ReportContent content,
        NotebookOutcome outcome, string id)
    {
        try
        {
            var folder = Path.GetDirectoryName(Path.GetFullPath(outcome.Path))!;
            var copy = NotebookFile.Read(outcome.Executed);
            var cells = new ReportCells(copy, id, link => Linked(content, folder, link), content.Trust);
            return (cells.All(), cells.Headings);
        }
        catch (UsageException e)
        {
            return ($"<p class=\"no\">Its executed copy cannot be shown: {Escape(e.Message)}</p>", []);
        }
    }

    // by its place, or else by its name alone: an executed copy lies elsewhere than the notebook
    private static string? Linked(ReportContent content, string folder, string link)
    {
        string Name(string path) => Path.GetFileName(path);
        var target = Path.GetFullPath(Uri.UnescapeDataString(link), folder);
        return content.Outcomes.Zip(content.Ids).OrderByDescending(pair => Path.GetFullPath(pair.First.Path) == target)
            .FirstOrDefault(pair => Name(pair.First.Path) == Name(target)).Second;
    }

    /// <summary>What the browser may do with the page: run these scripts, show images that are in it, and nothing
    /// else.</summary>
    private static string Policy(IEnumerable<string> scripts)
    {
        var own = scripts.Select(script =>
            $"'sha256-{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(script)))}'");
        return $"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
            + $"script-src {string.Join(' ', own)}; style-src 'unsafe-inline'; "
            + "img-src data: blob:; media-src data:; font-src data:; base-uri 'none'; form-action 'none'\">"
            + "<meta http-equiv=\"x-dns-prefetch-control\" content=\"off\"><meta name=\"referrer\" "
            + "content=\"no-referrer\">";
    }

    // "08" of "08-the-rl-run"
    private static string Number(string name) =>
        name.Split('-')[0] is var first && first.Length > 0 && first.All(char.IsDigit) ? first : name;

    private static string PlotlyScript()
    {
        var assembly = typeof(Plotly.NET.GenericChart).Assembly;
        var name = assembly.GetManifestResourceNames().First(resource => resource.EndsWith(".min.js"));
        using var reader = new StreamReader(assembly.GetManifestResourceStream(name)!);
        return Inline(reader.ReadToEnd().Replace("</script", "<\\/script"));
    }

    private static string Asset(string name)
    {
        using var reader = new StreamReader(typeof(Report).Assembly.GetManifestResourceStream(name)!);
        return Inline(reader.ReadToEnd());
    }

    // as the browser reads it, which the hash is of
    private static string Inline(string text) => text.Replace("\r\n", "\n");
}
