using System.Globalization;
using ReasonGen.Scoring;
using ReasonGen.Studies;

namespace ReasonGen.Notebook;

/// <summary>The recorded study of the paper in words and figures. Arms that were not run are left out.</summary>
public static class PaperFigures
{
    private const int PointsAnErrorBar = 4;

    /// <summary>"0.843 [0.801, 0.880]"; of one seed the value alone.</summary>
    public static string Text(this Interval of) =>
        $"{Number(of.Value)} " + (double.IsNaN(of.Low) ? "(one seed)" : $"[{Number(of.Low)}, {Number(of.High)}]");

    private static string Number(double value) =>
        (Math.Round(value, 3) + 0.0).ToString("0.000", CultureInfo.InvariantCulture); // no minus before a nought

    /// <summary>What an interval of a difference says: "more", "less", or that the two are not told apart.</summary>
    public static string Says(this Interval difference) => double.IsNaN(difference.Low) ? "one seed: nothing is said"
        : difference.Low > 0 ? "more" : difference.High < 0 ? "less" : "not told apart";

    /// <summary>Half the length of an interval, for an error bar.</summary>
    public static double Half(this Interval of) => (of.High - of.Low) / 2;

    /// <summary>A column of arms over the steps: means over seeds, with Student's intervals at some points.</summary>
    /// <param name="study">The study.</param>
    /// <param name="title">Of the figure.</param>
    /// <param name="column">As for <see cref="PaperArm.Curve"/>.</param>
    /// <param name="unit">Of the column.</param>
    /// <param name="arms">Their names.</param>
    public static Figure Curves(this PaperStudy study, string title, string column, string unit,
        params ReadOnlySpan<string> arms)
    {
        var series = new List<Series>();
        foreach (var arm in arms)
        {
            if (study.Has(arm))
            {
                var curve = study[arm].Curve(column);
                var line = new Series(arm, curve.Steps, [.. curve.Points.Select(point => point.Value)]);
                series.Add(study[arm].Seeds.Count == 1 ? line : line.WithErrors(curve.Points.Select((point, i) =>
                    i % PointsAnErrorBar == 0 ? point.Half() : double.NaN)));
            }
        }

        return Plot.Lines(title, "step", unit, [.. series]);
    }

    /// <summary>The benchmark of arms, a bar a way of sampling, with 95 % over seeds and prompts.</summary>
    /// <param name="study">The study.</param>
    /// <param name="title">Of the figure.</param>
    /// <param name="arms">Their names.</param>
    public static IHtml Scores(this PaperStudy study, string title, params ReadOnlySpan<string> arms)
    {
        var there = arms.ToArray().Where(arm => study.Has(arm)).ToArray();
        return there.Length == 0 ? new Html("<p>None of these arms is recorded.</p>")
            : Plot.Bars(title, "arm", "share of right images", there, [.. PaperFiles.Samplings.Select(sampling =>
            {
                Interval[] scores = [.. there.Select(arm => study[arm].Score(sampling))];
                return new Series(sampling, scores.Select(score => score.Value))
                    .WithErrors(scores.Select(score => score.Half()));
            })]);
    }
}
