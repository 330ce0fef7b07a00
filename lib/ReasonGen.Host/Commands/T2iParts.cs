using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>What the categories of T2I-CompBench read besides images: objects to count, depth, other scores.</summary>
internal static class T2iParts
{
    internal const string SpatialList = "complex_val_spatial.txt", ActionList = "complex_val_action.txt";

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

    /// <exception cref="OfficialStopException">It is not there, cannot be read, or is no image.</exception>
    internal static DepthMap ReadDepth(string path)
    {
        if (!File.Exists(path))
        {
            throw new OfficialStopException("FileNotFoundError", $"it has no depth image {path}");
        }

        RgbImage resized; // to the size at which the detector sees the image
        try
        {
            resized = UniDetImage.Resize(ScoredImage.Decode(File.ReadAllBytes(FileKinds.NoPipe(path)),
                upright: true)?.Pixels
                ?? throw new OfficialStopException("UnidentifiedImageError",
                    $"its depth image {path} is no image, or a damaged one"));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new OfficialStopException("OSError", $"its depth image {path} cannot be read: "
                + e.Message.TrimEnd('.'));
        }

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

    /// <summary>What was given besides images and judge; all of it has been read.</summary>
    internal static string? Inputs(string category, Func<IScoringJudge> judge, string? nouns, string? objects,
        string? lists) => category switch
    {
        "numeracy" => ScoreRun.Input("objects", objects!),
        "complex" => ((Joined)judge()).Inputs(lists!),
        "non-spatial" => null,
        _ => nouns is null ? "nouns by rule" : ScoreRun.Input("nouns", nouns),
    };

    internal sealed class Joined(string[] parts) : IScoringJudge
    {
        private readonly ScoreReport[] reports = [.. parts.Select(ScoreReport.Read)];

        public string Name => string.Join(", ", reports.Select(part => part.Judge).Distinct());

        public string Identity => string.Join(" | ",
            reports.Select(part => $"{part.Benchmark} {part.JudgeIdentity ?? part.Judge}"));

        public bool Official => false;

        public IReadOnlyList<string> Limits => [];

        /// <summary>The lists, and by what options and from what inputs the parts were scored.</summary>
        internal string Inputs(string lists) => string.Join(", ", ((string[])[SpatialList, ActionList])
            .Select(name => ScoreRun.Input(name, Path.Combine(lists, name))).Concat(reports.Select(part =>
            $"{part.Options} {part.Inputs}".Trim()).Where(part => part.Length > 0)));
    }
}
