using System.Diagnostics;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.World;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>Rollouts, rewards and filter: fills an iteration with groups whose rewards differ.</summary>
/// <param name="source">Gives rollouts.</param>
/// <param name="reward">Scores pictures.</param>
/// <param name="promptAt">Prompt number i of the run: a pure function, so that a resumed run sees the same prompts.</param>
/// <param name="config">Settings.</param>
public sealed class ExperienceCollector(IRolloutSource source, IReward reward, Func<long, Prompt> promptAt, GrpoConfig config)
{
    /// <summary>Number of the next prompt.</summary>
    public long NextPrompt { get; set; }

    /// <summary>What the last <see cref="Collect"/> saw.</summary>
    public CollectionReport Report { get; private set; }

    /// <summary>Collects the groups of one iteration; null when not one group's rewards differ.</summary>
    /// <remarks>After any exception the same prompts come again.</remarks>
    /// <exception cref="InvalidOperationException">Too few groups, where the configuration makes that an error.</exception>
    public (RolloutBatch Rollouts, List<Group> Groups)? Collect(CancellationToken cancel = default)
    {
        var parts = new List<(RolloutBatch Batch, long[] Rows)>();
        var kept = new List<Group>();
        var (sampled, equal, skipped, rounds, firstReward, firstPrompt) = (0, 0, 0, 0, 0.0, NextPrompt);
        IReadOnlyDictionary<string, double> firstParts = CollectionReport.NoParts;
        Stopwatch sampling = new(), scoring = new();
        try
        {
            while (kept.Count < config.PromptsPerStep && rounds < config.MaxRounds)
            {
                cancel.ThrowIfCancellationRequested();
                var count = rounds == 0 ? config.PromptsPerRound : GroupFilter.RefillPrompts(config.PromptsPerStep - kept.Count, config.PromptsPerRound, config.PromptsPerRefill);
                var prompts = Enumerable.Range(0, count).Select(i => promptAt(NextPrompt + i)).ToArray();
                sampling.Start();
                var batch = source.Generate(prompts, config.RolloutsPerPrompt, Seeds.Mix(config.Seed, NextPrompt));
                sampling.Stop();
                NextPrompt += config.PromptsPerRound; // a refill reads a whole batch and uses its first prompts, as in the reference
                scoring.Start();
                var groups = Score(prompts, batch, cancel);
                scoring.Stop();
                var rows = new List<long>();
                for (var p = 0; p < groups.Length; p++)
                {
                    var usable = GroupFilter.Scored(groups[p].Rewards) && (!config.FilterGroups || GroupFilter.Keeps(groups[p].Rewards));
                    if (usable && kept.Count < config.PromptsPerStep)
                    {
                        kept.Add(groups[p]);
                        rows.AddRange(Enumerable.Range(p * config.RolloutsPerPrompt, config.RolloutsPerPrompt).Select(row => (long)row));
                    }
                }

                parts.Add((batch, [.. rows]));
                var scored = groups.Where(group => GroupFilter.Scored(group.Rewards)).ToArray();
                equal += scored.Count(group => !GroupFilter.Keeps(group.Rewards));
                sampled += scored.Length;
                skipped += groups.Length - scored.Length;
                if (rounds++ == 0)
                {
                    firstReward = Mean(scored.SelectMany(group => group.Rewards));
                    firstParts = (reward as IRewardParts)?.Parts.ToDictionary(part => part.Name, part => Mean(part.Rewards)) ?? firstParts;
                }
            }

            Report = new(firstReward, rounds, equal / Math.Max(1.0, sampled), sampling.Elapsed.TotalSeconds, scoring.Elapsed.TotalSeconds,
                skipped, firstParts);
            if (config.FailOnTooFewGroups && kept.Count < config.PromptsPerStep)
            {
                throw new InvalidOperationException($"after {rounds} rounds only {kept.Count} of {config.PromptsPerStep} groups had differing rewards"
                    + (skipped > 0 ? $" and {skipped} had a reward that could not be had; " : "; ")
                    + "check the reward, or let the run go on with fewer groups (FailOnTooFewGroups = false)");
            }

            return kept.Count == 0 ? null : (RolloutBatch.Join([.. parts.Where(part => part.Rows.Length > 0)]), kept);
        }
        catch
        {
            NextPrompt = firstPrompt;
            throw;
        }
        finally
        {
            parts.ForEach(part => part.Batch.Dispose());
        }
    }

    /// <summary>The groups of a batch of rollouts.</summary>
    public Group[] Score(IReadOnlyList<Prompt> prompts, RolloutBatch rollouts, CancellationToken cancel = default)
    {
        var size = rollouts.Count / prompts.Count;
        var rationales = source.Rationales(rollouts);
        var pictures = source.Pictures(rollouts);
        var rewards = reward.Score(pictures.Select((picture, i) => new RewardRequest(prompts[i / size], rationales[i], picture)).ToArray(), cancel);
        return prompts.Select((prompt, p) => new Group(prompt, rationales[(p * size)..((p + 1) * size)], pictures[(p * size)..((p + 1) * size)],
            rewards[(p * size)..((p + 1) * size)])).ToArray();
    }

    private static double Mean(IEnumerable<float> rewards) =>
        rewards.Where(value => !float.IsNaN(value)).Select(value => (double)value).DefaultIfEmpty(double.NaN).Average();
}

/// <summary>What a collection saw, besides the groups it kept.</summary>
/// <param name="Reward">Mean of the first round over groups whose rewards are known; NaN when there are none.</param>
/// <param name="Rounds">Rounds of rollouts.</param>
/// <param name="ZeroVariance">Share of the groups with known rewards whose rewards were all equal.</param>
/// <param name="SamplingSeconds">Time spent on rollouts.</param>
/// <param name="RewardSeconds">Time spent on rewards.</param>
/// <param name="SkippedGroups">Groups dropped because a reward could not be had.</param>
/// <param name="RewardParts">Mean of each part of the reward in the first round; empty where it has no parts.</param>
public readonly record struct CollectionReport(double Reward, int Rounds, double ZeroVariance, double SamplingSeconds, double RewardSeconds,
    int SkippedGroups, IReadOnlyDictionary<string, double> RewardParts)
{
    internal static IReadOnlyDictionary<string, double> NoParts { get; } = new Dictionary<string, double>();
}
