using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>A report of two small notebooks that do what notebooks do: read as text, and opened in a browser.</summary>
public sealed class ReportTests(ReportTests.Made made) : IClassFixture<ReportTests.Made>
{
    private const string First = """
        using ReasonGen.Notebook;
        var curves = new[] { new Series("reward", Enumerable.Range(0, 300).Select(i => Math.Sin(i / 20.0))), new Series("mean", new double[300]) };
        Plot.Lines("Reward & entropy", "step", "nats", curves)
        """;

    /// <summary>Runs the notebooks once for all tests.</summary>
    public sealed class Made : IAsyncLifetime
    {
        internal string Folder { get; } = Directory.CreateTempSubdirectory("reasongen").FullName;

        internal string Path => System.IO.Path.Combine(Folder, "out", "report.html");

        /// <summary>The page without the text of its scripts.</summary>
        internal string Page { get; private set; } = "";

        public async ValueTask InitializeAsync()
        {
            var word = new string('w', 300);
            SmallNotebook.Write(System.IO.Path.Combine(Folder, "01-first.ipynb"),
                ("# First & foremost\n\nSee [the second](02-second.ipynb), [one that is not here](09-absent.ipynb) and "
                    + word, "markdown"), ("int size = 3;", "parameters"),
                ("## Curves\n\n| a | b |\n|---|---|\n| 1 | " + word + " |", "markdown"), (First, "code"),
                ("## Curves\n\nThe same heading once more.", "markdown"),
                ("using ReasonGen.Imaging;\nvar image = new RgbImage(32, 32, new byte[3072]);\n"
                    + "Show.Images(Enumerable.Repeat(image, 24).ToArray(), columns: 12, scale: 3)", "code"),
                ("display(Show.Images([image], [\"right one\"], [true]));\n"
                + "\"iVBORw0KGgo=\".DisplayAs(\"image/png\");\nConsole.WriteLine(\"" + word
                + "\"); Console.Error.WriteLine(\"beside\");", "code"),
                ("Show.Table(Enumerable.Range(0, 30).Select(i => $\"column {i}\").ToArray(), [Enumerable.Range(0, "
                    + "30).Select(i => (object)(i / 7.0)).ToArray()])", "code"),
                ("HTML(\"<script src='https://example.com/x.js'></script><img src='//example.com/a.png'><b>kept</b>\")",
                    "code"));
            SmallNotebook.Write(System.IO.Path.Combine(Folder, "02-second.ipynb"), ("# Second", "markdown"),
                ("using ReasonGen.Notebook;\nPlot.Bars(\"Scores\", \"model\", \"share\", [\"base\", \"rl\"], new "
                    + "Series(\"T 1\", [0.2, 0.9]))", "code"));
            var (code, output) =
                await Reasongen.RunAsync("run", Folder, "-p", "size=4", "--out", System.IO.Path.Combine(Folder, "out"));
            Assert.True(code == 0, output);
            Page = Regex.Replace(File.ReadAllText(Path), "<script>.*?</script>", "<script></script>",
                RegexOptions.Singleline);
        }

        public ValueTask DisposeAsync()
        {
            Directory.Delete(Folder, true);
            return default;
        }
    }

    [Fact]
    public void Ids_are_unique_and_every_link_in_the_page_leads_somewhere()
    {
        string[] ids = [.. Regex.Matches(made.Page, " id=\"([^\"]*)\"").Select(match => match.Groups[1].Value)];
        Assert.Equal(ids.Distinct(), ids);
        string[] links = [.. Regex.Matches(made.Page, "href=\"#([^\"]*)\"").Select(match => match.Groups[1].Value)];
        Assert.Contains("02-second", links);
        Assert.Contains("01-first--curves", links);
        Assert.Contains("01-first--curves-2", links);
        Assert.Empty(links.Except(ids));
        Assert.DoesNotContain("href=\"09-absent", made.Page);
    }

    [Fact]
    public void Nothing_comes_from_elsewhere_and_what_would_is_named()
    {
        Assert.DoesNotMatch("(?:src|srcset|data|action)\\s*=\\s*[\"']?(?:https?:)?//", made.Page);
        Assert.DoesNotMatch("<link[^>]*//|@import|url\\(", made.Page);
        Assert.Contains("Left out: https://example.com/x.js", made.Page);
        Assert.Contains("<b>kept</b>", made.Page);
    }

    [Fact]
    public void Every_image_has_words_and_every_chart_a_drawing()
    {
        var images = Regex.Matches(made.Page, "<img[^>]*>").Select(match => match.Value).ToArray();
        Assert.Equal(26, images.Length);
        Assert.All(images, image => Assert.Matches(" alt=\"[^\"]+\"", image));
        var figures = made.Page.Split("class=\"rg-figure\"")[1..];
        Assert.Equal(2, figures.Length);
        Assert.All(figures, figure => Assert.Matches("^><div class=\"rg-static\"><svg[^>]*aria-label=", figure));
        Assert.Contains("Reward &amp; entropy", made.Page);
    }

