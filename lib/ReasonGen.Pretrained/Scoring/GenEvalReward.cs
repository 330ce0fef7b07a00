// GenEval as a reward: its verdict, 0 or 1, or the finer share that Flow-GRPO trains on (reward_server/gen_eval.py):
//   share = mean of: for each clause  1 − |n − count| / count,  n boxes of its class;
//     where n ≠ count: 0 besides if a colour or a place is wanted;
//     else: colour  1 − |m − count| / count,  m boxes of that colour;  place  1, after a 0 where a pair lies otherwise.
// Many boxes too many make it negative, as there. "Exclude" has no part in it.
// Deviations: the detector is shown the image as it is, in its right colours. Flow-GRPO sends it to its server as a
// JPEG, whose array of RGB the detector takes for BGR, so that red and blue are exchanged for it.
using System.Text.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>What GenEval's reward is.</summary>
public enum GenEvalRewardKind
{
    /// <summary>1 where the image satisfies its prompt, else 0.</summary>
    Verdict,

    /// <summary>How much of it is there; 1 at most.</summary>
    Share,
}

/// <summary>GenEval's rules as a reward, with any judge of objects. A prompt that asks for nothing they know, and an
/// image that the judge refuses, have none (NaN).</summary>
/// <param name="judge">Finds objects and names their colours; whoever scores by it later says so.</param>
/// <param name="kind">Verdict or share.</param>
/// <param name="options">The rules' settings; GenEval's defaults when null.</param>
/// <param name="classes">Names that the judge finds; GenEval's when null.</param>
public sealed class GenEvalReward(IObjectJudge judge, GenEvalRewardKind kind = GenEvalRewardKind.Verdict,
    GenEvalOptions? options = null, IReadOnlyList<string>? classes = null) : IReward
{
    private readonly GenEvalOptions options = options ?? new();

    public string Name => $"GenEval's {kind.ToString().ToLowerInvariant()} by {judge.Name}";

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        [.. requests.Select(request => Score(request, cancel))];

    /// <summary>A prompt as a line of GenEval's metadata; as there, only counting forbids more than is asked
    /// for.</summary>
    public static JsonElement Metadata(Prompt prompt) => PythonJson.Parse(new JObject
    {
        ["tag"] = prompt.Task,
        ["include"] = new JArray(prompt.Include.Select(clause =>
        {
            var json = new JObject { ["class"] = clause.Class, ["count"] = clause.Count };
            if (clause.Color is not null)
            {
                json["color"] = clause.Color;
            }

            if (clause.Relation is not null)
            {
                json["position"] = new JArray(clause.Relation, clause.Target);
            }

            return json;
        })),
        ["exclude"] = new JArray(prompt.Include.Where(_ => prompt.Task == "counting")
            .Select(clause => new JObject { ["class"] = clause.Class, ["count"] = clause.Count + 1 })),
        ["prompt"] = prompt.Text,
    }.ToString(Newtonsoft.Json.Formatting.None));

    /// <summary>Flow-GRPO's share of what a prompt asks for.</summary>
    /// <param name="prompt">At least one clause.</param>
    /// <param name="kept">Boxes of <see cref="GenEval.Keep"/>.</param>
    /// <param name="colors">Names colours.</param>
    /// <param name="options">The margin of positions.</param>
    public static double Share(Prompt prompt, IReadOnlyDictionary<string, IReadOnlyList<Detection>> kept,
        ColorsOf colors, GenEvalOptions options)
    {
        var terms = new List<double>();
        var groups = new List<IReadOnlyList<Detection>?>();
        foreach (var clause in prompt.Include)
        {
            var found = kept.GetValueOrDefault(clause.Class, []);
            double Near(int count) => 1 - Math.Abs(clause.Count - count) / (double)clause.Count;
            terms.Add(Near(found.Count));
            var matched = found.Count == clause.Count;
            if (!matched && (clause.Color is not null || clause.Relation is not null))
            {
                terms.Add(0);
            }

            if (matched && clause.Color is not null)
            {
                var right = colors(found, clause.Class).Count(color => color == clause.Color);
                terms.Add(Near(right));
                matched = right == clause.Count;
            }

            if (matched && clause.Relation is not null)
            {
                var targets = groups.ElementAtOrDefault(clause.Target);
                matched = targets is not null && found.All(a => targets.All(b =>
                    GenEval.RelativePosition(a, b, options.PositionThreshold).Contains(clause.Relation)));
                terms.AddRange(matched ? [1] : targets is null ? [0] : [0, 1]);
            }

            groups.Add(matched ? found : null);
        }

        return terms.Average();
    }

    private float Score(RewardRequest request, CancellationToken cancel)
    {
        cancel.ThrowIfCancellationRequested();
        var prompt = request.Prompt;
        if (prompt.Include.Count == 0)
        {
            return float.NaN;
        }

        try
        {
            var boxes = judge.Detect(request.Image, "", [.. prompt.Include.Select(clause => clause.Class).Distinct()],
                cancel);
            var kept = GenEval.Keep(boxes, prompt.Task, options, classes);
            IReadOnlyList<string?> Colors(IReadOnlyList<Detection> objects, string name) =>
                judge.Colors(request.Image, "", objects, name, cancel);
            return kind == GenEvalRewardKind.Share ? (float)Share(prompt, kept, Colors, options)
                : GenEval.Evaluate(Metadata(prompt), kept, Colors, options).Correct ? 1 : 0;
        }
        catch (OfficialStopException)
        {
            return float.NaN;
        }
    }
}
