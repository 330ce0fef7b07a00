using System.Text.RegularExpressions;
using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Renderers.Html;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;
using Newtonsoft.Json.Linq;
using static ReasonGen.Notebook.Html;

namespace ReasonGen.Host.Notebooks;

/// <summary>Cells of one notebook as HTML. Headings get ids and stand one level lower, since the page has a heading of
/// its own.</summary>
/// <param name="notebook">The executed copy.</param>
/// <param name="id">Id of its section, and start of its headings' ids.</param>
/// <param name="idOf">Id of the section of a notebook, by the link that another has to it; null where the report has
/// none.</param>
/// <param name="trust">Whether what cells show is taken over as it is, scripts and addresses too.</param>
internal sealed partial class ReportCells(NotebookFile notebook, string id, Func<string, string?> idOf, bool trust)
{
    private readonly List<(string Id, string Text)> headings = [];
    private readonly ReportIds ids = new(id + "--");
    // links within the notebook by what is after their #; the ids that they may lead to come with later cells
    private readonly Dictionary<string, string> targets = [];
    private readonly HashSet<string> sections = [];
    // none that a notebook could name
    private readonly string mark = $"formula-{Guid.NewGuid():N}", jump = $"jump-{Guid.NewGuid():N}-";
    private readonly SafeHtml safe = new();

    /// <summary>Headings below the title, for the contents.</summary>
    internal IReadOnlyList<(string Id, string Text)> Headings => headings;

    /// <summary>All cells, with the links among them.</summary>
    internal string All()
    {
        safe.Fragments = jump;
        var html = string.Concat(notebook.Cells.Select(Cell));
        return Regex.Replace(html, $" ((?:xlink:)?href)=\"#{jump}([^\"]*)\"", found =>
        {
            var name = Uri.UnescapeDataString(System.Net.WebUtility.HtmlDecode(found.Groups[2].Value));
            return Target(name) is { } id ? $" {found.Groups[1]}=\"#{Escape(id)}\"" : "";
        });
    }

    // a heading by its words, with blanks as dashes, as front ends spell it; or what has that id
    private string? Target(string name) => sections.Contains(name) ? name
        : safe.Anchors.GetValueOrDefault(name)
            ?? targets.GetValueOrDefault(ReportIds.Plain(name.ToLowerInvariant()))
            ?? (trust && name.Length > 0 ? name : null);

    /// <summary>One cell; what cannot be laid out stands as its text.</summary>
    internal string Cell(JObject cell)
    {
        var source = NotebookFile.Source(cell);
        var type = (string?)cell["cell_type"];
        if (type == "markdown")
        {
            return $"<div class=\"text\">{Laid(() => Markdown(source, cell["attachments"] as JObject), source)}</div>";
        }

        if (type != "code")
        {
            return $"<pre>{Printed(source)}</pre>";
        }

        var outputs = string.Concat((cell["outputs"] as JArray ?? []).OfType<JObject>()
            .Select(output => Laid(() => Output(output), "")));
        // the same in every notebook
        var setup = source.StartsWith("#!import setup.cs") || source.StartsWith("#r ") || source.StartsWith("#i ");
        var colored = notebook.LanguageOf(cell) == CellLanguage.CSharp
            ? Laid(() => CodeColors.ToHtml(source.TrimEnd()), source) : Printed(source);
        var code = source.Trim().Length == 0 ? ""
            : $"<details class=\"code\"{(setup ? "" : " open")}><summary>{(setup ? "Setup" : "Code")}</summary>"
            + $"<pre><code>{colored}</code></pre></details>";
        return code + (outputs.Length == 0 ? "" : $"<div class=\"output\">{outputs}</div>");
    }

    // One cell never costs the report. Markdig, AngleSharp and Roslyn refuse what is nested too deep, each with an
    // exception of its own.
    private static string Laid(Func<string> lay, string otherwise)
    {
        try
        {
            return lay();
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return $"<p class=\"note\">This could not be laid out: {Printed(e.Message)}</p>"
                + $"{(otherwise.Length == 0 ? "" : $"<pre>{Printed(otherwise)}</pre>")}";
        }
    }

