using System.Xml.Linq;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Notebook;
using SkiaSharp;
using Xunit;

namespace ReasonGen.Tests.Notebook;

public sealed class FigureTests
{
    private static readonly Figure[] Figures =
    [
        Plot.Lines("two & more", "step", "loss", new Series("a", [3.0, 2, double.NaN, 1]), new Series("b", [1.0, 1, 1, 1])),
        Plot.Bars("bars", "word", "count", ["one", "two"], new Series("n", [3.0, -1])),
        Plot.Histogram("histogram", "value", [1.0, 1, 2, 5]),
        Plot.Lines("nothing yet", "step", "loss", new Series("a", Array.Empty<double>())),
    ];

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
            Assert.NotNull(json["data"]);
            Assert.DoesNotContain("http", json["layout"]?.ToString() ?? "");
        }
    }

    [Fact]
    public void A_picture_grid_holds_real_pictures_and_marks_right_and_wrong()
    {
        var picture = new Picture(2, 1, [255, 0, 0, 0, 0, 255]);
        var html = Show.Pictures([picture, picture], ["<first>", "second"], [true, false]).ToHtml();
        Assert.Contains("✓ &lt;first&gt;", html);
        Assert.Contains("✗ second", html);
        var png = Convert.FromBase64String(html.Split("base64,")[1].Split('"')[0]);
        using var bitmap = SKBitmap.Decode(png);
        Assert.Equal((2, 1), (bitmap.Width, bitmap.Height));
        Assert.Equal(new SKColor(255, 0, 0), bitmap.GetPixel(0, 0));
    }

    [Fact]
    public void Live_progress_returns_all_items_and_stops_when_cancelled()
    {
        var updates = 0;
        var live = new Live(_ => _ => updates++);
        Assert.Equal([0, 1, 2], live.Run(Enumerable.Range(0, 3), 3, "count", ("value", item => item)));
        Assert.True(updates >= 2);
        try
        {
            Live.Cancellation = new CancellationToken(true);
            Assert.Throws<OperationCanceledException>(() => live.Run(Enumerable.Range(0, 3), 3, "count"));
        }
        finally
        {
            Live.Cancellation = default;
        }
    }
}
