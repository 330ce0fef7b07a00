using static TorchSharp.torch;

namespace ReasonGen.Training;

/// <summary>Estimates of KL(policy ‖ reference) from the log-probs of sampled tokens (verl: core_algos.py kl_penalty).
/// Shapes are kept.</summary>
public static class Kl
{
    /// <summary>k3, clamped to [−10, 10]: e^d − d − 1 with d = log π_ref − log π; never negative, low
    /// variance.</summary>
    public static Tensor K3(Tensor logProbs, Tensor reference)
    {
        using var scope = NewDisposeScope();
        var d = reference - logProbs;
        return (d.exp() - d - 1).clamp(-10, 10).MoveToOuterDisposeScope();
    }
}
