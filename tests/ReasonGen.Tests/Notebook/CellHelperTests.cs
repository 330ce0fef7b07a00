using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Notebook;

/// <summary>What cells say in one line.</summary>
public sealed class CellHelperTests
{
    [Theory]
    [InlineData(1.0, 1.0, 0, true)]
    [InlineData(1.0, 1.1, 0.2, true)]
    [InlineData(1.0, 1.1, 0.05, false)]
    [InlineData(double.NaN, 1.0, 1e9, false)]
    [InlineData(double.NaN, double.NaN, 0, true)]
    public void Verify_throws_where_numbers_differ_by_more_than_they_may(double mine, double library, double tolerance,
        bool equal)
    {
        if (equal)
        {
            Assert.Contains("it", Verify.Equal("it", mine, library, tolerance).ToHtml());
            return;
        }

        Assert.Contains("number 0",
            Assert.Throws<InvalidOperationException>(() => Verify.Equal("it", mine, library, tolerance)).Message);
    }

    [Fact]
    public void Verify_refuses_tensors_of_different_shapes() =>
        Assert.Contains("[2, 3]",
            Assert.Throws<InvalidOperationException>(() => Verify.Equal("it", ones(2, 3), ones(3, 2))).Message);

    [Fact]
    public void A_recorded_score_has_the_numbers_of_its_file()
    {
        var run = RunRecord.Load(Path.Combine(Study.DataFolder(), "runs"), "rl-adaptive");
        var score = run.Score("t1");
        Assert.Equal((double)run.Results["t1"]!["mean"]!, score.Mean, 4);
        Assert.Equal((double)run.Results["t1"]!["standard_error"]!, score.StandardError, 4);
        Assert.Equal((double)run.Results["t1"]!["layout_entropy"]!, score.LayoutEntropy);
        Assert.Equal((double)run.Results["t1"]!["plan_correct"]!, run.Result("t1.plan_correct"));
        Assert.True(double.IsNaN(RunRecord.Load(Path.Combine(Study.DataFolder(), "runs"), "base").Score().PlanCorrect));
        Assert.Contains("t0.5", Assert.Throws<ArgumentException>(() => run.Score("t2")).Message);
        Assert.Contains("t0.5", Assert.Throws<ArgumentException>(() => run.Result("t1.nothing")).Message);
    }

    [Fact]
    public void Images_that_are_not_as_many_for_each_prompt_are_refused()
    {
        var prompts = new[] { new Prompt("a", "", []), new Prompt("b", "", []) };
        var image = new ReasonGen.Imaging.RgbImage(32, 32, new byte[3072]);
        Assert.Throws<ArgumentException>(() => Show.Judged(prompts, [image, image, image]));
        Assert.Throws<ArgumentException>(() => Show.Judged([], [image]));
    }

    [Fact]
    public void A_tensor_is_shown_with_shape_type_and_what_is_left_out()
    {
        var html = Show.Tensor(arange(40).view(2, 20), "t", most: 16).ToHtml();
        Assert.Contains("[2 × 20] Int64; 0 rows and 4 columns more", html);
        Assert.Throws<ArgumentException>(() => Show.Tensor(zeros(2, 2, 2)));
    }

    [Fact]
    public void Whole_numbers_and_decimals_stand_in_a_table_with_all_their_digits()
    {
        var html = Show.Table(["n", "x"], [[9007199254740993L, 1.5], [ulong.MaxValue, 0.25],
            [0.12345678901234567890m, 2.0], [-3, double.NaN]]).ToHtml();
        foreach (var text in new[] { "9007199254740993", "18446744073709551615", "0.12345678901234567890", "-3", "1.50",
            "0.25", "2.00", "–" })
        {
            Assert.Contains($"text-align:right;white-space:nowrap\">{text}<", html.Replace(";min-width:10em",
                ";white-space:nowrap"));
        }
    }

    [Fact]
    public void A_data_frame_shows_its_first_rows_and_how_many_more_there_are()
    {
        var column = new Microsoft.Data.Analysis.Int32DataFrameColumn("n", Enumerable.Range(1000, 5000));
        var frame = new Microsoft.Data.Analysis.DataFrame(column);
        Assert.Contains("5999", Show.Table(frame).ToHtml());
        var html = Microsoft.DotNet.Interactive.Formatting.Formatter.ToDisplayString(frame, "text/html");
        Assert.Contains(">1019<", html);
        Assert.DoesNotContain("1020", html);
        Assert.Contains("4,980 rows more", html);
        Assert.DoesNotContain("more", Microsoft.DotNet.Interactive.Formatting.Formatter.ToDisplayString(
            new Microsoft.Data.Analysis.DataFrame(new Microsoft.Data.Analysis.Int32DataFrameColumn("n", [7])),
            "text/html"));
    }

    [Fact]
    public void Error_bars_are_drawn_and_must_be_as_many_as_the_values()
    {
        var series = new Series("s", [1.0, 2.0]).WithErrors([0.5, 0.25]);
        var html = Plot.Bars("t", "x", "y", ["a", "b"], series).ToHtml();
        Assert.Contains("1 &#177; 0.5", html);
        Assert.Contains("\"error_y\":{\"type\":\"data\",\"array\":[0.5,0.25]}", html);
        Assert.Throws<ArgumentException>(() => series.WithErrors([1]));
        // half an interval is none
        Assert.Contains("\"array\":[0.5,null,null],\"symmetric\":false,\"arrayminus\":[0.25,null,null]",
            Plot.Lines("t", "x", "y", new Series("s", [1.0, 2, 3]).WithIntervals([new(1, 0.75, 1.5),
                new(2, double.NaN, 3), new(3, 2, double.NaN)])).ToHtml());
    }
}
