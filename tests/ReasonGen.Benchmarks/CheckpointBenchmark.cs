using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Benchmarks;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Qwen;
using TorchSharp;
using static TorchSharp.torch;

/// <summary>Loading at full size: writes random bf16 weights, loads them in a process of its own, and compares with
/// reading the files.</summary>
internal static class CheckpointBenchmark
{
    internal static int Run(string size)
    {
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        try
        {
            Write(size, folder);
            var files = CheckpointFiles.Open(folder).Files;
            Console.WriteLine(
                $"{size}: {files.Sum(file => new FileInfo(file).Length) / 1e9:0.00} GB in {files.Count} files");
            Process.Start("sync").WaitForExit();
            Cat(folder);
            for (var i = 0; i < 4; i++)
            {
                using var child = Self.Start("checkpoint-load", folder);
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
        var target = new ComputeTarget(CPU, ScalarType.BFloat16);
        using nn.Module model = JanusFiles.ModelType(folder) == "qwen2_5_vl" ? QwenVl.Load(folder, target)
            : JanusFiles.Load(folder, target);
        var seconds = watch.Elapsed.TotalSeconds;
        var self = Process.GetCurrentProcess();
        var (weights, peak) =
            (model.state_dict().Values.Sum(tensor => tensor.numel() * tensor.element_size()), self.PeakWorkingSet64);
        Console.WriteLine(
            $"  loading: {seconds:0.00} s ({self.TotalProcessorTime.TotalSeconds:0.00} s of processor time); "
            + $"peak memory {peak / 1e9:0.00} GB for {weights / 1e9:0.00} GB of weights: "
            + $"{(double)peak / weights:0.000}, {(double)(peak - before) / weights:0.000} without "
            + $"the {before / 1e6:0} MB that the process had before");
        return 0;
    }

    // views of one pool of random numbers, so that writing needs no memory for the model
    private static void Write(string size, string folder)
    {
        using var scope = NewDisposeScope();
        var target = new ComputeTarget(META, ScalarType.BFloat16);
        using nn.Module model = size switch
        {
            "qwen-3b" => new QwenVl(QwenConfig.Qwen3B, target), "qwen-7b" => new QwenVl(QwenConfig.Qwen7B, target),
                "7b" => new Janus(JanusConfig.Pro7B, target), _ => new Janus(JanusConfig.Pro1B, target),
        };
        var shapes = model.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.shape);
        var pool = randn(1 << 22).mul(0.02).to(ScalarType.BFloat16).repeat([1 + shapes.Values.Max(Size) / (1 << 22)]);
        if (model is Janus janus)
        {
            JanusFiles.SaveConfig(janus.Config, folder, JanusLayout.Original, ScalarType.BFloat16);
        }
        else
        {
            File.WriteAllText(Path.Combine(folder, "config.json"), QwenJson(((QwenVl)model).Config).ToString());
        }

        Safetensors.SaveFolder(folder,
            shapes.Select(pair => KeyValuePair.Create(pair.Key, pool.narrow(0, 0, Size(pair.Value)).view(pair.Value))));
    }

    // what config.json must say of sizes; the rest is as published
    private static JObject QwenJson(QwenConfig config) => new()
    {
        ["model_type"] = "qwen2_5_vl", ["hidden_size"] = config.Language.Width,
        ["intermediate_size"] = config.Language.MlpWidth, ["num_hidden_layers"] = config.Language.Layers,
        ["num_attention_heads"] = config.Language.Heads, ["num_key_value_heads"] = config.Language.KeyValueHeads,
        ["vocab_size"] = config.Language.VocabularySize,
        ["rope_theta"] = 1e6, ["rms_norm_eps"] = 1e-6, ["tie_word_embeddings"] = config.TiedHead,
        ["image_token_id"] = 151655, ["bos_token_id"] = 151643, ["eos_token_id"] = 151645,
        ["vision_start_token_id"] = 151652,
        ["rope_scaling"] = new JObject { ["type"] = "mrope", ["mrope_section"] = new JArray(16, 24, 24) },
        ["vision_config"] = new JObject
        {
            ["depth"] = 32, ["hidden_size"] = 1280, ["num_heads"] = 16, ["intermediate_size"] = 3420, ["in_chans"] = 3,
            ["patch_size"] = 14, ["temporal_patch_size"] = 2, ["spatial_merge_size"] = 2,
            ["window_size"] = 112, ["fullatt_block_indexes"] = new JArray(7, 15, 23, 31),
            ["out_hidden_size"] = config.Language.Width,
        },
    };

    private static long Size(long[] shape) => shape.Aggregate(1L, (product, size) => product * size);

    private static double Cat(string folder)
    {
        var watch = Stopwatch.StartNew();
        using var cat = Process.Start("sh", ["-c", $"cat '{folder}'/*.safetensors > /dev/null"]);
        cat.WaitForExit();
        return watch.Elapsed.TotalSeconds;
    }
}
