namespace ReasonGen.Checkpoints;

/// <summary>A file that cannot be read or written as a checkpoint: which, why, and what to do.</summary>
public sealed class UnusableFileException : Exception
{
    private const int Longest = 4000;

    public UnusableFileException(string path, string cause, string remedy = "", Exception? inner = null)
        : base($"{Printable(path)}: {Printable(cause)}."
            + (remedy.Length == 0 ? "" : $" {char.ToUpperInvariant(remedy[0])}{remedy[1..]}."), inner) =>
        Path = path;

    /// <summary>The file or folder.</summary>
    public string Path { get; }

    // a file may name its parts as it likes, but neither move the cursor nor fill the screen
    private static string Printable(string text)
    {
        text = text.ReplaceLineEndings(" ");
        text = text.Any(char.IsControl) ? string.Concat(text.Select(c => char.IsControl(c) ? '?' : c)) : text;
        return text.Length <= Longest ? text : $"{text[..Longest]} …";
    }
}
