using ReasonGen.Models;
using ReasonGen.Sft;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>
/// A training step of one micro-batch, forward, backward and update, LoRA of rank 16, activations computed again.
/// </summary>
internal static class GpuTrain
{
    private static readonly int[] Rows = [2, 4];

    internal static void Run()
    {
        foreach (var shape in GpuModels.Shapes)
        {
            foreach (var rows in Rows)
            {
                var setup = GpuModels.Setup(shape).WithLora(16).WithMicroBatch(rows);
                using var model = GpuModels.Janus(shape);
                var policy = setup.Prepare(model);
                using var lora = policy as Lora;
                using var trainer = new SftTrainer(policy, step =>
                    Batch(model, rows, step), GpuModels.Special.BeginOfImage, setup.Sft);
                var tokens = 0L;
                var seconds = GpuCheck.Seconds(() => tokens = trainer.Step().Tokens);
                GpuCheck.Say(new { part = "train", shape, lora = true, rows, tokens, ms = 1e3 * seconds,
                    tokens_per_s = tokens / seconds });
            }
        }
    }

    private static SftBatch Batch(Janus model, int rows, long step)
    {
        var random = new Random((int)step);
        int text = GpuCheck.Small ? 16 : 121; // with the marks around the image 124 tokens beside it
        return SftBatch.Build([.. Enumerable.Range(0, rows).Select(_ => new SftSample(
            [.. Enumerable.Range(0, text / 2).Select(_ => random.Next(10, model.VocabularySize))],
            [.. Enumerable.Range(0, text - text / 2).Select(_ => random.Next(10, model.VocabularySize))],
            [.. Enumerable.Range(0, model.Config.ImageTokens).Select(_ => (long)random.Next(model.CodebookSize))]))],
            GpuModels.Special, device: GpuCheck.Target.Device);
    }
}
