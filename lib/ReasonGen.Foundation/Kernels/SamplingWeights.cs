// Layers that read the same x, as one product: y = [W₁; W₂; …] x. And low-rank additions taken into the weights:
// W + s B A, rounded once. Both are copies that live as long as one sampling, in which no weight changes: nothing has
// to be undone, and the weights that are trained stay exactly what they are.
// Deviation: of additions that are small beside the weights the rounding to bf16 leaves little in the first steps of a
// run, so that rollouts lag behind the policy that is trained; log-probs, the ratio's included, are of the latter.
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Weights as sampling wants them on a GPU, made when they are first used.</summary>
internal sealed class SamplingWeights : IDisposable
{
    /// <summary>Most weights of layers that are joined; larger ones are bound by memory, and the start of a kernel is
    /// nothing to them.</summary>
    internal const long LargestJoined = 1 << 25;

    private readonly Dictionary<object, DenseLayer[]> made = [];
    private readonly List<Tensor> owned = [];

    /// <summary>What layers give for the same x; joined along the last dimension to one where that pays.</summary>
    /// <param name="x">[..., in].</param>
    /// <param name="key">Stands for the layers.</param>
    /// <param name="layers">Gives each with its additions, and whether the weight is a copy made for this.</param>
    internal Tensor[] Products(Tensor x, object key, Func<(DenseLayer Layer, bool IsCopy)[]> layers)
    {
        if (!made.TryGetValue(key, out var ready))
        {
            made.Add(key, ready = Make(layers()));
        }

        return Array.ConvertAll(ready, layer => nn.functional.linear(x, layer.Weight, layer.Bias));
    }

    private DenseLayer[] Make((DenseLayer Layer, bool IsCopy)[] layers)
    {
        using var free = no_grad();
        var (outputs, inputs) = (layers.Sum(one => one.Layer.Outputs), layers[0].Layer.Inputs);
        foreach (var (layer, _) in layers.Where(one => one.IsCopy))
        {
            owned.Add(layer.Weight.DetachFromDisposeScope());
        }

        if (layers.Length == 1 || (long)outputs * inputs > LargestJoined)
        {
            return [.. layers.Select(one => one.Layer)];
        }

        Tensor Joined(Func<DenseLayer, Tensor> part)
        {
            var all = cat([.. layers.Select(one => part(one.Layer))]).DetachFromDisposeScope();
            owned.Add(all);
            return all;
        }

        var weight = Joined(layer => layer.Weight);
        foreach (var (layer, _) in layers.Where(one => one.IsCopy))
        {
            owned.Remove(layer.Weight);
            layer.Weight.Dispose();
        }

        return [new(weight, layers[0].Layer.Bias is null ? null : Joined(layer => layer.Bias!), inputs, outputs)];
    }

    /// <summary>Gate and up of what their joined layers give.</summary>
    internal static (Tensor Gate, Tensor Up) Halves(Tensor joined)
    {
        var half = joined.shape[^1] / 2;
        return (joined.narrow(-1, 0, half), joined.narrow(-1, half, half));
    }

    /// <summary>Query, key and value of their joined heads, the first two turned together.</summary>
    /// <param name="joined">[B, H + 2 key-value heads, T, K].</param>
    /// <param name="heads">H.</param>
    /// <param name="turn">RoPE.</param>
    internal static (Tensor Q, Tensor K, Tensor V) Heads(Tensor joined, long heads, Func<Tensor, Tensor> turn)
    {
        var stored = (joined.shape[1] - heads) / 2;
        var turned = turn(joined.narrow(1, 0, heads + stored));
        return (turned.narrow(1, 0, heads), turned.narrow(1, heads, stored),
            joined.narrow(1, heads + stored, stored));
    }

    /// <summary>W + s B A in fp32, rounded once to the type of W.</summary>
    internal static Tensor Merged(Tensor weight, Tensor a, Tensor b, double scale)
    {
        using var scope = NewDisposeScope();
        var product = b.to(ScalarType.Float32).matmul(a.to(ScalarType.Float32));
        return weight.to(ScalarType.Float32).add(product, scale).to(weight.dtype).MoveToOuterDisposeScope();
    }

    public void Dispose() => owned.ForEach(tensor => tensor.Dispose());
}
