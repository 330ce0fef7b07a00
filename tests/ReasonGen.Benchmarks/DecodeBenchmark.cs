using System.Diagnostics;
using System.Numerics;
using System.Runtime.CompilerServices;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using TorchSharp.Modules;
using static ReasonGen.Benchmarks.Timing;
using static TorchSharp.torch;
using Linear = ReasonGen.Models.Linear;

namespace ReasonGen.Benchmarks;

/// <summary>
/// Drawing image tokens at the size of Janus-Pro-1B in bf16, random weights, beside what memory allows: every token
/// reads all weights of the decoder and of the image head once.
/// </summary>
internal static class DecodeBenchmark
{
    private const int PromptTokens = 24, Tokens = 40;
    private static readonly LlamaConfig Size = JanusConfig.Pro1B.Language;

    internal static int Run()
    {
        NativeRuntime.EnsureLoaded();
        using var model = FilledJanus.Make(JanusConfig.Pro1B with { Vision = null }, ScalarType.BFloat16);
        bool IsRead(string name) =>
            name.Contains(".layers.") && !name.StartsWith("gen_vision_model") || name.StartsWith("gen_head")
                || name.StartsWith("gen_aligner")
            || name.EndsWith("model.norm.weight");
        var bytes = model.named_parameters().Where(p => IsRead(p.name))
            .Sum(p => p.parameter.numel() * p.parameter.element_size());
        Console.WriteLine($"{bytes / 1e9:0.000} GB of weights a token, {get_num_threads()} threads");
        var sampler = new RolloutSampler(model, new SpecialTokens(100000, 100001, 100002, 100016, 100593, 100594),
            new() { MaxTextTokens = 0, ImageTokens = Tokens });
        Step(sampler, 1);
        // what else the machine's memory serves changes by the second: both in turn
        var rounds = new List<(double Bound, double Step)>();
        for (var round = 0; round < 10; round++)
        {
            rounds.Add((Bandwidth() * 1e9 / bytes, 1 / Step(sampler, 1)));
            var (bound, rate) = rounds[^1];
            Console.WriteLine(
                $"  reading memory {bound * bytes / 1e9:0.0} GB/s, hence at most {bound:0.00} steps/s; batch "
                + $"1: {rate:0.00} steps/s, {rate / bound:0.00} of it");
        }

        Console.WriteLine(
            $"  median: {Median(rounds.Select(round => round.Step / round.Bound)):0.00} of what reading memory allows");
        foreach (var rows in new[] { 1, 2, 16 })
        {
            var (products, libtorch) = (Products(model, rows, ours: true), Products(model, rows, ours: false));
            var seconds = Step(sampler, rows);
            Console.WriteLine(
                $"  batch {rows}: {1 / seconds:0.00} steps/s, {rows / seconds:0.0} tokens/s; the matrix products "
                + $"alone {products:0.00}, by libtorch {libtorch:0.00}");
            PlainPyTorch.Compare(seconds, rows, "tokens", "decode", Size.Width, Size.MlpWidth, Size.Layers, Size.Heads,
                JanusConfig.Pro1B.ImageTokenizer.CodebookSize,
                PromptTokens, rows == 1 ? 16 : 5, rows, get_num_threads(), "bfloat16");
        }

        return 0;
    }

    // reading more memory than any cache holds, in GB/s
    private static unsafe double Bandwidth()
    {
        using var block = ones(1L << 28); // 1 GiB of fp32
        var (threads, stream) = (get_num_threads(), block.numel() / get_num_threads() / 4);
        fixed (byte* bytes = block.bytes)
        {
            var first = (nint)bytes;
            return block.numel() * 4 / 1e9
                / Median(Enumerable.Range(0, 9).Select(_ => Seconds(() => Parallel.For(0, threads,
                new() { MaxDegreeOfParallelism = threads },
                thread => Sum((float*)first + 4 * stream * thread, stream)))));
        }
    }

    // four places in turn: faster than one after the other, as libtorch's sum reads
    [MethodImpl(MethodImplOptions.AggressiveOptimization | MethodImplOptions.NoInlining)]
    private static unsafe float Sum(float* from, long stream)
    {
        Vector<float> a = default, b = default, c = default, d = default;
        for (var i = 0L; i < stream; i += Vector<float>.Count)
        {
            a += Vector.Load(from + i);
            b += Vector.Load(from + i + stream);
            c += Vector.Load(from + i + 2 * stream);
            d += Vector.Load(from + i + 3 * stream);
        }

        return Vector.Sum(a + b + c + d);
    }

    // all matrices of a step, in steps/s
    private static double Products(Janus model, int rows, bool ours)
    {
        using var free = no_grad();
        Linear[] layers = [.. model.named_modules().Where(m => m.module is Linear
            && (m.name.Contains("model.layers.") || m.name.StartsWith("gen_head"))).Select(m => (Linear)m.module)];
        var inputs =
            layers.ToDictionary(layer => layer, layer => ones(rows, 1, layer.Weight.shape[1], ScalarType.BFloat16));
        void All() =>
            Array.ForEach(layers,
                layer => (ours ? layer.forward(inputs[layer]) : nn.functional.linear(inputs[layer], layer.Weight))
                    .Dispose());
        All();
        return 1 / Median(Enumerable.Range(0, 5).Select(_ => Seconds(All)));
    }

    // seconds a token
    private static double Step(RolloutSampler sampler, int rows)
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
        return Median(times.Skip(4));
    }

    private static double Seconds(Action work)
    {
        var watch = Stopwatch.StartNew();
        work();
        return watch.Elapsed.TotalSeconds;
    }
}
