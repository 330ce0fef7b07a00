using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>Reports of notebooks that nobody looked at: opened in a browser beside a server that must not be asked for
/// anything.</summary>
public sealed class ReportSafetyTests : IDisposable
{
    private const string Last = "/last";
    private readonly TestFolder folder = new();
    private readonly TcpListener server = new(IPAddress.Loopback, 0);
    private readonly ConcurrentQueue<string> asked = [];

    public ReportSafetyTests()
    {
        server.Start();
        _ = CountAsync();
    }

    private int Port => ((IPEndPoint)server.LocalEndpoint).Port;

    [Fact]
    public async Task A_hostile_notebook_neither_runs_nor_asks_for_anything()
    {
        var page = await OpenAsync(File.ReadAllText(Cases.Path("fuzz/report-scripts-run-and-10-requests-leave.ipynb"))
            .Replace("127.0.0.1:18080", $"127.0.0.1:{Port}"), trust: false);
        Assert.All(asked, path => Assert.Equal(Last, path));
        Assert.Empty(page.Requests);
        Assert.Empty(page.Complaints);
    }

    [Theory]
    [InlineData("<script>window.hit = 1; fetch('http://127.0.0.1:PORT/a')</script>")]
    [InlineData("<img src='http://127.0.0.1:PORT/b' onerror='window.hit = 1'>")]
    [InlineData("<style>@import url('http://127.0.0.1:PORT/c'); body { background: url('http://127.0.0.1:PORT/d') } "
        + "@font-face { font-family: x; src: url('http://127.0.0.1:PORT/e') } p { font-family: x }</style><p>x</p>")]
    [InlineData("<iframe src='http://127.0.0.1:PORT/f'></iframe><iframe srcdoc='<script>parent.hit = "
        + "1</script>'></iframe><object data='http://127.0.0.1:PORT/g'></object>")]
    [InlineData("<link rel=stylesheet href='http://127.0.0.1:PORT/h'><link rel=preload as=image "
        + "href='http://127.0.0.1:PORT/i'><link rel=prefetch href='http://127.0.0.1:PORT/j'>")]
    [InlineData("<base href='http://127.0.0.1:PORT/'><img src=k><video src='http://127.0.0.1:PORT/l' "
        + "autoplay></video><svg><image href='http://127.0.0.1:PORT/m' width=5 height=5 /></svg>")]
    [InlineData("<script type=module>import('http://127.0.0.1:PORT/n')</script><script "
        + "type=speculationrules>{\"prefetch\":[{\"urls\":[\"http://127.0.0.1:PORT/o\"]}]}</script>")]
    [InlineData("<svg onload='window.hit = 1'></svg><details open ontoggle='window.hit = 1'>x</details><input "
        + "autofocus onfocus='window.hit = 1'>")]
    public async Task The_browser_is_told_to_refuse_even_what_would_stand_in_the_page(string html)
    {
        var path = Write(Notebook("1"), trust: false);
        File.WriteAllText(path, File.ReadAllText(path).Replace("</main>", html.Replace("PORT", $"{Port}") + "</main>"));
        await using var browser = await StartAsync();
        var page = await browser.OpenAsync(new Uri(path).AbsoluteUri, 1280);
        await LastAsync(browser, page);
        Assert.All(asked, path => Assert.Equal(Last, path));
        Assert.Equal("undefined", (string?)await page.EvaluateAsync("typeof window.hit"));
    }

    [Fact]
    public async Task Trusted_notebooks_run_and_fetch()
    {
        await OpenAsync(Notebook($"<img src='http://127.0.0.1:{Port}/a'><script>window.hit = 1</script>"), trust: true,
            hit: "number");
        Assert.Contains("/a", asked);
    }

