// torch's bicubic resize of floats (aten: UpSampleKernel.cpp), per axis, neither rounded nor clamped in between:
//   with antialias: s = in/out, f = max(s, 1), centre c = (i + ½) s, weights k((j − c + ½) / f), a = −½, over j from
//   max(⌊c − 2f + ½⌋, 0) to
//     min(⌊c + 2f + ½⌋, in), divided by their sum;   without: four taps around (i + ½) s − ½, a = −¾, indices
//     clamped to the image. Weights are fp32, as there.
namespace ReasonGen.Judges.Preference;

/// <summary>Resizes planes of floats as torch does.</summary>
internal static class FloatResize
{
    /// <summary>Planes of height × width → planes of the new size.</summary>
    internal static float[] Resize(float[] planes, int count, (int Width, int Height) from, (int Width, int Height) to,
        bool antialias)
    {
        var across = Pass(planes, count * from.Height, from.Width, 1, Taps(from.Width, to.Width, antialias));
        return Pass(across, count, from.Height, to.Width, Taps(from.Height, to.Height, antialias));
    }

    // [rows, source, inner] → [rows, target, inner]
    private static float[] Pass(float[] values, int rows, int source, int inner, (int[] At, float[] Weights)[] taps)
    {
        var result = new float[rows * taps.Length * inner];
        for (var row = 0; row < rows; row++)
        {
            for (var i = 0; i < taps.Length; i++)
            {
                var target = result.AsSpan((row * taps.Length + i) * inner, inner);
                var (at, weights) = taps[i];
                for (var tap = 0; tap < at.Length; tap++)
                {
                    var line = values.AsSpan((row * source + at[tap]) * inner, inner);
                    for (var k = 0; k < inner; k++)
                    {
                        target[k] += weights[tap] * line[k];
                    }
                }
            }
        }

        return result;
    }

    private static (int[] At, float[] Weights)[] Taps(int source, int target, bool antialias) =>
        [.. Enumerable.Range(0, target).Select(i => antialias ? Wide(source, target, i) : Four(source, target, i))];

    private static (int[], float[]) Wide(int source, int target, int index)
    {
        float scale = source / (float)target, support = 2 * Math.Max(scale, 1), inverse = scale >= 1 ? 1 / scale : 1,
            centre = (float)(scale * (index + 0.5));
        int first = Math.Max((int)(centre - support + 0.5), 0), last = Math.Min((int)(centre + support + 0.5), source);
        float[] weights = [.. Enumerable.Range(first, last - first).Select(j =>
            Cubic((float)((j - centre + 0.5) * inverse), -0.5f))];
        var total = weights.Aggregate(0f, (sum, weight) => sum + weight);
        return ([.. Enumerable.Range(first, last - first)], Array.ConvertAll(weights, weight => weight / total));
    }

    private static (int[], float[]) Four(int source, int target, int index)
    {
        var place = source / (float)target * (index + 0.5f) - 0.5f;
        var (first, part) = ((int)MathF.Floor(place), place - MathF.Floor(place));
        return ([.. Enumerable.Range(first - 1, 4).Select(j => Math.Clamp(j, 0, source - 1))],
            [.. Enumerable.Range(-1, 4).Select(j => Cubic(part - j, -0.75f))]);
    }

    private static float Cubic(float x, float a) => Math.Abs(x) switch
    {
        < 1 and var y => ((a + 2) * y - (a + 3)) * y * y + 1,
        < 2 and var y => ((a * y - 5 * a) * y + 8 * a) * y - 4 * a,
        _ => 0,
    };
}
