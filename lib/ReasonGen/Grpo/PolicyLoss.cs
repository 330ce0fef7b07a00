// The clipped token loss (verl: core_algos.py compute_policy_loss), N rollouts, R response columns:
//   ρ = exp(log π − log π_old);  L = Σ m max(−A ρ, −A clip(ρ, 1 − ε, 1 + ε)) / (Σ m + 1e-8)
// One mean over all tokens of the micro-batch, so long rollouts weigh more than short ones (paper and reference agree).
using ReasonGen.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>The loss and what is worth watching about it.</summary>
public readonly record struct PolicyLossParts
{
    /// <summary>Scalar to minimise.</summary>
    public required Tensor Loss { get; init; }

    /// <summary>Share of tokens whose ratio the clip held back, in [0, 1].</summary>
    public required double ClipFraction { get; init; }

    /// <summary>Mean of log π_old − log π: an estimate of the KL to the policy that sampled, in nats.</summary>
    public required double ApproxKl { get; init; }
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
        return new()
        {
            Loss = loss.MoveToOuterDisposeScope(),
            ClipFraction = MaskedMean.Of(heldBack, mask).ToDouble(),
            ApproxKl = MaskedMean.Of(-logRatio.detach(), mask).ToDouble(),
        };
    }
}
