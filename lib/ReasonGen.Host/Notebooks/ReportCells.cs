using System.Text.RegularExpressions;
using Markdig;
using Markdig.Renderers.Html;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;
using Newtonsoft.Json.Linq;
using static ReasonGen.Notebook.Html;

namespace ReasonGen.Host.Notebooks;

/// <summary>Cells of one notebook as HTML. Headings get ids and stand one level lower, since the page has a heading of its own.</summary>
/// <param name="name">The notebook's file name without ending: id of its section, and start of its headings' ids.</param>
/// <param name="others">Names of all notebooks in the report, which links between them lead to.</param>
internal sealed partial class ReportCells(string name, IReadOnlySet<string> others)
{
    private static readonly MarkdownPipeline Pipeline = new MarkdownPipelineBuilder().UsePipeTables().Build();
    private readonly List<(string Id, string Text)> headings = [];

    /// <summary>Headings below the title, for the contents.</summary>
    internal IReadOnlyList<(string Id, string Text)> Headings => headings;

    internal string Cell(JObject cell)
    {
        var source = NotebookFile.Source(cell);
        if ((string?)cell["cell_type"] != "code")
        {
            return $"<div class=\"text\">{Markdown(source)}</div>";
        }

        var outputs = string.Concat((cell["outputs"] as JArray ?? []).OfType<JObject>().Select(Output));
        var setup = source.StartsWith("#r "); // the same in every notebook
        var code = source.Trim().Length == 0 ? "" : $"<details class=\"code\"{(setup ? "" : " open")}><summary>{(setup ? "Setup" : "Code")}</summary>"
            + $"<pre><code>{CodeColors.ToHtml(source.TrimEnd())}</code></pre></details>";
        return code + (outputs.Length == 0 ? "" : $"<div class=\"output\">{outputs}</div>");
    }

    private string Output(JObject output) => (string?)output["output_type"] switch
    {
        "stream" => $"<pre class=\"{((string?)output["name"] == "stderr" ? "stderr" : "stdout")}\">{Escape(Text(output["text"]))}</pre>",
        "error" => $"<pre class=\"error\">{Escape(Text(output["evalue"]))}</pre>",
        _ => output["data"] is JObject data ? Bundle(data) : "",
    };

    // the richest form there is
    private string Bundle(JObject data) => data["text/html"] is { } html ? Offline(Text(html))
        : data["image/svg+xml"] is { } svg ? Text(svg)
        : data["image/png"] is { } png ? $"<img alt=\"Picture made by the code above\" src=\"data:image/png;base64,{Text(png).Trim()}\">"
        : data["text/markdown"] is { } markdown ? Markdown(Text(markdown))
        : $"<pre>{Escape(Text(data["text/plain"] ?? data.Properties().FirstOrDefault()?.Value))}</pre>";

    /// <summary>HTML that fetches nothing: scripts, styles and pictures from elsewhere are left out and named.</summary>
    internal static string Offline(string html) => Outside().Replace(html, match =>
        $"<p class=\"note\">Left out: {Escape(match.Groups[1].Value)} would be fetched from the network.</p>");

    private string Markdown(string source)
    {
        var document = Markdig.Markdown.Parse(source, Pipeline);
        foreach (var heading in document.Descendants<HeadingBlock>())
        {
            if (heading.Level > 1)
            {
                var text = string.Concat(heading.Inline!.Descendants<LeafInline>().Select(part =>
                    part is CodeInline code ? code.Content : part.ToString()));
                var plain = $"{name}--{NotWord().Replace(text.ToLowerInvariant(), "-").Trim('-')}";
                var id = plain;
                for (var copy = 2; headings.Any(other => other.Id == id); copy++)
                {
                    id = $"{plain}-{copy}";
                }

                headings.Add((id, text));
                heading.GetAttributes().Id = id;
            }

            heading.Level = Math.Min(6, heading.Level + 1);
        }

        foreach (var link in document.Descendants<LinkInline>().Where(link => link.Url?.EndsWith(".ipynb") == true).ToArray())
        {
            var target = Path.GetFileNameWithoutExtension(link.Url!);
            if (others.Contains(target))
            {
                link.Url = "#" + target;
            }
            else
            {
                link.ReplaceBy(new ContainerInline()); // its words stay
            }
        }

        return Offline(document.ToHtml(Pipeline)).Replace("<table>", "<div class=\"scroll\"><table>").Replace("</table>", "</table></div>");
    }

    private static string Text(JToken? token) => token is JArray lines ? string.Concat(lines.Select(line => (string?)line)) : token?.ToString() ?? "";

    [GeneratedRegex(@"<(?:script|img|iframe|link|source|video|audio|embed|object)\b[^>]*?(?:src|href|data)\s*=\s*[""']?((?:https?:)?//[^""'\s>]+)[^>]*>"
        + @"(?:\s*</(?:script|iframe|video|audio|object)>)?", RegexOptions.IgnoreCase)]
    private static partial Regex Outside();

    [GeneratedRegex(@"[^\p{L}\p{N}]+")]
    private static partial Regex NotWord();
}
