using ReasonGen.Grpo;

namespace ReasonGen.Benchmarks;

/// <summary>What several measurements of one thing say.</summary>
internal static class Timing
{
    /// <summary>The middle value, of an even number the larger of the two.</summary>
    internal static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted[sorted.Length / 2];
    }
}
