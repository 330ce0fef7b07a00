// Dynamic sampling (verl: ray_trainer.py fit, filter_groups): a group whose rewards are all equal teaches nothing and
// is dropped; new prompts are rolled out until enough groups are there, or too many rounds were needed.
//   keep  ⇔ population std (fp32) > 0, or a group of one;   prompts of a refill = min(batch, 2^(bits(missing) + 1)).
using ReasonGen.Core;

namespace ReasonGen.Grpo;

/// <summary>Which groups to train on, and how many prompts to try next.</summary>
public static class GroupFilter
{
    /// <summary>Whether the rewards of one group differ. (Deviation in fp32, rounded where numpy rounds it: of some
    /// sizes, such as 6, 7 and 10, equal rewards that are not exact in binary may pass.)</summary>
    public static bool Keeps(ReadOnlySpan<float> rewards)
    {
        if (rewards.Length == 1)
        {
            return true;
        }

        var mean = NumpySum.Of(rewards) / rewards.Length;
        var squares = new float[rewards.Length];
        for (var i = 0; i < squares.Length; i++)
        {
            squares[i] = (rewards[i] - mean) * (rewards[i] - mean);
        }

        return MathF.Sqrt(NumpySum.Of<float>(squares) / rewards.Length) > 0;
    }

    /// <summary>Whether every reward of a group is known. One that could not be had is NaN, and then the group cannot
    /// be compared.</summary>
    public static bool Scored(IEnumerable<float> rewards) => !rewards.Any(float.IsNaN);

    /// <summary>Prompts to roll out in a refill round.</summary>
    /// <param name="missing">Groups still wanted; at least 1.</param>
    /// <param name="batch">Most prompts a round.</param>
    /// <param name="workers">Fewest prompts a round: one a worker.</param>
    public static int RefillPrompts(int missing, int batch, int workers = 1) =>
        Math.Min(batch, Math.Max(workers, 1 << (32 - int.LeadingZeroCount(missing) + 1)));
}
