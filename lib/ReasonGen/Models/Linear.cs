using ReasonGen.Core;
using ReasonGen.Kernels;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>A linear layer y = W x + b under the names of torch's: […, in] → […, out]; open to a LoRA.</summary>
internal sealed class Linear : nn.Module<Tensor, Tensor>
{
    private readonly Parameter weight; // [out, in]
    private readonly Parameter? bias;

    internal Linear(int inputs, int outputs, bool hasBias, Device device, ScalarType type) : base(nameof(Linear))
    {
        var bound = 1 / Math.Sqrt(inputs);
        weight = new Parameter(nn.init.uniform_(empty(outputs, inputs, type, device), -bound, bound));
        bias = hasBias ? new Parameter(nn.init.uniform_(empty(outputs, type, device), -bound, bound)) : null;
        RegisterComponents();
        (Inputs, Outputs) = (inputs, outputs);
    }

    internal int Inputs { get; }

    internal int Outputs { get; }

    /// <summary>W.</summary>
    internal Parameter Weight => weight;

    /// <summary>What kernels see of it.</summary>
    internal DenseLayer Dense => new(weight, bias, Inputs, Outputs);

    /// <summary>The same as plain numbers, with what an adapter adds.</summary>
    internal DenseValues Values()
    {
        using var scope = NewDisposeScope();
        var whole = Adapter?.Invoke(eye(Inputs, dtype: weight.dtype, device: weight.device), weight.t()).t() ?? weight;
        return new(whole.Values<float>(), bias?.Values<float>());
    }

    /// <summary>Adds to W x + b what is linear in x; null adds nothing.</summary>
    internal Func<Tensor, Tensor, Tensor>? Adapter { get; set; }

    /// <summary>Makes W with what the adapter adds; null without one.</summary>
    internal Func<Tensor>? Merged { get; set; }

    public override Tensor forward(Tensor x) => ForwardMany(x, null, this)[0];

    /// <summary>What each of several layers gives for the same x; one tensor where sampling joins them.</summary>
    internal static Tensor[] ForwardMany(Tensor x, SamplingWeights? sampling, params Linear[] layers)
    {
        if (sampling is not null)
        {
            return sampling.Products(x, layers[0], () => Array.ConvertAll(layers, layer =>
                layer.Merged is { } merged ? (layer.Dense with { Weight = merged() }, true) : (layer.Dense, false)));
        }

        var products = Operators.Linear(x, Array.ConvertAll(layers, layer => layer.Dense));
        for (var i = 0; i < layers.Length; i++)
        {
            products[i] = layers[i].Adapter is { } adapt ? adapt(x, products[i]) : products[i];
        }

        return products;
    }
}
