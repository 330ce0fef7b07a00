using ReasonGen.Imaging;
using ReasonGen.Rollouts;

namespace ReasonGen.Rewards;

/// <summary>One image to be scored against the prompt it was drawn for.</summary>
public sealed record RewardRequest(Prompt Prompt, string Rationale, RgbImage Image);

/// <summary>Scores images: the paper's judge, the world's exact detector, a served model, or an ensemble of
/// them.</summary>
public interface IReward
{
    string Name { get; }

    /// <summary>One reward a request, in order; 0 or 1 for a judge.</summary>
    float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default);
}
