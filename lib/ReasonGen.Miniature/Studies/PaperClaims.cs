using ReasonGen.Checkpoints;
using ReasonGen.Scoring;

namespace ReasonGen.Studies;

/// <summary>What became of a claim.</summary>
public enum ClaimOutcome
{
    /// <summary>Nothing was measured.</summary>
    NotMeasured,

    /// <summary>The interval of each of its parts lies on the claimed side.</summary>
    Yes,

    /// <summary>Some parts lie on the claimed side, and others do not.</summary>
    Partly,

    /// <summary>No part lies on the claimed side, and one at least on the other.</summary>
    No,

    /// <summary>No interval lies on either side.</summary>
    NotToldApart,
}

/// <summary>A result of the paper, and what the recorded runs of the miniature say to it.</summary>
/// <param name="Place">Figure or table of the paper; empty for a control of ours.</param>
/// <param name="Claim">What is claimed.</param>
/// <param name="Paper">The paper's value or words.</param>
/// <param name="Recalled">Whether the paper's numbers are recalled and were not verified.</param>
/// <param name="Ours">What was measured here.</param>
/// <param name="Difference">Ours as a difference of shares of right images, where the claim is one; otherwise
/// null.</param>
/// <param name="Outcome">Whether the claim is seen here.</param>
/// <param name="Rests">What that rests on: so many seeds, or a single run; empty where nothing was measured.</param>
/// <param name="Notebook">The notebook that shows it, without ending.</param>
public sealed record PaperClaim(
    string Place, string Claim, string Paper, bool Recalled, string Ours, Interval? Difference, ClaimOutcome Outcome,
    string Rests, string Notebook)
{
    /// <summary>The outcome in words: "yes", "partly", "no", "not told apart", "–".</summary>
    public string Seen => PaperClaims.Seen(Outcome);
}

/// <summary>
/// The paper's table beside ours. The paper's benchmark is another one, so what can be compared is order and direction.
/// <para>A difference counts as seen where its 95 % interval lies on the claimed side of 0: over seeds and prompts,
/// paired by both, where the study of the paper has the arms; over sampled prompts alone where there is one run of
/// each, which says nothing of another seed. Differences are of temperature 1; where a lower one says otherwise, the
/// row says so. Under judges that err at random each share of errors and each learning rate that both arms were run
/// with is a part; of one seed beside others of several it does not count.</para>
/// <para>Figure 6 is about curves. Of each seed the means of the first, the middle and the last fifth (early, middle,
/// late) are taken, and a number that is positive where the claim holds; its interval is Student's over the seeds, and
/// of one run its sign counts. Image entropy rises: late − early, which is less than to explode. It is halved: early /
/// 2 − late. Entropy of image or of text ends in range: half to one and a half of its target H*, by the smaller of
/// late − H* / 2 and 1.5 H* − late. Reward declines: middle − late. Reward grows steadily: the smaller of middle −
/// early and late − middle. That images collapse is looked at in the notebook and not measured.</para>
/// </summary>
public static class PaperClaims
{
    internal const string SingleRun = "a single run";
    private const string Benchmark = "14-benchmark", Entropy = "10-ablation-entropy";
    private sealed record Fifths(double Early, double Middle, double Late);

    // of a claim about curves: what a column does, and a number that is positive where it does
    private sealed record Part(string Column, string Does, Func<Fifths, double> Of);

