using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;

namespace ReasonGen.Ranks;

/// <summary>
/// Controllers of each rank's own, which see its micro-batches alone, as in the paper, whose eight GPUs ran eight
/// pairs. A state holds those of all ranks, also where that is one, and is gone on from by as many.
/// </summary>
/// <param name="inner">The strategy; each rank has one.</param>
/// <param name="ranks">The group.</param>
/// <param name="tell">Told in a sentence where a state does not say of how many ranks it is; null for nobody.</param>
public sealed class PerRankEntropy(IEntropyStrategy inner, IRankGroup ranks, Action<string>? tell = null)
    : IEntropyStrategy
{
    private const string All = "ranks";

    public string Name => inner.Name;

    public JObject Settings => inner.Settings;

    public bool NeedsGradient => inner.NeedsGradient;

    public EntropyCoefficients Next(double textEntropy, double imageEntropy) => inner.Next(textEntropy, imageEntropy);

    public void Skip() => inner.Skip();

    /// <summary>All ranks call it together.</summary>
    public JObject SaveState()
    {
        var mine = inner.SaveState();
        return mine.Count == 0 ? mine : new()
        {
            [All] = new JArray(ranks.Texts(mine.ToString(Formatting.None), "controllers").Select(JObject.Parse)),
        };
    }

    /// <exception cref="UnusableFileException">The state is of another number of ranks.</exception>
    public void RestoreState(JObject state)
    {
        if (state[All] is not JArray all)
        {
            inner.RestoreState(state); // of one process, or of a version that kept the first rank's alone
            if (state.Count > 0)
            {
                tell?.Invoke("The saved state is of an earlier version, which did not write with entropy.perRank how "
                    + $"many ranks trained: its one pair of controllers is taken by all of them, {ranks.Size} now.");
            }

            return;
        }

        if (all.Count != ranks.Size)
        {
            throw new UnusableFileException("entropy.perRank",
                $"the state holds the controllers of {all.Count} rank{(all.Count == 1 ? "" : "s")}, a pair of each, "
                + $"and the ranks are {ranks.Size} now",
                $"go on with {all.Count}, or begin the run anew in another folder");
        }

        inner.RestoreState((JObject)all[ranks.Rank]);
    }
}
