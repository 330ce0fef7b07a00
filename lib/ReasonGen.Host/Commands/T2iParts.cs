using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>What the categories of T2I-CompBench read besides images: objects to count, depth, other scores.</summary>
internal static class T2iParts
{
    internal static IReadOnlyList<(string Singular, string Plural)> ReadObjects(string path)
    {
        try
        {
            return T2iCompBench.ReadObjects(TextFile.Read(path).Split('\n'));
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(path, $"the objects cannot be read: {e.Message.TrimEnd('.')}",
                "give T2I-CompBench's new_objects.txt", e);
        }
    }

    internal static DepthMap ReadDepth(string path)
    {
        // at the size at which the detector sees the image
        var grey = File.Exists(path) ? ScoredImage.Decode(File.ReadAllBytes(path), upright: true)?.Pixels : null;
        var resized = grey is null ? throw new OfficialStopException("FileNotFoundError",
            $"it has no depth image {path}")
            : UniDetImage.Resize(grey);
        return new(resized.Height, resized.Width, [.. Enumerable.Range(0, resized.Width * resized.Height)
            .Select(i => resized.Rgb[3 * i] / 255f)]);
    }

    /// <summary>Scores by image of one of the three parts of complex prompts.</summary>
    internal static Dictionary<string, double?> Scores(string folder, string part, params string[] categories)
    {
        var report = ScoreReport.Read(folder);
        return categories.Any(category => report.Benchmark == $"T2I-CompBench {category}")
            ? report.Images.ToDictionary(image => image.Image, image => image.Score)
            : throw new UsageException($"--parts: {folder} holds scores of {report.Benchmark}; as {part} it must hold "
                + $"T2I-CompBench {string.Join(" or ", categories)}. The order is attribute, position, action.");
    }

    internal sealed class Joined(string[] parts) : IScoringJudge
    {
        private readonly ScoreReport[] reports = [.. parts.Select(ScoreReport.Read)];

        public string Name => string.Join(", ", reports.Select(part => part.Judge).Distinct());

        public string Identity => string.Join(" | ",
            reports.Select(part => $"{part.Benchmark} {part.JudgeIdentity ?? part.Judge}"));

        public bool Official => false;

        public IReadOnlyList<string> Limits => [];
    }
}
