// LoRA (Hu et al. 2021):  y = W x + (α / r) B A x,  A [r, in] ~ U(−1/√in, 1/√in), B [out, r] = 0, so that the start is
// exactly the model.
// Only A and B are trained. Merging: W ← W + (α / r) B A, in fp32 and rounded once to the type of W.
using ReasonGen.Core;
using ReasonGen.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static ReasonGen.Core.SettingRange;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Which layers get a low-rank addition, and how large it is.</summary>
public sealed record LoraConfig
{
    internal const int MostRank = 1 << 16; // above the width of every published model

    /// <summary>r, the rank of each addition. Default 16; at least 1 and at most 65536.</summary>
    public int Rank { get; init; } = 16;

    /// <summary>α; additions are scaled by α / r. Default 32; above 0.</summary>
    public double Alpha { get; init; } = 32;

    /// <summary>Last names of the language model's linear layers that get one. Default: all projections of attention
    /// and MLP.</summary>
    public IReadOnlyList<string> Targets { get; init; } = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
        "up_proj", "down_proj"];

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, Rank, Rank is >= 1 and <= MostRank, $"at least 1 and at most {MostRank}");
        Require(this, Alpha, Alpha > 0, "above 0");
        Require(this, Targets.Count, Targets.Count > 0, "at least 1");
    }
}

/// <summary>
/// A Janus of which only low-rank additions are trained: trainers and samplers take it in the model's place. While it
/// lives the model's own weights are frozen, and the model computes with the additions; disposing it takes them away,
/// <see cref="Merge"/> makes them permanent.
/// </summary>
public sealed class Lora : IImageTextModel, IDisposable
{
    private sealed record Addition(string Name, Linear Layer, Parameter A, Parameter B);

    private readonly Janus model;
    private readonly Parameter[] frozen;
    private readonly Addition[] additions;
    private readonly double scale;

    /// <param name="model">Stays the caller's.</param>
    /// <param name="config">Rank and targets.</param>
    /// <param name="seed">Of A.</param>
    /// <exception cref="ArgumentException">A setting is out of range, or the model lacks a target.</exception>
    public Lora(Janus model, LoraConfig config, long seed = 1)
    {
        config.Validate();
        (this.model, Config, scale) = (model, config, config.Alpha / config.Rank);
        var layers =
            model.named_modules().Where(m => m.name.StartsWith("language_model.") && m.module is Linear).ToArray();
        static string Last(string name) => name[(name.LastIndexOf('.') + 1)..];
        if (config.Targets.Except(layers.Select(layer => Last(layer.name))).ToArray() is { Length: > 0 } missing)
        {
            throw new ArgumentException($"the language model has no linear layer '{string.Join("', '", missing)}'; "
                + $"it has {string.Join(", ", layers.Select(layer => Last(layer.name)).Distinct())}");
        }

        frozen = [.. model.parameters().Where(parameter => parameter.requires_grad)];
        Array.ForEach(frozen, parameter => parameter.requires_grad = false);
        additions = [.. layers.Where(layer => config.Targets.Contains(Last(layer.name)))
            .Select((layer, i) => Add(layer.name, (Linear)layer.module, seed, i))];
    }

    public LoraConfig Config { get; }

    public Device Device => model.Device;

    public int VocabularySize => model.VocabularySize;

    public int Positions => model.Positions;

    public int CodebookSize => model.CodebookSize;

    /// <summary>A and B of every target, named as the PEFT library does.</summary>
    public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters() =>
        additions.SelectMany(a => new[] { ($"{a.Name}.lora_A.weight", a.A), ($"{a.Name}.lora_B.weight", a.B) });

    public Tensor Embed(Tensor ids, Tensor? imageMask = null) => model.Embed(ids, imageMask);

    public Tensor EmbedImageCodes(Tensor codes) => model.EmbedImageCodes(codes);

    public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
        KvCache? cache = null) =>
        model.Hidden(embeddings, attentionMask, positionIds, cache);

    public Tensor TextLogits(Tensor hidden) => model.TextLogits(hidden);

    public Tensor ImageLogits(Tensor hidden) => model.ImageLogits(hidden);

    public KvCache? NewCache(int rows, int tokens) => model.NewCache(rows, tokens);

    public Tensor DecodeImage(Tensor codes) => model.DecodeImage(codes);

    /// <summary>Adds the additions to the model's weights, for saving or for faster sampling, and starts again from
    /// zero ones.</summary>
    public void Merge()
    {
        using var free = no_grad();
        foreach (var addition in additions)
        {
            using var merged = Merged(addition);
            addition.Layer.Weight.copy_(merged);
            addition.B.zero_();
        }
    }

    private Tensor Merged(Addition addition) =>
        SamplingWeights.Merged(addition.Layer.Weight, addition.A, addition.B, scale);

    public void Dispose()
    {
        foreach (var addition in additions)
        {
            (addition.Layer.Adapter, addition.Layer.Merged) = (null, null);
            addition.A.Dispose();
            addition.B.Dispose();
        }

        Array.ForEach(frozen, parameter => parameter.requires_grad = true);
    }

    private Addition Add(string name, Linear layer, long seed, int index)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(seed, index);
        var (weight, bound) = (layer.Weight, 1 / Math.Sqrt(layer.Weight.shape[1]));
        var a = weight.device_type == DeviceType.META // nothing is drawn for a plan
            ? empty(Config.Rank, weight.shape[1], weight.dtype, weight.device)
            : rand(Config.Rank, weight.shape[1], ScalarType.Float32, CPU, generator: generator).mul(2 * bound)
                .sub(bound).to(weight.dtype, weight.device);
        var addition = new Addition(name, layer, Owned(a),
            Owned(zeros(weight.shape[0], Config.Rank, weight.dtype, weight.device)));
        layer.Adapter = (x, y) =>
        {
            using var pass = NewDisposeScope();
            return y.add(nn.functional.linear(nn.functional.linear(x, addition.A), addition.B), Held.Of(scale))
                .MoveToOuterDisposeScope();
        };
        layer.Merged = () => Merged(addition);
        return addition;
    }

    private static Parameter Owned(Tensor values) => (Parameter)new Parameter(values).DetachFromDisposeScope();
}
