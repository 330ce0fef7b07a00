using System.Text.RegularExpressions;
using Markdig;
using Markdig.Extensions.Mathematics;
using Markdig.Syntax;
using Markdig.Syntax.Inlines;

namespace ReasonGen.Host.Notebooks;

/// <summary>How text cells are parsed, and what their headings say.</summary>
internal static partial class ReportHeadings
{
    // Of a paragraph: the parser takes time in proportion to their square. Lists within one another it takes sixty
    // deep, with fewer blanks than these, but reads all that there are before it refuses them.
    private const int MostMarks = 5000, DeepestBlanks = 200, MostDeepLines = 20;

    internal static MarkdownPipeline Pipeline { get; } =
        new MarkdownPipelineBuilder().UsePipeTables().UseMathematics().Build();

    /// <summary>What of a text would take too long to parse, as a note begins that says so; null where nothing
    /// would.</summary>
    internal static string? TooLong(string source)
    {
        var text = source.ReplaceLineEndings("\n").AsSpan(); // as the parser reads it
        var (marks, deep) = (0, 0);
        foreach (var range in text.Split('\n'))
        {
            var line = text[range].TrimEnd(" \t");
            var said = line.TrimStart(" \t");
            var blanks = line[..^said.Length];
            marks = said.IsEmpty ? 0 : marks + Marks().Count(said);
            deep += blanks.Length + 3 * blanks.Count('\t') > DeepestBlanks ? 1 : 0;
            if (marks > MostMarks)
            {
                return $"A paragraph of more than {MostMarks} marks";
            }

            if (deep > MostDeepLines)
            {
                return $"A text with more than {MostDeepLines} lines that begin with over {DeepestBlanks} blanks";
            }
        }

        return null;
    }

    /// <summary>The first heading of the first level that says anything; null where a cell has none, or cannot be
    /// parsed.</summary>
    internal static string? Title(string source)
    {
        try
        {
            return TooLong(source) is not null ? null : Markdown.Parse(source, Pipeline).OfType<HeadingBlock>()
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

    // those within a line, and those of lists
    [GeneratedRegex(@"[*_[\]!`<>&\\~:$]|(?<![^ \t])(?:[-+]|[0-9]{1,9}[.)])(?=[ \t]|\z)")]
    private static partial Regex Marks();
}
