using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Qwen;
using static TorchSharp.torch;

namespace ReasonGen.Setups;

/// <summary>What a judge on the same device takes there.</summary>
/// <param name="Rows">Its weights, and what it needs while it answers.</param>
public sealed record PlannedJudge(IReadOnlyList<MemoryRow> Rows)
{
    private const int PromptTokens = 800; // 324 of the image, instructions and prompt

    /// <summary>Bytes that it needs while it answers, besides its weights.</summary>
    internal double Answering => Rows.Where(row => row.When == MemoryPhase.Judging).Sum(row => row.Bytes);

    /// <summary>A Qwen2.5-VL.</summary>
    /// <param name="name">In the plan.</param>
    /// <param name="sizes">Of the model.</param>
    /// <param name="type">Of its weights.</param>
    /// <param name="images">Judged together, at least 1; null for as many as on a GPU, 32.</param>
    /// <param name="maxTokens">Most tokens of an answer, at least 1; null for the paper's 1024.</param>
    public static PlannedJudge Of(string name, QwenConfig sizes, ScalarType type, int? images = null,
        int? maxTokens = null)
    {
        NativeRuntime.EnsureLoaded();
        using var model = new QwenVl(sizes, new ComputeTarget(META, type));
        var (language, size) = (sizes.Language, (double)ElementTypes.SizeOf(type));
        double rows = images ?? JudgeConfig.OnGpu.ImagesPerBatch,
            tokens = PromptTokens + (maxTokens ?? JudgeConfig.OnGpu.MaxTokens);
        return new(
        [
            new(name, MemoryPhase.Always, model.Weights().Sum(p => p.Parameter.numel()) * size, type switch
            {
                ScalarType.BFloat16 => "bf16",
                ScalarType.Float32 => "fp32",
                _ => $"{type}",
            }),
            new($"{name}'s weights while it answers", MemoryPhase.Judging,
                language.Layers * MemoryPlan.SampledLayer(language, false) * size, "copies, joined"),
            new($"{name}'s KV cache", MemoryPhase.Judging,
                2 * language.Layers * rows * tokens * language.KeyValueHeads * language.HeadWidth * size,
                $"{rows} images at a time, answers of up to {tokens - PromptTokens} tokens"),
        ]);
    }

    /// <summary>A judge of which the weights alone are known.</summary>
    /// <param name="name">In the plan.</param>
    /// <param name="bytes">Of its weights.</param>
    public static PlannedJudge Of(string name, double bytes) => new([new(name, MemoryPhase.Always, bytes,
        "its weights; what it needs while it scores is not counted")]);
}
