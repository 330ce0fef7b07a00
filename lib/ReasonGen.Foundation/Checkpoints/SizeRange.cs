namespace ReasonGen.Checkpoints;

/// <summary>
/// Ranges of a model's sizes. The upper ends lie far above every published model; they are there so that a damaged
/// configuration is refused before a model of a billion layers is built.
/// </summary>
internal static class SizeRange
{
    internal const int Width = 1 << 18, MlpWidth = 1 << 20, Layers = 1024, Heads = 4096, Vocabulary = 1 << 24;
    internal const int ImageSize = 1 << 14, Tokens = 1 << 20;

    /// <exception cref="ArgumentException">The value is out of range.</exception>
    internal static void Check(string name, double value, double most, double least = 1)
    {
        if (!(value >= least && value <= most))
        {
            throw new ArgumentException($"{name} is {value}; it must be at least {least} and at most {most}");
        }
    }
}
