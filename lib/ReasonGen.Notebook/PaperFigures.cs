using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;

namespace ReasonGen.Notebook;

/// <summary>Arms of the recorded study of the paper, or single runs in its place, in figures and tables, each of which
/// says how many seeds it rests on.</summary>
public static class PaperFigures
{
    private const int PointsAnErrorBar = 4, SeedsOfABar = 3; // Student's of two is six times as long as of many

    /// <summary>A column of all arms over the steps: means over seeds, with Student's intervals at some
    /// points where there are three seeds or more.</summary>
    /// <param name="study">The study.</param>
    /// <param name="title">Of the figure.</param>
    /// <param name="column">As for <see cref="PaperArm.Curve"/>.</param>
    /// <param name="unit">Of the column.</param>
    public static Figure Curves(this PaperStudy study, string title, string column, string unit) =>
        study.Lines(title, unit, [.. study.Arms.Select(arm => (arm, column, arm))]);

    /// <summary>Columns of one arm over the steps, likewise.</summary>
    /// <param name="study">The study.</param>
    /// <param name="title">Of the figure.</param>
    /// <param name="unit">Of the columns.</param>
    /// <param name="arm">Its name.</param>
    /// <param name="columns">As for <see cref="PaperArm.Curve"/>, and what the legend calls them.</param>
    public static Figure Columns(this PaperStudy study, string title, string unit, string arm,
        params (string Column, string Name)[] columns) =>
        study.Lines(title, unit, [.. columns.Where(_ => study.Has(arm)).Select(of => (arm, of.Column, of.Name))]);

    /// <summary>The benchmark, a bar a way of sampling, with 95 % over seeds and prompts.</summary>
    /// <param name="study">The study.</param>
    /// <param name="title">Of the figure.</param>
    public static Figure Scores(this PaperStudy study, string title) =>
        Plot.Bars($"{title} ({study.Basis()})", "arm", "share of right images, and 95 %", study.Arms,
            [.. PaperFiles.Samplings.Select(sampling => Bars(sampling, study.Arms.Select(arm =>
                study[arm].Score(sampling))))]);

    /// <summary>The benchmark at temperature 1 by task, a bar an arm, with 95 % over seeds and prompts.</summary>
    /// <inheritdoc cref="Scores"/>
    public static Figure ByTask(this PaperStudy study, string title) =>
        Plot.Bars($"{title} ({study.Basis()})", "task", "share of right images, and 95 %", [.. Prompts.Tasks],
            [.. study.Arms.Select(arm => Bars(arm, Prompts.Tasks.Select(task => study[arm].Score("t1", task))))]);

    /// <summary>The benchmark in numbers.</summary>
    /// <param name="study">The study.</param>
    public static Html Results(this PaperStudy study) => study.Numbers(study.Arms,
        [.. PaperFiles.Samplings.Select(sampling =>
            (sampling, (Func<PaperArm, Interval>)(arm => arm.Score(sampling))))]);

    /// <summary>Plan, drawing and layout at temperature 1 in numbers.</summary>
    /// <inheritdoc cref="Results"/>
    public static Html Plans(this PaperStudy study) => study.Numbers(study.Arms,
        ("plan right", arm => arm.Mean("plan_correct")), ("image follows plan", arm => arm.Mean("image_follows_plan")),
        ("layout entropy (at most ln 4)", arm => arm.Mean("layout_entropy")));

    /// <summary>Means of the last quarter of the runs, of all arms that have curves.</summary>
    /// <param name="study">The study.</param>
    /// <param name="columns">As for <see cref="PaperArm.Curve"/>, and what the table calls them.</param>
    public static Html Ends(this PaperStudy study, params (string Column, string Name)[] columns) =>
        study.Numbers(study.Arms.Where(arm => study[arm].HasCurves), [.. columns.Select(of =>
            (of.Name, (Func<PaperArm, Interval>)(arm => arm.End(of.Column))))]);

