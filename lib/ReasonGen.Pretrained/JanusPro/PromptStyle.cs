using ReasonGen.Rollouts;

namespace ReasonGen.JanusPro;

/// <summary>How a kind of model is spoken to.</summary>
/// <param name="Rl">The turn of reinforcement learning.</param>
/// <param name="Sft">The turn of fine-tuning.</param>
/// <param name="Rationale">The turn after which it thinks and draws a subject, "a photo of" taken away.</param>
/// <param name="Baseline">The turn after which it draws a subject at once.</param>
/// <param name="Image">The turn after which it draws a bare prompt at once.</param>
/// <param name="MaxTextTokens">Most tokens of a rationale.</param>
public sealed record PromptStyle(PromptTemplate Rl, PromptTemplate Sft, PromptTemplate Rationale,
    PromptTemplate Baseline, PromptTemplate Image, int MaxTextTokens)
{
    private static readonly PromptTemplate MiniSubject = PromptTemplate.Mini with { Turn = "a photo of {}" };

    /// <summary>Janus-Pro and ReasonGen-R1.</summary>
    public static PromptStyle Janus { get; } = new(PromptTemplate.JanusRl, PromptTemplate.JanusSft,
        PromptTemplate.JanusRl, PromptTemplate.JanusBaseline, PromptTemplate.JanusImage,
        RolloutConfig.Paper.MaxTextTokens);

    /// <summary>The miniature, whose prompts say "a photo of" themselves.</summary>
    public static PromptStyle Mini { get; } = new(PromptTemplate.Mini, PromptTemplate.Mini, MiniSubject, MiniSubject,
        PromptTemplate.Mini, RolloutConfig.Mini.MaxTextTokens);
}
