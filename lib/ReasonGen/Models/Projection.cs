using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>A linear layer y = W x + b under the names of torch's: […, in] → […, out]; fast where few rows are read, and open to a LoRA.</summary>
internal sealed class Projection : nn.Module<Tensor, Tensor>
{
    private readonly Parameter weight; // [out, in]
    private readonly Parameter? bias;

    internal Projection(int inputs, int outputs, bool hasBias, Device device, ScalarType type) : base(nameof(Projection))
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

    internal Parameter? Bias => bias;

    /// <summary>Makes of x and W x + b what the layer gives; null for no change.</summary>
    internal Func<Tensor, Tensor, Tensor>? Addition { get; set; }

    public override Tensor forward(Tensor x) => Several(x, this)[0];

    /// <summary>What each of several layers gives for the same x.</summary>
    internal static Tensor[] Several(Tensor x, params Projection[] layers)
    {
        var few = FewRows.Fit(x, layers[0].Inputs) && Array.TrueForAll(layers, FewRows.Fit);
        var products = few ? FewRows.Products(x, layers) : Array.ConvertAll(layers, layer => nn.functional.linear(x, layer.weight, layer.bias));
        return [.. layers.Zip(products, (layer, y) => layer.Addition is { } add ? add(x, y) : y)];
    }
}
