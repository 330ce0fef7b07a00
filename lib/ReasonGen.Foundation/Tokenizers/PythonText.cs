namespace ReasonGen.Tokenizers;

/// <summary>Text as Python handles it where the reference does.</summary>
public static class PythonText
{
    // .NET's white space (Unicode's property) and the four separators U+001C to U+001F
    private static readonly char[] WhiteSpace =
        [.. Enumerable.Range(0, 0x10000).Select(c => (char)c)
            .Where(c => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F')];

    /// <summary>str.strip(): white space off both ends.</summary>
    public static string Strip(string text) => text.Trim(WhiteSpace);
}
