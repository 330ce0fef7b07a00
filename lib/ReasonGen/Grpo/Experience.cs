using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>One group: a prompt, what was drawn for it, and what that was worth.</summary>
public sealed record Group(Prompt Prompt, string[] Rationales, Picture[] Pictures, float[] Rewards);

/// <summary>What one iteration trains on. P prompts, G rollouts each, N = P · G, R response columns.</summary>
/// <param name="Rollouts">N rollouts, those of one prompt side by side.</param>
/// <param name="Groups">The P groups, for people to look at.</param>
/// <param name="Rewards">[P, G].</param>
/// <param name="Advantages">[P, G].</param>
/// <param name="OldLogProbs">[N, R] of the policy that sampled.</param>
public sealed record Experience(RolloutBatch Rollouts, IReadOnlyList<Group> Groups, Tensor Rewards, Tensor Advantages, Tensor OldLogProbs) : IDisposable
{
    public void Dispose()
    {
        Rollouts.Dispose();
        Rewards.Dispose();
        Advantages.Dispose();
        OldLogProbs.Dispose();
    }
}

/// <summary>What one iteration did. Entropies in nats, means over micro-batches.</summary>
/// <param name="Step">Counted from 0.</param>
/// <param name="Reward">Mean over all rollouts of the first round: an unbiased look at the policy.</param>
/// <param name="Groups">Groups trained on.</param>
/// <param name="ZeroVariance">Share of sampled groups whose rewards were all equal.</param>
/// <param name="Rounds">Rounds of rollouts.</param>
/// <param name="TextEntropy">Mean entropy of text tokens.</param>
/// <param name="ImageEntropy">Mean entropy of image tokens.</param>
/// <param name="TextAlpha">Weight of text entropy, of the last micro-batch.</param>
/// <param name="ImageAlpha">Weight of image entropy, of the last micro-batch.</param>
/// <param name="ClipFraction">Share of clipped tokens.</param>
/// <param name="Divergence">Estimated KL to the sampling policy.</param>
/// <param name="GradientNorm">Mean over updates, before clipping.</param>
/// <param name="RationaleTokens">Mean length of the rationale.</param>
/// <param name="SamplingSeconds">Time spent on rollouts.</param>
/// <param name="RewardSeconds">Time spent on rewards.</param>
/// <param name="TrainingSeconds">Time spent on log-probs and updates.</param>
public sealed record GrpoStep(long Step, double Reward, int Groups, double ZeroVariance, int Rounds, double TextEntropy, double ImageEntropy,
    double TextAlpha, double ImageAlpha, double ClipFraction, double Divergence, double GradientNorm, double RationaleTokens,
    double SamplingSeconds, double RewardSeconds, double TrainingSeconds)
{
    /// <summary>Groups dropped because a reward could not be had.</summary>
    public int SkippedGroups { get; init; }

    /// <summary>Mean of each part of the reward over the first round, unweighted; empty where the reward has no parts.</summary>
    public IReadOnlyDictionary<string, double> RewardParts { get; init; } = CollectionReport.NoParts;

    /// <summary>All of it.</summary>
    public double Seconds => SamplingSeconds + RewardSeconds + TrainingSeconds;
}
