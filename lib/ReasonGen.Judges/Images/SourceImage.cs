// An image as Pillow opens it: with its mode. The modes matter because CLIP's own transform resizes before it converts
// to RGB:
//   palette and one-bit images by the nearest pixel; grey or colour with alpha premultiplied, then divided again
//   (Pillow: Convert.c, MULDIV255).
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;

namespace ReasonGen.Judges.Images;

/// <summary>What a pixel of an image file is.</summary>
public enum ImageMode
{
    /// <summary>Red, green, blue.</summary>
    Rgb,

    /// <summary>Red, green, blue, alpha.</summary>
    Rgba,

    /// <summary>Grey, 8 bits.</summary>
    Grey,

    /// <summary>Grey and alpha.</summary>
    GreyAlpha,

    /// <summary>An index into a table of colours.</summary>
    Palette,

    /// <summary>Black or white.</summary>
    OneBit,
}

/// <summary>An image with its mode; colours are RGB whatever the mode, and alpha stands apart.</summary>
/// <param name="Rgb">Its colours, alpha neither applied nor blended.</param>
/// <param name="Mode">What a pixel is in the file.</param>
/// <param name="Alpha">One byte a pixel in the modes that have it, else null.</param>
/// <param name="Name">The file, for errors; "the image" for one that was never in a file.</param>
public sealed record SourceImage(RgbImage Rgb, ImageMode Mode, byte[]? Alpha = null, string Name = "the image")
{
    private const long MostPixels = 1L << 28;

    /// <summary>EXIF's orientation, 1 to 8; 1 is upright.</summary>
    public int Orientation { get; init; } = 1;

    /// <summary>Pixels a row.</summary>
    public int Width => Rgb.Width;

    /// <summary>Rows.</summary>
    public int Height => Rgb.Height;

    /// <summary>An RGB image of this process.</summary>
    public static implicit operator SourceImage(RgbImage image) => new(image, ImageMode.Rgb);

    /// <summary>Pillow's resize in the image's own mode, bicubic where the mode allows it, and then RGB without
    /// alpha.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">The result would have more pixels than memory is meant
    /// for.</exception>
    public RgbImage Resize(int width, int height)
    {
        if ((long)width * height > MostPixels)
        {
            throw new Checkpoints.UnusableFileException(Name,
                $"its {Width}x{Height} pixels would be resized to {width}x{height}",
                "leave out an image this narrow");
        }

        if ((width, height) == (Width, Height))
        {
            return Rgb;
        }

        if (Mode is ImageMode.Palette or ImageMode.OneBit)
        {
            return Nearest(width, height);
        }

        if (Alpha is null)
        {
            return Resampling.Resize(Rgb, width, height);
        }

        var rgb = Resampling.Resize(new(Width, Height, [.. Rgb.Rgb.Select((value, i) =>
            Multiply(value, Alpha[i / 3]))]), width, height).Rgb;
        var alpha = Resampling.Resize(new(Width, Height, [.. Enumerable.Range(0, 3 * Alpha.Length).Select(i =>
            Alpha[i / 3])]), width, height).Rgb;
        return new(width, height, [.. rgb.Zip(alpha, (value, share) => share is 0 or 255 ? value
            : (byte)Math.Min(255 * value / share, 255))]);
    }

    /// <summary>Turned as its orientation says, as a browser shows it.</summary>
    public SourceImage Upright()
    {
        if (Orientation is < 2 or > 8)
        {
            return this;
        }

        return this with
        {
            Rgb = ExifOrientation.Turn(Rgb, Orientation),
            Alpha = Alpha is null ? null : ExifOrientation.Turn(Alpha, Width, Height, Orientation), Orientation = 1,
        };
    }

    private static byte Multiply(byte value, byte alpha) => (byte)(value * alpha + 128 is var product ? ((product >> 8)
        + product) >> 8 : 0);

    // Geometry.c, ImagingScaleAffine: the place is summed up, not multiplied out
    private RgbImage Nearest(int width, int height)
    {
        static int[] Places(int source, int target)
        {
            var (step, places) = (source / (double)target, new int[target]);
            var at = step * 0.5;
            for (var i = 0; i < target; i++, at += step)
            {
                places[i] = Math.Min((int)at, source - 1);
            }

            return places;
        }

        var (columns, rows, rgb) = (Places(Width, width), Places(Height, height), new byte[3 * width * height]);
        for (var y = 0; y < height; y++)
        {
            for (var x = 0; x < width; x++)
            {
                Rgb.Rgb.AsSpan(3 * (rows[y] * Width + columns[x]), 3).CopyTo(rgb.AsSpan(3 * (y * width + x)));
            }
        }

        return new(width, height, rgb);
    }
}
