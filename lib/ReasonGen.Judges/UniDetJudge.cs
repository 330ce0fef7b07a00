using ReasonGen.Checkpoints;
using ReasonGen.Judges.UniDet;
using ReasonGen.Scoring;

namespace ReasonGen.Judges;

/// <summary>What T2I-CompBench asks about positions and numbers: where UniDet finds things in an image's
/// file.</summary>
/// <param name="detector">RS200 for positions in the plane, R50 for numbers and depth.</param>
/// <param name="wanted">Which of the two the scores are published with.</param>
public sealed class UniDetJudge(UniDetDetector detector, UniDetKind wanted) : IScoringJudge, IDisposable
{
    public string Name => detector.Label + (detector.Config.Kind == wanted ? ""
        : $", where the benchmark has {wanted}");

    public string Identity => $"{Name} | {Fingerprint}";

    public bool Official => detector.IsOfficial && detector.Config.Kind == wanted;

    public IReadOnlyList<string> Limits { get; } =
    [
        "UniDet computes in fp32 here, in fp16 in the official script: scores differ by up to 0.02, and a box near 0.1 "
            + "may be there or not",
        "images are looked at one by one, in batches of 64 in the official script: the same where all have one size",
    ];

    /// <summary>Tells weights of one name apart, so that answers are kept apart.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>Boxes of the image in a file, the best first, in pixels of the image as the benchmark resizes
    /// it.</summary>
    /// <exception cref="OfficialStopException">The image cannot be read, or is too narrow.</exception>
    public IReadOnlyList<Detection> Detect(string path, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        try
        {
            return detector.Detect(UniDetImage.Read(path));
        }
        catch (ArgumentException e)
        {
            throw new OfficialStopException("ValueError", e.Message);
        }
        catch (UnusableFileException e)
        {
            throw new OfficialStopException("UnidentifiedImageError", e.Message);
        }
    }

    public void Dispose() => detector.Dispose();
}
