using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Estimates of KL(policy ‖ reference) from the log-probs of sampled tokens (verl: core_algos.py kl_penalty). Shapes are kept.</summary>
public static class Kl
{
    /// <summary>k1: log π − log π_ref.</summary>
    public static Tensor Plain(Tensor logProbs, Tensor reference) => logProbs.sub(reference);

    /// <summary>|k1|.</summary>
    public static Tensor Absolute(Tensor logProbs, Tensor reference) => logProbs.sub(reference).abs();

    /// <summary>k2: half the square of k1.</summary>
    public static Tensor Squared(Tensor logProbs, Tensor reference) => logProbs.sub(reference).square().mul(0.5);

    /// <summary>k3, clamped to [−10, 10]: e^d − d − 1 with d = log π_ref − log π; never negative, low variance.</summary>
    public static Tensor LowVariance(Tensor logProbs, Tensor reference)
    {
        using var scope = NewDisposeScope();
        var d = reference.sub(logProbs);
        return d.exp().sub(d).sub(1).clamp(-10, 10).MoveToOuterDisposeScope();
    }
}
