using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks;

/// <summary>What questions about one image cost beside a single one, at the small Qwen fixture's shape; and the rules
/// on images of the world.</summary>
internal static class ScoreBenchmark
{
    private const int Repeats = 25, Tokens = 324, Question = 18;

    internal static int Run()
    {
        // tests/golden/qwen25vl: width 64, 2 layers; an image of 504 pixels, as the judge sees one of 384
        var config = new QwenConfig
        {
            Language = new()
            {
                VocabularySize = 256, Width = 64, MlpWidth = 64, Layers = 2, Heads = 4, KeyValueHeads = 2,
                    RopeTheta = 1e6, RopeSections = [2, 3, 3], AttentionBias = true,
            },
            Vision = new() { Layers = 3, Width = 32, MlpWidth = 36, Heads = 2, WindowSize = 56,
                FullAttentionLayers = [1] },
            ImageToken = 251, VisionStart = 248, EndTokens = [247], Pad = 245,
        };
        using var model = new QwenVl(config, new ComputeTarget(CPU, ScalarType.Float32));
        model.Initialize(1);
        var processor = QwenProcessor.For(config.Vision);
        var image = new RgbImage(504, 504, [.. Enumerable.Range(0, 504 * 504 * 3).Select(i => (byte)(i * 37 >> 3))]);
        long[][] questions = [.. Enumerable.Range(0, 16).Select(q => Enumerable.Range(0, Question)
            .Select(i => (long)(1 + (q * 31 + i * 7) % 200)).ToArray())];
        void Ask(int count)
        {
            using var scope = NewDisposeScope();
            var (patches, grids) = processor.Process([image]);
            var ids = tensor((long[])[7, 8, 9, 248, .. Enumerable.Repeat(251L, Tokens), 249]).unsqueeze(0);
            model.NextLogits(new(ids, ones_like(ids), patches, grids), questions[..count]).Dispose();
        }

        int[] counts = [1, 4, 8, 16];
        var times = counts.ToDictionary(count => count, _ => new List<double>());
        foreach (var count in counts)
        {
            Ask(count);
        }

        for (var i = 0; i < Repeats; i++) // in turn, so that a busy machine slows all alike
        {
            foreach (var count in counts)
            {
                var watch = Stopwatch.StartNew();
                Ask(count);
                times[count].Add(watch.Elapsed.TotalSeconds);
            }
        }

        double one = Timing.Median(times[1]), best = times[1].Min();
        foreach (var count in counts)
        {
            Console.WriteLine(
                $"{count,2} questions about one "
                + $"image: {Timing.Median(times[count]) * 1000:0.0} ms, "
                + $"{Timing.Median(times[count]) / one:0.00} x one question; "
                + $"fastest {times[count].Min() * 1000:0.0} ms, {times[count].Min() / best:0.00} x");
        }

        var prompts = Enumerable.Range(0, 256).Select(i => Prompts.Draw(Seeds.Random(1, i))).ToArray();
        var images = prompts.Select((prompt, i) => Renderer.Render(Scene.For(prompt, Seeds.Random(2, i)),
            new WorldConfig(), i)).ToArray();
        var right = 0;
        var rules = Enumerable.Range(0, Repeats).Select(_ =>
        {
            var watch = Stopwatch.StartNew();
            right = prompts.Zip(images).Count(pair => WorldScoring.Judge(pair.Second, pair.First).Correct);
            return watch.Elapsed.TotalSeconds;
        }).ToArray();
        Console.WriteLine(
            $"256 images of the world by GenEval's rules: {Timing.Median(rules) * 1000:0} ms, {right} right");
        return 0;
    }
}
