using System.Diagnostics;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>Loading at full size: writes random bf16 weights, loads them in a process of its own, and compares with reading the files.</summary>
internal static class CheckpointBenchmark
{
    internal static int Run(string size)
    {
        var config = size == "7b" ? JanusConfig.Pro7B : JanusConfig.Pro1B;
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        try
        {
            Write(config, folder);
            var files = CheckpointFiles.Open(folder).Files;
            Console.WriteLine($"Janus-Pro-{size.ToUpperInvariant()}: {files.Sum(file => new FileInfo(file).Length) / 1e9:0.00} GB in {files.Count} files");
            Process.Start("sync").WaitForExit();
            Cat(folder);
            for (var i = 0; i < (size == "7b" ? 1 : 4); i++)
            {
                using var child = Process.Start(Environment.ProcessPath!, ["checkpoint-load", folder]);
                child.WaitForExit();
                Console.WriteLine($"  reading the files with cat: {Cat(folder):0.00} s");
            }

            return 0;
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    internal static int Load(string folder)
    {
        NativeRuntime.EnsureLoaded();
        using var warm = zeros(1);
        var before = Process.GetCurrentProcess().WorkingSet64;
        var watch = Stopwatch.StartNew();
        using var model = JanusFiles.Load(folder, new ComputeTarget(CPU, ScalarType.BFloat16));
        var seconds = watch.Elapsed.TotalSeconds;
        var self = Process.GetCurrentProcess();
        var (weights, peak) = (model.state_dict().Values.Sum(tensor => tensor.numel() * tensor.element_size()), self.PeakWorkingSet64);
        Console.WriteLine($"  loading: {seconds:0.00} s ({self.TotalProcessorTime.TotalSeconds:0.00} s of processor time); "
            + $"peak memory {peak / 1e9:0.00} GB for {weights / 1e9:0.00} GB of weights: {(double)peak / weights:0.000}, "
            + $"{(double)(peak - before) / weights:0.000} without the {before / 1e6:0} MB that the process had before");
        return 0;
    }

    // views of one pool of random numbers, so that writing needs no memory for the model
    private static void Write(JanusConfig config, string folder)
    {
        using var scope = NewDisposeScope();
        using var model = new Janus(config, new ComputeTarget(META, ScalarType.BFloat16));
        var shapes = model.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.shape);
        var pool = randn(1 << 22).mul(0.02).to(ScalarType.BFloat16).repeat([1 + shapes.Values.Max(Size) / (1 << 22)]);
        JanusFiles.SaveConfig(config, folder, JanusLayout.Original, ScalarType.BFloat16);
        Safetensors.SaveFolder(folder, shapes.Select(pair => KeyValuePair.Create(pair.Key, pool.narrow(0, 0, Size(pair.Value)).view(pair.Value))));
    }

    private static long Size(long[] shape) => shape.Aggregate(1L, (product, size) => product * size);

    private static double Cat(string folder)
    {
        var watch = Stopwatch.StartNew();
        using var cat = Process.Start("sh", ["-c", $"cat '{folder}'/*.safetensors > /dev/null"]);
        cat.WaitForExit();
        return watch.Elapsed.TotalSeconds;
    }
}
