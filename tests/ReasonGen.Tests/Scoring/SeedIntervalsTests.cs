using CsCheck;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>Intervals over seeds and prompts, held against closed forms.</summary>
public sealed class SeedIntervalsTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(30)]
    public void Interquartile_mean_of_equal_steps_is_their_middle(int count) =>
        Assert.Equal((count - 1) / 2.0,
            SeedIntervals.InterquartileMean([.. Enumerable.Range(0, count).Select(i => (double)i)]), 12);

    [Fact]
    public void Interquartile_mean_lies_between_its_values_and_ignores_the_ends() =>
        Gen.Double[-1, 1].Array[4, 40].Sample(values =>
        {
            var mean = SeedIntervals.InterquartileMean(values);
            Assert.InRange(mean, values.Min() - 1e-12, values.Max() + 1e-12);
            var far = values.Order().ToArray();
            (far[0], far[^1]) = (-1e6, 1e6);
            Assert.Equal(mean, SeedIntervals.InterquartileMean(far), 1e-9);
            Assert.Equal(2 * mean + 3, SeedIntervals.InterquartileMean([.. values.Select(x => 2 * x + 3)]), 1e-9);
        }, seed: "0N0XIzNsQ0O2", iter: 200);

    [Theory]
    [InlineData(new double[] { 1, 2, 3, 4, 5 }, 3, 2.7764 * 0.70711)]
    [InlineData(new double[] { 0.2, 0.4 }, 0.3, 12.7062 * 0.1)]
    public void Mean_over_seeds_has_students_interval(double[] values, double mean, double half)
    {
        var interval = SeedIntervals.Mean(values);
        Assert.Equal(mean, interval.Value, 12);
        Assert.Equal(half, interval.High - interval.Value, 1e-4);
        Assert.Equal(half, interval.Value - interval.Low, 1e-4);
    }

    [Theory]
    [InlineData(2, 12.7062 / 1.959964 * 1.414214)]
    [InlineData(5, 2.7764 / 1.959964 * 1.118034)]
    [InlineData(31, 2.0423 / 1.959964 * 1.016530)]
    [InlineData(1, 1)]
    public void Few_seeds_stretch_an_interval(int seeds, double expected) =>
        Assert.Equal(expected, SeedIntervals.Stretch(seeds), 1e-3);

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(8)]
    public void Without_noise_of_prompts_a_mean_has_students_interval(int count)
    {
        var random = new Random(count);
        double[] means = [.. Enumerable.Range(0, count).Select(_ => Math.Pow(random.NextDouble(), 3))]; // lopsided
        var (drawn, closed) = (OfShares(SeedIntervals.Mean, means), SeedIntervals.Mean(means));
        Assert.Equal(closed.Value, drawn.Value, 12);
        Assert.Equal(closed.Low, drawn.Low, 12);
        Assert.Equal(closed.High, drawn.High, 12);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(20)]
    public void Drawn_seeds_are_stretched_to_students_width(int count)
    {
        var random = new Random(count);
        double[] means = [.. Enumerable.Range(0, count).Select(_ => random.NextDouble())];
        // of few seeds the middle half has half of them, and spreads the more
        var (drawn, closed) = (OfShares(SeedIntervals.InterquartileMean, means), SeedIntervals.Mean(means));
        Assert.InRange((drawn.High - drawn.Low) / (closed.High - closed.Low), 0.8, 2);
    }

    [Fact]
    public void Errors_of_seeds_and_of_prompts_are_added_as_squares()
    {
        // a seed's own share, and prompts that are easy or hard for all seeds alike
        double[] means = [0.2, 0.25, 0.3, 0.35, 0.4, 0.45];
        var prompts = SeedIntervals.Mean([Outcomes(1, 1, 200, (_, prompt) => prompt % 2)]);
        var both =
            SeedIntervals.Mean([.. means.Select((mean, i) => Outcomes(i, 1, 200, (_, prompt) => mean + prompt % 2))]);
        var student = SeedIntervals.Mean(means);
        Assert.Equal(Math.Sqrt(Math.Pow(student.High - student.Low, 2) + Math.Pow(prompts.High - prompts.Low, 2)),
            both.High - both.Low, 0.1 * (both.High - both.Low));
    }

    [Fact]
    public void One_seed_has_the_interval_of_its_prompts()
    {
        var drawn = SeedIntervals.Mean([Outcomes(1, 1, 400, (_, prompt) => prompt % 4 == 0 ? 0 : 1)]);
        Assert.Equal(0.75, drawn.Value, 12);
        Assert.Equal(2 * 1.96 * Math.Sqrt(0.75 * 0.25 / 400), drawn.High - drawn.Low, 0.01);
    }

    [Theory]
    [InlineData(3)]
    [InlineData(5)]
    public void The_interval_of_a_mean_covers_it_as_often_as_it_says(int seeds)
    {
        const int studies = 150;
        var covered = Enumerable.Range(0, studies).Count(study =>
        {
            var random = new Random(1000 * seeds + study);
            double Normal() =>
                Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(Math.Tau * random.NextDouble());
            var interval = SeedIntervals.Mean([.. Enumerable.Range(0, seeds).Select(i =>
            {
                var own = Normal();
                return Outcomes(i, 2, 5, (_, _) => own + 0.2 * Normal());
            })], study);
            return interval is { Low: <= 0, High: >= 0 };
        });
        Assert.InRange(covered / (double)studies, 0.9, 1.0);
    }

    [Fact]
    public void A_constant_lead_is_certain_however_much_seeds_differ()
    {
        double Outcome(long seed, int task, int prompt) => (seed * 7 + task * 3 + prompt * 5) % 11 / 11.0;
        SeedOutcomes[] first = [.. Enumerable.Range(0, 4).Select(i => Outcomes(i, 2, 6, (t, p) => Outcome(i, t, p)))],
            second = [.. Enumerable.Range(1, 4).Select(i => Outcomes(i, 2, 6, (t, p) => Outcome(i, t, p) + 0.25))];
        var (difference, seeds) = SeedIntervals.Difference(first, second);
        Assert.Equal(3, seeds); // those that both have
        Assert.Equal((0.25, 0.25, 0.25),
            (Math.Round(difference.Value, 9), Math.Round(difference.Low, 9), Math.Round(difference.High, 9)));
        Assert.True(difference.ExcludesZero);
    }

    [Fact]
    public void Statistics_do_not_depend_on_the_order_of_tasks_and_contain_their_value() =>
        Gen.Double[0, 1].Array[24].Sample(values =>
        {
            SeedOutcomes Seed(int seed, Func<int, int> order) =>
                Outcomes(seed, 2, 4, (t, p) => values[seed * 8 + order(t) * 4 + p]);
            SeedOutcomes[] one = [.. Enumerable.Range(0, 3).Select(i => Seed(i, t => t))],
                other = [.. Enumerable.Range(0, 3).Select(i => Seed(i, t => 1 - t))];
            foreach (var statistic in new[] { SeedIntervals.Mean, (Func<IReadOnlyList<SeedOutcomes>, long, Interval>)
                SeedIntervals.InterquartileMean })
            {
                var interval = statistic(one, 1);
                Assert.Equal(interval.Value, statistic(other, 1).Value, 1e-12);
                Assert.InRange(interval.Value, interval.Low, interval.High);
            }
        }, seed: "0N0XIzNsQ0O2", iter: 20);

    [Fact]
    public void Seeds_with_other_prompts_are_refused()
    {
        SeedOutcomes one = Outcomes(1, 2, 4, (_, _) => 1), other = Outcomes(2, 2, 5, (_, _) => 1),
            same = Outcomes(1, 2, 5, (_, _) => 1);
        Assert.Contains("same prompts",
            Assert.Throws<ArgumentException>(() => SeedIntervals.Mean([one, other])).Message);
        Assert.Contains("other prompts",
            Assert.Throws<ArgumentException>(() => SeedIntervals.Difference([one], [same])).Message);
        Assert.Contains("needs a seed",
            Assert.Throws<ArgumentException>(() => SeedIntervals.Difference([one], [other])).Message);
    }

    // every prompt of a seed has one outcome
    private static Interval OfShares(Func<IReadOnlyList<SeedOutcomes>, long, Interval> statistic, double[] shares) =>
        statistic([.. shares.Select((share, i) => Outcomes(i, 3, 4, (_, _) => share))], 1);

    private static SeedOutcomes Outcomes(long seed, int tasks, int prompts, Func<int, int, double> outcome) =>
        new(seed, [.. Enumerable.Range(0, tasks).Select(t =>
            Enumerable.Range(0, prompts).Select(p => outcome(t, p)).ToArray())]);
}
