// What BLIP-VQA and mPLUG see of an image: RGB without its alpha, squashed to S×S whatever its proportions, bicubic as
// Pillow does it; value = (byte / 255 − mean) / deviation in fp32, mean and deviation of CLIP.
using ReasonGen.Judges.Clip;
using ReasonGen.Core;
using ReasonGen.Imaging;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Images;

/// <summary>Images of any size to squares, their proportions lost.</summary>
/// <param name="Size">S, pixels a side.</param>
public sealed record SquashTransform(int Size)
{
    /// <summary>The S×S pixels.</summary>
    public RgbImage Prepare(SourceImage image) => Resampling.Resize(image.Rgb, Size, Size);

    /// <summary>Images → [B, 3, S, S] fp32, normalised.</summary>
    public Tensor PixelValues(IReadOnlyList<SourceImage> images) => ClipTransform.Values([.. images.Select(Prepare)]);
}
