using System.Diagnostics;
using ReasonGen.Judges.Clip;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// Images through a CLIP of published size with random weights: the rate of its products beside that of large fp32
/// products, measured in turns in one
/// process, and its peak memory beyond the weights.
/// </summary>
internal static class ClipBenchmark
{
    private const int Rounds = 5, Side = 2048;

    internal static int Run(string which, int images)
    {
        using var child = Self.Start("clip-alone", which, images.ToString());
        child.WaitForExit();
        return child.ExitCode;
    }

    internal static int Measure(string which, int images)
    {
        var config = which switch { "b32" => ClipConfig.VitB32, "h14" => ClipConfig.VitH14, _ => ClipConfig.VitL14 };
        NativeRuntime.EnsureLoaded(); // and with it the allocator's settings
        using var free = no_grad();
        using var scope = NewDisposeScope();
        using (var tiny = new ClipModel(new(8, new(14, 7, 8, 1, 1, 8), new(4, 9, 8, 1, 1, 8), config.Activation),
            new(CPU, ScalarType.Float32)))
        {
            Fill(tiny);
            tiny.EncodeImages(randn(1, 3, 14, 14)).Dispose(); // libraries come in
        }

        using var self = Process.GetCurrentProcess();
        var before = self.WorkingSet64;
        using var model = new ClipModel(config, new(META, ScalarType.Float32));
        MetaTensors.Allocate(model, CPU);
        Fill(model);
        var weights = model.parameters().Sum(parameter => parameter.numel()) * 4;
        var pixels = randn(images, 3, config.Vision.ImageSize, config.Vision.ImageSize);
        var ids = arange(77).view(1, 77).expand(64, 77).contiguous();
        model.EncodeImages(pixels).Dispose();
        model.EncodeTexts(ids).Dispose();
        self.Refresh();
        var beyond = self.PeakWorkingSet64 - before - weights;
        var (a, b) = (randn(Side, Side), randn(Side, Side));
        double[] models = new double[Rounds], products = new double[Rounds];
        for (var i = 0; i < Rounds; i++)
        {
            models[i] = Seconds(() => model.EncodeImages(pixels)) / Operations(config, images);
            products[i] = Seconds(() => a.matmul(b)) / (2.0 * Side * Side * Side);
        }

        var share = Timing.Median(products.Zip(models, (product, own) => product / own));
        Console.WriteLine(
            $"{config.Architecture}, {images} images, {get_num_threads()} threads: "
            + $"{1 / Timing.Median(models) / 1e9:0.0} GFLOP/s, large "
            + $"products {1 / Timing.Median(products) / 1e9:0.0} GFLOP/s, "
            + $"share {share:0.00}; {images / (Timing.Median(models) * Operations(config, images)):0.00} images/s");
        Console.WriteLine(
            $"  weights {weights / (double)(1 << 30):0.00} GiB, peak beyond "
            + $"them {beyond / (double)(1 << 30):0.00} GiB");
        return share >= 0.75 && beyond <= 2L << 30 ? 0 : 1;
    }

    private static void Fill(ClipModel model)
    {
        foreach (var parameter in model.parameters())
        {
            parameter.normal_(0, 0.02);
        }
    }

    // multiplications and additions of the products
    private static double Operations(ClipConfig config, int images)
    {
        double tokens = config.Vision.Patches + 1, width = config.Vision.Width, patch =
            3.0 * config.Vision.PatchSize * config.Vision.PatchSize;
        var block = 2 * tokens * width * (4 * width + 2 * config.Vision.MlpWidth) + 4 * tokens * tokens * width;
        return images * (2 * config.Vision.Patches * patch * width + config.Vision.Layers * block);
    }

    private static double Seconds(Func<Tensor> work)
    {
        var watch = Stopwatch.StartNew();
        work().Dispose();
        return watch.Elapsed.TotalSeconds;
    }
}
