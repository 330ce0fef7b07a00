// The words of a prompt as spaCy's English tokenizer cuts them (explosion/spaCy: lang/punctuation.py,
// lang/en/punctuation.py): blanks part them, then marks and 's leave the front and the end of each, one after the
// other, then hyphens, commas, slashes and the like between letters part what is left.
// Deviation: its list of exceptions ("don't", "a.m.") and its units and emojis are left out; none of them stands
// between a number and an object of T2I-CompBench.
using System.Text.RegularExpressions;

namespace ReasonGen.Scoring;

/// <summary>Words and marks of a text, each a word of its own.</summary>
public static partial class SpacyWords
{
    private const string Marks = @"…,:;!?¿¡()\[\]{}<>_#*&'""”“`‘´’‚„»«";
    private const string Hyphens = "---|--|-|–|—|~";

    /// <summary>The words in order; a blank more than one is an empty word.</summary>
    public static IReadOnlyList<string> Of(string text) => [.. text.Split(' ').SelectMany(Parts)];

    private static IEnumerable<string> Parts(string word)
    {
        var (front, back, rest) = (new List<string>(), new List<string>(), word);
        while (rest.Length > 0)
        {
            if (Front().Match(rest) is { Success: true } first)
            {
                front.Add(first.Value);
                rest = rest[first.Length..];
            }
            else if (Back().Match(rest) is { Success: true } last)
            {
                back.Insert(0, last.Value);
                rest = rest[..last.Index];
            }
            else
            {
                break;
            }
        }

        IEnumerable<string> inner = rest.Length == 0 ? [] : Between().Split(rest).Where(part => part.Length > 0);
        return word.Length == 0 ? [word] : [.. front, .. inner, .. back];
    }

    [GeneratedRegex(@"^(?:\.\.+|[" + Marks + @"§%=—–$£€¥]|\+(?![0-9]))")]
    private static partial Regex Front();

    [GeneratedRegex(@"(?:\.\.+|['’][sS]|[" + Marks + @"—–]|(?<=[0-9])[+$£€¥]|(?<=[\p{Ll}0-9%²+\-" + Marks
        + @"])\.|(?<=\p{Lu}\p{Lu})\.)$")]
    private static partial Regex Back();

    [GeneratedRegex(@"(\.\.+|…|(?<=[0-9])[+\-*^](?=[0-9-])|(?<=[\p{Ll}'""])\.(?=[\p{Lu}'""])|(?<=\p{L}),(?=\p{L})"
        + @"|(?<=[\p{L}0-9])(?:" + Hyphens + @"|[:<>=/])(?=\p{L}))")]
    private static partial Regex Between();
}
