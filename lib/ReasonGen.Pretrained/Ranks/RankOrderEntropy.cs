using System.Runtime.InteropServices;
using Newtonsoft.Json.Linq;
using ReasonGen.Grpo;

namespace ReasonGen.Ranks;

/// <summary>
/// The entropies of a turn, a micro-batch of each rank, in the order of micro-batches: the controllers of every rank
/// see what those of one process would, and α is theirs. Without it each rank's controllers see its own micro-batches
/// alone, as in the paper, whose eight GPUs ran eight pairs.
/// </summary>
/// <param name="inner">The strategy; each rank has one, in the same state.</param>
/// <param name="ranks">The group.</param>
public sealed class RankOrderEntropy(IEntropyStrategy inner, IRankGroup ranks) : IEntropyStrategy
{
    public string Name => inner.Name;

    public JObject Settings => inner.Settings;

    public bool NeedsGradient => inner.NeedsGradient;

    public EntropyCoefficients Next(double textEntropy, double imageEntropy) =>
        Turn([1, textEntropy, imageEntropy]);

    public void Skip() => Turn([0, 0, 0]);

    public JObject SaveState() => inner.SaveState();

    public void RestoreState(JObject state) => inner.RestoreState(state);

    private EntropyCoefficients Turn(double[] mine)
    {
        EntropyCoefficients own = default;
        foreach (var (rank, bytes) in ranks.Gather(MemoryMarshal.AsBytes(mine.AsSpan()), "entropies").Index())
        {
            if (MemoryMarshal.Cast<byte, double>(bytes) is [1, var text, var image])
            {
                var used = inner.Next(text, image);
                own = rank == ranks.Rank ? used : own;
            }
        }

        return own;
    }
}
