// numpy's sum of values in a row (numpy: loops_utils.h.src, pairwise_sum): which partial sums are rounded decides the
// last bits, and with them whether equal numbers deviate from their mean.
//   fewer than 8 in order;  up to 128 as eight partial sums, then what is left;  more by halves of multiples of 8
using System.Numerics;

namespace ReasonGen.Core;

/// <summary>Sums with the bits of numpy's.</summary>
public static class NumpySum
{
    /// <summary>numpy.sum of a one-dimensional array, in the type of its values; 0 of nothing.</summary>
    /// <param name="values">Any number of values, fp32 or fp64.</param>
    public static T Of<T>(ReadOnlySpan<T> values) where T : unmanaged, IFloatingPointIeee754<T>
    {
        if (values.Length > 128)
        {
            var half = values.Length / 2 - values.Length / 2 % 8;
            return Of(values[..half]) + Of(values[half..]);
        }

        var (sum, at) = (T.Zero, 0);
        if (values.Length >= 8)
        {
            Span<T> parts = stackalloc T[8];
            values[..8].CopyTo(parts);
            for (at = 8; at < values.Length - values.Length % 8; at += 8)
            {
                for (var i = 0; i < 8; i++)
                {
                    parts[i] += values[at + i];
                }
            }

            sum = parts[0] + parts[1] + (parts[2] + parts[3]) + (parts[4] + parts[5] + (parts[6] + parts[7]));
        }

        for (; at < values.Length; at++)
        {
            sum += values[at];
        }

        return sum;
    }
}
