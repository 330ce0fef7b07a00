// Group-relative advantages (verl: core_algos.py compute_grpo_outcome_advantage), P prompts, G rollouts each:
//   A_pg = (r_pg − mean_g r_pg) / (std_g r_pg + 1e-6), std with G − 1 as torch has it; a group of one keeps its reward
//     (mean 0, std 1).
// Deviation: groups are rows of a tensor, not ids to look up, so a rollout can never be scored against another prompt's
// group.
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>What a rollout is worth beside the others of its prompt.</summary>
public static class GroupAdvantage
{
    private const double Epsilon = 1e-6;

    /// <summary>Rewards [P, G] → advantages [P, G].</summary>
    public static Tensor Compute(Tensor rewards)
    {
        using var scope = NewDisposeScope();
        if (rewards.dim() != 2)
        {
            throw new ArgumentException(
                $"rewards are [{string.Join(", ", rewards.shape)}], not [prompts, rollouts per prompt]",
                nameof(rewards));
        }

        if (rewards.shape[1] == 1)
        {
            return (rewards / (1 + Epsilon)).MoveToOuterDisposeScope();
        }

        var centred = rewards - rewards.mean([1], keepdim: true);
        var variance = centred.square().sum([1L], keepdim: true) / (rewards.shape[1] - 1);
        return (centred / (variance.sqrt() + Epsilon)).MoveToOuterDisposeScope();
    }
}
