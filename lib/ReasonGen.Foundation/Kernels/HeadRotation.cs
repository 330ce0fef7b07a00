using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ReasonGen.Kernels;

/// <summary>RoPE of one head in fp32, as Rotary.Turn computes it.</summary>
internal static unsafe class HeadRotation
{
    /// <summary>(x₁, x₂) → (x₁ cos φ − x₂ sin φ, x₂ cos φ + x₁ sin φ) over the two halves, in place; back again with
    /// direction −1.</summary>
    /// <param name="x">[K].</param>
    /// <param name="cos">[K / 2].</param>
    /// <param name="sin">[K / 2].</param>
    /// <param name="half">K / 2.</param>
    /// <param name="direction">1 or −1.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Turn(float* x, float* cos, float* sin, int half, float direction = 1)
    {
        var j = 0;
        for (; j + 4 <= half; j += 4)
        {
            Vector128<float> one = Vector128.Load(x + j), other = Vector128.Load(x + j + half);
            Vector128<float> by = Vector128.Load(cos + j), across = Vector128.Load(sin + j) * direction;
            Vector128.Store(one * by - other * across, x + j);
            Vector128.Store(other * by + one * across, x + j + half);
        }

        for (; j < half; j++)
        {
            var (one, other, across) = (x[j], x[j + half], sin[j] * direction);
            (x[j], x[j + half]) = (one * cos[j] - other * across, other * cos[j] + one * across);
        }
    }
}
