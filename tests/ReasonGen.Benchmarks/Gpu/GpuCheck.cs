using System.Diagnostics;
using Newtonsoft.Json;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Native;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>
/// The kit's half of environment/gpu-check.sh: speed and memory at the published shapes with random weights, one line
/// of json a
/// figure, as environment/gpu-peer.py prints them of PyTorch and transformers.
/// <code>gpu --device cuda|cpu [--small] [--only info,decode,train,judge,memory]</code>
/// </summary>
internal static class GpuCheck
{
    /// <summary>Tokens before the timed ones, timed tokens, and tokens in between that are not timed.</summary>
    internal const int Context = 256, Steps = 48, Warm = 4;

    /// <summary>Whether every width is shrunk, so that a CPU can try all of it.</summary>
    internal static bool Small { get; private set; }

    internal static ComputeTarget Target { get; private set; } = null!;

    internal static bool IsCuda => Target.Device.type == TorchSharp.DeviceType.CUDA;

    internal static int Run(string[] arguments)
    {
        string? Value(string option) =>
            Array.IndexOf(arguments, option) is >= 0 and var at ? arguments.ElementAtOrDefault(at + 1) : null;
        Small = arguments.Contains("--small");
        try
        {
            NativeRuntime.EnsureLoaded();
        }
        catch (PlatformNotSupportedException e)
        {
            Console.Error.WriteLine(e.Message);
            return 2;
        }

        var wanted = Value("--device") ?? "cuda";
        if (wanted != "cpu" && !cuda.is_available())
        {
            Console.Error.WriteLine($"There is no GPU that libtorch can use ({NativeRuntime.LibTorch}).");
            return 2;
        }

        Target = new(wanted == "cpu" ? CPU : CUDA, ScalarType.BFloat16);
        (string Name, Action Measure)[] parts =
            [("info", Info), ("decode", GpuDecode.Run), ("train", GpuTrain.Run), ("judge", GpuJudge.Run),
                ("memory", GpuMemory.Run)];
        var only = Value("--only")?.Split(',');
        var failed = false;
        foreach (var (name, measure) in parts.Where(part => only is null || only.Contains(part.Name)))
        {
            try
            {
                measure();
            }
            catch (Exception e) // one part's failure must not cost the others
            {
                failed = true;
                Say(new { part = name, error = $"{e.GetType().Name}: {e.Message.Split('\n')[0]}" });
            }

            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        if (CudaGraph.Refused > 0)
        {
            Say(new { part = "info", graphs_refused = CudaGraph.Refused });
        }

        return failed ? 1 : 0;
    }

    /// <summary>Prints a figure.</summary>
    internal static void Say(object figure)
    {
        Console.WriteLine(JsonConvert.SerializeObject(figure));
        Console.Out.Flush();
    }

    /// <summary>Waits for the device.</summary>
    internal static void Wait()
    {
        if (IsCuda)
        {
            cuda.synchronize();
        }
    }

    /// <summary>Median seconds of some work, after it has run twice.</summary>
    internal static double Seconds(Action work, int repeats = 3, int warm = 1)
    {
        double Once()
        {
            using var scope = NewDisposeScope();
            Wait();
            var watch = Stopwatch.StartNew();
            work();
            Wait();
            return watch.Elapsed.TotalSeconds;
        }

        _ = Enumerable.Range(0, warm).Select(_ => Once()).Sum();
        return Timing.Median(Enumerable.Range(0, repeats).Select(_ => Once()).ToArray());
    }

    // what the device's memory and its matrix products reach by themselves
    private static void Info()
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        Say(new
        {
            part = "info", device = Target.Device.ToString(), libtorch = NativeRuntime.LibTorch,
            graphs = CudaGraph.IsPossible,
            torchsharp = typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(3),
        });
        var from = zeros(1L << (Small ? 22 : 31), ScalarType.Byte, Target.Device);
        var to = empty_like(from);
        Say(new { part = "info", copy_tb_per_s = 2 * from.numel() / Seconds(() => to.copy_(from), 5, 2) / 1e12 });
        long n = Small ? 256 : 8192;
        var (x, y) = (randn([n, n], device: Target.Device).to(ScalarType.BFloat16),
            randn([n, n], device: Target.Device).to(ScalarType.BFloat16));
        Say(new { part = "info", bf16_tflops = 2.0 * n * n * n / Seconds(() => x.matmul(y), 5, 2) / 1e12 });
    }
}
