using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Host;
using ReasonGen.Host.Engine;
using ReasonGen.Host.Kernel;
using ReasonGen.Host.Notebooks;
using ReasonGen.Tests.Host;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Notebooks, their report, cells, and what comes to a kernel.</summary>
internal static class HostTargets
{
    private static readonly string[] Magics = ["#!time", "#!import a.ipynb", "#!set --name x --value 1",
        "#r \"nuget: A, 1\"", "#!html", "#load \"x\"", "/*", "\"\"\"", "$\"{", "@\""];

    private static readonly string[] Markup =
    [
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "<svg><use href=\"http://a/b#c\"/></svg>",
            "<style>@import url(http://a)</style>", "<a href=\"javascript:x\">", "</div></main></body>",
        "<math><mtext>", "<!--", "]]>", "$$x$$", "\\(a\\)", "\\frac{1}{", "\\begin{matrix}", "^{^{^{",
            "![a](attachment:b)", "[x](http://a)", "> > > >", "* * *", "| a | b |\n|---|---|\n", "`", "&#x3c;",
            "style=\"background:url(http://a)\"",
    ];

    internal static FuzzTarget[] All { get; } =
    [
        FuzzTarget.OfFile("notebook", "a.ipynb", Notebooks, Read) with
        {
            Tokens = ["\"cell_type\":\"code\"", "\"tags\":[\"parameters\"]", "\"metadata\":{}", "\"outputs\":[]",
                "\"nbformat\":4", "\"source\":[\"a\",\"b\"]", "\"id\":\"a\"", .. Magics],
        },
        FuzzTarget.OfFile("report", "a.ipynb", Notebooks, path =>
        {
            _ = NotebookFile.Read(path); // what is no notebook takes no long way
            Report.Write(Path.GetDirectoryName(path)!, new ReportContent([new NotebookOutcome("a", "T", path, 1, 1)
                { Path = path }], new Dictionary<string, string>(), "run", false));
        }) with { Tokens = ["\"text/html\":\"<b>\"", "\"text/markdown\":\"# x\"", "\"image/png\":\"!\"",
            .. Markup.Select(piece => JToken.FromObject(piece).ToString(Newtonsoft.Json.Formatting.None))],
            Memory = (256 << 20, 4000), Share = 0.02 },
        new("html", () =>
            [Seeds.Utf8("""<div class="rg-x" style="color:red"><p>a<b>c</b></p></div>"""),
                Seeds.Utf8("""<svg viewBox="0 0 1 1"><path d="M0 0"/></svg>"""),
            Seeds.Utf8("<table><tr><td>1<td>2</table><img src=\"data:image/png;base64,AA==\">")], folder => input =>
            Safe(new SafeHtml().Of(Encoding.UTF8.GetString(input), "a", [], _ => null))) { Tokens = Markup, Share = 0.2,
                Memory = (64 << 20, 4000) },
        new("text-cell", () =>
            [Seeds.Written("# Title\n\nText with *marks*, $x^2$ and\n\n$$\\frac{a}{b}$$\n",
                "- a\n- b\n\n| a | b |\n|---|---|\n| 1 | 2 |"),
            Seeds.Utf8("![x](attachment:a.png) [l](b.ipynb) <b>c</b>\n\n```\ncode\n```\n")], folder =>
        {
            SmallNotebook.Write(Path.Combine(folder, "b.ipynb"), ("1", "code"));
            var notebook = NotebookFile.Read(Path.Combine(folder, "b.ipynb"));
            return input => Safe(new ReportCells(notebook, "a", _ => null,
                false).Cell(new JObject { ["cell_type"] = "markdown", ["source"] = Encoding.UTF8.GetString(input) }));
        }) { Tokens = Markup, Share = 0.2, Memory = (64 << 20, 40_000) }, // of all formulas, one after the other
        new("cell", () =>
            [Seeds.Utf8("#!time\nvar x = 1; // comment\nConsole.WriteLine($\"{x}\");\n#!markdown\n# text"),
            Seeds.Utf8("#r \"nuget: A, 1.0\"\nint f(int a) => a switch { 1 => 2, _ => \"\"\"x\"\"\".Length };")],
            folder => input =>
        {
            var code = Encoding.UTF8.GetString(input);
            _ = CodeColors.ToHtml(code);
            _ = CellParts.Blanked(code);
            _ = CellParts.Split(code, folder);
        }) { Tokens = Magics, Refusals = [typeof(CellSyntaxException)], Share = 0.5, Memory = (64 << 20, 8000) },
        new("frames", () => [.. Frames("execute_request",
            "{\"code\": \"1\", \"silent\": false, \"user_expressions\": {}}"), .. Frames("complete_request",
            "{\"code\": \"a.\", \"cursor_pos\": 2}")], _ =>
        {
            var codec = new MessageCodec("a key for tests");
            return input =>
            {
                var frames = Parted(input);
                if (codec.Decode([1], frames, out _) is { } message)
                {
                    Content(message);
                }

                if (codec.Decode([1], KernelClient.Frames("execute_request", frames[^1], id: "x"),
                    out _) is { Damage: null } signed)
                {
                    Content(signed);
                }
            };
        }) { Refusals = [typeof(MalformedRequestException)] },
        new("kernel", () => [Stream("execute_request", "{\"code\": \"\"}"), Stream("kernel_info_request", "{}"),
            [.. RawPeer.Greeting(), .. RawPeer.Ready("SUB"), .. RawPeer.Frame([1])]], Siege) { Share = 0.1,
            Memory = (512 << 20, 1000) },
    ];

