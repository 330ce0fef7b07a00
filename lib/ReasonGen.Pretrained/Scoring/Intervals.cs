// Intervals by the bootstrap (Efron 1979): prompts are drawn again with replacement WITHIN each task, as the images of
// a prompt are alike; the score is taken anew, 2,000 times; 95 % lie between the 2.5 % and the 97.5 % quantile. A
// comparison draws the same prompts for both sides. A task of one prompt tells nothing of others: there is no interval.
using System.Globalization;
using System.Runtime.CompilerServices;
using ReasonGen.Core;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>A number and where it lies with 95 %; NaN where that cannot be told.</summary>
public readonly record struct Interval(double Value, double Low, double High)
{
    /// <summary>Whether it is apart from 0.</summary>
    public bool ExcludesZero => Low > 0 || High < 0;

    /// <summary>"68.20 to 74.10", of scored images; in place of an interval that there is none, why.</summary>
    /// <param name="scale">Both ends are multiplied by it: 100 for percent.</param>
    /// <param name="format">.NET's, of each end.</param>
    public string Ends(double scale, string format = "0.00")
    {
        string End(double value) => (value * scale).ToString(format, CultureInfo.InvariantCulture);
        return double.IsNaN(Value) ? "nothing was scored"
            : double.IsNaN(Low) ? "no interval: one prompt in a task" : $"{End(Low)} to {End(High)}";
    }
}

/// <summary>What the images of one prompt scored.</summary>
/// <param name="Prompt">Names it: two sides are paired by it.</param>
/// <param name="Scores">A score an image.</param>
public sealed record PromptScores(string Prompt, IReadOnlyList<double> Scores);

/// <summary>The prompts of one task.</summary>
public sealed record TaskScores(string Task, IReadOnlyList<PromptScores> Prompts)
{
    /// <summary>Mean over all images.</summary>
    public double Mean => PythonNumber.Mean(Prompts.SelectMany(prompt => prompt.Scores));
}

/// <summary>The one place where intervals are made.</summary>
public static class Intervals
{
    private const int Draws = 2000;

    /// <summary>Unweighted mean of the tasks' means; without an interval where a task has one prompt.</summary>
    public static Interval Of(IReadOnlyList<TaskScores> tasks, long seed = 1) =>
        Draw([.. tasks.Select(task => task.Prompts.Count)], picks =>
            PythonNumber.Mean(tasks.Select((task, t) => Mean(task.Prompts, picks[t]))), seed);

    /// <summary>Difference of two sides on the same prompts, second minus first; prompts that one side lacks are left
    /// out.</summary>
    /// <param name="first">Tasks of the first side.</param>
    /// <param name="second">Tasks of the second.</param>
    /// <param name="seed">Of what is drawn.</param>
    /// <returns>The difference, without an interval where a task has one paired prompt; and how many prompts are
    /// paired.</returns>
    public static (Interval Difference, int Prompts) Compare(IReadOnlyList<TaskScores> first,
        IReadOnlyList<TaskScores> second, long seed = 1)
    {
        var pairs = first.Join(second, task => task.Task, task => task.Task, (a, b) =>
            a.Prompts.Join(b.Prompts, p => p.Prompt, p => p.Prompt, (p, q) => (p, q)).ToArray())
            .Where(task => task.Length > 0).ToArray();
        PromptScores[][] one = [.. pairs.Select(task => task.Select(pair => pair.p).ToArray())],
            other = [.. pairs.Select(task => task.Select(pair => pair.q).ToArray())];
        return (Draw([.. pairs.Select(task => task.Length)], picks =>
            PythonNumber.Mean(pairs.Select((_, t) => Mean(other[t], picks[t]) - Mean(one[t], picks[t]))), seed),
            pairs.Sum(task => task.Length));
    }

