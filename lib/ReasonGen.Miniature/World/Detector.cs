using System.Numerics;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;

namespace ReasonGen.World;

/// <summary>
/// Plays GenEval's detector in the drawn world, exactly: pixels to colour names, connected patches, the best-fitting
/// shape for each. Colours are told by hue, so it sees through the tones of the textured look and needs no
/// configuration; it allows for pixel noise and blur, since a lossy image tokenizer made the image.
/// </summary>
public static class Detector
{
    private const int SmallestPatch = 10;      // pixels; less is noise
    // largest minus smallest channel: half of any shape's, three times the background's
    private const int LeastChroma = 64;
    // smallest channel: white's darkest tone has 191, the brightest background 81
    private const int LeastWhite = 130;
    private const double PurestColor = 0.7;    // share of a patch's pixels that agree on its colour
    // intersection over union with the outline; half a square is a triangle of 0.64
    private const double BestFit = 0.66;
    private const int Reach = 5;
    private const int Size = WorldConfig.ImageSize;

    // One bit a pixel, one word a row: an image is 32 pixels wide.
    private static readonly uint[][] Outlines = Enumerable.Range(0, WorldConfig.Shapes.Count).Select(Outline).ToArray();
    private static readonly float[][] Hues = WorldConfig.Palette[..^1].Select(p => Hue(p[0], p[1], p[2])).ToArray();
    private static readonly int White = WorldConfig.Palette.Length - 1;

    /// <summary>The shapes that an image shows, row by row; a patch of no clear shape or colour is a "blob".</summary>
    /// <exception cref="ArgumentException">The image is not of the world's size.</exception>
    public static IReadOnlyList<Seen> Detect(RgbImage image)
    {
        if (image.Width != Size || image.Height != Size)
        {
            throw new ArgumentException(
                $"the detector reads {Size}x{Size} images, not {image.Width}x{image.Height}", nameof(image));
        }

        Span<int> colors = stackalloc int[Size * Size], patch = stackalloc int[Size * Size];
        for (var i = 0; i < colors.Length; i++)
        {
            colors[i] = ColorOf(image.Rgb[3 * i], image.Rgb[3 * i + 1], image.Rgb[3 * i + 2]);
        }

        var seen = new List<Seen>();
        Span<int> votes = stackalloc int[WorldConfig.Palette.Length];
        for (var i = 0; i < colors.Length; i++)
        {
            votes.Clear();
            if (colors[i] >= 0 && Patch(colors, patch, votes, i) is >= SmallestPatch and var count)
            {
                seen.Add(Recognise(patch[..count], votes));
            }
        }

        return seen;
    }

    /// <summary>Whether an image satisfies a prompt (see <see cref="Checker"/>), and if not, why in a few
    /// words.</summary>
    public static (bool Correct, string Reason) Check(RgbImage image, Prompt prompt) =>
        Checker.Check(Detect(image), prompt);

    // Index of the colour, or -1 for background.
    private static int ColorOf(int r, int g, int b)
    {
        var least = Math.Min(r, Math.Min(g, b));
        if (least > LeastWhite)
        {
            return White;
        }

        if (Math.Max(r, Math.Max(g, b)) - least <= LeastChroma)
        {
            return -1;
        }

        float chroma = Math.Max(r, Math.Max(g, b)) - least, x = (r - least) / chroma, y = (g - least) / chroma,
            z = (b - least) / chroma;
        int best = 0;
        var nearest = float.MaxValue;
        for (var c = 0; c < Hues.Length; c++)
        {
            var hue = Hues[c];
            var distance = (x - hue[0]) * (x - hue[0]) + (y - hue[1]) * (y - hue[1]) + (z - hue[2]) * (z - hue[2]);
            (best, nearest) = distance < nearest ? (c, distance) : (best, nearest);
        }

        return best;
    }

    private static float[] Hue(float r, float g, float b)
    {
        float least = Math.Min(r, Math.Min(g, b)), chroma = Math.Max(r, Math.Max(g, b)) - least;
        return [(r - least) / chroma, (g - least) / chroma, (b - least) / chroma];
    }

    // Touching foreground pixels of any colour, corners included; shapes never touch. Takes them out of the image and
    // counts colours.
    private static int Patch(Span<int> colors, Span<int> patch, Span<int> votes, int start)
    {
        var count = 0;
        Take(colors, patch, votes, start, ref count);
        for (var next = 0; next < count; next++)
        {
            int x = patch[next] % Size, y = patch[next] / Size;
            for (var ny = Math.Max(0, y - 1); ny <= Math.Min(Size - 1, y + 1); ny++)
            {
                for (var nx = Math.Max(0, x - 1); nx <= Math.Min(Size - 1, x + 1); nx++)
                {
                    Take(colors, patch, votes, ny * Size + nx, ref count);
                }
            }
        }

        return count;
    }

    private static void Take(Span<int> colors, Span<int> patch, Span<int> votes, int at, ref int count)
    {
        if (colors[at] >= 0)
        {
            votes[colors[at]]++;
            colors[at] = -1;
            patch[count++] = at;
        }
    }

    private static Seen Recognise(ReadOnlySpan<int> patch, ReadOnlySpan<int> votes)
    {
        Span<uint> rows = stackalloc uint[Size];
        rows.Clear();
        int left = Size, right = 0, top = Size, bottom = 0;
        foreach (var at in patch)
        {
            int x = at % Size, y = at / Size;
            rows[y] |= 1u << x;
            (left, right, top, bottom) = (Math.Min(left, x), Math.Max(right, x), Math.Min(top, y), Math.Max(bottom, y));
        }

        int middleX = (left + right) / 2, middleY = (top + bottom) / 2;
        var (shape, fit, x0, y0) = (0, 0.0, middleX, middleY);
        for (var s = 0; s < Outlines.Length; s++)
        {
            // the outline's centre may be off the patch's where border pixels are missing or too many
            for (var cy = middleY - 1; cy <= middleY + 2; cy++)
            {
                for (var cx = middleX - 1; cx <= middleX + 2; cx++)
                {
                    var overlap = Overlap(rows, patch.Length, Outlines[s], cx, cy);
                    (shape, fit, x0, y0) = overlap > fit ? (s, overlap, cx, cy) : (shape, fit, x0, y0);
                }
            }
        }

        var color = 0;
        for (var c = 1; c < votes.Length; c++)
        {
            color = votes[c] > votes[color] ? c : color;
        }

        var clear = fit >= BestFit && votes[color] >= PurestColor * patch.Length;
        return new Seen(clear ? WorldConfig.Shapes[shape] : "blob", WorldConfig.Colors[color], x0, y0, patch.Length,
            fit);
    }

    // Intersection over union of a patch and an outline centred at a pixel.
    private static double Overlap(ReadOnlySpan<uint> rows, int area, uint[] outline, int centerX, int centerY)
    {
        int both = 0, shape = 0, shift = centerX - Reach;
        for (var i = 0; i < outline.Length; i++)
        {
            var y = centerY - Reach + i;
            shape += BitOperations.PopCount(outline[i]);
            both += y is >= 0 and < Size
                ? BitOperations.PopCount(rows[y] & (shift >= 0 ? outline[i] << shift : outline[i] >> -shift)) : 0;
        }

        return both / (double)(shape + area - both);
    }

    private static uint[] Outline(int shape) => Enumerable.Range(-Reach, 2 * Reach + 1).Select(y => (uint)Enumerable
        .Range(-Reach, 2 * Reach + 1).Where(x => Renderer.Covers(shape, x, y)).Sum(x => 1 << (x + Reach))).ToArray();
}
