using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Devices;

/// <summary>What a GPU is asked to do for one token.</summary>
internal static class DecodeLaunches
{
    /// <summary>Names and how often, the most frequent first.</summary>
    internal static string Counts(IEnumerable<string> names) => string.Join(", ",
        names.CountBy(name => name).OrderByDescending(pair => pair.Value).Select(pair => $"{pair.Value} {pair.Key}"));

    /// <summary>
    /// Launches of an image token of two rows. Their number depends on layers, not on widths; fp16 is to the CPU what
    /// bf16 is to the GPU, a type without kernels of our own.
    /// </summary>
    /// <param name="language">Gives the layers.</param>
    /// <param name="rank">Of a LoRA; 0 for none.</param>
    /// <param name="asCpu">Counts what a CPU does instead.</param>
    internal static List<string> OfToken(LlamaConfig language, int rank = 0, bool asCpu = false)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var small = TinyJanus.Config with
        {
            Vision = null, Language = TinyJanus.Config.Language with { Layers = language.Layers },
        };
        using var model = new Janus(small, new ComputeTarget(CPU, ScalarType.Float16));
        using var lora = rank == 0 ? null : new Lora(model, new() { Rank = rank });
        IImageTextModel policy = lora is null ? model : lora;
        DeviceKernels.OnCpuToo = !asCpu;
        try
        {
            using var generator = Seeds.Torch(1);
            Tensor Noise(Tensor like) => DeviceKernels.Noise(like, generator);
            var prompt = ones(2, 3, ScalarType.Int64, CPU);
            using var state = new DecodeState(policy, policy.Embed(prompt), prompt, policy.NewCache(2, 11), 8);
            var (next, _) = TokenSampler.Draw(policy.ImageLogits(state.Hidden).squeeze(1), 1, false, Noise);
            using var log = new OperatorLog();
            state.Append(policy.EmbedImageCodes(next));
            _ = TokenSampler.Draw(policy.ImageLogits(state.Hidden).squeeze(1), 1, false, Noise);
            return log.Launches;
        }
        finally
        {
            DeviceKernels.OnCpuToo = false;
        }
    }
}
