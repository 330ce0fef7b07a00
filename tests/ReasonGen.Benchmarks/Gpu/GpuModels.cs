using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Qwen;
using ReasonGen.Setups;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Benchmarks.Gpu;

/// <summary>Models of published shapes whose random weights are made on the device.</summary>
internal static class GpuModels
{
    internal static string[] Shapes { get; } = ["1b", "7b"];

    /// <summary>The setup of a shape, or one of few weights that stands for it.</summary>
    internal static TrainingSetup Setup(string shape)
    {
        var setup = shape == "1b" ? TrainingSetup.Janus1B : TrainingSetup.Janus7B;
        return !GpuCheck.Small ? setup : setup with
        {
            Model = TinyJanus.Config with { Language = TinyJanus.Config.Language with { VocabularySize = 1000 } },
            PromptTokens = 24, Rollout =
                setup.Rollout with { MaxTextTokens = 12, ImageTokens = TinyJanus.Config.ImageTokens },
        };
    }

    internal static Janus Janus(string shape)
    {
        var (config, target) = (Setup(shape).Model, GpuCheck.Target);
        var model = new Janus(config, target with { Device = META });
        Fill(model, target.Device);
        model.Target = target;
        return model;
    }

    internal static QwenConfig Judge { get; } = GpuCheck.Small
        ? QwenConfig.Mini(1000, width: 64, layers: 2, visionWidth: 32, visionLayers: 2)
        : QwenConfig.Qwen7B;

    internal static QwenVl NewJudge()
    {
        var model = new QwenVl(Judge, GpuCheck.Target with { Device = META });
        Fill(model, GpuCheck.Target.Device);
        model.Target = GpuCheck.Target;
        return model;
    }

    /// <summary>Marks of a vocabulary of any size.</summary>
    internal static SpecialTokens Special { get; } = new(1, 2, 0, 3, 4, 5);

    private static void Fill(nn.Module module, Device device)
    {
        using var free = no_grad();
        MetaTensors.Allocate(module, device);
        foreach (var parameter in module.parameters())
        {
            parameter.normal_(0, 0.02);
        }

        foreach (var buffer in module.buffers().Where(buffer => buffer.is_floating_point()))
        {
            buffer.zero_();
        }
    }
}

/// <summary>A tokenizer for models that know nothing: a text is as many ids as it has letters.</summary>
internal sealed class AnyTokenizer(int vocabularySize, int tokens) : ITokenizer
{
    public int VocabularySize => vocabularySize;

    public SpecialTokens Special => GpuModels.Special;

    public int[] Encode(string text) =>
        [.. Enumerable.Range(0, tokens).Select(i => 10 + i * 7 % (vocabularySize - 10))];

    public string Decode(IEnumerable<int> ids) => "";
}
