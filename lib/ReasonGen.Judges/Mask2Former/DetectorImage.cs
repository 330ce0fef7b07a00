// The test pipeline of mmdetection 2.28 with OpenCV, bit for bit.
//   size: s = min(long/longest, short/shortest side), each side ⌊side·s + ½⌋ in double;
//     then padded right and bottom to multiples of 32 with 128
//   resize: centre (i + ½)·(1/(new/old)) − ½ in double, rounded to fp32, floor and fraction f;
//     weights round(f·2048) and round((1 − f)·2048), to even
//     across: t = w₀ a + w₁ b (f = 0 outside the row of centres)
//     down: ((w₀ (t₀>>4))>>16) + ((w₁ (t₁>>4))>>16) + 2, >>2
//     exactly half in both axes: (a + b + c + d + 2)>>2
//   pixel: x − mean in fp32, times 1/std in double, rounded to fp32.
// mmdetection 3.x resizes in floats instead, and pads with 0 after normalising: up to 0.013 apart.
using ReasonGen.Imaging;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>An image as the network is shown it, and the sizes that lead back.</summary>
/// <param name="Pixels">[1, 3, H, W] fp32 on the CPU, normalised, padded.</param>
/// <param name="Resized">Height and width of the resized image, without padding.</param>
/// <param name="Original">Height and width of the image.</param>
internal sealed record DetectorImage(Tensor Pixels, (int Height, int Width) Resized, (int Height, int Width) Original)
    : IDisposable
{
    private const int PadValue = 128;

    // red, green, blue
    private static readonly float[] Mean = [123.675f, 116.28f, 103.53f], Deviation = [58.395f, 57.12f, 57.375f];

    public void Dispose() => Pixels.Dispose();

    /// <exception cref="ArgumentException">The image is so narrow that nothing of it would be left.</exception>
    internal static DetectorImage Prepare(RgbImage image, Mask2FormerConfig config)
    {
        var (width, height) = Size(image.Width, image.Height, config.LongSide, config.ShortSide);
        if (width < 1 || height < 1)
        {
            throw new ArgumentException($"an image of {image.Width}x{image.Height} pixels would be resized to "
                + $"{width}x{height}: it is too narrow for the detector");
        }

        var pixels = config.PreparedLike3 ? InFloats(image, width, height) : Normalise(Resize(image, width, height));
        return new(pixels, (height, width), (image.Height, image.Width));
    }

    /// <summary>Width and height after resizing.</summary>
    internal static (int Width, int Height) Size(int width, int height, int longSide, int shortSide)
    {
        var scale = Math.Min(longSide / (double)Math.Max(width, height), shortSide / (double)Math.Min(width, height));
        return ((int)(width * scale + 0.5), (int)(height * scale + 0.5));
    }

    /// <summary>The next multiple of 32.</summary>
    internal static int Padded(int side) =>
        (side + Mask2FormerConfig.SizeDivisor - 1) / Mask2FormerConfig.SizeDivisor * Mask2FormerConfig.SizeDivisor;

    /// <summary>OpenCV's bilinear resize of bytes.</summary>
    internal static RgbImage Resize(RgbImage image, int width, int height)
    {
        if (width == image.Width && height == image.Height)
        {
            return image;
        }

        var (rgb, from) = (new byte[width * height * 3], image.Rgb);
        if (image.Width == 2 * width && image.Height == 2 * height)
        {
            for (var i = 0; i < rgb.Length; i++)
            {
                var at = (i / (width * 3) * 2 * image.Width + i / 3 % width * 2) * 3 + i % 3;
                rgb[i] = (byte)((from[at] + from[at + 3] + from[at + 3 * image.Width] + from[at + 3 * image.Width + 3]
                    + 2) >> 2);
            }

            return new(width, height, rgb);
        }

        Tap[] across = [.. Enumerable.Range(0, width).Select(i => Tap.At(i, image.Width, width, flatAtEnds: true))];
        int[] upper = new int[width * 3], lower = new int[width * 3];
        var (upperRow, lowerRow) = (-1, -1);
        for (var y = 0; y < height; y++)
        {
            var down = Tap.At(y, image.Height, height, flatAtEnds: false);
            if (down.First == lowerRow)
            {
                (upper, upperRow, lower, lowerRow) = (lower, lowerRow, upper, upperRow);
            }

            Across(down.First, upper, ref upperRow);
            Across(down.Second, lower, ref lowerRow);
            for (var i = 0; i < width * 3; i++)
            {
                rgb[y * width * 3 + i] = (byte)Math.Clamp((((down.FirstWeight * (upper[i] >> 4)) >> 16)
                    + ((down.SecondWeight * (lower[i] >> 4)) >> 16) + 2) >> 2, 0, 255);
            }
        }

        return new(width, height, rgb);

        void Across(int row, int[] sums, ref int held)
        {
            for (var x = 0; row != held && x < width; x++)
            {
                var tap = across[x];
                int first = (row * image.Width + tap.First) * 3, second = (row * image.Width + tap.Second) * 3;
                for (var channel = 0; channel < 3; channel++)
                {
                    sums[3 * x + channel] = from[first + channel] * tap.FirstWeight
                        + from[second + channel] * tap.SecondWeight;
                }
            }

            held = row;
        }
    }

    /// <summary>Padded and normalised, [1, 3, H, W].</summary>
    internal static Tensor Normalise(RgbImage image)
    {
        int width = Padded(image.Width), height = Padded(image.Height);
        var values = new float[3 * height * width];
        for (var channel = 0; channel < 3; channel++)
        {
            var inverse = 1 / (double)Deviation[channel];
            float[] table = [.. Enumerable.Range(0, 256).Select(x => (float)((x - Mean[channel]) * inverse))];
            var plane = values.AsSpan(channel * height * width, height * width);
            plane.Fill(table[PadValue]);
            for (var i = 0; i < image.Width * image.Height; i++)
            {
                plane[i / image.Width * width + i % image.Width] = table[image.Rgb[3 * i + channel]];
            }
        }

        return tensor(values, [1, 3, height, width], device: CPU);
    }

    /// <summary>As mmdetection 3.x does it, [1, 3, H, W].</summary>
    private static Tensor InFloats(RgbImage image, int width, int height)
    {
        int paddedWidth = Padded(width), paddedHeight = Padded(height);
        var values = new float[3 * paddedHeight * paddedWidth];
        Tap[] across = [.. Enumerable.Range(0, width)
            .Select(i => Tap.At(i, image.Width, width, flatAtEnds: true, exact: true))];
        for (var i = 0; i < 3 * height * width; i++)
        {
            var (channel, y, x) = (i / (height * width), i / width % height, i % width);
            var (column, row) = (across[x], Tap.At(y, image.Height, height, flatAtEnds: false, exact: true));
            float Row(int at) => image.Rgb[(at * image.Width + column.First) * 3 + channel] * (1 - column.Fraction)
                + image.Rgb[(at * image.Width + column.Second) * 3 + channel] * column.Fraction;
            var value = Row(row.First) * (1 - row.Fraction) + Row(row.Second) * row.Fraction;
            values[(channel * paddedHeight + y) * paddedWidth + x] = (value - Mean[channel]) / Deviation[channel];
        }

        return tensor(values, [1, 3, paddedHeight, paddedWidth], device: CPU);
    }

    // two neighbours along an axis, the share of the second, and both shares of 2048
    private readonly record struct Tap(int First, int Second, float Fraction, int FirstWeight, int SecondWeight)
    {
        internal static Tap At(int i, int old, int now, bool flatAtEnds, bool exact = false)
        {
            var centre = (i + 0.5) * (1 / (now / (double)old)) - 0.5;
            var position = exact ? centre : (float)centre;
            var floor = (int)Math.Floor(position);
            var fraction = flatAtEnds && (floor < 0 || floor >= old - 1) ? 0 : (float)(position - floor);
            var first = flatAtEnds ? Math.Clamp(floor, 0, old - 1) : floor;
            return new(Math.Clamp(first, 0, old - 1), Math.Clamp(first + 1, 0, old - 1), fraction,
                (int)MathF.Round((1 - fraction) * 2048), (int)MathF.Round(fraction * 2048));
        }
    }
}