    /// <summary>By how much one arm is better than another, paired by seed and prompt, and what the interval
    /// says.</summary>
    /// <param name="study">The study.</param>
    /// <param name="pairs">The arm that is looked at, and the one that it is held against.</param>
    public static Html Differences(this PaperStudy study, params (string Arm, string Against)[] pairs) =>
        Show.Table(["benchmark of", "seeds", "T 1", "T 1 is", "greedy", "greedy is"],
            pairs.Where(pair => study.Has(pair.Arm, pair.Against)).Select(pair =>
            {
                var (warm, greedy) = (study[pair.Against].To(study[pair.Arm]),
                    study[pair.Against].To(study[pair.Arm], "greedy"));
                return (IReadOnlyList<object?>)[$"{pair.Arm} − {pair.Against}", warm.Seeds,
                    warm.Difference.Text(signed: true), Said(warm), greedy.Difference.Text(signed: true), Said(greedy)];
            }), "Differences of "
                + study.Only([.. pairs.SelectMany(pair => (string[])[pair.Arm, pair.Against])]).Basis()
                + ", with 95 % intervals");

    /// <summary>The paper's claims beside what is known of them.</summary>
    /// <param name="claims">Rows of the table.</param>
    public static Html Table(this IEnumerable<PaperClaim> claims) => Show.Table(claims,
        ("in the paper", c => c.Place), ("claim", c => c.Claim),
        ("paper", c => c.Recalled ? c.Paper + " (recalled)" : c.Paper), ("ours", c => c.Ours),
        ("difference, T 1", c => c.Difference?.Text(signed: true)), ("seen here", c => c.Seen),
        ("rests on", c => c.Rests));

    private static string Said((Interval Difference, int Seeds) of) =>
        of.Difference.Says() + (of.Seeds == 1 ? ", by prompts alone" : "");

    /// <summary>What the arms rest on: "5 seeds, 120 RL steps", "1 to 3 seeds", "single runs, 120 to 200 RL
    /// steps".</summary>
    internal static string Basis(this PaperStudy study)
    {
        var seeds = Range(study.Arms.Select(arm => (long)study[arm].Seeds.Count));
        return (seeds is "" or "1" ? "single runs" : $"{seeds} seeds")
            + (study.RlSteps() is { Length: > 0 } steps ? $", {steps} RL steps" : "");
    }

    /// <summary>How many steps of GRPO the arms took: "120", "120 to 200"; empty where there is none.</summary>
    internal static string RlSteps(this PaperStudy study) =>
        Range(study.Arms.Select(arm => study[arm].RlSteps).Where(steps => steps > 0));

    private static string Range(IEnumerable<long> numbers) => numbers.ToArray() is not { Length: > 0 } all ? ""
        : all.Min() == all.Max() ? $"{all[0]}" : $"{all.Min()} to {all.Max()}";

    // where arms differ in it, the legend says how many seeds each is the mean of
    private static Figure Lines(this PaperStudy study, string title, string unit,
        (string Arm, string Column, string Name)[] lines)
    {
        var shown = study.Only([.. lines.Select(line => line.Arm)]);
        var alike = shown.Arms.Select(arm => shown[arm].Seeds.Count).Distinct().Count() <= 1;
        return Plot.Lines($"{title} ({shown.Basis()})", "step", unit, [.. lines.Select(line =>
        {
            var (seeds, curve) = (study[line.Arm].Seeds.Count, study[line.Arm].Curve(line.Column));
            var series = new Series(alike ? line.Name : $"{line.Name} ({seeds})", curve.Steps,
                [.. curve.Points.Select(point => point.Value)]);
            return seeds < SeedsOfABar ? series : series.WithIntervals([.. curve.Points
                .Select((point, i) => i % PointsAnErrorBar == 0 ? point : point with { Low = double.NaN })]);
        })]);
    }

    private static Series Bars(string name, IEnumerable<Interval> scores) =>
        new Series(name, scores.Select(score => score.Value)).WithIntervals([.. scores]);

    private static Html Numbers(this PaperStudy study, IEnumerable<string> arms,
        params (string Name, Func<PaperArm, Interval> Of)[] columns) =>
        Show.Table(["arm", "seeds", .. columns.Select(column => column.Name)], arms.Select(name =>
            (IReadOnlyList<object?>)[name, study[name].Seeds.Count, .. columns.Select(column =>
                column.Of(study[name]).Text(alone: ""))]),
            $"Means of {study.Only([.. arms]).Basis()}, with 95 % intervals; of one seed over prompts, or none");
}
