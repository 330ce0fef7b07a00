using Newtonsoft.Json;
using ReasonGen.Rewards;
using ReasonGen.Served;

namespace ReasonGen.Ranks;

/// <summary>Each rank scores its share of the images; all get all rewards, and their parts.</summary>
/// <param name="inner">Scores; each rank has one.</param>
/// <param name="ranks">The group.</param>
/// <param name="end">Looked at before the images are scored: all ranks go on, or all end.</param>
public sealed class SharedReward(IReward inner, IRankGroup ranks, SharedCancellation end) : IReward, IRewardParts
{
    public string Name => inner.Name;

    public IReadOnlyList<(string Name, float[] Rewards)> Parts { get; private set; } = [];

    /// <exception cref="OperationCanceledException">A rank was asked to end.</exception>
    /// <exception cref="EndpointException">The judge of a rank cannot be reached; thrown on all ranks, so that their
    /// state can be saved.</exception>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        if (end.Look())
        {
            throw new OperationCanceledException(end.Token);
        }

        var mine = ranks.Awaited(() => Mine(requests), "rewards"); // a judge may bid us wait
        var all = ranks.Texts(JsonConvert.SerializeObject(mine), "rewards")
            .Select(text => JsonConvert.DeserializeObject<Scored>(text)!).ToArray();
        if (all.Index().FirstOrDefault(one => one.Item.Trouble is not null) is { Item.Trouble: { } trouble } failed)
        {
            throw new EndpointException($"rank {failed.Index}", trouble.TrimEnd('.'), "All ranks end with it");
        }

        var names = all.Select(one => one.Parts).MaxBy(parts => parts.Count)!.Select(part => part.Name).ToArray();
        Parts = [.. names.Select(name => (name, all.SelectMany(one => one.Parts)
            .Where(part => part.Name == name).SelectMany(part => part.Rewards).ToArray()))];
        return [.. all.SelectMany(one => one.Rewards)];
    }

    private Scored Mine(IReadOnlyList<RewardRequest> requests)
    {
        var (first, count) = ranks.Share(requests.Count);
        if (count == 0)
        {
            return new([], [], null);
        }

        try
        {
            var rewards = inner.Score([.. requests.Skip(first).Take(count)], end.Token);
            var parts = (inner as IRewardParts)?.Parts ?? [];
            return new(rewards, [.. parts.Select(part => new Part(part.Name, part.Rewards))], null);
        }
        catch (EndpointException e)
        {
            return new([], [], e.Message);
        }
    }

    private sealed record Scored(float[] Rewards, List<Part> Parts, string? Trouble);

    private sealed record Part(string Name, float[] Rewards);
}
