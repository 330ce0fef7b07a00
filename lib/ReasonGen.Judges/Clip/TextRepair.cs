// What ftfy.fix_text (6.x, default settings) does to the prompts that open_clip and openai/CLIP clean with it, line by
// line until nothing changes:
// entities where the line has no "<", text that was decoded wrongly, C1 controls, ligatures, widths, curled quotes,
// line breaks, terminal escapes,
// control characters, NFC.
// Deviation: ftfy weighs many encodings by statistics of character classes; here only UTF-8 that was read as
// Windows-1252 or Latin-1 is repaired,
// by the shape of its sequences. Text in other broken encodings stays as it is.
using System.Text;
using System.Text.RegularExpressions;
using ADRaffy.ENSNormalize;

namespace ReasonGen.Judges.Clip;

/// <summary>Repairs text as ftfy does.</summary>
internal static partial class TextRepair
{
    // U+FF61 to U+FFEE in their usual width
    private const string UsualWidth =
        "\u3002\u300C\u300D\u3001\u30FB\u30F2\u30A1\u30A3\u30A5\u30A7\u30A9\u30E3\u30E5\u30E7\u30C3\u30FC\u30A2\u30A4"
        + "\u30A6\u30A8\u30AA\u30AB\u30AD\u30AF\u30B1\u30B3\u30B5\u30B7\u30B9\u30BB\u30BD\u30BF\u30C1\u30C4\u30C6"
        + "\u30C8\u30CA\u30CB\u30CC\u30CD\u30CE\u30CF\u30D2\u30D5\u30D8\u30DB\u30DE\u30DF\u30E0\u30E1\u30E2\u30E4"
        + "\u30E6\u30E8\u30E9\u30EA\u30EB\u30EC\u30ED\u30EF\u30F3\u3099\u309A\u1160\u1100\u1101\u11AA\u1102\u11AC"
        + "\u11AD\u1103\u1104\u1105\u11B0\u11B1\u11B2\u11B3\u11B4\u11B5\u111A\u1106\u1107\u1108\u1121\u1109\u110A"
        + "\u110B\u110C\u110D\u110E\u110F\u1110\u1111\u1112\uFFBF\uFFC0\uFFC1\u1161\u1162\u1163\u1164\u1165\u1166"
        + "\uFFC8\uFFC9\u1167\u1168\u1169\u116A\u116B\u116C\uFFD0\uFFD1\u116D\u116E\u116F\u1170\u1171\u1172\uFFD8"
        + "\uFFD9\u1173\u1174\u1175\uFFDD\uFFDE\uFFDF\u00A2\u00A3\u00AC\u0304\u00A6\u00A5\u20A9\uFFE7\u2502\u2190"
        + "\u2191\u2192\u2193\u25A0\u25CB";

    private static readonly Dictionary<char, string> Ligatures = new()
    {
        ['\u0132'] = "IJ", ['\u0133'] = "ij", ['\u0149'] = "\u02BCn", ['\u01F1'] = "DZ", ['\u01F2'] = "Dz", ['\u01F3'] =
            "dz", ['\u01C4'] = "D\u017D",
        ['\u01C5'] = "D\u017E", ['\u01C6'] = "d\u017E", ['\u01C7'] = "LJ", ['\u01C8'] = "Lj", ['\u01C9'] = "lj",
            ['\u01CA'] = "NJ", ['\u01CB'] = "Nj",
        ['\u01CC'] = "nj", ['\uFB00'] = "ff", ['\uFB01'] = "fi", ['\uFB02'] = "fl", ['\uFB03'] = "ffi", ['\uFB04'] =
            "ffl", ['\uFB05'] = "\u017Ft",
        ['\uFB06'] = "st",
    };

    /// <summary>The repaired text.</summary>
    internal static string Fix(string text)
    {
        if (!text.AsSpan().ContainsAnyExceptInRange(' ', '~') && !text.Contains('&'))
        {
            return text;
        }

        var (fixedText, entities) = (new StringBuilder(), true);
        for (var at = 0; at < text.Length;)
        {
            var end = text.IndexOf('\n', at) is >= 0 and var line ? line + 1 : text.Length;
            var segment = text[at..end];
            entities &= !segment.Contains('<'); // from the first line with one on, as in the reference
            fixedText.Append(FixLine(segment, entities));
            at = end;
        }

        return fixedText.ToString();
    }

