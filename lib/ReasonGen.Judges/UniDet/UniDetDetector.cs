using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;

namespace ReasonGen.Judges.UniDet;

/// <summary>T2I-CompBench's object detector: image → boxes with class and score above 0.1, the highest first, in pixels
/// of the image as it is resized for the detector (480 on the long side, 479 for squares), which is the scale that the
/// benchmark's rules expect.</summary>
public sealed class UniDetDetector : IObjectDetector, IDisposable
{
    private readonly UniDetModel model;
    private readonly UniDetLabels labels;

    private UniDetDetector(UniDetModel model, UniDetLabels labels) => (this.model, this.labels) = (model, labels);

    /// <summary>What was loaded.</summary>
    public UniDetConfig Config => model.Config;

    /// <inheritdoc/>
    public string Label => UniDetFiles.Label(Config)
        + (labels.IsOfficial ? "" : "; its classes have other names than T2I-CompBench's: scores are not comparable");

    /// <summary>Whether it is the detector of the published T2I-CompBench scores: its sizes, and its labels by their
    /// checksum.</summary>
    public bool IsOfficial => Config.IsPublished && labels.IsOfficial;

    /// <inheritdoc/>
    public IReadOnlyList<string> Classes => labels.Names;

    /// <summary>Loads a published file, or another of the same network; <see cref="Label"/> tells which it
    /// is.</summary>
    /// <param name="path">detectron2's .pth file of RS200 or R50; the file tells which.</param>
    /// <param name="labels">Names of the classes.</param>
    /// <param name="target">Device and dtype. The published scores are of half precision on CUDA, which moves single
    /// boxes.</param>
    /// <param name="expected">The sizes it must have; those of the published detectors when null.</param>
    /// <param name="anyModel">Take other sizes too; <see cref="Label"/> tells.</param>
    /// <exception cref="UnusableFileException">It is missing, damaged, or of another model or size, or has other
    /// classes than names.</exception>
    public static UniDetDetector Load(string path, UniDetLabels labels, ComputeTarget target, UniDetConfig? expected =
        null,
        bool anyModel = false)
    {
        var model = UniDetFiles.Load(path, target, expected, anyModel);
        if (model.Config.Classes == labels.Names.Count)
        {
            return new(model, labels);
        }

        model.Dispose();
        throw new UnusableFileException(path,
            $"it tells {model.Config.Classes} classes apart where there are names of {labels.Names.Count}",
            "give the labels of this detector");
    }

    /// <inheritdoc/>
    /// <exception cref="ArgumentException">The image is so narrow that nothing of it would be left when it is
    /// resized.</exception>
    public IReadOnlyList<Detection> Detect(RgbImage image) => Detect([image])[0];

    /// <summary>Several images in one batch, as the benchmark's scripts send 64. Equal sizes give what each gives
    /// alone; where they differ, RS200 sees the padding, as in the reference.</summary>
    /// <exception cref="ArgumentException">An image is so narrow that nothing of it would be left when it is
    /// resized.</exception>
    public IReadOnlyList<IReadOnlyList<Detection>> Detect(IReadOnlyList<RgbImage> images) =>
    [
        .. model.Detect([.. images.Select(UniDetImage.Resize)]).Select(IReadOnlyList<Detection> (found) =>
        [
            .. found.Select(one => new Detection(labels.Names[one.Class], one.Box.X1, one.Box.Y1, one.Box.X2,
                one.Box.Y2, one.Score)),
        ]),
    ];

    public void Dispose() => model.Dispose();
}
