using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>Scores of one model on the world's benchmark, which is GenEval's: a share of right images a task, and their
/// plain mean.</summary>
/// <param name="Tasks">Task → share of right images, in [0, 1].</param>
/// <param name="PromptsPerTask">Images behind each share.</param>
/// <param name="PlanCorrect">Share of rationales whose plan satisfies the prompt, whether or not it can be drawn; NaN
/// without rationales.</param>
/// <param name="ImageFollowsPlan">Share of images that show just what their rationale planned, among readable plans,
/// those that cannot be drawn included (<see cref="Rationales.CanBeDrawn"/>); NaN without.</param>
/// <param name="LayoutEntropy">Entropy in nats over the four places of the prompt's first class, of several the one
/// that the detector lists first, at most ln 4: how varied layouts are.</param>
public sealed record BenchmarkResult(IReadOnlyDictionary<string, double> Tasks, int PromptsPerTask, double PlanCorrect,
    double ImageFollowsPlan, double LayoutEntropy)
{
    /// <summary>Whether each image was right, prompt by prompt of <see cref="Prompts.Benchmark"/>; null in records of
    /// earlier versions.</summary>
    public IReadOnlyList<bool>? Right { get; init; }

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
        ["right"] = Right is null ? JValue.CreateNull() : Bits.Write(Right),
    };

    internal static BenchmarkResult FromJson(JObject json, int promptsPerTask) => new(
        json["tasks"]!.ToObject<Dictionary<string, double>>()!, promptsPerTask,
        Number(json["plan_correct"]), Number(json["image_follows_plan"]), Number(json["layout_entropy"]))
    {
        Right = json["right"] is JValue { Value: string bits } && json["tasks"] is JObject tasks
            ? Bits.Read(bits, tasks.Count * promptsPerTask) : null,
    };

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
        var verdicts = new bool[prompts.Count];
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
                verdicts[start + i] = Checker.Check(seen, some[i]).Correct;
                right[some[i].Task] += verdicts[start + i] ? 1 : 0;
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
            readable == 0 ? double.NaN : followed / (double)readable, Entropy(places))
        {
            Right = verdicts,
        };
    }

    /// <summary>How much the rollouts of one prompt differ: different scenes (as the detector sees them) and different
    /// images (by their pixels) in a group, per rollout; 1 where all differ.</summary>
    /// <param name="policy">What to look at.</param>
    /// <param name="groupsPerTask">Prompts of each task; at least 1.</param>
    /// <param name="groupSize">Rollouts of a prompt; at least 1.</param>
    /// <param name="seed">Of prompts and images, which are others than those of <see cref="Run"/>.</param>
    public static (double Scenes, double Images) Distinct(IRolloutSource policy, int groupsPerTask, int groupSize,
        long seed = 0)
    {
        var prompts = Prompts.Benchmark(groupsPerTask, Core.Seeds.Mix(seed, 3));
        using var rollouts = policy.Generate(prompts, groupSize, Core.Seeds.Mix(seed, 4));
        var groups = policy.Images(rollouts).Chunk(groupSize).ToArray();
        double Share<T>(Func<Imaging.RgbImage, T> essence) =>
            groups.Average(group => group.Select(essence).Distinct().Count() / (double)groupSize);
        return (Share(image => Scene.Essence(Detector.Detect(image))), Share(image =>
            Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(image.Rgb))));
    }

    private static double Entropy(int[] counts)
    {
        var total = Math.Max(1, counts.Sum());
        return -counts.Where(count => count > 0).Sum(count => count / (double)total * Math.Log(count / (double)total));
    }
}

/// <summary>Verdicts as hexadecimal digits, four a digit, the first in the highest bit.</summary>
internal static class Bits
{
    internal static string Write(IReadOnlyList<bool> bits) =>
        string.Concat(bits.Chunk(4).Select(four => Enumerable.Range(0, 4)
            .Sum(i => i < four.Length && four[i] ? 8 >> i : 0).ToString("x")));

    /// <exception cref="FormatException">It is not so many verdicts.</exception>
    internal static bool[] Read(string text, int count) =>
        text.Length == (count + 3) / 4 && text.All(char.IsAsciiHexDigit)
        ? [.. Enumerable.Range(0, count).Select(i => (Convert.ToInt32(text[i / 4].ToString(), 16) & 8 >> i % 4) != 0)]
        : throw new FormatException($"'{text}' is not {count} verdicts in hexadecimal digits");
}
