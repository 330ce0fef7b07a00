using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;

namespace ReasonGen.Grpo;

/// <summary>Sample, score, filter: fills an iteration with groups whose rewards differ.</summary>
/// <param name="source">Gives rollouts.</param>
/// <param name="reward">Scores images.</param>
/// <param name="promptAt">Prompt number i of the run: a pure function, so that a resumed run sees the same
/// prompts.</param>
/// <param name="config">Settings.</param>
public sealed class RolloutCollector(IRolloutSource source, IReward reward, Func<long, Prompt> promptAt,
    GrpoConfig config)
{
    /// <summary>The settings that groups are collected with.</summary>
    public GrpoConfig Config => config;

    /// <summary>Gives the rollouts.</summary>
    public IRolloutSource Source => source;

    /// <summary>What scores the images.</summary>
    internal string RewardName => reward.Name;

    /// <summary>Number of the next prompt.</summary>
    public long NextPrompt { get; set; }

    // iterations in a row that found nothing to train on
    internal int EmptySteps { get; set; }

    /// <summary>Collects the groups of one iteration; none when not one group's rewards differ.</summary>
    /// <remarks>After any exception the same prompts come again.</remarks>
    /// <exception cref="TooFewGroupsException">There are too few, where the configuration makes that an error, or none
    /// for too many iterations.</exception>
    public CollectedGroups Collect(CancellationToken cancel = default)
    {
        var firstPrompt = NextPrompt;
        var rounds = new List<Round>();
        var kept = new List<Group>();
        try
        {
            while (kept.Count < config.PromptsPerStep && rounds.Count < config.MaxRounds)
            {
                cancel.ThrowIfCancellationRequested();
                var round = new Round(NextPrompts(rounds.Count, config.PromptsPerStep - kept.Count));
                rounds.Add(round);
                round.Rollouts = round.Sampling.Time(() =>
                    source.Generate(round.Prompts, config.RolloutsPerPrompt, Seeds.Mix(config.Seed, NextPrompt)));
                // a refill reads a whole batch and uses its first prompts, as in the reference
                NextPrompt += config.PromptsPerRound;
                round.Groups = round.Scoring.Time(() => Score(round.Prompts, round.Rollouts, cancel));
                round.RewardParts =
                    (reward as IRewardParts)?.Parts.ToDictionary(part => part.Name, part => KnownMean(part.Rewards));
                for (var g = 0; g < round.Groups.Length && kept.Count < config.PromptsPerStep; g++)
                {
                    if (IsUsable(round.Groups[g]))
                    {
                        kept.Add(round.Groups[g]);
                        round.KeepRows(g * config.RolloutsPerPrompt, config.RolloutsPerPrompt);
                    }
                }
            }

            return Report(rounds, kept);
        }
        catch
        {
            NextPrompt = firstPrompt;
            throw;
        }
        finally
        {
            rounds.ForEach(round => round.Rollouts?.Dispose());
        }
    }

    /// <summary>The groups of a batch of rollouts.</summary>
    public Group[] Score(IReadOnlyList<Prompt> prompts, RolloutBatch rollouts, CancellationToken cancel = default)
    {
        var size = rollouts.Count / prompts.Count;
        var rationales = source.Rationales(rollouts);
        var images = source.Images(rollouts);
        var requests =
            images.Select((image, i) => new RewardRequest(prompts[i / size], rationales[i], image)).ToArray();
        var rewards = reward.Score(requests, cancel);
        var groups = new Group[prompts.Count];
        for (var p = 0; p < groups.Length; p++)
        {
            var rows = (p * size)..((p + 1) * size);
            groups[p] = new(prompts[p], rationales[rows], images[rows], rewards[rows]);
        }

        return groups;
    }

    private Prompt[] NextPrompts(int round, int missing)
    {
        var count = round == 0 ? config.PromptsPerRound
            : GroupFilter.RefillPrompts(missing, config.PromptsPerRound, config.PromptsPerRefill);
        return [.. Enumerable.Range(0, count).Select(i => promptAt(NextPrompt + i))];
    }

    private bool IsUsable(Group group) =>
        GroupFilter.Scored(group.Rewards) && (!config.FilterGroups || GroupFilter.Keeps(group.Rewards));

    private CollectedGroups Report(List<Round> rounds, List<Group> kept)
    {
        var groups = rounds.SelectMany(round => round.Groups).ToArray();
        var scored = groups.Where(group => GroupFilter.Scored(group.Rewards)).ToArray();
        var skipped = groups.Length - scored.Length;
        if (config.FailOnTooFewGroups && kept.Count < config.PromptsPerStep)
        {
            var unavailable = skipped > 0 ? $" and {skipped} had an unavailable reward; " : "; ";
            throw new TooFewGroupsException(
                $"after {rounds.Count} rounds only {kept.Count} of {config.PromptsPerStep} groups had differing "
                + $"rewards{unavailable}"
                + "check the reward, or let the run go on with fewer groups (grpo.failOnTooFewGroups=false)");
        }

        if (kept.Count == 0 && EmptySteps + 1 >= config.MaxEmptySteps)
        {
            throw new TooFewGroupsException(
                $"{EmptySteps + 1} iterations in a row found no group whose rewards differ: the reward is always the "
                + "same. Look at the images and at the reward; a policy that is always right or always wrong cannot be "
                + "trained this way (grpo.maxEmptySteps sets how many)." + (skipped == 0 ? "" : $" In the last one "
                + $"{skipped} groups were left out because of an unavailable reward."));
        }

        var equal = scored.Count(group => !GroupFilter.Keeps(group.Rewards));
        var first = rounds[0].Groups.Where(group => GroupFilter.Scored(group.Rewards));
        var filled = rounds.Where(round => round.Rows.Count > 0)
            .Select(round => (round.Rollouts!, round.Rows.ToArray())).ToArray();
        return new()
        {
            Groups = kept,
            Rollouts = filled.Length == 0 ? null : RolloutBatch.Join(filled),
            Reward = KnownMean(first.SelectMany(group => group.Rewards)),
            RewardParts = rounds[0].RewardParts ?? CollectedGroups.NoParts,
            Rounds = rounds.Count,
            ZeroVarianceFraction = equal / Math.Max(1.0, scored.Length),
            SkippedGroups = skipped,
            SamplingSeconds = rounds.Sum(round => round.Sampling.Elapsed.TotalSeconds),
            RewardSeconds = rounds.Sum(round => round.Scoring.Elapsed.TotalSeconds),
        };
    }

    private static double KnownMean(IEnumerable<float> rewards) =>
        rewards.Where(value => !float.IsNaN(value)).Select(value => (double)value).DefaultIfEmpty(double.NaN).Average();

    private sealed class Round(Prompt[] prompts)
    {
        internal Prompt[] Prompts { get; } = prompts;

        internal RolloutBatch? Rollouts { get; set; }

        internal Group[] Groups { get; set; } = [];

        internal IReadOnlyDictionary<string, double>? RewardParts { get; set; }

        internal List<long> Rows { get; } = [];

        internal Stopwatch Sampling { get; } = new();

        internal Stopwatch Scoring { get; } = new();

        internal void KeepRows(int start, int count) =>
            Rows.AddRange(Enumerable.Range(start, count).Select(row => (long)row));
    }
}

