using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>GenEval's object detector: image → objects with class, score, box and mask, as mmdetection's
/// inference_detector gives them.</summary>
public sealed class Mask2FormerDetector : IObjectDetector, IDisposable
{
    private readonly Mask2FormerModel model;
    private readonly HuggingFaceImages? images;

    private Mask2FormerDetector(Mask2FormerModel model, Mask2FormerKind kind, IReadOnlyList<string> classes,
        HuggingFaceImages? images) =>
        (this.model, Kind, Classes, this.images) = (model, kind, classes, images);

    /// <summary>What was loaded.</summary>
    public Mask2FormerKind Kind { get; }

    /// <inheritdoc/>
    public string Label => Kind.Label;

    /// <inheritdoc/>
    public bool IsOfficial => Kind.IsOfficial;

    /// <inheritdoc/>
    public IReadOnlyList<string> Classes { get; }

    /// <summary>Loads the published file, or another of the same network; <see cref="Label"/> tells which it
    /// is.</summary>
    /// <param name="path">mmdetection's .pth file, or a folder of the transformers library with its
    /// preprocessor_config.json.</param>
    /// <param name="target">Device and dtype; the published scores are of fp32.</param>
    /// <param name="expected">The sizes it must have; those of GenEval's detector when null.</param>
    /// <param name="classes">Names of the classes; GenEval's when null.</param>
    /// <param name="anyModel">Takes a Mask2Former of other sizes too, which <see cref="Label"/> then says.</param>
    /// <exception cref="UnusableFileException">It is missing, damaged, or of another model, layout or size.</exception>
    public static Mask2FormerDetector Load(string path, ComputeTarget target, Mask2FormerConfig? expected = null,
        IReadOnlyList<string>? classes = null, bool anyModel = false)
    {
        var (model, kind) = Mask2FormerFiles.Load(path, target, expected, anyModel);
        try
        {
            classes ??= GenEvalOptions.CocoClasses;
            return classes.Count == kind.Config.Classes
                ? new(model, kind, classes, kind.Layout == Mask2FormerLayout.HuggingFace ? HuggingFaceImages.Read(path)
                    : null)
                : throw new UnusableFileException(path,
                    $"it tells {kind.Config.Classes} classes apart where there are names of {classes.Count}",
                    "give the names of its classes");
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The image is so narrow that nothing of it would be left when it is
    /// resized.</exception>
    public IReadOnlyList<Detection> Detect(RgbImage image) =>
    [
        .. Find(image).Select(found => new Detection(Classes[found.Class], found.X1, found.Y1, found.X2, found.Y2,
            found.Score) { Mask = found.Mask }),
    ];

    internal IReadOnlyList<Instance> Find(RgbImage image)
    {
        using var prepared = images?.Prepare(image) ?? DetectorImage.Prepare(image, model.Config);
        using var scope = NewDisposeScope();
        var (classes, masks) = model.Forward(prepared.Pixels);
        return InstanceResults.Find(classes, masks, ((int)prepared.Pixels.shape[2], (int)prepared.Pixels.shape[3]),
            prepared.Resized, prepared.Original);
    }

    public void Dispose() => model.Dispose();
}
