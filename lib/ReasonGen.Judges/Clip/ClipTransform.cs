// What a CLIP sees of an image, two ways that differ by a pixel:
//   OpenAI, open_clip: the shorter side becomes S, the longer int(S · long / short), bicubic as Pillow does it and in
//   the image's own mode; the middle
//     S×S from round((side − S) / 2), half to even; RGB.        Hugging Face: RGB first, and the middle from
//     floor((side − S) / 2).
//   value = (byte / 255 − mean) / deviation in fp32.
// Hugging Face takes an image of 1 or 3 rows for one whose channels come first, and fails; so does this.
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>Whose transform.</summary>
public enum ClipImageRules
{
    /// <summary>openai/CLIP and open_clip: resized, then RGB.</summary>
    OpenAi,

    /// <summary>CLIPImageProcessor of transformers, the slow one.</summary>
    HuggingFace,
}

/// <summary>Images of any size to what a CLIP reads.</summary>
/// <param name="Size">S, pixels a side.</param>
/// <param name="Rules">Whose transform.</param>
public sealed record ClipTransform(int Size, ClipImageRules Rules)
{
    private static readonly float[] Mean = [0.48145466f, 0.4578275f, 0.40821073f], Deviation =
        [0.26862954f, 0.26130258f, 0.27577711f];

    /// <summary>The S×S pixels.</summary>
    /// <exception cref="UnusableFileException">The reference cannot read such an image.</exception>
    public RgbImage Prepare(SourceImage image)
    {
        if (Rules == ClipImageRules.HuggingFace && image.Height is 1 or 3)
        {
            throw new UnusableFileException(image.Name,
                $"it has {image.Height} rows, which Hugging Face's processor takes for channels and refuses",
                "leave it out: there is no published score of such an image");
        }

        var source = Rules == ClipImageRules.HuggingFace ? image.Rgb : image;
        int width = source.Width, height = source.Height, shorter = Math.Min(width, height);
        long Side(int side) => side == shorter ? Size : (long)Size * side / shorter;
        var resized = shorter == Size ? source.Resize(width, height)
            : source.Resize((int)Math.Min(Side(width), int.MaxValue), (int)Math.Min(Side(height), int.MaxValue));
        return Crop(resized, Offset(resized.Width), Offset(resized.Height));
    }

    /// <summary>Images → [B, 3, S, S] fp32, normalised.</summary>
    /// <exception cref="UnusableFileException">The reference cannot read one of them.</exception>
    public Tensor PixelValues(IReadOnlyList<SourceImage> images) => Values([.. images.Select(Prepare)]);

    /// <summary>Prepared images of one size → [B, 3, S, S] fp32, normalised.</summary>
    internal static Tensor Values(IReadOnlyList<RgbImage> images)
    {
        using var scope = NewDisposeScope();
        var bytes = tensor(images.SelectMany(image => image.Rgb).ToArray(),
            [images.Count, images[0].Height, images[0].Width, 3], ScalarType.Byte, device: CPU);
        return Normalise(bytes.to(ScalarType.Float32).div_(255f).permute(0, 3, 1, 2)).MoveToOuterDisposeScope();
    }

    /// <summary>[B, 3, H, W] in [0, 1] → the same less the mean, over the deviation.</summary>
    internal static Tensor Normalise(Tensor values)
    {
        using var scope = NewDisposeScope();
        var (mean, deviation) = (tensor(Mean, device: CPU), tensor(Deviation, device: CPU));
        return values.sub(mean.view(1, 3, 1, 1)).div_(deviation.view(1, 3, 1, 1)).contiguous()
            .MoveToOuterDisposeScope();
    }

    private int Offset(int side) =>
        Rules == ClipImageRules.HuggingFace ? (side - Size) / 2 : (int)Math.Round((side - Size) / 2.0,
            MidpointRounding.ToEven);

    private RgbImage Crop(RgbImage image, int left, int top)
    {
        var rgb = new byte[3 * Size * Size];
        for (var y = 0; y < Size; y++)
        {
            image.Rgb.AsSpan(3 * ((top + y) * image.Width + left), 3 * Size).CopyTo(rgb.AsSpan(3 * y * Size));
        }

        return new(Size, Size, rgb);
    }
}
