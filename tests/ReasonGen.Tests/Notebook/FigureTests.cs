using System.Xml.Linq;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Imaging;
using SkiaSharp;
using Xunit;

namespace ReasonGen.Tests.Notebook;

public sealed class FigureTests
{
    private static readonly Figure[] Figures =
    [
        Plot.Lines("two & more", "step", "loss", new Series("a", [3.0, 2, double.NaN, 1]),
            new Series("b", [1.0, 1, 1, 1])),
        Plot.Bars("bars", "word", "count", ["one", "two"], new Series("n", [3.0, -1])),
        Plot.Histogram("histogram", "value", [1.0, 1, 2, 5]),
    ];

    [Fact]
    public void A_figure_without_values_says_so_instead_of_drawing_axes() =>
        Assert.Equal("<p><b>nothing yet</b>: no values</p>",
            Plot.Lines("nothing yet", "step", "loss", new Series("a", Array.Empty<double>())).ToHtml());

    [Fact]
    public void Every_figure_has_a_static_drawing_and_data_for_a_chart()
    {
        foreach (var figure in Figures)
        {
            var svg = XDocument.Parse(figure.ToSvg());
            Assert.Equal("svg", svg.Root!.Name.LocalName);
            Assert.DoesNotContain("NaN", figure.ToSvg());
            var html = figure.ToHtml();
            var json = JObject.Parse(html.Split("class=\"rg-plotly\">")[1].Split("</script>")[0].Replace("<\\/", "</"));
            var own = JObject.Parse(Plotly.NET.GenericChart.toFigureJson(figure.Chart()));
            Assert.Equal(own["data"]!.Select(Values), json["data"]!.Select(Values));
            Assert.Equal(own["layout"]!["xaxis"]!["title"]!["text"], json["layout"]!["xaxis"]!["title"]!["text"]);
            Assert.DoesNotContain("http", json["layout"]?.ToString() ?? "");
        }
    }

    [Theory]
    [InlineData("adaptive", "none", "sft")]
    [InlineData("sft-long", "base", "adaptive (5)")]
    [InlineData("after RL", "large-judge", "small-judge")]
    [InlineData("target H*", "penalty 0.02", "adaptive (3 seeds)")]
    public void An_arm_has_the_same_colour_in_every_figure(params string[] names)
    {
        const string own = "#009E73"; // of the method
        var figure = Plot.Lines("t", "x", "y", [.. names.Select(name => new Series(name, [1.0, 2]))]);
        var name = names.Single(name => name.StartsWith("adaptive") || name == "after RL");
        Assert.Contains($"fill='{own}'/><text", figure.ToSvg());
        Assert.Matches($"stroke='{own}'[^>]*><title>{System.Text.RegularExpressions.Regex.Escape(name)}<",
            figure.ToSvg());
        var colors = System.Text.RegularExpressions.Regex.Matches(figure.ToHtml(), "\"marker\":{\"color\":\"(#\\w+)\"}")
            .Select(match => match.Groups[1].Value).ToArray();
        Assert.Equal(own, colors[Array.IndexOf(names, name)]);
        Assert.Equal(3, colors.Distinct().Count()); // others have those that are left
    }

    [Fact]
    public void Series_without_an_arm_have_the_page_s_colours_in_order()
    {
        var html = Figures[0].ToHtml();
        Assert.DoesNotContain("\"marker\"", html);
        Assert.Matches("#0072B2'[^>]*><title>a<[\\s\\S]*#D55E00'[^>]*><title>b<", html);
    }

    [Fact]
    public void Values_over_an_image_have_a_scale_and_their_range()
    {
        var html = Show.Heat([new RgbImage(2, 2, new byte[12])], [[0.25, 1, 2, 3.5]], ["of tokens"]).ToHtml();
        Assert.Contains(">of tokens 0.25 to 3.5<", html);
        Assert.Contains("linear-gradient", html);
        Assert.DoesNotContain("linear-gradient", Show.Images([new RgbImage(2, 2, new byte[12])]).ToHtml());
    }

    [Fact]
    public void Arrows_between_steps_have_the_page_s_colour() =>
        Assert.Contains("stroke='currentColor'", Show.Flow(("a", "b"), ("c", "d")).ToHtml());

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.PositiveInfinity)]
    public void A_point_whose_place_is_no_number_is_not_drawn(double x)
    {
        var points = new Series("p", [x, 2, 3], [1, 2, 3]).WithErrors([0.5, 0.5, 0.5]);
        foreach (var svg in new[] { Plot.Points("t", "x", "y", points).ToSvg(), Plot.Lines("t", "x", "y",
            points).ToSvg() })
        {
            Assert.DoesNotContain("NaN", svg);
            Assert.DoesNotContain("∞", svg);
        }
    }

    [Fact]
    public void A_histogram_counts_what_is_finite_and_says_what_is_not()
    {
        var figure = Plot.Histogram("t", "loss", [1, 1, 3, double.NaN, double.PositiveInfinity], bins: 2);
        var data = JObject.Parse(figure.ToHtml().Split("class=\"rg-plotly\">")[1].Split("</script>")[0]);
        Assert.Equal(["2", "1"], data["data"]![0]!["y"]!.Select(count => $"{count}"));
        Assert.Contains("loss (2 of 5 not finite, left out)", figure.ToSvg());
        Assert.DoesNotContain("left out", Plot.Histogram("t", "loss", [1.0]).ToSvg());
        Assert.Contains("'t' has no values",
            Assert.Throws<ArgumentException>(() => Plot.Histogram("t", "loss", [])).Message);
        Assert.Contains("none of the 1 values",
            Assert.Throws<ArgumentException>(() => Plot.Histogram("t", "loss", [double.NaN])).Message);
    }

    private static string Values(JToken trace) =>
        $"{trace["type"]} {trace["name"]} {string.Join(' ', trace["x"]!)} "
        + $"{string.Join(' ', trace["y"]!).Replace("NaN", "")}";

    [Fact]
    public void A_image_grid_holds_real_images_and_marks_right_and_wrong()
    {
        var image = new RgbImage(2, 1, [255, 0, 0, 0, 0, 255]);
        var html = Show.Images([image, image], ["<first>", "second"], [true, false]).ToHtml();
        Assert.Contains("✓ &lt;first&gt;", html);
        Assert.Contains("✗ second", html);
        var png = Convert.FromBase64String(html.Split("base64,")[1].Split('"')[0]);
        using var bitmap = SKBitmap.Decode(png);
        Assert.Equal((2, 1), (bitmap.Width, bitmap.Height));
        Assert.Equal(new SKColor(255, 0, 0), bitmap.GetPixel(0, 0));
    }
}
