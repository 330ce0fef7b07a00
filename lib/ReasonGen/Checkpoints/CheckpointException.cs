namespace ReasonGen.Checkpoints;

/// <summary>A file that cannot be read or written as a checkpoint: which, why, and what to do.</summary>
public sealed class CheckpointException : Exception
{
    public CheckpointException(string path, string cause, string remedy = "", Exception? inner = null)
        : base($"{path}: {cause.ReplaceLineEndings(" ")}."
            + (remedy.Length == 0 ? "" : $" {char.ToUpperInvariant(remedy[0])}{remedy[1..]}."), inner) =>
        Path = path;

    /// <summary>The file or folder.</summary>
    public string Path { get; }
}
