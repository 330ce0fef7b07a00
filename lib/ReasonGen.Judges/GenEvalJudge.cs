using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Scoring;

namespace ReasonGen.Judges;

/// <summary>What GenEval asks: Mask2Former for objects and CLIP for their colours. It may be called official only
/// where both are the published files.</summary>
/// <param name="detector">Finds objects.</param>
/// <param name="colors">Names their colours.</param>
public sealed class GenEvalJudge(IObjectDetector detector, ColorClassifier colors) : IObjectJudge, IReadsFiles,
    IDisposable
{
    private (object Image, IReadOnlyList<Detection> Found)? last;

    public string Name => $"{detector.Label}, colours by {colors.Model.Name}";

    public string Identity => $"{Name} | {Fingerprint}";

    public bool Official => detector.IsOfficial && colors.Model is { IsOpenAis: true, Config: var config }
        && config == ClipConfig.VitL14;

    public IReadOnlyList<string> Limits { get; } =
        ["CLIP computes in fp32 here, in fp16 in the official script: a colour that is a close call may differ"];

    /// <summary>Tells weights of one name apart, and settings that decide answers, so that answers are kept
    /// apart.</summary>
    public string Fingerprint { get; init; } = "";

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        object key = file.Length > 0 ? file : image;
        if (last is { } known && key.Equals(known.Image))
        {
            return known.Found;
        }

        try
        {
            // the detector's reader is OpenCV, the colours' is Pillow: 16 bits, for one, become other pixels
            var found = detector.Detect(file.Length > 0 ? DetectorImageFile.Read(file) : image);
            last = (key, found);
            return found;
        }
        catch (Exception e) when (e is ArgumentException or UnusableFileException)
        {
            throw new OfficialStopException("cv2.error", $"the detector cannot be shown it: {e.Message.TrimEnd('.')}");
        }
    }

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className, CancellationToken cancel)
    {
        // answers that were kept have no masks: these are found again
        Detection Whole(Detection box) => box.Mask is not null ? box : Detect(image, file, [], cancel)
            .Where(other => (other.Class, other.X1, other.Y1, other.X2, other.Y2)
                == (box.Class, box.X1, box.Y1, box.X2, box.Y2))
            .MinBy(other => Math.Abs(other.Score - box.Score))
            ?? throw new KeptBoxException($"a {box.Class} that was found in it before is not found again");
        return [.. colors.Classify(image, [.. objects.Select(Whole)], className, cancel)
            .Select(answer => answer.Color)];
    }

    public void Dispose()
    {
        (detector as IDisposable)?.Dispose();
        colors.Dispose();
    }
}
