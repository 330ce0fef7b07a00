// The clipped token loss (verl: core_algos.py compute_policy_loss), N rollouts, R response columns:
//   ρ = exp(log π − log π_old);  L = Σ m max(−A ρ, −A clip(ρ, 1 − ε, 1 + ε)) / (Σ m + 1e-8)
// One mean over all tokens of the micro-batch, so long rollouts weigh more than short ones (paper and reference agree).
using ReasonGen.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>The loss and what is worth watching about it.</summary>
/// <param name="Loss">Scalar to minimise.</param>
/// <param name="Watched">[3] fp32 without a graph, where the model is: loss, and the two below.</param>
public readonly record struct PolicyLossParts(Tensor Loss, Tensor Watched)
{
    /// <summary>Share of tokens whose ratio the clip held back, in [0, 1].</summary>
    public double ClipFraction => Watched[1].ToDouble();

    /// <summary>Mean of log π_old − log π: an estimate of the KL to the policy that sampled, in nats.</summary>
    public double ApproxKl => Watched[2].ToDouble();
}

/// <summary>The clipped policy-gradient loss.</summary>
public static class PolicyLoss
{
    /// <param name="logProbs">[N, R] of the current policy, with gradient.</param>
    /// <param name="oldLogProbs">[N, R] of the policy that sampled.</param>
    /// <param name="advantages">[N, R] or [N, 1].</param>
    /// <param name="mask">[N, R], 1 on tokens that count.</param>
    /// <param name="clipRange">ε; 0.2 in the paper.</param>
    public static PolicyLossParts Compute(Tensor logProbs, Tensor oldLogProbs, Tensor advantages, Tensor mask,
        double clipRange)
    {
        using var scope = NewDisposeScope();
        if (!logProbs.shape.SequenceEqual(oldLogProbs.shape) || !logProbs.shape.SequenceEqual(mask.shape))
        {
            throw new ArgumentException($"log-probs [{string.Join(", ", logProbs.shape)}], old log-probs "
                + $"[{string.Join(", ", oldLogProbs.shape)}] and mask "
                + $"[{string.Join(", ", mask.shape)}] must have one shape");
        }

        var logRatio = logProbs - oldLogProbs;
        var ratio = logRatio.exp();
        var unclipped = -advantages * ratio;
        var clipped = -advantages * ratio.clamp(1 - clipRange, 1 + clipRange);
        var loss = MaskedMean.Of(maximum(unclipped, clipped), mask);
        var heldBack = clipped.gt(unclipped).to(ScalarType.Float32);
        var watched = stack([loss, MaskedMean.Of(heldBack, mask), MaskedMean.Of(-logRatio, mask)]).detach();
        return new(loss.MoveToOuterDisposeScope(), watched.MoveToOuterDisposeScope());
    }
}