    private string Output(JObject output) => (string?)output["output_type"] switch
    {
        "stream" =>
            $"<pre class=\"{((string?)output["name"] == "stderr" ? "stderr" : "stdout")}\">"
            + $"{Printed(NotebookFile.Text(output["text"]))}</pre>",
        "error" => $"<pre class=\"error\">{Printed(NotebookFile.Text(output["evalue"]))}</pre>",
        _ => output["data"] is JObject data ? Bundle(data) : "",
    };

    // the richest form there is
    private string Bundle(JObject data) => data["text/html"] is { } html ? Html(NotebookFile.Text(html))
        : data["image/svg+xml"] is { } svg ? Html(NotebookFile.Text(svg))
        : data.Properties().FirstOrDefault(form => form.Name.StartsWith("image/")) is { } image
            ? Image(image.Name, NotebookFile.Text(image.Value))
        : data["text/markdown"] is { } markdown ? Markdown(NotebookFile.Text(markdown), null)
        : $"<pre>{Printed(NotebookFile.Text(data["text/plain"] ?? data.Properties().FirstOrDefault()?.Value))}</pre>";

    private string Html(string html) => trust ? html : safe.Of(html, id, [], _ => null);

    private static string Image(string type, string base64) =>
        DataUrl(type, base64) is { } url ? $"<img alt=\"Image made by the code above\" src=\"{Escape(url)}\">"
        : $"<p class=\"note\">An image ({Escape(type)}) is damaged: its data is no base64.</p>";

    private static string? DataUrl(string type, string base64)
    {
        var digits = string.Concat(base64.Where(c => !char.IsWhiteSpace(c)));
        return type.Length < 40 && type.All(c => char.IsAsciiLetterOrDigit(c) || "/+.-".Contains(c))
            && System.Buffers.Text.Base64.IsValid(digits)
            ? $"data:{type};base64,{digits}" : null;
    }

    private string Markdown(string source, JObject? attachments)
    {
        if (ReportHeadings.TooLong(source) is { } what)
        {
            return $"<p class=\"note\">{what} is not laid out; this is the text.</p><pre>{Printed(source)}</pre>";
        }

        var document = Markdig.Markdown.Parse(WithWholeFormulas(source), ReportHeadings.Pipeline);
        foreach (var heading in document.Descendants<HeadingBlock>())
        {
            Name(heading);
            heading.Level = Math.Min(6, heading.Level + 1);
        }

        foreach (var link in document.Descendants<LinkInline>().ToArray())
        {
            if (link.IsImage && link.Url?.StartsWith("attachment:") == true)
            {
                link.Url = Attached(attachments, link.Url["attachment:".Length..]) ?? link.Url;
            }
            else if (trust && !link.IsImage && link.Url?.StartsWith('#') == true)
            {
                link.Url = $"#{jump}{link.Url[1..]}"; // otherwise marked with those of HTML
            }
            else if (!link.IsImage && link.Url?.Split('#')[0] is { } file
                && (file.EndsWith(".ipynb") || IsSource(file)))
            {
                if (file.EndsWith(".ipynb") && idOf(file) is { } section)
                {
                    sections.Add(section);
                    link.Url = "#" + section;
                }
                else
                {
                    link.ReplaceBy(new ContainerInline()); // its words stay
                }
            }
        }

        var formulas = HoldFormulas(document);
        var html = document.ToHtml(ReportHeadings.Pipeline);
        html = trust ? WithAttached(html, attachments)
            : safe.Of(html, id, [.. headings.Select(heading => heading.Id)], name => Attached(attachments, name));
        for (var i = 0; i < formulas.Count; i++)
        {
            html = html.Replace(Place(i), formulas[i]);
        }

        return html;
    }

    // a file of the checkout, which may lie elsewhere than the page
    private static bool IsSource(string link) =>
        (link.EndsWith(".cs") || link.EndsWith(".md")) && !link.Contains("://");

