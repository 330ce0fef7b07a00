using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>Scores of one model on the world's benchmark, which is GenEval's: a share of right images a task, and their
/// plain mean.</summary>
/// <param name="Tasks">Task → share of right images, in [0, 1].</param>
/// <param name="PromptsPerTask">Images behind each share.</param>
/// <param name="PlanCorrect">Share of rationales whose plan satisfies the prompt; NaN without rationales.</param>
/// <param name="ImageFollowsPlan">Share of images that show just what their rationale planned, among readable plans;
/// NaN without.</param>
/// <param name="LayoutEntropy">Entropy in nats over the four places of the first named object, at most ln 4: how varied
/// layouts are.</param>
public sealed record BenchmarkResult(IReadOnlyDictionary<string, double> Tasks, int PromptsPerTask, double PlanCorrect,
    double ImageFollowsPlan, double LayoutEntropy)
{
    /// <summary>Unweighted mean of the tasks, as GenEval takes it.</summary>
    public double Mean => Tasks.Values.Average();

    /// <summary>Standard error of <see cref="Mean"/>.</summary>
    public double StandardError => Math.Sqrt(Tasks.Values.Sum(p => p * (1 - p) / PromptsPerTask)) / Tasks.Count;

    /// <summary>Standard error of one task's share.</summary>
    public double TaskError(string task) => Math.Sqrt(Tasks[task] * (1 - Tasks[task]) / PromptsPerTask);

    /// <summary>As it stands in a record.</summary>
    internal JObject ToJson() => new()
    {
        ["mean"] = Math.Round(Mean, 4), ["standard_error"] = Math.Round(StandardError, 4),
        ["tasks"] = JObject.FromObject(Tasks),
        ["plan_correct"] = Rounded(PlanCorrect), ["image_follows_plan"] = Rounded(ImageFollowsPlan),
        ["layout_entropy"] = Rounded(LayoutEntropy),
    };

    internal static BenchmarkResult FromJson(JObject json, int promptsPerTask) => new(
        json["tasks"]!.ToObject<Dictionary<string, double>>()!, promptsPerTask,
        Number(json["plan_correct"]), Number(json["image_follows_plan"]), Number(json["layout_entropy"]));

    internal static JToken Rounded(double value) => double.IsNaN(value) ? JValue.CreateNull() : Math.Round(value, 4);

    private static double Number(JToken? value) =>
        value is null or { Type: JTokenType.Null } ? double.NaN : (double)value;
}

/// <summary>Runs a policy over the benchmark. Its random numbers are its own, so that looking at a policy does not
/// change its training.</summary>
public static class Benchmark
{
    private const int PromptsAtATime = 200;

    /// <param name="policy">What to score.</param>
    /// <param name="promptsPerTask">At least 1; the standard error of the mean falls with its root.</param>
    /// <param name="seed">Of prompts and images.</param>
    /// <param name="progress">Told how many of all prompts are done.</param>
    /// <param name="cancel">Ends it between batches.</param>
    public static BenchmarkResult Run(IRolloutSource policy, int promptsPerTask, long seed = 0,
        Action<int, int>? progress = null, CancellationToken cancel = default)
    {
        var prompts = Prompts.Benchmark(promptsPerTask, seed);
        var right = Prompts.Tasks.ToDictionary(task => task, _ => 0);
        var places = new int[4];
        int readable = 0, planned = 0, followed = 0, rationales = 0;
        for (var start = 0; start < prompts.Count; start += PromptsAtATime)
        {
            cancel.ThrowIfCancellationRequested();
            var some = prompts.Skip(start).Take(PromptsAtATime).ToArray();
            using var rollouts = policy.Generate(some, 1, Core.Seeds.Mix(seed, 2, start));
            var images = policy.Images(rollouts);
            foreach (var (i, rationale) in policy.Rationales(rollouts).Index())
            {
                var seen = Detector.Detect(images[i]);
                right[some[i].Task] += Checker.Check(seen, some[i]).Correct ? 1 : 0;
                if (seen.FirstOrDefault(thing => thing.Class == some[i].Include[0].Class) is { } first)
                {
                    places[(first.X < WorldConfig.CellSize ? 0 : 1) + (first.Y < WorldConfig.CellSize ? 0 : 2)]++;
                }

                rationales += rationale.Length > 0 ? 1 : 0;
                if (Rationales.Parse(rationale) is { } plan)
                {
                    readable++;
                    planned += Checker.Check(plan, some[i]).Correct ? 1 : 0;
                    followed += Rationales.Follows(seen, plan) ? 1 : 0;
                }
            }

            progress?.Invoke(Math.Min(start + PromptsAtATime, prompts.Count), prompts.Count);
        }

        return new(right.ToDictionary(pair => pair.Key, pair => pair.Value / (double)promptsPerTask), promptsPerTask,
            rationales == 0 ? double.NaN : planned / (double)rationales,
            readable == 0 ? double.NaN : followed / (double)readable, Entropy(places));
    }

    private static double Entropy(int[] counts)
    {
        var total = Math.Max(1, counts.Sum());
        return -counts.Where(count => count > 0).Sum(count => count / (double)total * Math.Log(count / (double)total));
    }
}
