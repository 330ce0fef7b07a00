using System.Diagnostics;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using static ReasonGen.Benchmarks.Timing;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>Sampling 144 rollouts of the miniature by the fused pass and by the model's own, in turn.</summary>
internal static class SamplingBenchmark
{
    internal static int Run(int rounds)
    {
        var study = new Study(StudyConfig.Quick);
        using var model = study.Load("sft");
        var prompts = Prompts.Benchmark(3);
        PolicySampler Policy(Models.IImageTextModel of) =>
            new(of, study.Tokenizer, PromptTemplate.Mini, RolloutConfig.Mini, CPU);
        var (fused, own) = (Policy(model), Policy(new OwnPass(model)));
        (double Wall, double Processor) Seconds(PolicySampler policy)
        {
            var (watch, before) = (Stopwatch.StartNew(), Environment.CpuUsage.TotalTime);
            using var rollouts = policy.Generate(prompts, 8, 1);
            return (watch.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - before).TotalSeconds);
        }

        using (RolloutBatch one = fused.Generate(prompts, 8, 1), other = own.Generate(prompts, 8, 1))
        {
            var columns = Math.Min(one.Ids.shape[1], other.Ids.shape[1]);
            var same = one.Ids.narrow(1, 0, columns).eq(other.Ids.narrow(1, 0, columns)).all(1);
            Console.WriteLine($"{same.sum().item<long>()} of {one.Count} rollouts are the same; "
                + $"{one.ResponseMask.sum().item<long>() / (double)one.Count:0.0} response tokens each, "
                + $"{get_num_threads()} threads");
        }

        var times = new List<((double Wall, double Processor) Fused, (double Wall, double Processor) Own)>();
        for (var round = 0; round < rounds; round++)
        {
            times.Add((Seconds(fused), Seconds(own)));
            var (f, o) = times[^1];
            Console.WriteLine($"  fused {f.Wall * 1000:0} ms, own {o.Wall * 1000:0} ms, {o.Wall / f.Wall:0.00} times; "
                + $"of processors {f.Processor * 1000:0} and {o.Processor * 1000:0} ms, "
                + $"{o.Processor / f.Processor:0.00} times");
        }

        double Rate(IEnumerable<double> seconds) => 144 * 86 / Median(seconds) / 1000;
        Console.WriteLine($"median: fused {Rate(times.Select(t => t.Fused.Wall)):0.0}, own "
            + $"{Rate(times.Select(t => t.Own.Wall)):0.0} thousand tokens/s; "
            + $"{Median(times.Select(t => t.Own.Wall / t.Fused.Wall)):0.00} times, "
            + $"by processor time {Median(times.Select(t => t.Own.Processor / t.Fused.Processor)):0.00}");
        return 0;
    }
}
