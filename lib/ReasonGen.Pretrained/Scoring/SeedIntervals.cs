// Intervals over training seeds (Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical
// precipice"): prompts of each task, the same ones for all seeds, are drawn again with replacement; and seeds.
//   mean: of the tasks' shares, then of the seeds.   IQM: mean of the middle half of all seeds' tasks' shares.
//   difference: second minus first, on the same seeds and prompts.
// Deviations: 1. The seeds' part of a mean is Student's, t(n − 1) s / √n: of three seeds drawn three times the
//   lowest comes alone once in 27, more often than the 2.5 % beyond a quantile, and the interval would end there.
//   2. Of an IQM seeds are drawn, each with all its tasks, since one training run made them; there each task is drawn
//   apart. n seeds drawn n times spread less than seeds do, and the quantiles of few are too near (five seeds cover
//   84 % instead of 95 %), so the interval is stretched around its value by t(n − 1) / z · √(n / (n − 1))
//   (Hesterberg 2015, "What teachers should know about the bootstrap").   3. Seeds and prompts are taken apart, and
//   the distances from the value added as squares: prompts are many, and need no stretching. One seed says nothing of
//   others.
using System.Runtime.CompilerServices;

namespace ReasonGen.Scoring;

/// <summary>Outcomes of one trained seed on prompts that are the same for all seeds.</summary>
/// <param name="Seed">Of the training: arms are paired by it.</param>
/// <param name="Tasks">Task → prompt → outcome, for example 1 for a right image and 0 for a wrong one.</param>
public sealed record SeedOutcomes(long Seed, IReadOnlyList<double[]> Tasks);

/// <summary>Means and interquartile means over seeds, with 95 % intervals.</summary>
public static class SeedIntervals
{
    private const double Normal = 1.959964;

    // 97.5 % quantiles of Student's distribution, by degrees of freedom from 1 on
    private static readonly double[] Student = [12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306,
        2.2622, 2.2281];

    /// <summary>Mean of the middle half: a quarter of the values, rounded down, is left out at each end.</summary>
    /// <exception cref="ArgumentException">There is no value.</exception>
    public static double InterquartileMean(IReadOnlyCollection<double> values)
    {
        if (values.Count == 0)
        {
            throw new ArgumentException("an interquartile mean needs a value", nameof(values));
        }

        var cut = values.Count / 4;
        return values.Order().Skip(cut).Take(values.Count - 2 * cut).Average();
    }

    /// <summary>What an interval of n drawn seeds is stretched by; 1 for one seed.</summary>
    public static double Stretch(int seeds) => seeds < 2 ? 1
        : StudentQuantile(seeds - 1) / Normal * Math.Sqrt(seeds / (seeds - 1.0));

    /// <summary>Mean over seeds of any number that each seed has one of; Student's interval, or none for one
    /// seed.</summary>
    /// <exception cref="ArgumentException">There is no value.</exception>
    public static Interval Mean(IReadOnlyCollection<double> values)
    {
        if (values.Count == 0)
        {
            throw new ArgumentException("a mean over seeds needs a seed", nameof(values));
        }

        var mean = values.Average();
        if (values.Count == 1)
        {
            return new(mean, double.NaN, double.NaN);
        }

        var half = StudentQuantile(values.Count - 1)
            * Math.Sqrt(values.Sum(value => Math.Pow(value - mean, 2)) / (values.Count - 1) / values.Count);
        return new(mean, mean - half, mean + half);
    }

    /// <summary>Difference of any number that each seed has one of, second minus first, over the seeds that both have;
    /// Student's interval, or none for one seed.</summary>
    /// <exception cref="ArgumentException">They have no seed in common.</exception>
    public static Interval Difference(IReadOnlyDictionary<long, double> first,
        IReadOnlyDictionary<long, double> second) =>
        Mean([.. first.Join(second, one => one.Key, two => two.Key, (one, two) => two.Value - one.Value)]);

    /// <summary>Mean over seeds of the tasks' means; without an interval where a task has one prompt.</summary>
    /// <param name="seeds">At least one; all with the same prompts.</param>
    /// <param name="seed">Of what is drawn.</param>
    /// <exception cref="ArgumentException">There is no seed, or the seeds have other prompts.</exception>
    public static Interval Mean(IReadOnlyList<SeedOutcomes> seeds, long seed = 1)
    {
        var sizes = CheckedSizes(seeds);
        double[][] each = [.. sizes.Select((size, t) => Enumerable.Range(0, size)
            .Select(prompt => seeds.Average(one => one.Tasks[t][prompt])).ToArray())]; // a mean of means: in any order
        return Of(seeds, shares => Mean([.. shares.Select(row => row.Average())]), Intervals.Draw(sizes, picks =>
            each.Zip(picks, Drawn).Average(), seed));
    }

