using ReasonGen.Judges.Mask2Former;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.UniDet;

/// <summary>Layers over tensors under detectron2's names; maps are [B, C, h, w].</summary>
internal static class Convolutions
{
    /// <summary>A convolution that keeps the size where its stride is 1, with its bias or norm where the model has
    /// one.</summary>
    internal static Tensor Convolve(this Weights weights, string name, Tensor x, int stride = 1, int groups = 1)
    {
        using var scope = NewDisposeScope();
        var weight = weights[name + ".weight"];
        var padding = weight.shape[^1] / 2;
        var y = functional.conv2d(x, weight, weights.Find(name + ".bias"), [stride, stride], [padding, padding],
            groups: groups);
        return (weights.Find(name + ".norm.weight") is null ? y : weights.BatchNorm(name + ".norm", y))
            .MoveToOuterDisposeScope();
    }

    /// <summary>Batch norm by the statistics of training, ε 1e-5; a frozen one is the same.</summary>
    internal static Tensor BatchNorm(this Weights weights, string name, Tensor x) => functional.batch_norm(x,
        weights[name + ".running_mean"], weights[name + ".running_var"], weights[name + ".weight"],
            weights[name + ".bias"],
        training: false, eps: 1e-5);
}
