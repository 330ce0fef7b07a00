// Rewards of several kinds added up, as T2I-R1 does: r = Σ_i w_i r_i, and the advantage is taken of the sum.
// Deviation: parts have weights (T2I-R1's are 1), and a part of weight 0 is only recorded, for instance the exact
// detector beside a judge.
namespace ReasonGen.Rewards;

/// <summary>A reward that is made of parts, which are worth a curve each.</summary>
public interface IRewardParts
{
    /// <summary>
    /// Of the last <see cref="IReward.Score"/>: each part's name and unweighted rewards, one a request, then what the
    /// parts tell of themselves. Empty before the first.
    /// </summary>
    IReadOnlyList<(string Name, float[] Rewards)> Parts { get; }
}

/// <summary>The weighted sum of rewards. A part that is unknown (NaN) makes the sum unknown, unless its weight is
/// 0.</summary>
public sealed class EnsembleReward : IReward, IRewardParts
{
    private readonly (IReward Reward, double Weight)[] members;

    /// <param name="parts">Rewards and their weights; names differ, weights are finite, and at least one is not
    /// 0.</param>
    /// <exception cref="ArgumentException">The parts are none, share a name, or have no usable weight.</exception>
    public EnsembleReward(IReadOnlyList<(IReward Reward, double Weight)> parts)
    {
        Expect([.. parts.Select(part => (part.Reward.Name, part.Weight))]);
        members = [.. parts];
    }

    /// <summary>Looks whether parts can be added up, before they are made.</summary>
    /// <param name="parts">Names and weights; names differ, weights are finite, and at least one is not 0.</param>
    /// <exception cref="ArgumentException">They are none, share a name, or have no usable weight.</exception>
    public static void Expect(IReadOnlyList<(string Name, double Weight)> parts)
    {
        if (parts.Count == 0 || parts.All(part => part.Weight == 0) || parts.Any(part => !double.IsFinite(part.Weight)))
        {
            var given = string.Join(", ", parts.Select(part => $"{part.Name}: {part.Weight}"));
            throw new ArgumentException($"an ensemble needs finite weights, one of them other than 0, not ({given})",
                nameof(parts));
        }

        if (parts.GroupBy(part => part.Name).FirstOrDefault(same => same.Count() > 1) is { } twice)
        {
            throw new ArgumentException(
                $"two parts are called '{twice.Key}', so their curves could not be told apart; leave one out, or "
                + "give it another name",
                nameof(parts));
        }
    }

    public string Name => string.Join(" + ", members.Where(part => part.Weight != 0)
        .Select(part =>
            part.Weight == 1 ? part.Reward.Name : FormattableString.Invariant($"{part.Weight} {part.Reward.Name}")));

    /// <summary>Weights of the parts, in their order.</summary>
    public IReadOnlyList<double> Weights => [.. members.Select(part => part.Weight)];

    public IReadOnlyList<(string Name, float[] Rewards)> Parts { get; private set; } = [];

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        var scored = members.Select(part => (part.Reward.Name, Rewards: part.Reward.Score(requests, cancel))).ToArray();
        if (scored.FirstOrDefault(part => part.Rewards.Length != requests.Count) is { Rewards: { } wrong } odd)
        {
            throw new InvalidOperationException(
                $"reward '{odd.Name}' gave {wrong.Length} values for {requests.Count} images; it must give one an "
                + $"image");
        }

        Parts = [.. scored, .. members.Where(part => part.Reward is IRewardParts)
            .SelectMany(part =>
                ((IRewardParts)part.Reward).Parts.Select(inner =>
                    ($"{part.Reward.Name}: {inner.Name}", inner.Rewards)))];
        double Sum(int i) =>
            members.Select((part, p) => part.Weight == 0 ? 0 : part.Weight * scored[p].Rewards[i]).Sum();
        return [.. Enumerable.Range(0, requests.Count).Select(i => (float)Sum(i))];
    }
}