    /// <summary>All claims, in the paper's order.</summary>
    /// <param name="evidence">What is known of arms; a claim whose arms are missing is not measured.</param>
    public static IReadOnlyList<PaperClaim> Of(PaperEvidence evidence)
    {
        PaperClaim Better(string place, string claim, string paper, bool recalled, string notebook, string worse,
            string better) => Measure(new(place, claim, paper, recalled, "", null, default, "", notebook), found =>
            Compare(found, evidence[worse, better], worse, better));
        PaperClaim Figure6(string arm, string claim, string paper, params Part[] parts) =>
            Measure(new("Figure 6", claim, paper, false, "", null, default, "", Entropy), found =>
                Curves(found, evidence[arm][arm], parts));
        Part declines = new("reward", "declines", of => of.Middle - of.Late);
        static Part InRange(string column, double target) =>
            new(column, "ends in range", of => Math.Min(of.Late - 0.5 * target, 1.5 * target - of.Late));
        return
        [
            Better("Figure 4", "The method beats its base model", "GenEval 0.80 → 0.86", true, Benchmark, "base",
                "adaptive"),
            new("Figure 4", "… on two more benchmarks", "DPG-Bench +1.69 %, T2I-CompBench +13.38 %", true,
                "not measured: the drawn world has no counterpart", null, ClaimOutcome.NotMeasured, "", Benchmark),
            Better("Figure 4", "Reinforcement learning improves on SFT", "better", false, "08-the-rl-run", "sft",
                "adaptive"),
            Better("", $"… and on SFT with {StudyRun.SftStepsPerRlStep} more steps for each of RL",
                "a control of ours", false, "08-the-rl-run", "sft-long", "adaptive"),
            Better("Table 1", "RL needs SFT before it", "clearly worse without", false, "09-ablation-rl-without-sft",
                "without-sft", "adaptive"),
            Better("Table 1", "With a judge that is too small RL is worse", "3B judge in place of 7B: ruined", false,
                "12-ablation-judge-size", "small-judge", "large-judge"),
            Better("Table 1", "… and ruined: worse than SFT alone", "ruined", false, "12-ablation-judge-size",
                "small-judge", "sft"),
            Figure6("none", "No entropy term", "entropy explodes after 100 steps, reward slowly falls",
                new("image_entropy", "rises", of => of.Late - of.Early), declines),
            Figure6("penalty-0.02", "Fixed penalty", "entropy too low by step 80, images collapse, reward drops",
                new("image_entropy", "is halved", of => of.Early / 2 - of.Late), declines),
            Figure6("adaptive", "Adaptive entropy loss", "entropy in range, reward grows steadily",
                InRange("image_entropy", Study.ImageTarget), InRange("text_entropy", Study.TextTarget),
                new("reward", "grows steadily", of => Math.Min(of.Middle - of.Early, of.Late - of.Middle))),
            Measure(new("", "… and beats no term under judges that err at random", "a question of ours", false, "",
                null, default, "", Entropy), found => ErringJudges(found, evidence)),
            new("Figure 7", "Words of the rationales", "frame words over 140 in a hundred, style words over 100", true,
                "counted anew in the notebook", null, ClaimOutcome.NotMeasured, "", "13-what-the-rationales-say"),
        ];
    }

    private static PaperClaim Measure(PaperClaim claim, Func<PaperClaim, PaperClaim> measure)
    {
        try
        {
            return measure(claim);
        }
        catch (UnusableFileException e)
        {
            var missing = e.InnerException is FileNotFoundException or DirectoryNotFoundException;
            return claim with { Ours = missing ? "no recorded run" : e.Message };
        }
        catch (ArgumentException e)
        {
            return claim with { Ours = e.Message };
        }
    }

    // benchmark at temperature 1, on the seeds that both have
    private static PaperClaim Compare(PaperClaim claim, PaperStudy study, string worse, string better)
    {
        if (!study.Has(worse, better))
        {
            return claim with { Ours = "no recorded run" };
        }

        var both = study.Common(worse, better);
        if (!both.Has(worse, better))
        {
            return claim with { Ours = "no seed has both runs" };
        }

        var (low, high) = (both[worse], both[better]);
        var (difference, seeds) = low.To(high);
        var outcome = Told(difference);
        var otherwise = Otherwise(low, high, outcome);
        return claim with
        {
            Ours = $"{Name(worse)} {low.Score().Text()}, {Name(better)} {high.Score().Text()}"
                + (otherwise.Length == 0 ? "" : $"; {otherwise}"),
            Difference = difference, Outcome = outcome,
            Rests = Runs(seeds) + (study.OfSingleRuns && seeds > 1 ? " of RL alone" : ""),
        };
    }

