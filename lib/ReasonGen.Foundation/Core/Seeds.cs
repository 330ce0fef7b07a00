using TorchSharp;

namespace ReasonGen.Core;

/// <summary>
/// Seeds that depend on what they are for, not on what was drawn before: sample 7 of step 12 is the same whether or not
/// a run was interrupted, evaluated in between, or split over threads.
/// </summary>
public static class Seeds
{
    /// <summary>Mixes a seed with the indices of what is drawn (purpose, step, row, …) into a 63-bit seed
    /// (SplitMix64).</summary>
    public static long Mix(long seed, params ReadOnlySpan<long> indices)
    {
        var state = Scramble((ulong)seed);
        foreach (var index in indices)
        {
            state = Scramble(state ^ (ulong)index);
        }

        return (long)(state >> 1);
    }

    /// <summary>A .NET generator for one purpose.</summary>
    public static Random Random(long seed, params ReadOnlySpan<long> indices) =>
        new((int)(Mix(seed, indices) & int.MaxValue));

    /// <summary>A libtorch CPU generator for one purpose; the caller disposes it.</summary>
    public static torch.Generator Torch(long seed, params ReadOnlySpan<long> indices) =>
        new((ulong)Mix(seed, indices), torch.CPU);

    private static ulong Scramble(ulong x)
    {
        x += 0x9E3779B97F4A7C15;
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
        return x ^ (x >> 31);
    }
}
