using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;

namespace ReasonGen.Host.Notebooks;

/// <summary>How text cells are parsed, and what their headings say.</summary>
internal static class ReportHeadings
{
    /// <summary>Most marks in a paragraph: the parser takes time in proportion to their square.</summary>
    internal const int MostMarks = 5000;

    internal static MarkdownPipeline Pipeline { get; } =
        new MarkdownPipelineBuilder().UsePipeTables().UseMathematics().Build();

    /// <summary>Whether a paragraph has more marks than are parsed.</summary>
    internal static bool IsTooLong(string source)
    {
        var (most, marks, blank) = (0, 0, false);
        foreach (var c in source)
        {
            marks = c == '\n' && blank ? 0 : "*_[]!`<>&\\~:$".Contains(c) ? marks + 1 : marks;
            blank = c == '\n' || (blank && c is ' ' or '\t' or '\r');
            most = Math.Max(most, marks);
        }

        return most > MostMarks;
    }

    /// <summary>The first heading of the first level that says anything; null where a cell has none, or cannot be
    /// parsed.</summary>
    internal static string? Title(string source)
    {
        try
        {
            return IsTooLong(source) ? null : Markdown.Parse(source, Pipeline).OfType<HeadingBlock>()
                .Where(heading => heading.Level == 1).Select(heading => Words(heading).Trim())
                .FirstOrDefault(words => words.Length > 0);
        }
        catch (Exception e) when (e is not OutOfMemoryException)
        {
            return null; // nested deeper than the parser goes, say
        }
    }

    /// <summary>A heading without its marks.</summary>
    internal static string Words(HeadingBlock heading) => string.Concat(
        heading.Inline?.Descendants<LeafInline>().Select(part => part switch
        {
            CodeInline code => code.Content,
            MathInline math => math.Content.ToString(),
            HtmlEntityInline entity => entity.Transcoded.ToString(),
            LineBreakInline => " ",
            HtmlInline => "",
            _ => part.ToString(),
        }) ?? []);
}