    // Notebooks' front ends let a formula go on over lines; the parser wants $$ on lines of their own, and $…$ on one.
    private static string WithWholeFormulas(string source) =>
        string.Concat(Fenced().Split(source.ReplaceLineEndings("\n")).Select((part, i) =>
        i % 2 == 1 ? part
            : BrokenInline().Replace(BrokenDisplay().Replace(part, "$$$$\n${latex}\n$$$$"),
                match => match.Value.Replace('\n', ' '))));

    // Takes the formulas out and leaves a mark in the place of each: MathML is put there after the rest was made safe.
    private List<string> HoldFormulas(MarkdownDocument document)
    {
        List<string> formulas = [];
        string Hold(string latex, bool display)
        {
            formulas.Add(Formulas.ToHtml(latex, display));
            return Place(formulas.Count - 1);
        }

        foreach (var block in document.Descendants<MathBlock>().ToArray())
        {
            var place = new ParagraphBlock
            {
                Inline = new ContainerInline().AppendChild(new LiteralInline(Hold(block.Lines.ToString(), true))),
            };
            block.Parent![block.Parent.IndexOf(block)] = place;
        }

        foreach (var inline in document.Descendants<MathInline>().ToArray())
        {
            var (latex, display) = (inline.Content.ToString(), inline.DelimiterCount > 1);
            // an image's words are an attribute
            var words = inline.FindParentOfType<LinkInline>().Any(link => link.IsImage);
            inline.ReplaceBy(new LiteralInline(words ? latex : Hold(latex, display)));
        }

        return formulas;
    }

    private string Place(int formula) => $"{mark}-{formula}-";

    private void Name(HeadingBlock heading)
    {
        var text = ReportHeadings.Words(heading);
        if (heading.Level > 1)
        {
            headings.Add((ids.For(text.ToLowerInvariant()), text));
            heading.GetAttributes().Id = headings[^1].Id;
        }

        targets.TryAdd(ReportIds.Plain(text.ToLowerInvariant()), heading.Level > 1 ? headings[^1].Id : id);
    }

    // by its name as the address has it, which is how classic Notebook keeps it, or as it was before it became one
    private static string? Attached(JObject? attachments, string name) =>
        ((attachments?[name] ?? attachments?[Uri.UnescapeDataString(name)]) as JObject)?.Properties()
            .FirstOrDefault() is { } form
        ? DataUrl(form.Name, NotebookFile.Text(form.Value)) : null;

    // what SafeHtml does where a page is not trusted
    private static string WithAttached(string html, JObject? attachments) => AttachedImage().Replace(html, image =>
        Attached(attachments, System.Net.WebUtility.HtmlDecode(image.Groups["name"].Value)) is { } url
            ? $"{image.Groups["before"]}\"{url}\"" : image.Value);

    // what was printed for a terminal, without its colours
    private static string Printed(string text) => Escape(Colours().Replace(text, ""));

    [GeneratedRegex(@"(^(?:```|~~~).*?^(?:```|~~~)[^\n]*$)", RegexOptions.Singleline | RegexOptions.Multiline)]
    private static partial Regex Fenced();

    [GeneratedRegex(@"^[ ]{0,3}\$\$(?<latex>[^$`\n]+(?:\n[^$`\n]+)+)\$\$[ ]*$", RegexOptions.Multiline)]
    private static partial Regex BrokenDisplay();

    [GeneratedRegex(@"(?<![\\$\w`])\$(?=[^\s$])[^$`\n]*\n[^$`\n]*(?<=[^\s$])\$(?![\d$])")]
    private static partial Regex BrokenInline();

    [GeneratedRegex(@"(?<before><img\b[^>]*?\ssrc\s*=\s*)(?:(?<quote>[""'])attachment:(?<name>.*?)\k<quote>"
        + @"|attachment:(?<name>[^\s>""']+))", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex AttachedImage();

    [GeneratedRegex(@"\x1b\[[0-9;?]*[A-Za-z]")]
    private static partial Regex Colours();
}