    [Fact]
    public void The_summary_says_what_it_takes_to_make_it_again()
    {
        foreach (var text in new[] { "recalled", "Table 1", "Figure 6", "seed 1", "TorchSharp 0.", "processors",
            "revision", "-p size=4" })
        {
            Assert.Contains(text,
                made.Page[made.Page.IndexOf("id=\"summary\"",
                    StringComparison.Ordinal)..made.Page.IndexOf("id=\"01-first\"", StringComparison.Ordinal)]);
        }

        Assert.True(new FileInfo(made.Path).Length < 15_000_000);
    }

    [Theory]
    [InlineData(360, false)]
    [InlineData(1280, false)]
    [InlineData(1280, true)]
    public async Task In_a_browser_it_asks_for_nothing_complains_of_nothing_and_fits(int width, bool dark)
    {
        await using var browser = await OpenBrowserAsync();
        var page = await browser.OpenAsync(new Uri(made.Path).AbsoluteUri, width, dark: dark);
        Assert.True((bool)await page.EvaluateAsync("""
            (async () => {
              const shown = selector => [...document.querySelectorAll(selector)].filter(one => one.offsetHeight > 0).length;
              for (let tries = 0; tries < 100; tries++) {
                for (const one of document.querySelectorAll('.rg-figure')) { one.scrollIntoView({ behavior: 'instant' }); await new Promise(done => setTimeout(done, 50)); }
                if (shown('.rg-live .plot-container') === 2 && shown('.rg-static') === 0) return true;
              }
              return false;
            })()
            """), "the drawings did not become charts");
        Assert.True((int)await page.EvaluateAsync("document.documentElement.scrollWidth") <= width,
            "it is wider than the window");
        Assert.Equal(width, (int)await page.EvaluateAsync("innerWidth"));
        Assert.Empty(page.Complaints);
        Assert.Empty(page.Requests);
    }

    [Fact]
    public async Task Without_scripts_every_drawing_is_there()
    {
        await using var browser = await OpenBrowserAsync();
        var page = await browser.OpenAsync(new Uri(made.Path).AbsoluteUri, 360, scripts: false);
        var drawings = (JArray)await page.EvaluateAsync(
            "[...document.querySelectorAll('.rg-static')].map(still => still.offsetHeight)");
        Assert.Equal(2, drawings.Count);
        Assert.All(drawings, height => Assert.True((int)height > 100));
        Assert.True((int)await page.EvaluateAsync("document.getElementById('contents').offsetHeight") > 0);
        Assert.Equal(0, (int)await page.EvaluateAsync("document.querySelectorAll('button:not([hidden])').length"));
    }

    [Fact]
    public async Task It_can_be_read_with_a_keyboard()
    {
        await using var browser = await OpenBrowserAsync();
        var page = await browser.OpenAsync(new Uri(made.Path).AbsoluteUri, 360);
        await page.PressAsync("Tab", 9);
        Assert.Equal("skip", (string?)await page.EvaluateAsync("document.activeElement.className"));
        Assert.True((int)await page.EvaluateAsync("document.activeElement.getBoundingClientRect().left") >= 0,
            "the skip link cannot be seen");
        await page.PressAsync("Tab", 9);
        await page.PressAsync("Tab", 9);
        await page.PressAsync("Enter", 13);
        Assert.Equal("menu true",
            (string?)await page.EvaluateAsync(
                "`${document.activeElement.id} ${document.activeElement.getAttribute('aria-expanded')}`"));
        Assert.True((int)await page.EvaluateAsync("document.getElementById('contents').offsetHeight") > 0);
        await page.PressAsync("Escape", 27);
        Assert.Equal(0, (int)await page.EvaluateAsync("document.getElementById('contents').offsetHeight"));
        await page.EvaluateAsync(
            "(async () => { document.getElementById('02-second').scrollIntoView({ behavior: 'instant' }); await new "
            + "Promise(done => setTimeout(done, 200)); })()");
        Assert.Equal("#02-second",
            (string?)await page.EvaluateAsync("document.querySelector('#contents [aria-current]').hash"));
        await page.EvaluateAsync("document.getElementById('fold').click()");
        Assert.Equal(0, (int)await page.EvaluateAsync("document.querySelectorAll('details.code[open]').length"));
    }

    private static Task<Browser> OpenBrowserAsync()
    {
        Assert.SkipWhen(Browser.Executable is null,
            "no Chromium on the path (or in REASONGEN_CHROMIUM): the page is not opened");
        return Browser.StartAsync();
    }
}
