using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Text;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>
/// Drawing image tokens at the size of Janus-Pro-1B in bf16, random weights, beside what memory allows: every token reads all weights of the
/// decoder and of the image head once.
/// </summary>
internal static class DecodeBenchmark
{
    private const int PromptTokens = 24, Tokens = 40;
    private static readonly LlamaConfig Size = JanusConfig.Pro1B.Language;

    internal static int Run()
    {
        NativeRuntime.EnsureLoaded();
        using var model = FilledJanus.Make(JanusConfig.Pro1B with { Vision = null }, ScalarType.BFloat16);
        bool IsRead(string name) => name.Contains(".layers.") && !name.StartsWith("gen_vision_model") || name.StartsWith("gen_head") || name.StartsWith("gen_aligner")
            || name.EndsWith("model.norm.weight");
        var bytes = model.named_parameters().Where(p => IsRead(p.name)).Sum(p => p.parameter.numel() * p.parameter.element_size());
        Console.WriteLine($"{bytes / 1e9:0.000} GB of weights a token, {get_num_threads()} threads");
        var sampler = new RolloutSampler(model, new SpecialTokens(100000, 100001, 100002, 100016, 100593, 100594),
            new() { TextBudget = 0, ImageTokens = Tokens });
        var seconds = new Dictionary<int, double>();
        for (var round = 0; round < 3; round++)
        {
            var bandwidth = Bandwidth();
            var (products, libtorch) = Products(model);
            Console.WriteLine($"  reading memory: {bandwidth.Median:0.0} GB/s (at best {bandwidth.Fastest:0.0}), hence at most {bandwidth.Median * 1e9 / bytes:0.00} steps/s ({bandwidth.Fastest * 1e9 / bytes:0.00}); "
                + $"the matrix products alone at batch 1: {products:0.00} steps/s, by libtorch {libtorch:0.00}");
            foreach (var rows in round == 2 ? new[] { 1, 16 } : [1])
            {
                var (median, fastest) = Step(sampler, rows);
                seconds[rows] = median;
                Console.WriteLine($"  batch {rows}: {1 / median:0.00} steps/s, {rows / median:0.0} tokens/s, {bytes / median / bandwidth.Median / 1e9:0.00} of the bound "
                    + $"(the fastest step {bytes / fastest / bandwidth.Fastest / 1e9:0.00} of the best), {1 / median / products:0.00} of the products");
            }
        }

        foreach (var (rows, ours) in seconds)
        {
            Console.WriteLine($"  batch {rows}:");
            PlainPyTorch.Compare(ours, rows, "tokens", "decode", Size.Width, Size.MlpWidth, Size.Layers, Size.Heads, JanusConfig.Pro1B.ImageTokenizer.CodebookSize,
                PromptTokens, rows == 1 ? 16 : 5, rows, get_num_threads(), "bfloat16");
        }

        return 0;
    }

    // sums over more memory than any cache holds, in GB/s
    private static (double Median, double Fastest) Bandwidth()
    {
        using var block = ones(1L << 28); // 1 GiB of fp32
        double[] seconds = [.. Enumerable.Range(0, 15).Select(_ => Seconds(() => block.sum().Dispose())).Order()];
        return (block.numel() * 4 / 1e9 / seconds[seconds.Length / 2], block.numel() * 4 / 1e9 / seconds[0]);
    }

    // all matrices of a step with one row each
    private static (double Ours, double Libtorch) Products(Janus model)
    {
        using var free = no_grad();
        Projection[] layers = [.. model.named_modules().Where(m => m.module is Projection
            && (m.name.Contains("model.layers.") || m.name.StartsWith("gen_head"))).Select(m => (Projection)m.module)];
        var inputs = layers.ToDictionary(layer => layer, layer => ones(1, 1, layer.Weight.shape[1], ScalarType.BFloat16));
        double Rate(Func<Projection, Tensor> product)
        {
            void All() => Array.ForEach(layers, layer => product(layer).Dispose());
            All();
            return 1 / Enumerable.Range(0, 7).Select(_ => Seconds(All)).Order().ElementAt(3);
        }

        return (Rate(layer => layer.forward(inputs[layer])), Rate(layer => nn.functional.linear(inputs[layer], layer.Weight)));
    }

    private static (double Median, double Fastest) Step(RolloutSampler sampler, int rows)
    {
        using var scope = NewDisposeScope();
        var ids = randint(100, 90000, [rows, PromptTokens], ScalarType.Int64);
        ids[.., 0] = 100000;
        var times = new List<double>();
        var watch = Stopwatch.StartNew();
        using var rollouts = sampler.Generate(ids, ones_like(ids), 1, _ =>
        {
            times.Add(watch.Elapsed.TotalSeconds);
            watch.Restart();
        });
        double[] sorted = [.. times.Skip(4).Order()];
        return (sorted[sorted.Length / 2], sorted[0]);
    }

    private static double Seconds(Action work)
    {
        var watch = Stopwatch.StartNew();
        work();
        return watch.Elapsed.TotalSeconds;
    }
}
