using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Layers;

/// <summary>Images [B, 3, S, S] → one vector a patch, row by row: [B, (S/P)², D].</summary>
internal sealed class PatchEmbedding : Module<Tensor, Tensor>
{
    private readonly Parameter weight; // [D, 3, P, P], as a convolution stores it
    private readonly Parameter? bias;

    internal PatchEmbedding(int patch, int width, bool hasBias, ComputeTarget target) : base(nameof(PatchEmbedding))
    {
        weight = new Parameter(empty(width, 3, patch, patch, target.DType, target.Device));
        bias = hasBias ? new Parameter(empty(width, target.DType, target.Device)) : null;
        RegisterComponents();
    }

    // Kernel and stride are one patch, so the convolution is a product.
    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        long patch = weight.shape[2], rows = images.shape[0], high = images.shape[2] / patch, wide =
            images.shape[3] / patch;
        var patches = images.to(weight.dtype).view(rows, 3, high, patch, wide, patch).permute(0, 2, 4, 1, 3, 5)
            .reshape(rows, high * wide, 3 * patch * patch);
        return functional.linear(patches, weight.flatten(1), bias).MoveToOuterDisposeScope();
    }
}