    /// <summary>Interquartile mean over all seeds' tasks; without an interval where a task has one prompt.</summary>
    /// <inheritdoc cref="Mean(IReadOnlyList{SeedOutcomes}, long)"/>
    public static Interval InterquartileMean(IReadOnlyList<SeedOutcomes> seeds, long seed = 1) =>
        Of(seeds, shares =>
        {
            var drawn = Intervals.Draw([shares.Length], picks =>
                InterquartileMean([.. Flat([.. picks[0].Select(s => shares[s])])]), seed);
            double Stretched(double end) => drawn.Value + Stretch(shares.Length) * (end - drawn.Value);
            return new(drawn.Value, Stretched(drawn.Low), Stretched(drawn.High));
        }, Intervals.Draw(CheckedSizes(seeds), picks => InterquartileMean(
            [.. seeds.SelectMany(one => one.Tasks.Zip(picks, Drawn))]), seed));

    /// <summary>Difference of the means of two arms, second minus first, over the seeds that both have.</summary>
    /// <param name="first">An arm.</param>
    /// <param name="second">Another, with the same prompts.</param>
    /// <param name="seed">Of what is drawn.</param>
    /// <returns>The difference, and over how many seeds.</returns>
    /// <exception cref="ArgumentException">They have no seed in common, or other prompts.</exception>
    public static (Interval Difference, int Seeds) Difference(IReadOnlyList<SeedOutcomes> first,
        IReadOnlyList<SeedOutcomes> second, long seed = 1)
    {
        var pairs = first.Join(second, one => one.Seed, other => other.Seed, (one, other) => (one, other)).ToArray();
        if (pairs.Any(pair => !Sizes(pair.one).SequenceEqual(Sizes(pair.other))))
        {
            throw new ArgumentException("the two arms were measured on other prompts", nameof(second));
        }

        SeedOutcomes[] apart = [.. pairs.Select(pair => new SeedOutcomes(pair.one.Seed,
            [.. pair.one.Tasks.Zip(pair.other.Tasks, (a, b) => a.Zip(b, (x, y) => y - x).ToArray())]))];
        return (Mean(apart, seed), apart.Length);
    }

    // two intervals together: of seeds, from their shares by seed and task, and of prompts
    private static Interval Of(IReadOnlyList<SeedOutcomes> seeds, Func<double[][], Interval> ofSeeds,
        Interval ofPrompts)
    {
        if (seeds.Count == 1)
        {
            return ofPrompts;
        }

        var (value, low, high) =
            ofSeeds([.. seeds.Select(one => one.Tasks.Select(task => task.Average()).ToArray())]);
        double Together(double end, double ofPromptsEnd) =>
            Math.Sqrt(Math.Pow(end - value, 2) + Math.Pow(ofPromptsEnd - value, 2));
        return new(value, value - Together(low, ofPrompts.Low), value + Together(high, ofPrompts.High));
    }

    // prompts of each task, the same for all
    private static int[] CheckedSizes(IReadOnlyList<SeedOutcomes> seeds)
    {
        if (seeds.Count == 0)
        {
            throw new ArgumentException("an interval over seeds needs a seed", nameof(seeds));
        }

        int[] sizes = [.. Sizes(seeds[0])];
        return sizes.Length > 0 && !sizes.Contains(0) && seeds.All(one => Sizes(one).SequenceEqual(sizes)) ? sizes
            : throw new ArgumentException("the seeds were not all measured on the same prompts", nameof(seeds));
    }

    // mean of the outcomes that were drawn
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static double Drawn(double[] outcomes, int[] picks)
    {
        var sum = 0.0;
        foreach (var prompt in picks)
        {
            sum += outcomes[prompt];
        }

        return sum / picks.Length;
    }

    private static IEnumerable<int> Sizes(SeedOutcomes one) => one.Tasks.Select(task => task.Length);

    private static IEnumerable<double> Flat(double[][] shares) => shares.SelectMany(row => row);

    // beyond the table by Cornish and Fisher's expansion, good to 1e-4 there
    private static double StudentQuantile(int freedom) => freedom <= Student.Length ? Student[freedom - 1]
        : Normal + (Math.Pow(Normal, 3) + Normal) / (4.0 * freedom)
            + (5 * Math.Pow(Normal, 5) + 16 * Math.Pow(Normal, 3) + 3 * Normal) / (96.0 * freedom * freedom);
}
