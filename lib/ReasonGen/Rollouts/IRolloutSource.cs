using ReasonGen.Core;
using ReasonGen.World;

namespace ReasonGen.Rollouts;

/// <summary>What GRPO needs of a policy: rollouts for prompts, and what they say and show.</summary>
public interface IRolloutSource
{
    /// <summary>Rollouts of each prompt, those of one prompt side by side: row p · G + g.</summary>
    RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed);

    /// <summary>The rationale of each rollout; empty where there is none.</summary>
    string[] Rationales(RolloutBatch rollouts);

    /// <summary>The picture of each rollout.</summary>
    Picture[] Pictures(RolloutBatch rollouts);
}