    private static void Read(string path)
    {
        var notebook = NotebookFile.Read(path);
        _ = (notebook.Title, notebook.Cells.Count, notebook.Scripts().Count());
        notebook.SetParameters(notebook.Parameters().Take(2).ToDictionary(pair => pair.Key, _ => "3"));
        notebook.ClearOutputs();
        notebook.Write(path + ".out");
        _ = NotebookFile.Read(path + ".out").Cells.Count;
    }

    // nothing that runs, and nothing that fetches, whatever was made of it
    private static void Safe(string html)
    {
        var page = new AngleSharp.Html.Parser.HtmlParser().ParseDocument("<!doctype html><body>" + html);
        var harmful = page.All.FirstOrDefault(element =>
            element.LocalName is "script" or "iframe" or "object" or "embed" or "link" or "base" or "meta"
            && element.ParentElement?.LocalName != "head"
            || element.Attributes.Any(attribute => attribute.Name.StartsWith("on")
                || attribute.Name is "src" or "href" or "xlink:href"
                && attribute.Value.TrimStart().StartsWith("javascript:", StringComparison.OrdinalIgnoreCase)));
        if (harmful is not null)
        {
            throw new InvalidOperationException($"harm is left: {harmful.OuterHtml}");
        }
    }

    private static IReadOnlyList<byte[]> Notebooks()
    {
        using var folder = new TestFolder();
        SmallNotebook.Write(folder.At("a.ipynb"), ("# Title\ntext $x$", "markdown"),
            ("int n = 2; string s = \"x\"; var d = 0.5;", "parameters"), ("Console.WriteLine(n);", "code"));
        var shown = JObject.Parse(File.ReadAllText(folder.At("a.ipynb")));
        shown["cells"]![2]!["outputs"] = JArray.Parse("""
            [{"output_type": "display_data", "metadata": {}, "data": {"text/html": "<b>x</b>", "text/plain": "x"}},
             {"output_type": "stream", "name": "stdout", "text": ["a\n"]},
             {"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}]
            """);
        return [File.ReadAllBytes(folder.At("a.ipynb")), Seeds.Json(shown), .. new[] { "attach.ipynb", "dates.ipynb",
            "poly.ipynb", "stale.ipynb" }.Select(name => File.ReadAllBytes(HandedIn.Path(name)))];
    }

    // frames stand in one input with their lengths before them
    private static IEnumerable<byte[]> Frames(string type, string content) =>
        [[.. KernelClient.Frames(type, content, id: "x").SelectMany(frame => (byte[])[(byte)(frame.Length >> 8),
            (byte)frame.Length, .. frame])]];

    private static byte[][] Parted(byte[] input)
    {
        List<byte[]> frames = [];
        for (var at = 0; at + 2 <= input.Length; at += 2 + frames[^1].Length)
        {
            frames.Add(input[(at + 2)..Math.Min(input.Length, at + 2 + (input[at] << 8) + input[at + 1])]);
        }

        return frames.Count > 0 ? [.. frames] : [input];
    }

    private static void Content(JupyterMessage message)
    {
        _ = (message.Type, message.Id, message.Content.Text("code"), message.Content.Flag("silent", false),
            message.Content.Number("cursor_pos", 0));
    }

    private static byte[] Stream(string type, string content) => [.. RawPeer.Greeting(), .. RawPeer.Ready("DEALER",
        "me"u8.ToArray()), .. RawPeer.Multipart(KernelClient.Frames(type, content, id: "1"))];

    // to each port in turn; now and then it must still answer
    private static Action<byte[]> Siege(string folder)
    {
        var client = new ServedKernel().Client;
        var connection = client.Connection;
        int[] ports = [connection.Shell, connection.Control, connection.Stdin, connection.Iopub, connection.Heartbeat];
        var count = 0;
        return input =>
        {
            using (var peer = new RawPeer(ports[count % ports.Length]))
            {
                peer.Send(input);
            }

            if (count++ % 10 == 0 && (string?)client.Answer(client.Execute("1"))["status"] != "ok")
            {
                throw new InvalidOperationException("the kernel no longer answers");
            }
        };
    }
}
