namespace ReasonGen.Grpo;

/// <summary>What one iteration did. Entropies in nats, means over micro-batches; entropies, α and length are NaN where
/// no group was trained on.</summary>
public sealed record GrpoStep
{
    /// <summary>Counted from 0.</summary>
    public required long Step { get; init; }

    /// <summary>Mean over all rollouts of the first round: an unbiased look at the policy; NaN where no reward is
    /// known.</summary>
    public required double Reward { get; init; }

    /// <summary>Groups trained on; 0 where no rewards differed.</summary>
    public required int Groups { get; init; }

    /// <summary>Share of sampled groups whose rewards were all equal, in [0, 1].</summary>
    public required double ZeroVarianceFraction { get; init; }

    /// <summary>Rounds of rollouts.</summary>
    public required int Rounds { get; init; }

    /// <summary>Groups dropped because of an unavailable reward.</summary>
    public int SkippedGroups { get; init; }

    /// <summary>Mean of each part of the reward over the first round, unweighted; empty where the reward has no
    /// parts.</summary>
    public IReadOnlyDictionary<string, double> RewardParts { get; init; } = CollectedGroups.NoParts;

    /// <summary>Mean entropy of text tokens.</summary>
    public double TextEntropy { get; init; } = double.NaN;

    /// <summary>Mean entropy of image tokens.</summary>
    public double ImageEntropy { get; init; } = double.NaN;

    /// <summary>α of text entropy, of the last micro-batch.</summary>
    public double TextAlpha { get; init; } = double.NaN;

    /// <summary>α of image entropy, of the last micro-batch.</summary>
    public double ImageAlpha { get; init; } = double.NaN;

    /// <summary>Share of clipped tokens, in [0, 1].</summary>
    public double ClipFraction { get; init; }

    /// <summary>Estimated KL to the policy that sampled, mean of log π_old − log π, in nats: how far the updates of
    /// this iteration went. Not that of the KL term, see <see cref="KlReference"/>.</summary>
    public double ApproxKl { get; init; }

    /// <summary>Estimated KL to the frozen reference model as it is added to the loss (K3), before its weight, in nats;
    /// NaN without a KL term, and where no group was trained on.</summary>
    public double KlReference { get; init; } = double.NaN;

    /// <summary>Mean over updates, before clipping.</summary>
    public double GradientNorm { get; init; }

    /// <summary>Mean text tokens of a response: the rationale, begin-of-image and what ends the image.</summary>
    public double RationaleTokens { get; init; } = double.NaN;

    /// <summary>Time spent on rollouts.</summary>
    public double SamplingSeconds { get; init; }

    /// <summary>Time spent on rewards.</summary>
    public double RewardSeconds { get; init; }

    /// <summary>Time spent on log-probs and updates.</summary>
    public double TrainingSeconds { get; init; }

    /// <summary>All of it.</summary>
    public double Seconds => SamplingSeconds + RewardSeconds + TrainingSeconds;

    /// <param name="step">Counted from 0.</param>
    /// <param name="collected">What was sampled and scored.</param>
    /// <param name="metrics">Of the updates; null where there was none.</param>
    /// <param name="trainingSeconds">Time of the updates.</param>
    internal static GrpoStep Of(long step, CollectedGroups collected, UpdateMetrics? metrics, double trainingSeconds)
    {
        var sampled = new GrpoStep
        {
            Step = step,
            Reward = collected.Reward,
            RewardParts = collected.RewardParts,
            Groups = collected.Groups.Count,
            SkippedGroups = collected.SkippedGroups,
            ZeroVarianceFraction = collected.ZeroVarianceFraction,
            Rounds = collected.Rounds,
            SamplingSeconds = collected.SamplingSeconds,
            RewardSeconds = collected.RewardSeconds,
            TrainingSeconds = trainingSeconds,
        };
        return metrics is not { } trained ? sampled : sampled with
        {
            TextEntropy = trained.TextEntropy,
            ImageEntropy = trained.ImageEntropy,
            TextAlpha = trained.Alpha.Text,
            ImageAlpha = trained.Alpha.Image,
            ClipFraction = trained.ClipFraction,
            ApproxKl = trained.ApproxKl,
            KlReference = trained.KlReference,
            GradientNorm = trained.GradientNorm,
            RationaleTokens = trained.RationaleTokens,
        };
    }
}
