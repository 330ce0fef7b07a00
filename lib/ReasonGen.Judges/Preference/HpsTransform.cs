// What HPSv2 sees of an image (hpsv2: open_clip/transform.py, ResizeMaxSize): floats in 0…1, THEN the longer side
// resized to S, sizes
// round(side · (S / longer)) half to even; padded with 0 to S×S, left and top floor(rest / 2); then mean and deviation
// of CLIP.
// An image whose longer side is S already is neither resized nor padded, so that it must be square. Alpha stays a
// fourth channel, so that the model
// refuses it. Both are refused here with the reason.
// Antialias is what torchvision's resize does by default from 0.17 on (T2I-R1's version); up to 0.16 it did not. Which
// of the two made the published
// tables is unknown.
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Preference;

/// <summary>Images of any size to what HPSv2 reads.</summary>
/// <param name="Size">S, pixels a side.</param>
/// <param name="Antialias">As torchvision resizes from 0.17 on. Default true.</param>
public sealed record HpsTransform(int Size, bool Antialias = true)
{
    /// <summary>Size before padding; a side may be 0, which the reference refuses.</summary>
    public (int Width, int Height) SizeOf(int width, int height)
    {
        var scale = Size / (double)Math.Max(width, height);
        int Side(int side) => (int)Math.Round(side * scale, MidpointRounding.ToEven);
        return scale == 1 ? (width, height) : (Side(width), Side(height));
    }

    /// <summary>Left and top of the image in the square.</summary>
    public (int Left, int Top) Offset(int width, int height) => ((Size - width) / 2, (Size - height) / 2);

    /// <summary>Images → [B, 3, S, S] fp32, normalised.</summary>
    /// <exception cref="UnusableFileException">The reference fails on one of them.</exception>
    public Tensor PixelValues(IReadOnlyList<SourceImage> images)
    {
        using var scope = NewDisposeScope();
        return ClipTransform.Normalise(stack(images.Select(image => tensor(Padded(image), [3, Size, Size],
            device: CPU))))
            .MoveToOuterDisposeScope();
    }

    /// <summary>The image after the resize and before the padding: planes of red, green and blue in about
    /// 0…1.</summary>
    /// <exception cref="UnusableFileException">The reference fails on it.</exception>
    internal (float[] Planes, int Width, int Height) Resized(SourceImage image)
    {
        var (width, height) = SizeOf(image.Width, image.Height);
        if (image.Mode == ImageMode.Rgba)
        {
            throw Refused(image, "it has four channels, red, green, blue and alpha", "convert it to RGB first");
        }

        if (width == 0 || height == 0)
        {
            throw Refused(image, $"of its {image.Width}x{image.Height} pixels a side becomes 0", "leave it out");
        }

        if ((width, height) == (image.Width, image.Height) && width != height && Math.Max(width, height) == Size)
        {
            throw Refused(image,
                $"its longer side has {Size} pixels already, so that it is not padded, and it is not square",
                "resize it, or leave it out");
        }

        var planes = new float[3 * image.Width * image.Height];
        for (var i = 0; i < image.Width * image.Height; i++)
        {
            for (var c = 0; c < 3; c++)
            {
                planes[c * image.Width * image.Height + i] = image.Rgb.Rgb[3 * i + c] / 255f;
            }
        }

        return (Math.Max(image.Width, image.Height) == Size ? planes
            : FloatResize.Resize(planes, 3, (image.Width, image.Height), (width, height), Antialias), width, height);
    }

    private float[] Padded(SourceImage image)
    {
        var (planes, width, height) = Resized(image);
        var (left, top) = Offset(width, height);
        var result = new float[3 * Size * Size];
        for (var row = 0; row < 3 * height; row++)
        {
            planes.AsSpan(row * width, width).CopyTo(result.AsSpan((row / height * Size + top + row % height) * Size
                + left));
        }

        return result;
    }

    private static UnusableFileException Refused(SourceImage image, string cause, string remedy) =>
        new(image.Name, $"HPSv2 cannot score it: {cause}", remedy);
}
