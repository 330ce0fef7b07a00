using ReasonGen.Notebook;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>One number is shown in one way.</summary>
public sealed class DecimalsTests
{
    [Theory]
    [InlineData(0.2425, 3, null, "0.243")]
    [InlineData(0.24249999999999997, 3, null, "0.243")]
    [InlineData(0.6224999999999999, 3, null, "0.623")]
    [InlineData(24.25, 1, null, "24.3")]
    [InlineData(0.2424, 3, null, "0.242")]
    [InlineData(-0.0005, 3, Decimals.Signed, "−0.001")]
    [InlineData(0.0005, 3, Decimals.Signed, "+0.001")]
    [InlineData(-0.0004, 3, Decimals.Signed, "0.000")]
    [InlineData(-0.0004, 3, null, "0.000")]
    [InlineData(double.NaN, 3, null, "–")]
    [InlineData(2.5e20, 0, "0", "250000000000000000000")]
    public void A_number_is_rounded_half_away_from_zero(double value, int decimals, string? format, string shown) =>
        Assert.Equal(shown, Decimals.Of(value, decimals, format));

    [Fact]
    public void Tables_and_points_of_figures_round_alike()
    {
        double[] mean = [0.24249999999999997];
        Assert.Contains(">0.243<", Show.Table(["mean"], [[mean[0]]]).ToHtml());
        Assert.Contains(": 0.243<", Plot.Bars("t", "x", "y", ["a"], new Series("s", mean)).ToSvg());
    }

    [Fact]
    public void An_interval_is_shown_with_brackets_or_without_any()
    {
        Assert.Equal("0.243 [0.200, 0.300]", new Interval(0.2425, 0.2, 0.3).Text());
        Assert.Equal("−0.020 [−0.050, +0.010]", new Interval(-0.02, -0.05, 0.01).Text(signed: true));
        Assert.Equal("0.500 (one seed)", new Interval(0.5, double.NaN, double.NaN).Text());
        Assert.Equal("–", new Interval(double.NaN, double.NaN, double.NaN).Text());
    }

    [Theory]
    [InlineData(0.1, 0.3, 5, "more")]
    [InlineData(-0.3, -0.1, 5, "less")]
    [InlineData(-0.1, 0.1, 5, "not told apart")]
    [InlineData(0.1, 0.3, 1, "one seed: nothing is said")]
    public void A_difference_says_what_its_interval_says(double low, double high, int seeds, string says) =>
        Assert.Equal(says, (new Interval((low + high) / 2, low, high), seeds).Says());
}