/// <summary>The groups of one iteration, and what collecting them took.</summary>
public sealed record CollectedGroups
{
    internal static IReadOnlyDictionary<string, double> NoParts { get; } = new Dictionary<string, double>();

    /// <summary>Groups whose rewards differ (all groups, where they are not filtered); may be none.</summary>
    public required IReadOnlyList<Group> Groups { get; init; }

    /// <summary>Their rollouts, those of a group side by side; null where there is no group. The caller disposes
    /// them.</summary>
    public required RolloutBatch? Rollouts { get; init; }

    /// <summary>Mean of the first round over groups whose rewards are known; NaN when there are none.</summary>
    public required double Reward { get; init; }

    /// <summary>Mean of each part of the reward in the first round; empty where it has no parts.</summary>
    public required IReadOnlyDictionary<string, double> RewardParts { get; init; }

    /// <summary>Rounds of rollouts.</summary>
    public required int Rounds { get; init; }

    /// <summary>Share of the groups with known rewards whose rewards were all equal.</summary>
    public required double ZeroVarianceFraction { get; init; }

    /// <summary>Groups dropped because of an unavailable reward.</summary>
    public required int SkippedGroups { get; init; }

    /// <summary>Time spent on rollouts.</summary>
    public required double SamplingSeconds { get; init; }

    /// <summary>Time spent on rewards.</summary>
    public required double RewardSeconds { get; init; }
}

internal static class Timing
{
    /// <summary>Does some work while the watch runs.</summary>
    internal static T Time<T>(this Stopwatch watch, Func<T> work)
    {
        watch.Start();
        try
        {
            return work();
        }
        finally
        {
            watch.Stop();
        }
    }
}
