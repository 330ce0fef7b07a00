// HPSv2 (tgxs002/HPSv2): score = cosine of image and prompt in a CLIP ViT-H/14 trained on people's choices, without its
// temperature; its table shows
// 100 times that. T2I-R1's reward is the raw cosine. The file is {"state_dict": …} under open_clip's names, in fp16
// ("compressed") or fp32.
// Deviation: fp32 unless the target says otherwise; the reference runs under fp16 autocast on a GPU, its scores have
// steps of 2.4e-4 from .25 to .5.
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Preference;

/// <summary>How much people would like an image for its prompt, by HPSv2.</summary>
public sealed class HpsScorer : IReward, IDisposable
{
    private const int ImagesPerBatch = 8, TextsPerBatch = 64;

    private HpsScorer(string name, ClipModel model, ClipTokenizer tokenizer, HpsTransform transform) =>
        (Name, Model, Tokenizer, Transform) = (name, model, tokenizer, transform);

    /// <summary>"HPSv2.1" for a file of that name in the published form; anything else says what it is.</summary>
    public string Name { get; }

    /// <summary>The model.</summary>
    public ClipModel Model { get; }

    /// <summary>open_clip's tokenizer.</summary>
    public ClipTokenizer Tokenizer { get; }

    /// <summary>Images to its pixels.</summary>
    public HpsTransform Transform { get; }

    /// <param name="path">HPS_v2.1_compressed.pt, or another file of that form.</param>
    /// <param name="target">Device and type.</param>
    /// <param name="config">Sizes other than the published ones, which the name then says; null for ViT-H/14.</param>
    /// <param name="antialias">As <see cref="HpsTransform.Antialias"/>.</param>
    /// <exception cref="UnusableFileException">It is no such file, or of other sizes.</exception>
    public static HpsScorer Load(string path, ComputeTarget target, ClipConfig? config = null, bool antialias = true)
    {
        var wanted = config ?? ClipConfig.VitH14;
        var files = Check(path, wanted);
        return new(NameOf(path, wanted), files.Load(target), ClipTokenizer.For(files, ClipTextRules.OpenClip),
            new(wanted.Vision.ImageSize, antialias));
    }

    /// <summary>Looks at form, names and shapes of a file without reading its weights.</summary>
    /// <param name="path">As for <see cref="Load"/>.</param>
    /// <param name="config">As there.</param>
    /// <exception cref="UnusableFileException">It is no such file, or of other sizes.</exception>
    public static ClipFiles Check(string path, ClipConfig? config = null)
    {
        if (!HasItsForm(path))
        {
            throw new UnusableFileException(path,
                "it is not in the form in which HPSv2 was published, a file of torch.save with its weights under "
                + "\"state_dict\"; LAION's ViT-H/14 before that training has the same weights' names without it",
                    "give HPS_v2.1_compressed.pt");
        }

        return ClipFiles.Open(path, config ?? ClipConfig.VitH14);
    }

    /// <summary>Cosine of each image with its prompt; not a number for an image that HPSv2 refuses (<see
    /// cref="HpsTransform"/>).</summary>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        ImageTextPairs.WhereScorable(requests, request => Scorable(request.Image),
            (images, prompts) => Score(images, prompts, cancel));

    /// <summary>Cosine of each image with the prompt of the same place.</summary>
    /// <exception cref="UnusableFileException">HPSv2 refuses an image.</exception>
    public float[] Score(IReadOnlyList<SourceImage> images, IReadOnlyList<string> prompts, CancellationToken cancel =
        default)
    {
        ImageTextPairs.Expect(images, prompts);
        return ImageTextPairs.Cosines(prompts, Model.Device, some => EmbedTexts(some, cancel),
            () => EmbedImages(images, cancel));
    }

    /// <summary>Images → [B, E] of unit length.</summary>
    public Tensor EmbedImages(IReadOnlyList<SourceImage> images, CancellationToken cancel = default) =>
        ClipScorer.Embed(images, ImagesPerBatch, part => Model.EncodeImages(Transform.PixelValues(part)), cancel);

    /// <summary>Prompts → [B, E] of unit length.</summary>
    public Tensor EmbedTexts(IReadOnlyList<string> prompts, CancellationToken cancel = default) =>
        ClipScorer.Embed([.. prompts.Select(prompt => Tokenizer.EncodeForModel(prompt, Model.Config.Text.Context))],
            TextsPerBatch,
            part => Model.EncodeTexts(ClipScorer.Padded(part, 0)), cancel);

    public void Dispose() => Model.Dispose();

    private bool Scorable(RgbImage image)
    {
        var (width, height) = Transform.SizeOf(image.Width, image.Height);
        return Math.Min(width, height) > 0 && (width == height || Math.Max(image.Width,
            image.Height) != Transform.Size);
    }

    /// <summary>
    /// Whether a file has its weights under "state_dict". LAION's, from which it was trained, have the same names and
    /// shapes, but not that form.
    /// </summary>
    internal static bool HasItsForm(string path) =>
        !Directory.Exists(path) && !path.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase)
        && FileKinds.Of(path) == FileKind.TorchZip && !TorchScriptFile.Is(path) && TorchFile.Read(path, unwrap: false)
            .All(entry => entry.Name.StartsWith("state_dict.", StringComparison.Ordinal));

    internal static string NameOf(string path, ClipConfig config)
    {
        var file = Path.GetFileName(path);
        return config != ClipConfig.VitH14 ? $"HPSv2's rules by {config}"
            : file.StartsWith("HPS_v2.1_", StringComparison.Ordinal) ? "HPSv2.1"
            : file.StartsWith("HPS_v2_", StringComparison.Ordinal) ? "HPSv2.0"
            : $"HPSv2 of an unknown version (file {file})";
    }
}
