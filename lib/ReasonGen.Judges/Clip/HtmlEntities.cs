// html.unescape of Python 3: HTML 5's rules for character references, those without a semicolon included (the longest
// known name wins).
// html_entities.txt is the table of names in that standard, a name and its code points a line.
using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace ReasonGen.Judges.Clip;

/// <summary>Character references to characters, as Python's html.unescape.</summary>
internal static partial class HtmlEntities
{
    // what Windows-1252 has at 0x80 to 0x9F; 0 where it has nothing
    private static readonly int[] Windows =
    [
        0x20AC, 0, 0x201A, 0x192, 0x201E, 0x2026, 0x2020, 0x2021, 0x2C6, 0x2030, 0x160, 0x2039, 0x152, 0, 0x17D, 0,
        0, 0x2018, 0x2019, 0x201C, 0x201D, 0x2022, 0x2013, 0x2014, 0x2DC, 0x2122, 0x161, 0x203A, 0x153, 0, 0x17E, 0x178,
    ];

    private static readonly Lazy<Dictionary<string, string>> Names = new(() =>
    {
        using var reader =
            new StreamReader(typeof(HtmlEntities).Assembly.GetManifestResourceStream("html_entities.txt")!);
        return reader.ReadToEnd().Split('\n', StringSplitOptions.RemoveEmptyEntries).Select(line => line.Split(' '))
            .ToDictionary(parts => parts[0],
            parts => string.Concat(parts.Skip(1).Select(code =>
                char.ConvertFromUtf32(int.Parse(code, NumberStyles.HexNumber)))));
    });

    /// <summary>The text with every reference resolved once.</summary>
    internal static string Unescape(string text) =>
        text.Contains('&') ? Reference().Replace(text, match => Resolve(match.Groups[1].Value)) : text;

    /// <summary>The character at 0x80 to 0x9F of Windows-1252, or the control character itself where it has
    /// none.</summary>
    internal static char Windows1252(int code) => Windows[code - 0x80] is not 0 and var known ? (char)known
        : (char)code;

    /// <summary>The byte that Windows-1252, or where it has none Latin-1, writes for a character; null where neither
    /// does.</summary>
    internal static byte? Byte(char c) => c < 0x100 ? (byte)c : Array.IndexOf(Windows, c) is >= 0 and var at
        ? (byte)(0x80 + at) : null;

    /// <summary>What a name with its semicolon stands for; null for no name.</summary>
    internal static string? Named(string name) => Names.Value.GetValueOrDefault(name);

    private static string Resolve(string reference)
    {
        if (reference[0] == '#')
        {
            return Numbered(reference.TrimEnd(';')[1..]);
        }

        if (Names.Value.TryGetValue(reference, out var whole))
        {
            return whole;
        }

        for (var length = reference.Length - 1; length > 1; length--)
        {
            if (Names.Value.TryGetValue(reference[..length], out var part))
            {
                return part + reference[length..];
            }
        }

        return "&" + reference;
    }

    private static string Numbered(string digits)
    {
        var hex = digits[0] is 'x' or 'X';
        var code = 0L;
        foreach (var digit in hex ? digits[1..] : digits)
        {
            var value = char.IsAsciiHexDigit(digit) ? Convert.ToInt32(digit.ToString(), 16)
                : (int)char.GetNumericValue(digit);
            code = Math.Min(code * (hex ? 16 : 10) + value, 0x110000);
        }

        return code switch
        {
            0 or 0xD800 or > 0xD800 and <= 0xDFFF or > 0x10FFFF => "\uFFFD",
            0x0D => "\r",
            >= 0x80 and <= 0x9F => Windows1252((int)code).ToString(),
            >= 1 and <= 8 or 0xB or >= 0xE and <= 0x1F or 0x7F or >= 0xFDD0 and <= 0xFDEF => "",
            _ when (code & 0xFFFE) == 0xFFFE => "",
            _ => char.ConvertFromUtf32((int)code),
        };
    }

    [GeneratedRegex(@"&(#[0-9]+;?|#[xX][0-9a-fA-F]+;?|[^\t\n\f <&#;]{1,32};?)")]
    private static partial Regex Reference();
}
