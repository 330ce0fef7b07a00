using System.Globalization;
using System.Text;

namespace ReasonGen.Judges.Clip;

/// <summary>Lower case beyond the simple rule: İ becomes two code points, and Python writes ς where a word ends in
/// Σ.</summary>
internal static class LowerCase
{
    /// <summary>str.lower() of Python.</summary>
    internal static string Python(string text) => Map(text, finalSigma: true);

    /// <summary>Each code point by itself, as Rust's char::to_lowercase.</summary>
    internal static string OneByOne(string text) => Map(text, finalSigma: false);

    private static string Map(string text, bool finalSigma)
    {
        if (Ascii.IsValid(text))
        {
            return text.ToLowerInvariant();
        }

        var runes = text.EnumerateRunes().ToArray();
        var result = new StringBuilder(text.Length);
        foreach (var (i, rune) in runes.Index())
        {
            result.Append(rune.Value switch
            {
                0x130 => "i\u0307",
                0x3A3 when finalSigma && EndsWord(runes, i) => "\u03C2",
                _ => Rune.ToLowerInvariant(rune).ToString(),
            });
        }

        return result.ToString();
    }

    // Unicode 3.13, Final_Sigma: a cased letter before and none behind, marks and the like passed over
    private static bool EndsWord(Rune[] runes, int at) =>
        runes[..at].Reverse().SkipWhile(IsIgnored).Select(IsCased).FirstOrDefault()
        && !runes[(at + 1)..].SkipWhile(IsIgnored).Select(IsCased).FirstOrDefault();

    private static bool IsCased(Rune rune) => Rune.GetUnicodeCategory(rune) is UnicodeCategory.UppercaseLetter
        or UnicodeCategory.LowercaseLetter
        or UnicodeCategory.TitlecaseLetter || rune.Value is 0xAA or 0xBA or >= 0x2160 and <= 0x217F or >= 0x24B6
            and <= 0x24E9;

    private static bool IsIgnored(Rune rune) => Rune.GetUnicodeCategory(rune) is UnicodeCategory.NonSpacingMark
        or UnicodeCategory.EnclosingMark
        or UnicodeCategory.Format or UnicodeCategory.ModifierLetter or UnicodeCategory.ModifierSymbol
        || rune.Value is '\'' or '.' or ':' or 0xB7 or 0x387 or 0x55F or 0x5F4 or 0x2018 or 0x2019 or 0x2024 or 0x2027;
}