    /// <summary>Any statistic of clusters that are drawn again; without an interval where a task has fewer than
    /// two.</summary>
    /// <param name="counts">Clusters of each task.</param>
    /// <param name="statistic">Its value for the clusters picked of each task.</param>
    /// <param name="seed">Of what is drawn.</param>
    public static Interval Draw(IReadOnlyList<int> counts, Func<int[][], double> statistic, long seed)
    {
        var picks = counts.Select(count => Enumerable.Range(0, count).ToArray()).ToArray();
        var value = statistic(picks);
        if (counts.Any(count => count < 2))
        {
            return new(value, double.NaN, double.NaN);
        }

        var random = Seeds.Random(seed, 71);
        var drawn = new double[Draws];
        for (var i = 0; i < Draws; i++)
        {
            foreach (var own in picks)
            {
                Fill(own, random);
            }

            drawn[i] = statistic(picks);
        }

        double[] finite = [.. drawn.Where(double.IsFinite).Order()];
        return finite.Length == 0 ? new(value, double.NaN, double.NaN)
            : new(value, finite[(int)(0.025 * (finite.Length - 1))],
                finite[(int)Math.Ceiling(0.975 * (finite.Length - 1))]);
    }

    // what random.Next(picks.Length) gives, of which a short run spends most in code that is not yet optimized
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Fill(int[] picks, Random random)
    {
        for (var i = 0; i < picks.Length; i++)
        {
            picks[i] = (int)(random.NextDouble() * picks.Length);
        }
    }

    private static double Mean(IReadOnlyList<PromptScores> prompts, int[] picks)
    {
        var (sum, count) = (0.0, 0);
        foreach (var pick in picks)
        {
            foreach (var score in prompts[pick].Scores)
            {
                sum += score;
                count++;
            }
        }

        return sum / count;
    }
}

/// <summary>How the verdicts of two judges on the same images agree.</summary>
/// <param name="Images">Images that both judged.</param>
/// <param name="Accuracy">Share of equal verdicts.</param>
/// <param name="Precision">Share of what the second calls right among what the first does; NaN without any.</param>
/// <param name="Recall">Share of what the first calls right among what the second does; NaN without any.</param>
/// <param name="Kappa">Cohen's kappa: agreement beyond chance, (p − pₑ) / (1 − pₑ); NaN where chance explains
/// all.</param>
public sealed record Agreement(int Images, Interval Accuracy, double Precision, double Recall, Interval Kappa)
{
    /// <summary>Compares verdicts.</summary>
    /// <param name="pairs">Prompt, verdict of the first judge, verdict of the second, which counts as the
    /// truth.</param>
    /// <param name="seed">Of the intervals.</param>
    public static Agreement Of(IReadOnlyList<(string Prompt, bool First, bool Truth)> pairs, long seed = 1)
    {
        var clusters = pairs.GroupBy(pair => pair.Prompt).Select(group =>
            (Both: group.Count(p => p.First && p.Truth), First: group.Count(p => p.First),
            Truth: group.Count(p => p.Truth), All: group.Count())).ToArray();
        (double Both, double First, double Truth, double All) Sum(int[] picks)
        {
            var (both, first, truth, all) = (0.0, 0.0, 0.0, 0.0);
            foreach (var pick in picks)
            {
                (both, first, truth, all) = (both + clusters[pick].Both, first + clusters[pick].First, truth
                    + clusters[pick].Truth, all + clusters[pick].All);
            }

            return (both, first, truth, all);
        }

        static double Equal((double Both, double First, double Truth, double All) s) =>
            (2 * s.Both + s.All - s.First - s.Truth) / s.All;
        static double Kappa((double Both, double First, double Truth, double All) s)
        {
            var chance = (s.First * s.Truth + (s.All - s.First) * (s.All - s.Truth)) / (s.All * s.All);
            return chance == 1 ? double.NaN : (Equal(s) - chance) / (1 - chance);
        }

        var whole = Sum([.. Enumerable.Range(0, clusters.Length)]);
        return new(pairs.Count, Intervals.Draw([clusters.Length], picks => Equal(Sum(picks[0])), seed),
            whole.Both / whole.First, whole.Both / whole.Truth,
            Intervals.Draw([clusters.Length], picks => Kappa(Sum(picks[0])), seed));
    }
}
