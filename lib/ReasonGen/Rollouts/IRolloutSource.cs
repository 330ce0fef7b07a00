using ReasonGen.Imaging;
using ReasonGen.Models;

namespace ReasonGen.Rollouts;

/// <summary>What GRPO needs of a policy: rollouts for prompts, and what they say and show.</summary>
public interface IRolloutSource
{
    /// <summary>Rollouts of each prompt, those of one prompt side by side: row p · G + g.</summary>
    RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed);

    /// <summary>The rationale of each rollout; empty where there is none.</summary>
    string[] Rationales(RolloutBatch rollouts);

    /// <summary>The image of each rollout.</summary>
    RgbImage[] Images(RolloutBatch rollouts);

    /// <summary>Whether the rollouts come from the policy that is to be trained; a source that knows no policy accepts
    /// any.</summary>
    /// <param name="model">The policy in training.</param>
    /// <param name="temperature">That its log-probs are taken at.</param>
    /// <exception cref="ArgumentException">They come from another model, or are drawn at another
    /// temperature.</exception>
    void CheckPolicy(IImageTextModel model, double temperature)
    {
    }
}
