using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Tests.Devices;

namespace ReasonGen.Benchmarks;

/// <summary>Kernels that a GPU is asked for a decoded token: a count, which needs none.</summary>
internal static class LaunchBenchmark
{
    internal static int Run()
    {
        foreach (var (name, config) in new[] { ("1B", JanusConfig.Pro1B), ("7B", JanusConfig.Pro7B) })
        {
            foreach (var rank in new[] { 0, 16 })
            {
                var (plain, gpu) = (DecodeLaunches.OfToken(config.Language, rank, asCpu: true),
                    DecodeLaunches.OfToken(config.Language, rank));
                // counted on narrow layers, which are joined; where the real ones are not, there are six more a layer:
                // three products, and three of RoPE
                var joined = 2L * config.Language.MlpWidth * config.Language.Width <= SamplingWeights.LargestJoined;
                var count = gpu.Count + (joined ? 0 : 6 * config.Language.Layers);
                Console.WriteLine($"{name}{(rank == 0 ? "" : $", LoRA of rank {rank}")}: {count} launches a token, "
                    + $"where the operators of a CPU are {plain.Count}");
                Console.WriteLine($"  {DecodeLaunches.Counts(gpu)}");
            }
        }

        return 0;
    }
}
