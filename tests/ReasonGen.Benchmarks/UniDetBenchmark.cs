using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judges.UniDet;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>T2I-CompBench's detector RS200 at its published size with random weights, one image that becomes 479×479,
/// beside large matrix products measured in turn with it: seconds an image where those make 180 GFLOP/s, by the clock
/// and, for a crowded machine, by the processor's time; and what it holds beside the weights. </summary>
internal static class UniDetBenchmark
{
    private const double Rate = 180e9, MostSeconds = 14;
    private const int Side = 2048;

    internal static int Run(int rounds)
    {
        NativeRuntime.EnsureLoaded();
        using var free = no_grad();
        using var model = new UniDetModel(UniDetConfig.RS200, new(CPU, ScalarType.Float32));
        foreach (var (name, weight) in model.Tensors)
        {
            _ = weight.dim() > 1
                ? weight.normal_(0, Math.Sqrt((name.Contains("deltas") ? 0.01 : 1) * weight.shape[0] / weight.numel()))
                : weight.fill_(name.EndsWith("norm.weight") || name.Contains(".bn") && name.EndsWith("weight")
                    || name.EndsWith("running_var") ? 1 : 0);
        }

        var image = new RgbImage(1024, 1024, new byte[3 << 20]);
        Seeds.Random(1).NextBytes(image.Rgb);
        using Tensor left = randn(Side, Side), right = randn(Side, Side);
        var weights = model.Tensors.Values.Sum(weight => weight.numel() * weight.element_size());
        (double Clock, double Processor)[] products = new (double, double)[rounds], whole =
            new (double, double)[rounds];
        var steps = new List<(string Name, double Seconds)>();
        for (var round = -1; round < rounds; round++)
        {
            var product = Seconds(() => { for (var i = 0; i < 8; i++) { left.matmul(right).Dispose(); } });
            var watch = Stopwatch.StartNew();
            steps.Clear();
            model.Trace = (name, value) =>
                steps.Add((name.StartsWith("stage0.boxes") ? $"{value.shape[0]} proposals" : name,
                watch.Elapsed.TotalSeconds));
            var time = Seconds(() => model.Detect([UniDetImage.Resize(image)]));
            if (round >= 0)
            {
                (products[round], whole[round]) = (product, time);
            }
        }

        string[] shown = ["stem", "res2.2", "res3.23", "res4.35", "res5.2", "p7", "proposal_logits", "pooled0",
            "stage0.deltas", "stage2.deltas"];
        Console.WriteLine(string.Join(", ", steps.Where(step => shown.Contains(step.Name)
            || step.Name.EndsWith("proposals"))
            .Select(step => $"{step.Name} {step.Seconds:0.00} s")));
        const double Work = 8 * 2.0 * Side * Side * Side;
        var rate = Work / Timing.Median(products.Select(time => time.Clock));
        var scaled = Timing.Median(whole.Select(time => time.Clock)) * rate / Rate;
        var (perSecond, spent) = (Work / Timing.Median(products.Select(time => time.Processor)),
            Timing.Median(whole.Select(time => time.Processor)));
        Console.WriteLine($"matrix products {rate / 1e9:0} GFLOP/s on {get_num_threads()} threads; an image "
            + $"{Timing.Median(whole.Select(time => time.Clock)):0.00} s: {scaled:0.0} s where products make "
            + $"{Rate / 1e9:0} GFLOP/s, at most {MostSeconds}");
        Console.WriteLine($"by processor time: products {perSecond / 1e9:0} GFLOP a second, an image {spent:0.00} s: "
            + $"{spent * perSecond / Rate:0.0} s");
        using var self = Process.GetCurrentProcess();
        Console.WriteLine($"peak of the process {self.PeakWorkingSet64 / (double)(1 << 30):0.00} GiB, "
            + $"of which weights {weights / (double)(1 << 30):0.00}");
        return scaled <= MostSeconds && self.PeakWorkingSet64 - weights < 2L << 30 ? 0 : 1;
    }

    private static (double Clock, double Processor) Seconds(Action work)
    {
        var (watch, before) = (Stopwatch.StartNew(), Environment.CpuUsage.TotalTime);
        work();
        return (watch.Elapsed.TotalSeconds, (Environment.CpuUsage.TotalTime - before).TotalSeconds);
    }
}
