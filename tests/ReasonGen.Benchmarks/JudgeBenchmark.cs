using System.Diagnostics;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Mplug;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// The image encoders of BLIP-VQA at 480 pixels and mPLUG-large at 504, with random weights: the rate of their products
/// beside that of large fp32 products, measured in turns in one process, and what a run with eight questions holds
/// beyond the weights.
/// </summary>
internal static class JudgeBenchmark
{
    private const int Rounds = 5, Side = 2048, Questions = 8;
    private const double BlipWork = 154e9, MplugWork = 785e9;

    internal static int Run()
    {
        NativeRuntime.EnsureLoaded();
        using var free = no_grad();
        var blip = Measure("BLIP-VQA", BlipWork, 480, new BlipVqaModel(BlipConfig.Vqa, new(META, ScalarType.Float32)),
            (model, pixels) => model.EncodeImages(pixels),
            (model, rows, ids, mask) => model.Logits(rows, ids, mask, 30522).Dispose());
        var mplug =
            Measure("mPLUG-large", MplugWork, 504, new MplugModel(MplugConfig.Large, new(META, ScalarType.Float32)),
            (model, pixels) => model.EncodeImage(pixels),
            (model, rows, ids, mask) => model.Answer(rows, ids, mask, 101, 102));
        return blip && mplug ? 0 : 1;
    }

    private static bool Measure<T>(string name, double work, int side, T model, Func<T, Tensor, Tensor> encode,
        Action<T, Tensor, Tensor, Tensor> ask) where T : nn.Module
    {
        using var scope = NewDisposeScope();
        using var own = model;
        using var self = Process.GetCurrentProcess();
        MetaTensors.Allocate(model, CPU);
        foreach (var parameter in model.parameters())
        {
            parameter.normal_(0, 0.02);
        }

        self.Refresh();
        var before = self.WorkingSet64;
        var pixels = randn(1, 3, side, side);
        var rows = encode(model, pixels);
        ask(model, rows, randint(1000, 2000, [Questions, 25], dtype: ScalarType.Int64),
            ones([Questions, 1, 1, 25], ScalarType.Bool));
        self.Refresh();
        var beyond = self.PeakWorkingSet64 - before;
        var (a, b) = (randn(Side, Side), randn(Side, Side));
        double[] models = new double[Rounds], products = new double[Rounds];
        for (var i = 0; i < Rounds; i++)
        {
            models[i] = Seconds(() => encode(model, pixels)) / work;
            products[i] = Seconds(() => a.matmul(b)) / (2.0 * Side * Side * Side);
        }

        var share = Timing.Median(products.Zip(models, (product, mine) => product / mine));
        Console.WriteLine(
            $"{name}, {get_num_threads()} threads: {1 / Timing.Median(models) / 1e9:0.0} GFLOP/s, large products "
            + $"{1 / Timing.Median(products) / 1e9:0.0} GFLOP/s, "
            + $"share {share:0.00}; {Timing.Median(models) * work:0.00} s an image");
        Console.WriteLine(
            $"  {Questions} questions at once: peak beyond the weights {beyond / (double)(1 << 30):0.00} GiB");
        return share >= 0.75 && beyond <= 2L << 30;
    }

    private static double Seconds(Func<Tensor> work)
    {
        var watch = Stopwatch.StartNew();
        work().Dispose();
        return watch.Elapsed.TotalSeconds;
    }
}
