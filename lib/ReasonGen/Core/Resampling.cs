// Pillow's 8-bit bicubic resize (Resample.c), bit for bit: two passes of fixed-point weights, across first, rounded to bytes in between.
//   weight of input i for output x: f((i − centre + ½) / scale), centre = (x + ½) in/out, scale = max(in/out, 1), normalised, times 2²², rounded.
//   f is Keys' cubic with a = −½, support 2.
namespace ReasonGen.Core;

/// <summary>Resizes pictures exactly as the reference's image library does.</summary>
public static class Resampling
{
    private const int Precision = 22;

    /// <summary>Resizes to so many pixels.</summary>
    public static Picture Resize(Picture picture, int width, int height)
    {
        if (width < 1 || height < 1)
        {
            throw new ArgumentException($"a picture cannot have {width}x{height} pixels");
        }

        var across = width == picture.Width ? picture : Pass(picture, width, picture.Height, horizontal: true);
        return height == across.Height ? across : Pass(across, width, height, horizontal: false);
    }

    /// <summary>The largest square in the middle.</summary>
    public static Picture CropCentre(Picture picture)
    {
        var side = Math.Min(picture.Width, picture.Height);
        return Window(picture, (picture.Width - side) / 2, (picture.Height - side) / 2, side, 0);
    }

    /// <summary>The smallest square around it, filled with one grey level (white by default).</summary>
    public static Picture PadToSquare(Picture picture, byte fill = 255)
    {
        var side = Math.Max(picture.Width, picture.Height);
        return Window(picture, -((side - picture.Width) / 2), -((side - picture.Height) / 2), side, fill);
    }

    private static Picture Window(Picture picture, int left, int top, int side, byte fill)
    {
        var rgb = new byte[side * side * 3];
        Array.Fill(rgb, fill);
        for (var y = Math.Max(0, -top); y < side && y + top < picture.Height; y++)
        {
            int from = Math.Max(0, -left), count = Math.Min(side - from, picture.Width - (from + left));
            Array.Copy(picture.Rgb, ((y + top) * picture.Width + from + left) * 3, rgb, (y * side + from) * 3, count * 3);
        }

        return new Picture(side, side, rgb);
    }

    private static Picture Pass(Picture picture, int width, int height, bool horizontal)
    {
        var (source, target) = horizontal ? (picture.Width, width) : (picture.Height, height);
        var rgb = new byte[width * height * 3];
        for (var i = 0; i < target; i++)
        {
            var (first, weights) = Weights(source, target, i);
            for (var other = 0; other < (horizontal ? height : width); other++)
            {
                for (var channel = 0; channel < 3; channel++)
                {
                    var sum = 1 << (Precision - 1);
                    for (var w = 0; w < weights.Length; w++)
                    {
                        var at = horizontal ? other * picture.Width + first + w : (first + w) * picture.Width + other;
                        sum += weights[w] * picture.Rgb[at * 3 + channel];
                    }

                    var to = horizontal ? other * width + i : i * width + other;
                    rgb[to * 3 + channel] = (byte)Math.Clamp(sum >> Precision, 0, 255);
                }
            }
        }

        return new Picture(width, height, rgb);
    }

    private static (int First, int[] Weights) Weights(int source, int target, int index)
    {
        double scale = source / (double)target, filterScale = Math.Max(scale, 1), support = 2 * filterScale, centre = (index + 0.5) * scale;
        int first = Math.Max((int)(centre - support + 0.5), 0), last = Math.Min((int)(centre + support + 0.5), source);
        var weights = Enumerable.Range(first, last - first).Select(i => Cubic((i - centre + 0.5) / filterScale)).ToArray();
        var total = weights.Sum();
        return (first, [.. weights.Select(w => total == 0 ? w : w / total).Select(w => (int)(w * (1 << Precision) + (w < 0 ? -0.5 : 0.5)))]);
    }

    private static double Cubic(double x)
    {
        const double a = -0.5;
        x = Math.Abs(x);
        return x < 1 ? ((a + 2) * x - (a + 3)) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
    }
}
