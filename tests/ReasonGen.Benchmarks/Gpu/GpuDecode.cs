using System.Diagnostics;
using ReasonGen.Rollouts;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>Tokens a second of the kit's own sampler, for text, image, and image with guidance.</summary>
internal static class GpuDecode
{
    private static readonly int[] Batches = [1, 16, 64];

    internal static void Run()
    {
        foreach (var shape in GpuModels.Shapes)
        {
            using var scope = NewDisposeScope();
            using var model = GpuModels.Janus(shape);
            var language = model.Config.Language;
            // what every step reads of the decoder and its heads, and of keys and values for each row
            var layers = model.named_parameters().Where(p => p.name.Contains("language_model.model.layers."))
                .Sum(p => p.parameter.numel() * p.parameter.element_size());
            long Head(bool text) => model.named_parameters()
                .Where(p => p.name.StartsWith(text ? "language_model.lm_head" : "gen_head"))
                .Sum(p => p.parameter.numel() * p.parameter.element_size());
            var row = 4L * language.Layers * language.KeyValueHeads * language.HeadWidth * (GpuCheck.Context
                + GpuCheck.Steps / 2);
            foreach (var batch in Batches)
            {
                foreach (var (phase, guided) in new[] { ("text", false), ("image", false), ("image", true) })
                {
                    if (GpuCheck.Small && batch > 16)
                    {
                        continue;
                    }

                    var (seconds, launching) = new[] { Step(model, batch, phase, guided),
                        Step(model, batch, phase, guided) }.MinBy(one => one.Seconds);
                    GpuCheck.Say(new
                    {
                        part = "decode", shape, batch, phase, guided, ms_per_step = 1e3 * seconds,
                            tokens_per_s = batch / seconds, launching_ms = 1e3 * launching,
                        read_gb = (layers + Head(phase == "text") + row * batch * (guided ? 2 : 1)) / 1e9,
                    });
                }
            }
        }
    }

    // of a token: all, and until the device has been told all
    private static (double Seconds, double Launching) Step(Models.Janus model, int batch, string phase, bool guided)
    {
        using var scope = NewDisposeScope();
        var (tokens, told, last, watch, text) =
            (GpuCheck.Steps + GpuCheck.Warm, 0.0, 0.0, new Stopwatch(), phase == "text");
        // no text ends by itself: the marks that end it lie outside of what random weights ever draw all at once
        var sampler = new RolloutSampler(model, GpuModels.Special, new()
        {
            MaxTextTokens = text ? tokens : 0, ImageTokens = text ? 1 : tokens, GuidanceScale = guided ? 5 : 1,
        });
        var ids = randint(10, model.VocabularySize, [batch, GpuCheck.Context], ScalarType.Int64,
            device: GpuCheck.Target.Device);
        ids[.., 0] = GpuModels.Special.Bos;
        using var rollouts = sampler.Generate(ids, ones_like(ids), 1, done =>
        {
            if (done == GpuCheck.Warm)
            {
                GpuCheck.Wait();
                watch.Start();
            }
            else if (done == tokens)
            {
                told = watch.Elapsed.TotalSeconds;
                GpuCheck.Wait();
                last = watch.Elapsed.TotalSeconds;
            }
        });
        return last > 0 ? (last / GpuCheck.Steps, told / GpuCheck.Steps)
            : throw new InvalidOperationException("every row ended before its "
            + "time");
    }
}
