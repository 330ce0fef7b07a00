using System.Text.Json;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;

namespace ReasonGen.World;

/// <summary>GenEval's rules in the drawn world: prompts as its metadata, and the exact detector as its object
/// judge.</summary>
public sealed class WorldScoring : IObjectJudge
{
    // pixels that each shape reaches left, right, above and below its centre
    private static readonly Dictionary<string, (int X, int Up, int Down)> Reach = new()
    {
        ["circle"] = (5, 5, 5), ["square"] = (4, 4, 4), ["triangle"] = (5, 5, 4), ["diamond"] = (5, 5, 5),
            ["cross"] = (5, 5, 5),
    };

    /// <summary>Classes of the world; a blob is none of them.</summary>
    public static IReadOnlyList<string> Classes => WorldConfig.Shapes;

    public string Name => "the drawn world's exact detector";

    public string Identity => Name;

    public bool Official => false;

    public IReadOnlyList<string> Limits => [];

    /// <summary>A prompt as a line of GenEval's metadata.</summary>
    public static JsonElement Metadata(Prompt prompt) => GenEvalReward.Metadata(prompt);

    /// <summary>A thing that the detector saw, as a box; its score is the overlap with its outline.</summary>
    public static Detection Box(Seen thing)
    {
        var (x, up, down) = Reach.GetValueOrDefault(thing.Class, (4, 4, 4));
        return new(thing.Class, (float)(thing.X - x), (float)(thing.Y - up), (float)(thing.X + x + 1),
            (float)(thing.Y + down + 1), (float)thing.Score) { Color = thing.Color };
    }

    /// <summary>GenEval's verdict on an image of the world.</summary>
    public static GenEvalVerdict Judge(RgbImage image, Prompt prompt, GenEvalOptions? options = null)
    {
        var (metadata, chosen) = (Metadata(prompt), options ?? new());
        var kept = GenEval.Keep(Detector.Detect(image).Select(Box), prompt.Task, chosen, Classes);
        return GenEval.Evaluate(metadata, kept, (objects, _) => [.. objects.Select(o => o.Color)], chosen);
    }

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel) => [.. Detector.Detect(image).Select(Box)];

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className,
        CancellationToken cancel) => [.. objects.Select(o => o.Color)];
}
