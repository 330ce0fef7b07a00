using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Tensors under mmdetection's names, and the layers they make. Maps are [h, w, C] or rows of tokens [hw, C]:
/// channels last.</summary>
internal sealed class Weights(IReadOnlyDictionary<string, Tensor> tensors, string prefix = "")
{
    /// <summary>A tensor.</summary>
    internal Tensor this[string name] => tensors[prefix + name];

    /// <summary>A tensor that only some models have; null where it is not there.</summary>
    internal Tensor? Find(string name) => tensors.GetValueOrDefault(prefix + name);

    /// <summary>Those whose names go on after a dot.</summary>
    internal Weights At(string name) => new(tensors, $"{prefix}{name}.");

    /// <summary>y = W x + b, without b where the file has none; a convolution of one pixel too.</summary>
    internal Tensor Linear(string name, Tensor x)
    {
        var weight = this[name + ".weight"];
        return functional.linear(x, weight.dim() == 2 ? weight : weight.flatten(1),
            Find(name + ".bias"));
    }

    /// <summary>Layer norm over the channels, ε 1e-5.</summary>
    internal Tensor LayerNorm(string name, Tensor x) => functional.layer_norm(x, [x.shape[^1]], this[name + ".weight"],
        this[name + ".bias"], 1e-5);

    /// <summary>Group norm of a map [h, w, C], 32 groups, ε 1e-5.</summary>
    internal Tensor GroupNorm(string name, Tensor map) =>
        Last(functional.group_norm(First(map), Mask2FormerConfig.NormGroups,
        this[name + ".weight"], this[name + ".bias"], 1e-5));

    /// <summary>Two layers with a function between them, beside what they are added to: x + W₂ f(W₁ x).</summary>
    internal Tensor AddMlp(string name, Tensor input, Tensor added, Func<Tensor, Tensor> activation)
    {
        using var scope = NewDisposeScope();
        var inner = activation(Linear(name + ".layers.0.0", input));
        return Linear(name + ".layers.1", inner).add_(added).MoveToOuterDisposeScope();
    }

    /// <summary>A map [h, w, C] as libtorch's convolutions want it, [1, C, h, w], without moving anything.</summary>
    internal static Tensor First(Tensor map) => map.permute(2, 0, 1).unsqueeze(0);

    /// <summary>[1, C, h, w] → [h, w, C].</summary>
    internal static Tensor Last(Tensor map) => map.squeeze(0).permute(1, 2, 0).contiguous();
}
