using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>A result of the paper, and what the recorded runs of the miniature say to it.</summary>
/// <param name="Place">Figure or table of the paper.</param>
/// <param name="Claim">What is claimed.</param>
/// <param name="Paper">The paper's value or words.</param>
/// <param name="Recalled">Whether the paper's numbers are recalled and were not verified.</param>
/// <param name="Ours">What was measured here.</param>
/// <param name="Difference">Ours as a difference of shares of right images, where the claim is one; otherwise
/// null.</param>
/// <param name="Seen">Whether the claim is seen here; null where it was not measured.</param>
/// <param name="Notebook">The notebook that shows it, without ending.</param>
public sealed record PaperClaim(
    string Place, string Claim, string Paper, bool Recalled, string Ours, double? Difference, bool? Seen,
    string Notebook);

/// <summary>
/// The paper's table beside ours. The paper's benchmark is another one, so what can be compared is order and direction.
/// A difference counts as seen where it exceeds two standard errors of sampled prompts and images; each arm was trained
/// once a seed, which those errors do not cover.
/// </summary>
public static class PaperClaims
{
    private const string Benchmark = "14-benchmark", Entropy = "10-ablation-entropy";

    /// <summary>All claims, in the paper's order.</summary>
    /// <param name="study">Whose records are read; a claim whose record is missing is not measured. Of the judge arms a
    /// second seed ships.</param>
    public static IReadOnlyList<PaperClaim> Of(Study study)
    {
        return
        [
            Measure("Figure 4", "The method beats its base model", "GenEval 0.80 → 0.86", true, Benchmark,
                () => Compare(("base", study.Records("base")), ("method", study.Records("rl-adaptive")))),
            new("Figure 4", "… on two more benchmarks", "DPG-Bench +1.69 %, T2I-CompBench +13.38 %", true,
                "not measured: the drawn world has no counterpart", null, null, Benchmark),
            Measure("Figure 4", "Reinforcement learning improves on SFT", "better", false, "08-the-rl-run",
                () => Compare(("SFT", study.Records("sft")), ("method", study.Records("rl-adaptive")))),
            Measure("Table 1", "RL needs SFT before it", "clearly worse without", false, "09-ablation-rl-without-sft",
                () => Compare(("without SFT", study.Records("rl-without-sft")),
                    ("method", study.Records("rl-adaptive")))),
            Measure("Table 1", "A judge that is too small ruins RL", "3B judge in place of 7B: ruined", false,
                "12-ablation-judge-size",
                () => Compare(("small judge", study.Records("rl-judge-small")),
                    ("large", study.Records("rl-judge-large")))),
            Measure("Figure 6", "No entropy term", "entropy explodes after 100 steps, reward slowly falls", false,
                Entropy,
                () => Curves(study.Record("rl-none"), (start, end) => end > start, declines: true)),
            Measure("Figure 6", "Fixed penalty", "entropy too low by step 80, images collapse, reward drops", false,
                Entropy,
                () => Curves(study.Record("rl-fixed"), (start, end) => end < 0.5 * start, declines: true)),
            Measure("Figure 6", "Adaptive entropy loss", "entropy in range, reward grows steadily", false, Entropy,
                () => Curves(study.Record("rl-adaptive"), (start, end) => end > 0.5 * start && end < 1.5 * start,
                    declines: false)),
            new("Figure 7", "Words of the rationales", "frame words over 140 in a hundred, style words over 100", true,
                "counted anew in the notebook", null, null, "13-what-the-rationales-say"),
        ];
    }

    private static PaperClaim Measure(string place, string claim, string paper, bool recalled, string notebook,
        Func<(string Ours, double? Difference, bool Seen)> measure)
    {
        try
        {
            var (ours, difference, seen) = measure();
            return new(place, claim, paper, recalled, ours, difference, seen, notebook);
        }
        catch (Exception e) when (e is UnusableFileException or ArgumentException)
        {
            var missing = e.InnerException is FileNotFoundException or DirectoryNotFoundException;
            return new(place, claim, paper, recalled, missing ? "no recorded run" : e.Message, null, null, notebook);
        }
    }

    // benchmark at temperature 1, means over the seeds there are
    private static (string, double?, bool) Compare((string Name, IReadOnlyList<RunRecord> Runs) worse,
        (string Name, IReadOnlyList<RunRecord> Runs) better)
    {
        var (low, high) = (Score(worse.Runs), Score(better.Runs));
        var seeds = worse.Runs.Count > 1 ? $"; means of {worse.Runs.Count} seeds" : "";
        return (Text($"{worse.Name} {low.Mean:F3}, {better.Name} {high.Mean:F3}{seeds}"), high.Mean - low.Mean,
            high.Mean - low.Mean > 2 * Math.Sqrt(low.Variance + high.Variance));
    }

    private static (double Mean, double Variance) Score(IReadOnlyList<RunRecord> runs)
    {
        double Of(RunRecord run, string what) => (double?)run.Results["t1"]?[what]
            ?? throw new UnusableFileException(run.Name, $"the record has no '{what}' at temperature 1",
                "record the run again with 'reasongen study'");
        return (runs.Average(run => Of(run, "mean")), runs.Sum(run =>
            Math.Pow(Of(run, "standard_error") / runs.Count, 2)));
    }

    // means of the first and the last fifth of a run; a reward declines that ends more than 5 % below its best fifth
    private static (string, double?, bool) Curves(RunRecord run, Func<double, double, bool> entropyDoes, bool declines)
    {
        double[] Fifths(string column) => [.. Enumerable.Range(0, 5)
            .Select(i =>
                run[column][(i * run.Count / 5)..((i + 1) * run.Count / 5)].DefaultIfEmpty(double.NaN).Average())];
        var (entropy, reward) = (Fifths("image_entropy"), Fifths("reward"));
        return (Text(
            $"image entropy {entropy[0]:0.00} → {entropy[4]:0.00} nats, reward {reward[0]:0.00} → {reward[4]:0.00}"),
            null,
            entropyDoes(entropy[0], entropy[4]) && reward[4] < 0.95 * reward.Max() == declines);
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
