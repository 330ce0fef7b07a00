namespace ReasonGen.Grpo;

/// <summary>What is watched in one micro-batch, or the mean over those of an iteration. Entropies in nats.</summary>
internal readonly record struct UpdateMetrics
{
    internal double TextEntropy { get; init; }

    internal double ImageEntropy { get; init; }

    internal EntropyCoefficients Alpha { get; init; }

    internal double ClipFraction { get; init; }

    internal double ApproxKl { get; init; }

    internal double KlReference { get; init; }

    internal double GradientNorm { get; init; }

    internal double RationaleTokens { get; init; }

    /// <summary>Means over micro-batches; the coefficients are those of the last one.</summary>
    internal static UpdateMetrics Mean(IReadOnlyList<UpdateMetrics> all, double gradientNorm) => new()
    {
        TextEntropy = all.Average(m => m.TextEntropy),
        ImageEntropy = all.Average(m => m.ImageEntropy),
        Alpha = all[^1].Alpha,
        ClipFraction = all.Average(m => m.ClipFraction),
        ApproxKl = all.Average(m => m.ApproxKl),
        KlReference = all.Average(m => m.KlReference),
        GradientNorm = gradientNorm,
        RationaleTokens = all.Average(m => m.RationaleTokens),
    };
}
