using System.Collections;
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ReasonGen.Tokenizers;

/// <summary>
/// A regular expression in the dialect of tokenizer.json (Oniguruma, Ruby syntax), taken apart into syntax that .NET
/// shares and the sets of code points it matches. What these files have no use for (named groups, back references, \w,
/// \b, a class in a class) is refused.
/// </summary>
internal sealed partial class OnigurumaPattern
{
    private const int LongestSource = 10_000, MostSets = 128; // bounds the memory that a hostile file can ask for

    private readonly string source;
    private readonly List<object> parts = []; // syntax as text, or a set of code points
    private int at;

    /// <exception cref="FormatException">The pattern is broken or not understood.</exception>
    internal OnigurumaPattern(string source)
    {
        this.source = source;
        if (source.Length > LongestSource)
        {
            throw Broken($"it has more than {LongestSource} characters");
        }

        Read();
    }

    /// <summary>The pattern of a text taken word for word.</summary>
    internal static string Literal(string text) =>
        string.Concat(text.Select(c => char.IsAscii(c) && !char.IsAsciiLetterOrDigit(c) ? $"\\{c}" : $"{c}"));

    internal IEnumerable<BitArray> Sets => parts.OfType<BitArray>();

    /// <summary>The same pattern for .NET.</summary>
    /// <param name="write">How a set is written.</param>
    internal string Translate(Func<BitArray, string> write) =>
        string.Concat(parts.Select(part => part is BitArray set ? write(set) : (string)part));

    private void Read()
    {
        var groups = new Stack<(int Start, bool IgnoreCase)>();
        var (ignoreCase, atom) = (false, 0);
        while (at < source.Length)
        {
            var syntax = Syntax().Match(source, at).Value;
            at += syntax.Length;
            switch (syntax)
            {
                case "":
                    atom = parts.Count;
                    parts.Add(source[at] == '[' ? ReadClass(ignoreCase) : ReadOne(ignoreCase));
                    break;
                case ['(', ..]:
                    groups.Push((parts.Count, ignoreCase));
                    ignoreCase = syntax == "(?i:" || (ignoreCase && syntax != "(?-i:");
                    parts.Add(syntax is "(" or "(?i:" or "(?-i:" ? "(?:" : syntax);
                    break;
                case ")":
                    (atom, ignoreCase) = groups.TryPop(out var group) ? group : throw Broken("a ) closes nothing");
                    parts.Add(syntax);
                    break;
                case [var quantifier, '+']: // possessive, which .NET writes as an atomic group
                    parts.Insert(atom, "(?>");
                    parts.Add(quantifier + ")");
                    break;
                default:
                    parts.Add(syntax);
                    break;
            }

            if (Sets.Count() > MostSets)
            {
                throw Broken($"it has more than {MostSets} classes");
            }
        }

        if (groups.Count > 0)
        {
            throw Broken("a ( is never closed");
        }
    }

    private object ReadOne(bool ignoreCase)
    {
        if (source[at] is '(' or '{')
        {
            throw Broken($"what follows its place {at} is not read here");
        }

        if (source[at] == '.')
        {
            at++;
            return CodePoints.Range('\n', '\n').Not();
        }

        var character = ReadAtom(out var set);
        return set is not null ? set : ignoreCase ? CodePoints.IgnoreCase(CodePoints.Range(character, character))
            : character < 0x10000 ? $"\\u{character:x4}" : CodePoints.Range(character, character);
    }

    private BitArray ReadClass(bool ignoreCase)
    {
        var members = new BitArray(CodePoints.Count);
        var negated = source.AsSpan(++at).StartsWith("^");
        at += negated ? 1 : 0;
        for (var first = at; at == first || Peek() != ']';)
        {
            if (Peek() == '[' || source.AsSpan(at).StartsWith("&&"))
            {
                throw Broken("a class in a class is not read here");
            }

            var low = ReadAtom(out var set);
            if (set is null && Peek() == '-' && at + 1 < source.Length && source[at + 1] != ']')
            {
                at++;
                var high = ReadAtom(out set);
                set = set is null && low <= high ? CodePoints.Range(low, high)
                    : throw Broken("a range runs backwards or ends in a class");
            }

            members.Or(set ?? CodePoints.Range(low, low));
        }

        at++;
        members = ignoreCase ? CodePoints.IgnoreCase(members) : members;
        return negated ? members.Not() : members;
    }

    // One character, or else the set of an escape.
    private int ReadAtom(out BitArray? set)
    {
        set = null;
        if (Peek() != '\\')
        {
            var rune = Rune.TryGetRuneAt(source, at, out var read) ? read : Rune.ReplacementChar;
            at += rune.Utf16SequenceLength;
            return rune.Value;
        }

        at++;
        var escape = Peek();
        at++;
        switch (escape)
        {
            case 's' or 'S' or 'd' or 'D':
                set = CodePoints.Category(escape is 's' or 'S' ? "White_Space" : "Nd");
                set = char.IsAsciiLetterUpper(escape) ? set.Not() : set;
                return -1;
            case 'p' or 'P':
                var property = Take(Property());
                set = CodePoints.Category(property.Groups[2].Value);
                set = (escape == 'P') ^ (property.Groups[1].Length > 0) ? set.Not() : set;
                return -1;
            case 'x' or 'u':
                var digits = Take(escape == 'x' ? HexadecimalX() : HexadecimalU()).Value.Trim('{', '}');
                var value = int.Parse(digits, NumberStyles.HexNumber, CultureInfo.InvariantCulture);
                return Rune.IsValid(value) ? value : throw Broken($"\\{escape}{digits} is no character");
            default:
                return "rntfvae".IndexOf(escape) is >= 0 and var known ? "\r\n\t\f\v\a\x1B"[known]
                    : !char.IsAsciiLetterOrDigit(escape) ? escape : throw Broken($"\\{escape} is not read here");
        }
    }

    private Match Take(Regex expected)
    {
        var match = expected.Match(source, at);
        at += match.Success ? match.Length : throw Broken($"the escape before its place {at} is incomplete");
        return match;
    }

    private char Peek() => at < source.Length ? source[at] : throw Broken("it ends too early");

    private FormatException Broken(string cause) =>
        new($"its regular expression {(source.Length > 200 ? source[..200] + "…" : source)} cannot be used: {cause}");

    // groups, alternatives, line anchors, quantifiers
    [GeneratedRegex(@"\G(?:\(\?(?:[:=!>]|<[=!]|i:|-i:)|\((?!\?)|[)|^$]|[*+?][+?]?|\{\d+(?:,\d*)?\}\??)")]
    private static partial Regex Syntax();

    [GeneratedRegex(@"\G\{(\^?)(\w+)\}")]
    private static partial Regex Property();

    [GeneratedRegex(@"\G(?:\{[0-9A-Fa-f]{1,8}\}|[0-9A-Fa-f]{1,2})")]
    private static partial Regex HexadecimalX();

    [GeneratedRegex(@"\G[0-9A-Fa-f]{4}")]
    private static partial Regex HexadecimalU();
}
