using Newtonsoft.Json.Linq;
using ReasonGen.Host.Notebooks;
using ReasonGen.Notebook;
using ReasonGen.Imaging;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class SafeHtmlTests
{
    [Theory]
    [InlineData("<img alt=\">\" src=\"http://h/x\">", "http://h/x")]
    [InlineData("<img src=&#104;ttp://h/x>", "http://h/x")]
    [InlineData("<img src=pic.png>", "pic.png")]
    [InlineData("<svg><image href=\"http://h/x\" width=\"5\"></image></svg>", "http://h/x")]
    [InlineData("<svg><use xlink:href=\"//h/x#y\"></use></svg>", "//h/x#y")]
    [InlineData("<video poster=\"http://h/x\"></video>", "http://h/x")]
    [InlineData("<script src='https://h/x.js'></script>", "https://h/x.js")]
    [InlineData("<script>fetch('http://h/x')</script>", "script")]
    [InlineData("<style>@import url(\"http://h/x\");</style>", "style")]
    [InlineData("<link rel=stylesheet href=http://h/x>", "http://h/x")]
    [InlineData("<link rel=dns-prefetch href=//h/>", "//h/")]
    [InlineData("<meta http-equiv=refresh content='0;url=http://h/x'>", "meta")]
    [InlineData("<iframe srcdoc=\"<script>parent.x=1</script>\"></iframe>", "iframe")]
    [InlineData("<object data=http://h/x></object>", "http://h/x")]
    [InlineData("<base href=http://h/>", "http://h/")]
    [InlineData("<a href=\"javascript:alert(1)\">l</a>", "javascript:alert(1)")]
    [InlineData("<a href=\"data:text/html,<script>alert(1)</script>\">l</a>", "data:text/html")]
    [InlineData("<math><mtext><table><mglyph><style><!--</style><img title=\"--&gt;&lt;img src=1 "
        + "onerror=alert(1)&gt;\">", "math")]
    [InlineData("<noscript><p title=\"</noscript><img src=http://h/x onerror=alert(1)>\">", "noscript")]
    [InlineData("<svg><foreignObject><iframe src=http://h/x></iframe></foreignObject></svg>", "foreignObject")]
    public void What_would_run_or_fetch_is_left_out_and_named(string html, string named)
    {
        var safe = new SafeHtml().Of(html, "a", [], _ => null);
        Assert.Contains("Left out: ", safe);
        Assert.Contains(ReasonGen.Notebook.Html.Escape(named), safe);
        var page = safe[..safe.LastIndexOf("<p class=\"note\">", StringComparison.Ordinal)];
        Assert.DoesNotMatch(
            "(?i)http:|//h|<script|<style|<iframe|<object|<link|<meta|<base|javascript:| on[a-z]+=|srcdoc|text/html",
            page);
    }

    [Theory]
    [InlineData("<svg onload=\"x()\"></svg>")]
    [InlineData("<div style=\"background:url(http://h/x);width:9px\">x</div>")]
    [InlineData("<div style=\"background:u\\72l(http://h/x)\">x</div>")]
    [InlineData("<div style=\"--x:url(http://h/x);background:var(--x)\">x</div>")]
    [InlineData("<a style=\"background:image-set('http://h/x' 1x)\" href='#x'>x</a>")]
    [InlineData("<img srcset=\"http://h/x 1x\">")]
    [InlineData("<input type=\"image\" src=\"http://h/x\">")]
    [InlineData("<a ping=http://h/x href='#'>x</a>")]
    [InlineData("<form action=http://h/x><button formaction=http://h/y>go</button></form>")]
    [InlineData("<table background=http://h/x><tr><td>x</table>")]
    [InlineData("<svg><animate attributeName=href values=http://h/x></animate><set attributeName=onmouseover "
        + "to=x()></svg>")]
    [InlineData("<!--<img src=http://h/x>-->")]
    [InlineData("<svg fill=\"url(http://h/x#y)\"><rect filter=\"url(http://h/x)\"/></svg>")]
    public void What_would_reach_out_is_taken_away(string html) =>
        Assert.DoesNotMatch("(?i)//h/| on[a-z]+=|<form|<input|<animate",
            new SafeHtml().Of(html, "a", [], _ => null).Split("<p class=\"note\">")[0]);

    [Theory]
    [InlineData("<div id=\"summary\">x</div>", "id=\"summary\"")]
    [InlineData("<div style=\"position:fixed;top:0\">x</div>", "position")]
    [InlineData("<div style=\"Position : fixed\">x</div>", "fixed")]
    [InlineData("<div data-safe-style=\"position:fixed\">x</div>", "fixed")]
    [InlineData("<a name=\"menu\">x</a>", "name=")]
    [InlineData("<div style=\"margin-top:-9000px;height:9000px\">x</div>", "margin")]
    [InlineData("<div style=\"MARGIN: 0 0 0 calc(1px - 300px)\">x</div>", "300px")]
    public void It_reaches_no_other_part_of_the_page(string html, string gone) =>
        Assert.DoesNotContain(gone, new SafeHtml().Of(html, "a", [], _ => null));

    [Fact]
    public void Ids_within_a_drawing_go_on_pointing_at_each_other()
    {
        var safe = new SafeHtml().Of(
            "<svg viewBox=\"0 0 1 1\"><defs><linearGradient id=\"g\"><stop "
            + "offset=\"0\"></stop></linearGradient></defs><rect fill=\"url(#g)\"></rect><use href=\"#g\"></use></svg>",
            "a", [], _ => null);
        Assert.Contains("id=\"a-1-g\"", safe);
        Assert.Contains("url(#a-1-g)", safe);
        Assert.Contains("href=\"#a-1-g\"", safe);
        Assert.Contains("viewBox", safe);
        Assert.Contains("linearGradient", safe);
    }

    [Fact]
    public void What_the_kit_shows_stays_as_it_is()
    {
        var image = new RgbImage(2, 2, new byte[12]);
        foreach (var shown in new IHtml[]
        {
            Show.Images([image, image], ["one & two", "three"], [true, false], columns: 2, title: "Two"),
            Show.Heat([image], [[0.1, 0.2, 0.3, 0.4]]),
            Show.Tokens(["a", "<b>"], [0.5, 1.5]), Show.Table(["a", "b"], [[1, 2.5], ["x", null]], "T"),
            new ReasonGen.Notebook.Html("<div><progress max=\"3\" value=\"1\" aria-label=\"x\"></progress> x</div>"),
        })
        {
            var html = shown.ToHtml();
            var safe = new SafeHtml().Of(html, "a", [], _ => null);
            Assert.DoesNotContain("Left out", safe);
            Assert.Equal(Words(html), Words(safe));
        }

        static string[] Words(string html) =>
            [.. System.Net.WebUtility.HtmlDecode(html).ToLowerInvariant()
                .Split([' ', ';', ':', '"', '<', '>', '/', ',', '\'', '='], StringSplitOptions.RemoveEmptyEntries)
                .Order(StringComparer.Ordinal)];
    }

    [Fact]
    public void The_numbers_of_a_figure_stay_and_may_hold_anything()
    {
        var figure =
            Plot.Lines("</script><b>", "x", "y", new Series("</span><img src=http://h/x>", [1.0, 2.0])).ToHtml();
        var safe = new SafeHtml().Of(figure, "a", [], _ => null);
        var start = safe.IndexOf("<span class=\"rg-plotly\" hidden=\"\">", StringComparison.Ordinal);
        Assert.True(start > 0, safe);
        var text = System.Net.WebUtility.HtmlDecode(
            safe[(safe.IndexOf('>', start) + 1)..safe.LastIndexOf("</span>", StringComparison.Ordinal)]);
        Assert.Equal("</span><img src=http://h/x>", (string?)JObject.Parse(text)["data"]![0]!["name"]);
        Assert.DoesNotContain("<img", safe);
    }

    [Theory]
    [InlineData("<div>", 20_000)]
    [InlineData("<b>", 20_000)]
    [InlineData("<svg><g>", 5_000)]
    public void What_is_nested_too_deep_stands_as_text(string piece, int times) =>
        Assert.Contains("within one another",
            new SafeHtml().Of(string.Concat(Enumerable.Repeat(piece, times)), "a", [], _ => null));

    [Theory]
    [InlineData("<img ", 40_000)]
    [InlineData("<p>", 20_000)]
    [InlineData("<b></b>", 20_000)]
    [InlineData("<li><tr><td>", 10_000)]
    [InlineData("<!-- ", 30_000)]
    [InlineData("<a href=x>", 190)]
    [InlineData("<table><tr><td>", 190)]
    [InlineData("&lt;", 90_000)]
    [InlineData("<td style=\"padding:4px 8px;text-align:right\">1</td>", 9_000)]
    public void Much_of_one_kind_ends(string piece, int times) =>
        Assert.NotNull(new SafeHtml().Of(string.Concat(Enumerable.Repeat(piece, times)), "a", [], _ => null));
}