    private static string FixLine(string text, bool entities)
    {
        for (var previous = ""; previous != text;)
        {
            previous = text;
            text = entities && text.Contains('&') ? Entity().Replace(text, match => Unescape(match.Value)) : text;
            text = FixDecoding(text);
            text = Characters(text);
            text = TerminalEscape().Replace(text, "");
            text = Control().Replace(text, "");
            text = text.AsSpan().ContainsAnyExceptInRange('\0', '\u02FF')
                ? ENSNormalize.NF.NFC(string.Concat(text.EnumerateRunes())) : text;
        }

        return text;
    }

    private static string Characters(string text)
    {
        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length; i++)
        {
            var c = text[i];
            c = c is >= '\u0080' and <= '\u009F' && c != '\u0085' ? HtmlEntities.Windows1252(c) : c == '\u0085'
                ? '\u2026' : c;
            _ = c switch
            {
                '\u3000' => result.Append(' '),
                >= '\uFF01' and <= '\uFF5E' => result.Append((char)(c - 0xFEE0)),
                '\uFFE3' => result.Append(" \u0304"),
                >= '\uFF61' and < (char)(0xFF61 + 142) => result.Append(UsualWidth[c - 0xFF61]),
                '\u02BC' or >= '\u2018' and <= '\u201B' => result.Append('\''),
                >= '\u201C' and <= '\u201F' => result.Append('"'),
                '\r' => i + 1 < text.Length && text[i + 1] == '\n' ? result : result.Append('\n'),
                '\u2028' or '\u2029' => result.Append('\n'),
                _ => Ligatures.TryGetValue(c, out var letters) ? result.Append(letters) : result.Append(c),
            };
        }

        return result.ToString();
    }

    private static string Unescape(string entity) => HtmlEntities.Named(entity[1..]) ?? (entity[1] == '#'
        ? HtmlEntities.Unescape(entity) is var number && number.Contains(';') ? entity : number
        : entity.ToUpperInvariant() == entity && HtmlEntities.Named(entity[1..].ToLowerInvariant()) is { } lower
            ? lower.ToUpperInvariant() : entity);

    // UTF-8 read as one character a byte: a first byte that is a letter, then as many continuation bytes as it
    // announces
    private static string FixDecoding(string text)
    {
        if (!text.AsSpan().ContainsAnyInRange('\u00C2', '\u00F4'))
        {
            return text;
        }

        var result = new StringBuilder(text.Length);
        for (var i = 0; i < text.Length;)
        {
            var length = text[i] switch { >= '\u00C2' and <= '\u00DF' => 2, >= '\u00E0' and <= '\u00EF' =>
                3, >= '\u00F0' and <= '\u00F4' => 4, _ => 0 };
            if (length > 0 && i + length <= text.Length && Decoded(text.AsSpan(i, length)) is { } rune)
            {
                result.Append(rune.ToString());
                i += length;
            }
            else
            {
                result.Append(text[i++]);
            }
        }

        return result.ToString();
    }

    private static Rune? Decoded(ReadOnlySpan<char> sequence)
    {
        Span<byte> bytes = stackalloc byte[4];
        for (var i = 0; i < sequence.Length; i++)
        {
            if (HtmlEntities.Byte(sequence[i]) is not { } value || (i > 0 && (value & 0xC0) != 0x80))
            {
                return null;
            }

            bytes[i] = value;
        }

        // a letter before a quotation mark, a dash or a blank that does not break is ordinary writing
        var punctuation = sequence[1] is >= '\u2010' and <= '\u203A' or '\u00A0' or '\u00AB' or '\u00BB';
        var ordinary = sequence.Length == 2 ? punctuation && sequence[0] is not ('\u00C2' or '\u00C3')
            || "\u00DF\u00DD\u00DE".Contains(sequence[0])
            : sequence[1] == '\u00A0' && sequence[0] is not ('\u00E2' or '\u00E3');
        return !ordinary && Rune.DecodeFromUtf8(bytes[..sequence.Length], out var rune,
            out var used) == System.Buffers.OperationStatus.Done
            && used == sequence.Length ? rune : null;
    }

    [GeneratedRegex("&#?[0-9A-Za-z]{1,24};")]
    private static partial Regex Entity();

    [GeneratedRegex(@"\x1B\[(?:[0-9]|;)*[a-zA-Z]")]
    private static partial Regex TerminalEscape();

    [GeneratedRegex(@"[\x00-\x08\x0B\x0E-\x1F\x7F\u206A-\u206F\uFEFF\uFFF9-\uFFFC]")]
    private static partial Regex Control();
}
