using System.Buffers;
using System.Text;

namespace ReasonGen.Checkpoints;

/// <summary>Text files that people write: prompts and instructions.</summary>
public static class TextFile
{
    private const long Largest = 1 << 30;

    private static readonly SearchValues<char> Controls =
        SearchValues.Create(
            [.. Enumerable.Range(0, 0x80).Select(code => (char)code)
                .Where(c => char.IsControl(c) && c is not ('\t' or '\n'))]);

    // the first that fits decides; UTF-32's mark begins like that of UTF-16
    private static readonly (byte[] Mark, Encoding Encoding)[] Marks =
    [
        ([0xEF, 0xBB, 0xBF], new UTF8Encoding(false, true)),
        ([0xFF, 0xFE, 0, 0], new UTF32Encoding(false, false, true)),
        ([0xFF, 0xFE], new UnicodeEncoding(false, false, true)), ([0xFE, 0xFF], new UnicodeEncoding(true, false, true)),
        ([], new UTF8Encoding(false, true)),
    ];

    /// <summary>The text of a file: UTF-8, or UTF-16 or UTF-32 with its byte order mark. Line ends become "\n";
    /// what ends a line for Unicode alone (U+2028) is text, as it is for Python.</summary>
    /// <exception cref="UnusableFileException">It cannot be read, or is in another encoding or no text; the line is
    /// named.</exception>
    public static string Read(string path)
    {
        byte[] bytes;
        try
        {
            bytes = FileKinds.Length(path) <= Largest ? File.ReadAllBytes(path)
                : throw new UnusableFileException(path, $"it has more than {Largest:N0} bytes", "give a text file");
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }

        var (mark, encoding) = Marks.First(known => bytes.AsSpan().StartsWith(known.Mark));
        string text;
        try
        {
            text = encoding.GetString(bytes, mark.Length, bytes.Length - mark.Length)
                .Replace("\r\n", "\n").Replace('\r', '\n');
        }
        catch (DecoderFallbackException e)
        {
            var line = 1 + bytes.AsSpan(0, Math.Clamp(mark.Length + e.Index, 0, bytes.Length)).Count((byte)'\n');
            throw new UnusableFileException(path, $"line {line} is not {encoding.WebName.ToUpperInvariant()} text",
                "save the file as UTF-8", e);
        }

        var control = text.AsSpan().IndexOfAny(Controls);
        return control < 0 ? text : throw new UnusableFileException(path,
            $"line {1 + text.AsSpan(0, control).Count('\n')} holds the control character "
            + $"U+{(int)text[control]:X4}, which no text has",
            text[control] == 0 ? "save the file as UTF-8 text" : "remove it");
    }
}
