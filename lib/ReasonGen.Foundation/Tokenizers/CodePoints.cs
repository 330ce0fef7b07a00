using System.Collections;
using System.Collections.Concurrent;
using System.Globalization;
using System.Text;

namespace ReasonGen.Tokenizers;

/// <summary>Sets of Unicode code points, U+0000 to U+10FFFF, as bits.</summary>
internal static class CodePoints
{
    internal const int Count = 0x110000;

    // in the order of UnicodeCategory
    private static readonly string[] Short =
        "Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Zs Zl Zp Cc Cf Cs Co Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Cn".Split(' ');

    private static readonly ConcurrentDictionary<string, BitArray> Known = new();

    internal static BitArray Range(int first, int last)
    {
        var set = new BitArray(Count);
        for (var c = first; c <= last; c++)
        {
            set[c] = true;
        }

        return set;
    }

    /// <summary>A general category ("Lu"), a group of them ("L"), or White_Space: 25 code points, all in the first
    /// plane. A copy.</summary>
    /// <exception cref="FormatException">There is no such category.</exception>
    internal static BitArray Category(string name) => new(Known.GetOrAdd(name, static name =>
    {
        var members = Enum.GetValues<UnicodeCategory>()
            .Where(category => Short[(int)category].StartsWith(name, StringComparison.Ordinal)).ToArray();
        Func<int, bool> member = name == "White_Space" ? c => c < 0x10000 && char.IsWhiteSpace((char)c)
            : name.Length > 0 && members.Length > 0 ? c => members.Contains(CharUnicodeInfo.GetUnicodeCategory(c))
            : throw new FormatException(
                $"it uses the class \\p{{{name}}}; general categories are the only properties read here");
        return new([.. Enumerable.Range(0, Count).Select(member)]);
    }));

    /// <summary>A set and, for each of its ASCII letters, everything that folds to the same letter.</summary>
    /// <exception cref="FormatException">The set has members beyond ASCII.</exception>
    internal static BitArray IgnoreCase(BitArray set)
    {
        var folded = new BitArray(set);
        for (var c = 0; c < Count; c++)
        {
            if (set[c] && c > 0x7F)
            {
                throw new FormatException("case is ignored beyond ASCII, which is not read here");
            }

            if (set[c] && char.IsAsciiLetter((char)c))
            {
                folded[c ^ 0x20] = true;
                folded[c | 0x20] = true;
                if ((c | 0x20) is 's' or 'k')
                {
                    folded[(c | 0x20) == 's' ? 0x17F : 0x212A] = true; // long s, Kelvin sign
                }
            }
        }

        return folded;
    }

    /// <summary>A class of .NET's regular expressions over UTF-16 units: the set below U+10000, surrogates apart, and
    /// some more units.</summary>
    internal static string Class(BitArray set, IEnumerable<char> more)
    {
        var text = new StringBuilder("[");
        for (var first = 0; first < 0x10000; first++)
        {
            if (!Member(first))
            {
                continue;
            }

            var last = first;
            while (last < 0xFFFF && Member(last + 1))
            {
                last++;
            }

            text.Append($"\\u{first:x4}-\\u{last:x4}");
            first = last;
        }

        text.AppendJoin("", more.Select(unit => $"\\u{(int)unit:x4}"));
        return text.Length == 1 ? "(?!)" : text.Append(']').ToString();

        bool Member(int c) => c is < 0xD800 or > 0xDFFF && set[c];
    }
}
