using System.Diagnostics;
using ReasonGen.Studies;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>Steps of the miniature's training, each by wall clock and by processor time. It compiles in older versions
/// of the kit as well: copied there, it is run in turn with this one's, since numbers of a shared machine are for
/// comparing within the same minutes.</summary>
internal static class StepsBenchmark
{
    /// <param name="sft">SFT steps of 32 samples; the first five do not count.</param>
    /// <param name="grpo">GRPO steps of 128 rollouts; the first does not count.</param>
    internal static int Run(int sft, int grpo)
    {
        var study = new Study(StudyConfig.Quick);
        using var model = study.Load("sft");
        using (var trainer = study.SftTrainer(model, "sft"))
        {
            Report("SFT", Measure(sft + 5, () => trainer.Step().Loss)[5..]);
        }

        using var policy = study.Load("sft");
        using (var trainer = study.GrpoTrainer(policy, Study.Entropy("adaptive")))
        {
            List<string> parts = [];
            Report("GRPO", Measure(grpo + 1, () =>
            {
                var step = trainer.Step();
                parts.Add($"{step.SamplingSeconds:0.00}+{step.RewardSeconds:0.00}+{step.TrainingSeconds:0.00}");
                return step.GradientNorm;
            })[1..]);
            Console.WriteLine($"  sampling + reward + training: {string.Join("  ", parts.Skip(1))}");
        }

        return 0;
    }

    private static (double Wall, double Processor, double Value)[] Measure(int steps, Func<double> step) =>
        [.. Enumerable.Range(0, steps).Select(_ =>
        {
            var (watch, before) = (Stopwatch.StartNew(), Environment.CpuUsage.TotalTime);
            var value = step();
            return (watch.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - before).TotalSeconds, value);
        })];

    private static void Report(string what, (double Wall, double Processor, double Value)[] steps)
    {
        string Spread(IEnumerable<double> seconds)
        {
            double[] sorted = [.. seconds.Order()];
            return $"{sorted[sorted.Length / 2] * 1000:0} ms ({sorted[0] * 1000:0} to {sorted[^1] * 1000:0})";
        }

        var load = File.Exists("/proc/loadavg") ? File.ReadAllText("/proc/loadavg").Split(' ')[0] : "unknown";
        Console.WriteLine($"{what} step: {Spread(steps.Select(s => s.Wall))}, of processors "
            + $"{Spread(steps.Select(s => s.Processor))}; {steps.Length} steps, {get_num_threads()} threads, load "
            + $"{load}; values {string.Join(' ', steps.Take(3).Select(s => $"{s.Value:0.000000}"))}");
    }
}
