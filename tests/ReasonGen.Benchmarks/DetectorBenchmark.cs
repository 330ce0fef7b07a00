using System.Diagnostics;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// GenEval's detector at its published size with random weights, one image that becomes 800×800, beside large matrix
/// products measured in turn with
/// it: 442 GFLOP, as the reference computes it, over the time, as a share of the products' rate. And what it holds
/// beside the weights.
/// </summary>
internal static class DetectorBenchmark
{
    private const double Work = 442e9;
    private const int Side = 2048;

    internal static int Run(int rounds)
    {
        NativeRuntime.EnsureLoaded();
        using var free = no_grad();
        using var model = new Mask2FormerModel(Mask2FormerConfig.Published, new(CPU, ScalarType.Float32));
        foreach (var (name, weight) in model.Tensors)
        {
            _ = name.Contains("norm") || name.Contains(".gn.") ? weight.fill_(1)
                : weight.normal_(0, 1 / Math.Sqrt(weight.numel() / weight.shape[0]));
        }

        var image = new RgbImage(1024, 1024, new byte[3 << 20]);
        Seeds.Random(1).NextBytes(image.Rgb);
        using Tensor left = randn(Side, Side), right = randn(Side, Side);
        using var prepared = DetectorImage.Prepare(image, model.Config);
        var weights = model.Tensors.Values.Sum(weight => weight.numel() * weight.element_size());
        double[] products = new double[rounds], network = new double[rounds], whole = new double[rounds];
        for (var round = -1; round < rounds; round++)
        {
            var times = (Seconds(() => { for (var i = 0; i < 8; i++) { left.matmul(right).Dispose(); } }) / 8,
                Seconds(() => Network(model, prepared)), Seconds(() => Whole(model, image)));
            if (round >= 0)
            {
                (products[round], network[round], whole[round]) = times;
            }
        }

        var rate = 2.0 * Side * Side * Side / Timing.Median(products);
        double own = Timing.Median(network), all = Timing.Median(whole), share = Work / own / rate;
        Console.WriteLine($"matrix products {rate / 1e9:0} GFLOP/s on {get_num_threads()} threads");
        Console.WriteLine($"network at {prepared.Pixels.shape[3]}x{prepared.Pixels.shape[2]}: {own:0.00} s, "
            + $"{Work / own / 1e9:0} GFLOP/s, {share:P0} of that; with preparing and masks of 1024x1024 {all:0.00} s");
        using var self = Process.GetCurrentProcess();
        Console.WriteLine($"peak of the process {self.PeakWorkingSet64 / (double)(1 << 30):0.00} GiB, "
            + $"of which weights {weights / (double)(1 << 30):0.00}");
        return share >= 0.5 && self.PeakWorkingSet64 - weights < 2L << 30 ? 0 : 1;
    }

    private static void Network(Mask2FormerModel model, DetectorImage image)
    {
        using var scope = NewDisposeScope();
        model.Forward(image.Pixels);
    }

    private static void Whole(Mask2FormerModel model, RgbImage image)
    {
        using var scope = NewDisposeScope();
        using var prepared = DetectorImage.Prepare(image, model.Config);
        var (classes, masks) = model.Forward(prepared.Pixels);
        InstanceResults.Find(classes, masks, prepared.Resized, prepared.Resized, prepared.Original);
    }

    private static double Seconds(Action work)
    {
        var watch = Stopwatch.StartNew();
        work();
        return watch.Elapsed.TotalSeconds;
    }
}