    [Fact]
    public async Task A_file_name_is_text()
    {
        const string name = "\"><img src=x onerror=window.hit=1> &'";
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no such file names there");
        await using var browser = await StartAsync();
        var page = await browser.OpenAsync(new Uri(Write(Notebook("1"), trust: false, name)).AbsoluteUri, 1280);
        Assert.Equal("undefined", (string?)await page.EvaluateAsync("typeof window.hit"));
        Assert.Contains(name,
            (string)(await page.EvaluateAsync("document.querySelector('#contents li:nth-child(2)').textContent"))!);
        Assert.Empty(page.Complaints);
        Assert.Empty(page.Requests);
    }

    [Theory]
    [InlineData("*a ", 20_000, "is not laid out")]
    [InlineData("[", 20_000, "is not laid out")]
    [InlineData("> ", 300, "could not be laid out")]
    [InlineData("## x\n\n", 4_000, "id=\"a--x-4000\"")]
    [InlineData("\n", 120_000, "id=\"a\"")]
    [InlineData("- ", 20_000, "is not laid out")]
    [InlineData("1. ", 20_000, "is not laid out")]
    public void A_text_of_many_marks_is_written_at_once(string piece, int times, string shown)
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path, (string.Concat(Enumerable.Repeat(piece, times)) + "x", "markdown"));
        var report = Report.Write(folder.Path,
            new ReportContent([new NotebookOutcome("a", "T", path, 1, 1) { Path = path }],
                new Dictionary<string, string>(), "run", false));
        Assert.Contains(shown, File.ReadAllText(report));
    }

    [Theory]
    [InlineData(1500, 2, "\n", "more than 20 lines that begin with over 200 blanks is not laid out")]
    [InlineData(1500, 3, "\n", "more than 20 lines that begin with over 200 blanks is not laid out")]
    [InlineData(1500, 3, "\r", "more than 20 lines that begin with over 200 blanks is not laid out")]
    [InlineData(1500, 3, "\u2028", "more than 20 lines that begin with over 200 blanks is not laid out")]
    [InlineData(30, 2, "\n", "<li>x")]
    public void A_list_of_lists_is_refused_before_it_is_parsed(int deep, int blanks, string end, string shown)
    {
        var cell = new JObject
        {
            ["cell_type"] = "markdown",
            ["source"] = string.Join(end, Enumerable.Range(0, deep)
                .Select(i => new string(' ', blanks * i) + (blanks == 2 ? "- x" : "1. x"))),
        };
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        var cells = new ReportCells(NotebookFile.Read(folder.At("a.ipynb")), "a", _ => null, false);
        Assert.Contains(shown, cells.Cell(cell));
    }

    [Fact]
    public void Code_that_is_too_deep_to_be_read_stands_without_colours()
    {
        var code = "var s = " + string.Concat(Enumerable.Repeat("$\"{", 20_000)) + "1"
            + string.Concat(Enumerable.Repeat("}\"", 20_000)) + ";";
        SmallNotebook.Write(folder.At("a.ipynb"), (code, "code"), ("var n = 1;", "code"));
        var cells = NotebookFile.Read(folder.At("a.ipynb"));
        var html = new ReportCells(cells, "a", _ => null, false).All();
        Assert.Contains($"<code>{ReasonGen.Notebook.Html.Escape(code)}</code>", html);
        Assert.Contains("<span class=\"k\">var</span> n", html);
    }

    [Theory]
    [InlineData("transform:translate(-290px,-9000px);width:1300px;height:9000px", "screen")]
    [InlineData("margin:-9000px 0 0 -290px;width:1300px;height:9000px", "screen")]
    [InlineData("transform:translate(-290px,-9000px);width:1300px;height:9000px", "print")]
    [InlineData("transform:scale(100)", "screen")]
    public async Task What_a_cell_shows_stays_in_its_place(string style, string medium)
    {
        var html = $"<div style=\"{style};background:#fff\">over</div>";
        var notebook = JObject.Parse(Notebook(html));
        ((JArray)notebook["cells"]!).Insert(0, new JObject
        {
            ["cell_type"] = "markdown", ["metadata"] = new JObject(),
            ["source"] = "<table border=\"1\"><tr><td>x</td></tr></table>\n\n" + html,
        });
        var path = Write(notebook.ToString(), trust: false);
        await using var browser = await StartAsync();
        var page = await browser.OpenAsync(new Uri(path).AbsoluteUri, 1280);
        await page.CallAsync("Emulation.setEmulatedMedia", new { media = medium });
        Assert.Equal("none", (string?)await page.EvaluateAsync(
            "[[100, 50], [600, 60], [600, 300]].map(([x, y]) => document.elementFromPoint(x, y))"
            + ".find(one => one?.textContent === 'over')?.outerHTML ?? 'none'"));
    }

    private static string Notebook(string html) => new JObject
    {
        ["nbformat"] = 4, ["nbformat_minor"] = 4, ["metadata"] = new JObject(),
        ["cells"] =
            new JArray(new JObject { ["cell_type"] = "code", ["metadata"] = new JObject(), ["execution_count"] = 1,
            ["source"] = "x",
            ["outputs"] = new JArray(new JObject { ["output_type"] = "display_data", ["metadata"] = new JObject(),
                ["data"] = new JObject { ["text/html"] = html } }) }),
    }.ToString();

    // what the cells with #!html would show is in the sources of the case; a run would put it into outputs
    private string Write(string notebook, bool trust, string name = "a")
    {
        var root = JObject.Parse(notebook);
        foreach (var cell in root["cells"]!.Where(cell => ((string)cell["source"]!).StartsWith("#!html")))
        {
            cell["outputs"] = new JArray(new JObject
            {
                ["output_type"] = "display_data", ["metadata"] = new JObject(),
                ["data"] = new JObject { ["text/html"] = ((string)cell["source"]!)[7..] },
            });
        }

        var path = folder.Write(name.Replace('/', '_') + ".ipynb", root.ToString());
        return Report.Write(folder.Path,
            new ReportContent([new NotebookOutcome(name, "<i>T</i>", path, 1, 1) { Path = path }],
                new Dictionary<string, string>(), "run", trust));
    }

    private async Task<Browser.Page> OpenAsync(string notebook, bool trust, string hit = "undefined")
    {
        var path = Write(notebook, trust);
        await using var browser = await StartAsync();
        var page = await browser.OpenAsync(new Uri(path).AbsoluteUri, 1280);
        await LastAsync(browser, page);
        Assert.Equal(hit,
            (string?)await page.EvaluateAsync(
                "[window.hit, window.M1, window.M2, window.M3, window.H1, window.H2].map(one => typeof one).find(type "
                + "=> type !== 'undefined') ?? 'undefined'"));
        return page;
    }

    // a page that asks as it may: what the one before asked for has come when this has
    private async Task LastAsync(Browser browser, Browser.Page page)
    {
        await page.EvaluateAsync("new Promise(done => setTimeout(done, 300))");
        var last = folder.Write("last.html", $"<img src='http://127.0.0.1:{Port}{Last}'>");
        await browser.OpenAsync(new Uri(last).AbsoluteUri, 1280);
        await Until.HoldsAsync(() => asked.Contains(Last), "the browser's last request");
    }

    private static Task<Browser> StartAsync()
    {
        Assert.SkipWhen(Browser.Executable is null,
            "no Chromium on the path (or in REASONGEN_CHROMIUM): the page is not opened");
        return Browser.StartAsync();
    }

    private async Task CountAsync()
    {
        try
        {
            while (true)
            {
                var client = await server.AcceptTcpClientAsync();
                _ = Task.Run(async () =>
                {
                    using (client)
                    {
                        var head = new byte[4096];
                        if (await client.GetStream().ReadAsync(head) is > 0 and var count) // or it asked for nothing
                        {
                            var line = Encoding.ASCII.GetString(head, 0, count).Split(' ');
                            asked.Enqueue(line.Length > 1 ? line[1] : line[0]);
                        }
                    }
                });
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // the test is over
        }
    }

    public void Dispose()
    {
        server.Dispose();
        folder.Dispose();
    }
}
