using System.Buffers;
using System.Globalization;
using System.Text;

namespace ReasonGen.Tokenizers;

/// <summary>A token that is matched as text before anything else, as tokenizer.json lists it.</summary>
/// <param name="Id">Its id.</param>
/// <param name="Text">What is matched.</param>
/// <param name="Special">Left out when decoding.</param>
/// <param name="SingleWord">Not matched next to a letter, digit or underscore.</param>
/// <param name="StripLeft">Takes white space on its left with it.</param>
/// <param name="StripRight">Takes white space on its right with it.</param>
/// <param name="Normalized">Matched in normalised text, else in the text as given.</param>
public sealed record AddedToken(int Id, string Text, bool Special, bool SingleWord, bool StripLeft, bool StripRight,
    bool Normalized);

/// <summary>Cuts added tokens out of a text: the leftmost match, and of those at one place the longest.</summary>
internal sealed class AddedTokens
{
    private readonly SearchValues<string> any;
    private readonly Dictionary<char, (string Text, AddedToken Token)[]> byFirst;

    /// <param name="tokens">Each with the text it is matched by.</param>
    internal AddedTokens(IReadOnlyList<(string Text, AddedToken Token)> tokens)
    {
        any = SearchValues.Create([.. tokens.Select(token => token.Text)], StringComparison.Ordinal);
        byFirst = tokens.GroupBy(token => token.Text[0])
            .ToDictionary(group => group.Key, group => group.OrderByDescending(token => token.Text.Length).ToArray());
    }

    /// <summary>The parts of a text in order: added tokens, and what lies between them.</summary>
    internal IEnumerable<(AddedToken? Token, int Start, int End)> Cut(string text)
    {
        int done = 0, from = 0;
        while (text.AsSpan(from).IndexOfAny(any) is >= 0 and var offset)
        {
            var start = from + offset;
            var (found, token) = byFirst[text[start]].First(candidate =>
                text.AsSpan(start).StartsWith(candidate.Text, StringComparison.Ordinal));
            var end = from = start + found.Length;
            if (token.SingleWord && (IsWord(RuneBefore(text, start)) || IsWord(RuneAfter(text, end))))
            {
                continue; // and the search goes on behind it, even for a shorter token
            }

            while (token.StripLeft && start > done && char.IsWhiteSpace(text[start - 1]))
            {
                start--;
            }

            while (token.StripRight && end < text.Length && char.IsWhiteSpace(text[end]))
            {
                end++;
            }

            if (done < start)
            {
                yield return (null, done, start);
            }

            yield return (token, start, end);
            done = end;
        }

        if (done < text.Length)
        {
            yield return (null, done, text.Length);
        }
    }

    private static Rune RuneBefore(string text, int end) =>
        Rune.DecodeLastFromUtf16(text.AsSpan(0, end), out var rune, out _) == OperationStatus.Done ? rune : default;

    private static Rune RuneAfter(string text, int start) =>
        Rune.DecodeFromUtf16(text.AsSpan(start), out var rune, out _) == OperationStatus.Done ? rune : default;

    // \w of Unicode's regular expressions: alphabetic, mark, decimal digit, connector, joiner
    private static bool IsWord(Rune rune) =>
        Rune.GetUnicodeCategory(rune) is <= UnicodeCategory.LetterNumber or UnicodeCategory.ConnectorPunctuation
        || rune.Value is 0x200C or 0x200D or >= 0x24B6 and <= 0x24E9
            or >= 0x1F130 and <= 0x1F149 or >= 0x1F150 and <= 0x1F169 or >= 0x1F170 and <= 0x1F189;
}
