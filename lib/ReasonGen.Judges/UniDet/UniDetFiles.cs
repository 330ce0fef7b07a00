using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

/// <summary>Reads a UniDet from detectron2's file.</summary>
public static class UniDetFiles
{
    private const string Expected =
        "Expected was T2I-CompBench's detector, a UniDet with unified labels in detectron2's layout "
        + "('backbone.bottom_up…', 'roi_heads.box_predictor.2.cls_score…')";

    private const string Remedy =
        "download Unified_learned_OCIM_RS200_6x+2x.pth (positions) or Unified_learned_OCIM_R50_6x+2x.pth (numbers, "
        + "depth)";

    private static readonly (string Sign, string Meaning)[] Others =
    [
        ("roi_heads.box_predictor.0.cls_score.0.",
            "a UniDet with a head for each data set (partitioned), not the one with unified labels"),
        ("roi_heads.box_predictor.0.",
            "a cascade of detectron2 with another backbone or pyramid than T2I-CompBench's UniDet"),
        ("roi_heads.mask_head.", "a Mask R-CNN of detectron2"),
        ("roi_heads.box_predictor.", "a detector of detectron2 with one stage of boxes, such as Faster R-CNN"),
        ("proposal_generator.centernet_head.", "a CenterNet2 of detectron2"),
        ("head.cls_subnet.", "a RetinaNet of detectron2"),
        ("panoptic_head.", "a detector of mmdetection"),
        ("backbone.", "a model with a backbone but without UniDet's heads"),
    ];

    /// <summary>Which sizes a file has; null where it is no UniDet with unified labels.</summary>
    public static UniDetConfig? Recognise(CheckpointFiles files) =>
        UniDetConfig.OfShapes(files.Unwrapped().Entries.ToDictionary(entry => entry.Name, entry => entry.Shape));

    /// <summary>A line for people; null where it is no UniDet.</summary>
    public static string? Describe(CheckpointFiles files)
    {
        if (Recognise(files) is not { } config)
        {
            return null;
        }

        var (bare, shapes) = (files.Unwrapped(), UniDetNames.Shapes(config));
        string[] lacking = [.. shapes.Keys.Except(bare.Entries.Select(entry => entry.Name))];
        string[] further = [.. bare.Entries.Select(entry => entry.Name)
            .Where(name => !shapes.ContainsKey(name) && !UniDetNames.IsUnread(name))];
        return $"{Label(config)}; {config.Describe()}"
            + (lacking.Length > 0 ? $"; it lacks {lacking.Length} tensors, such as '{lacking[0]}', and is not loaded"
                : "")
            + (further.Length > 0 ? $"; {further.Length} tensors are not read, such as '{further[0]}'" : "");
    }

    /// <summary>What to say beside a score.</summary>
    internal static string Label(UniDetConfig config) => config.IsPublished
        ? $"T2I-CompBench's UniDet {config.Kind} by its form (no checksum of it is published)"
        : $"UniDet {config.Kind} of other sizes: not T2I-CompBench's official detector";

    /// <summary>Builds the network from its file.</summary>
    /// <param name="path">detectron2's .pth file.</param>
    /// <param name="target">Device and dtype.</param>
    /// <param name="expected">The sizes it must have; those of the published detector of its kind when null.</param>
    /// <param name="anyModel">Take other sizes too.</param>
    /// <exception cref="UnusableFileException">It is missing, damaged, not finite, or of another model or size; the
    /// message says which.</exception>
    internal static UniDetModel Load(string path, ComputeTarget target, UniDetConfig? expected = null, bool anyModel =
        false)
    {
        var files = CheckpointFiles.Open(path).Unwrapped();
        var found = Recognise(files) ?? throw new UnusableFileException(path, $"{Foreign(files)}. {Expected}", Remedy);
        expected ??= anyModel ? found : found.Published;
        if (found.Describe() != expected.Describe())
        {
            throw new UnusableFileException(path,
                $"it is a UniDet of other sizes: {found.Describe()}. Expected was: {expected.Describe()}", Remedy);
        }

        var matches = UniDetNames.Match(files, UniDetNames.Shapes(expected));
        var model = new UniDetModel(expected, target);
        try
        {
            Fill(files, matches, model.Tensors);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Fills tensors by the names that <see cref="UniDetNames.Match"/> found; the file may hold
    /// more.</summary>
    internal static void Fill(CheckpointFiles files, IReadOnlyDictionary<string, string> matches,
        IReadOnlyDictionary<string, Tensor> tensors)
    {
        var targets = matches.ToDictionary(pair => pair.Value, pair => tensors[pair.Key]);
        files.LoadInto(targets, name => !targets.ContainsKey(name));
    }

    private static string Foreign(CheckpointFiles files)
    {
        string[] names = [.. files.Entries.Select(entry => entry.Name)];
        var meaning =
            Others.FirstOrDefault(other => names.Any(name => name.StartsWith(other.Sign, StringComparison.Ordinal)))
                .Meaning;
        return $"it is {meaning ?? "no UniDet"}; it holds {names.Length} tensors"
            + (names.Length == 0 ? "" : $" such as '{names[0]}' and '{names[^1]}'");
    }
}
