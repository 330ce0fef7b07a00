using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>How often a judge errs.</summary>
/// <param name="FalsePositives">Share of wrong images that are called right, in [0, 1].</param>
/// <param name="FalseNegatives">Share of right images that are called wrong, in [0, 1].</param>
public readonly record struct JudgeErrors(double FalsePositives, double FalseNegatives)
{
    /// <summary>The rates of a judge that was held against the detector; a judge that never met an image of a kind
    /// has the rate 0 there.</summary>
    public static JudgeErrors Of(JudgeQuality quality)
    {
        static double Known(double rate) => double.IsFinite(rate) ? Math.Clamp(rate, 0, 1) : 0;
        var missed = Known(1 - quality.Recall);
        var fooled = 1 - quality.Accuracy - missed * quality.Right; // precision is not known where nothing is found
        return new(Known(fooled / (1 - quality.Right)), missed);
    }
}

/// <summary>Means over what was scored in a step: shares of all rollouts, each in [0, 1].</summary>
/// <param name="Judged">Called right.</param>
/// <param name="Right">Right by the detector.</param>
/// <param name="Fooled">Called right, and wrong.</param>
/// <param name="Missed">Called wrong, and right.</param>
/// <param name="Plan">Whose rationale plans what the prompt asks for.</param>
/// <param name="Follows">Of those with a readable plan, whose image shows just that; 0 without any. A plan that cannot
/// be drawn (<see cref="Rationales.CanBeDrawn"/>) is not followed.</param>
/// <param name="Scenes">Different scenes in a group, as the detector sees them, per rollout.</param>
public readonly record struct Observed(double Judged, double Right, double Fooled, double Missed, double Plan,
    double Follows, double Scenes);

/// <summary>
/// The detector's verdict or a judge's, some of it flipped at random, and a look at all that is scored. A flip depends
/// on the seed and the rollout's number alone, so a resumed run has the same.
/// </summary>
/// <param name="judge">Asked for the verdict; null for the detector.</param>
/// <param name="errors">How often a verdict is flipped.</param>
/// <param name="groupSize">Rollouts of a prompt, which come side by side.</param>
/// <param name="flipsOf">The generator of the flips of what is scored now.</param>
public sealed class ObservedReward(IReward? judge, JudgeErrors errors, int groupSize, Func<Random> flipsOf) : IReward
{
    private readonly List<(bool Judged, bool Right, bool Plan, bool? Follows)> seen = [];
    private readonly List<double> scenes = [];

    public string Name => (judge?.Name ?? "detector") + (errors == default ? ""
        : FormattableString.Invariant($", {errors.FalsePositives:0.####} false positives, ")
            + FormattableString.Invariant($"{errors.FalseNegatives:0.####} false negatives at random"));

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        var things = requests.AsParallel().AsOrdered().WithCancellation(cancel)
            .Select(request => Detector.Detect(request.Image)).ToArray();
        bool[] right = [.. requests.Select((request, i) => Checker.Check(things[i], request.Prompt).Correct)];
        var judged = judge?.Score(requests, cancel) ?? [.. right.Select(verdict => verdict ? 1f : 0f)];
        if (errors != default)
        {
            var random = flipsOf();
            for (var i = 0; i < judged.Length; i++)
            {
                var drawn = random.NextDouble(); // one number a rollout, whatever its verdict
                judged[i] = drawn < (judged[i] > 0 ? errors.FalseNegatives : errors.FalsePositives) ? 1 - judged[i]
                    : judged[i];
            }
        }

        for (var i = 0; i < judged.Length; i++)
        {
            var plan = Rationales.Parse(requests[i].Rationale);
            seen.Add((judged[i] > 0, right[i], plan is not null && Checker.Check(plan, requests[i].Prompt).Correct,
                plan is null ? null : Rationales.Follows(things[i], plan)));
        }

        scenes.AddRange(things.Chunk(groupSize)
            .Select(group => group.Select(Scene.Essence).Distinct().Count() / (double)group.Length));
        return judged;
    }

    /// <summary>Means over all that was scored since the last call.</summary>
    public Observed Take()
    {
        double Share(Func<(bool Judged, bool Right, bool Plan, bool? Follows), bool> of) =>
            seen.Count(of) / Math.Max(1.0, seen.Count);
        var means = new Observed(Share(one => one.Judged), Share(one => one.Right),
            Share(one => one is { Judged: true, Right: false }), Share(one => one is { Judged: false, Right: true }),
            Share(one => one.Plan),
            seen.Count(one => one.Follows == true) / Math.Max(1.0, seen.Count(one => one.Follows is not null)),
            scenes.DefaultIfEmpty().Average());
        seen.Clear();
        scenes.Clear();
        return means;
    }
}
