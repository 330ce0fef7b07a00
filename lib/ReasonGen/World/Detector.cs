using ReasonGen.Core;

namespace ReasonGen.World;

/// <summary>
/// Plays GenEval's detector in the drawn world, exactly: pixels to colour names, connected patches, the best-fitting shape for each.
/// Colours are told by their ratios of red, green and blue, so it sees through the tones of the textured look.
/// </summary>
public static class Detector
{
    private const int SmallestPatch = 10;      // pixels; less is noise
    private const int Brightest = 122;         // of the background, with room for the tokenizer's errors
    private const double PurestColor = 0.7;    // share of a patch's pixels that agree on its colour
    private const double BestFit = 0.62;       // intersection over union with the shape's outline
    private const int Reach = 6;

    private static readonly bool[][,] Outlines = Enumerable.Range(0, WorldConfig.Shapes.Count).Select(Outline).ToArray();

    /// <summary>The shapes that a picture shows; a patch that is no shape, or of no clear colour, is given as "blob".</summary>
    /// <exception cref="ArgumentException">The picture is not of the world's size.</exception>
    public static IReadOnlyList<Seen> Detect(Picture picture)
    {
        const int size = WorldConfig.PictureSize;
        if (picture.Width != size || picture.Height != size)
        {
            throw new ArgumentException($"the detector reads {size}x{size} pictures, not {picture.Width}x{picture.Height}", nameof(picture));
        }

        var colors = new int[size * size];
        for (var i = 0; i < colors.Length; i++)
        {
            colors[i] = ColorOf(picture.Rgb[3 * i], picture.Rgb[3 * i + 1], picture.Rgb[3 * i + 2]);
        }

        var seen = new List<Seen>();
        var taken = new bool[size * size];
        for (var i = 0; i < colors.Length; i++)
        {
            if (colors[i] >= 0 && !taken[i] && Patch(colors, taken, i) is { Count: >= SmallestPatch } patch)
            {
                seen.Add(Recognise(patch, colors));
            }
        }

        return seen;
    }

    /// <summary>Whether a picture satisfies a prompt, and if not, why in a few words.</summary>
    public static (bool Correct, string Reason) Check(Picture picture, Prompt prompt) => Checker.Check(Detect(picture), prompt);

    // Index of the nearest colour by channel ratios, or -1 for background.
    private static int ColorOf(int r, int g, int b)
    {
        float brightest = Math.Max(r, Math.Max(g, b));
        if (brightest <= Brightest)
        {
            return -1;
        }

        int best = -1;
        var nearest = float.MaxValue;
        for (var c = 0; c < WorldConfig.Palette.Length; c++)
        {
            var p = WorldConfig.Palette[c];
            float full = Math.Max(p[0], Math.Max(p[1], p[2]));
            float dr = r / brightest - p[0] / full, dg = g / brightest - p[1] / full, db = b / brightest - p[2] / full;
            var distance = dr * dr + dg * dg + db * db;
            (best, nearest) = distance < nearest ? (c, distance) : (best, nearest);
        }

        return best;
    }

    // Touching foreground pixels of any colour, corners included; shapes never touch, they are a cell apart.
    private static List<int> Patch(int[] colors, bool[] taken, int start)
    {
        const int size = WorldConfig.PictureSize;
        var patch = new List<int> { start };
        taken[start] = true;
        for (var next = 0; next < patch.Count; next++)
        {
            int x = patch[next] % size, y = patch[next] / size;
            for (var ny = Math.Max(0, y - 1); ny <= Math.Min(size - 1, y + 1); ny++)
            {
                for (var nx = Math.Max(0, x - 1); nx <= Math.Min(size - 1, x + 1); nx++)
                {
                    var neighbour = ny * size + nx;
                    if (colors[neighbour] >= 0 && !taken[neighbour])
                    {
                        taken[neighbour] = true;
                        patch.Add(neighbour);
                    }
                }
            }
        }

        return patch;
    }

    private static Seen Recognise(List<int> patch, int[] colors)
    {
        const int size = WorldConfig.PictureSize;
        int left = patch.Min(p => p % size), right = patch.Max(p => p % size), top = patch.Min(p => p / size), bottom = patch.Max(p => p / size);
        var inside = patch.ToHashSet();
        var (shape, fit) = (0, 0.0);
        for (var s = 0; s < Outlines.Length; s++)
        {
            // the outline's centre may be off the patch's by a pixel where a border pixel is missing or too many
            for (var cy = (top + bottom) / 2 - 1; cy <= (top + bottom) / 2 + 2; cy++)
            {
                for (var cx = (left + right) / 2 - 1; cx <= (left + right) / 2 + 2; cx++)
                {
                    var overlap = Overlap(inside, Outlines[s], cx, cy);
                    (shape, fit) = overlap > fit ? (s, overlap) : (shape, fit);
                }
            }
        }

        var (color, votes) = patch.GroupBy(p => colors[p]).Select(group => (group.Key, group.Count())).MaxBy(pair => pair.Item2);
        var clear = fit >= BestFit && votes >= PurestColor * patch.Count;
        return new Seen(clear ? WorldConfig.Shapes[shape] : "blob", WorldConfig.Colors[color], (left + right) / 2.0, (top + bottom) / 2.0);
    }

    private static double Overlap(HashSet<int> patch, bool[,] outline, int centerX, int centerY)
    {
        const int size = WorldConfig.PictureSize;
        int both = 0, shape = 0;
        for (var y = -Reach; y <= Reach; y++)
        {
            for (var x = -Reach; x <= Reach; x++)
            {
                if (outline[y + Reach, x + Reach])
                {
                    shape++;
                    int px = centerX + x, py = centerY + y;
                    both += px is >= 0 and < size && py is >= 0 and < size && patch.Contains(py * size + px) ? 1 : 0;
                }
            }
        }

        return both / (double)(shape + patch.Count - both);
    }

    private static bool[,] Outline(int shape)
    {
        var outline = new bool[2 * Reach + 1, 2 * Reach + 1];
        for (var y = -Reach; y <= Reach; y++)
        {
            for (var x = -Reach; x <= Reach; x++)
            {
                outline[y + Reach, x + Reach] = Renderer.Covers(shape, x, y);
            }
        }

        return outline;
    }
}