    // the adaptive loss against no term, under each share of flipped verdicts and each rate that both were run with
    private static PaperClaim ErringJudges(PaperClaim claim, PaperEvidence evidence)
    {
        var found = PaperPlan.Noise.Concat(PaperPlan.Figure6).Where(run => run is { Alpha: null, Flips: > 0 })
            .OrderBy(run => run.RateFactor).ThenBy(run => run.Flips).Select(run =>
            {
                var pair = evidence.Paper.Common("none" + run.Name["adaptive".Length..], run.Name);
                return (Run: run, Arms: pair.Arms.Count == 2 ? pair.Arms.Select(arm => pair[arm]).ToArray() : []);
            }).Where(pair => pair.Arms.Length > 0)
            .Select(pair => (pair.Run, pair.Arms, By: pair.Arms[0].To(pair.Arms[1])))
            .Select(part => (part.Run, part.Arms, part.By, Outcome: Told(part.By.Difference))).ToArray();
        if (found.Length == 0)
        {
            return claim with { Ours = "no recorded run" };
        }

        // beside parts of several seeds, one of a single seed is shown and does not count
        var counted = found.Any(part => part.By.Seeds > 1) ? found.Where(part => part.By.Seeds > 1).ToArray() : found;
        string Says(StudyRun run, PaperArm[] arms, ClaimOutcome outcome)
        {
            if (!counted.Any(part => part.Run == run))
            {
                return "one seed";
            }

            var otherwise = Otherwise(arms[0], arms[1], outcome);
            return Seen(outcome) + (otherwise.Length == 0 ? "" : $" ({otherwise})");
        }

        var texts = found.Select(part => FormattableString.Invariant($"{part.Run.Flips}")
            + (part.Run.RateFactor == 1 ? "" : $" at {part.Run.RateFactor} × the learning rate")
            + $": {part.By.Difference.Text(signed: true)}, {Says(part.Run, part.Arms, part.Outcome)}");
        var (least, most) = (counted.Min(part => part.By.Seeds), counted.Max(part => part.By.Seeds));
        return claim with
        {
            Ours = $"share of wrong verdicts {string.Join("; ", texts)}",
            Outcome = Together(counted.Select(part => part.Outcome)),
            Rests = least == most ? Runs(most) : $"{least} to {most} seeds",
        };
    }

    // lower temperatures at which the outcome is another one than at temperature 1
    private static string Otherwise(PaperArm worse, PaperArm better, ClaimOutcome usual) => string.Join(", ",
        PaperFiles.Samplings.Skip(1)
            .Select(sampling => (Sampling: sampling, Outcome: Told(worse.To(better, sampling).Difference)))
            .Where(other => other.Outcome != usual)
            .Select(other => $"{(other.Sampling == "greedy" ? "greedy" : "T 0.5")} {Seen(other.Outcome)}"));

    private static PaperClaim Curves(PaperClaim claim, PaperArm arm, Part[] parts)
    {
        Interval Mean(string column, Func<Fifths, double> of) =>
            SeedIntervals.Mean([.. arm.Over(column, curve => of(FifthsOf(curve))).Values]);
        string Nats(string column, Func<Fifths, double> of) => Decimals.Of(Mean(column, of).Value, 2);
        var found = parts.Select(part => (part.Column, part.Does, By: Mean(part.Column, part.Of))).ToArray();
        return claim with
        {
            Ours = string.Join("; ", found.Select(part => $"{part.Column.Replace('_', ' ')} "
                + $"{Nats(part.Column, of => of.Early)} → {Nats(part.Column, of => of.Middle)} → "
                + $"{Nats(part.Column, of => of.Late)}, {part.Does}: "
                + $"{Seen(Side(part.By))}, by {part.By.Text(signed: true, alone: "")}")),
            Outcome = Together(found.Select(part => Side(part.By))), Rests = Runs(arm.Seeds.Count),
        };
    }

    private static ClaimOutcome Together(IEnumerable<ClaimOutcome> parts) => parts.Distinct().ToArray() switch
    {
        [var all] => all,
        var sides => sides.Contains(ClaimOutcome.Yes) ? ClaimOutcome.Partly : ClaimOutcome.No,
    };

    private static Fifths FifthsOf(double[] curve)
    {
        double[] means = [.. Enumerable.Range(0, 5).Select(i => (i * curve.Length / 5, (i + 1) * curve.Length / 5))
            .Select(part => curve[part.Item1..Math.Max(part.Item1 + 1, part.Item2)].Average())];
        return new(means[0], means[2], means[4]);
    }

    // of the benchmark: without an interval nothing is told
    private static ClaimOutcome Told(Interval difference) =>
        double.IsNaN(difference.Low) ? ClaimOutcome.NotToldApart : Side(difference);

    // of one run's curve, which has no interval, the sign counts
    private static ClaimOutcome Side(Interval difference) =>
        (double.IsNaN(difference.Low) ? difference.Value : difference.Low) > 0 ? ClaimOutcome.Yes
        : (double.IsNaN(difference.High) ? difference.Value : difference.High) < 0 ? ClaimOutcome.No
        : ClaimOutcome.NotToldApart;

    internal static string Seen(ClaimOutcome outcome) => outcome switch
    {
        ClaimOutcome.NotMeasured => "–", ClaimOutcome.NotToldApart => "not told apart",
        var said => said.ToString().ToLowerInvariant(),
    };

    private static string Runs(int seeds) => seeds == 1 ? SingleRun : $"{seeds} seeds";

    private static string Name(string arm) => arm switch
    {
        "adaptive" => "method", "sft" => "SFT", "sft-long" => "long SFT", "without-sft" => "without SFT",
        _ => arm.Replace('-', ' '),
    };
}
