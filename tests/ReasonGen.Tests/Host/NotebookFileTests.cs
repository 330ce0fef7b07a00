using System.Diagnostics;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Host;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class NotebookFileTests : IDisposable
{
    private readonly TestFolder folder = new();

    private const string Odd = "{\r\n\t\"nbformat_minor\": 4,\r\n\t\"nbformat\": 4,\r\n"
        + "\t\"metadata\": {\"when\": \"2024-03-05T10:00:00+02:00\", \"n\": [1.0, 1e5, -0.10, 12345678901234567890, "
        + "NaN, -Infinity]},\r\n"
        + "\t\"cells\": [\r\n\t\t{\"source\": \"caf\\u00e9 \\ud83d\\ude00 \\/ \\u2028 [NaN]\", \"metadata\": {}, "
        + "\"cell_type\": \"raw\"},\r\n"
        + "\t\t{\"source\": [\"1\\n\", \"2\"],   \"outputs\": [], \"execution_count\": null, \"cell_type\": \"code\", "
        + "\"metadata\": {\"t\": 1.50}}\r\n\t]\r\n}";

    public static TheoryData<string> Files =>
        ["dates.ipynb", "attach.ipynb", "poly.ipynb", "shebang-in-string.ipynb", "stale.ipynb"];

    [Theory]
    [MemberData(nameof(Files))]
    public void A_file_without_outputs_is_written_as_it_was(string name)
    {
        var notebook = NotebookFile.Read(Cases.Path(name));
        notebook.ClearOutputs();
        notebook.Write(folder.At("copy.ipynb"));
        Assert.Equal(File.ReadAllBytes(Cases.Path(name)), File.ReadAllBytes(folder.At("copy.ipynb")));
    }

    [Fact]
    public void Order_numbers_dates_escapes_blanks_and_line_ends_are_kept()
    {
        NotebookFile.Read(folder.Write("a.ipynb", Odd)).Write(folder.At("b.ipynb"));
        Assert.Equal(Odd, File.ReadAllText(folder.At("b.ipynb")));
    }

    [Fact]
    public void Only_outputs_and_counts_change_and_take_the_indentation_of_the_file()
    {
        var text = File.ReadAllText(Cases.Path("dates.ipynb"));
        var notebook = NotebookFile.Read(Cases.Path("dates.ipynb"));
        notebook.SetOutputs(notebook.Cells[1], 7,
            [new JObject { ["output_type"] = "stream", ["name"] = "stdout", ["text"] = "2024-03-05T10:00:00Z" }]);
        notebook.Write(folder.At("b.ipynb"));
        var second = text.IndexOf("\"execution_count\": null", StringComparison.Ordinal);
        var outputs = text.IndexOf("\"outputs\": []", StringComparison.Ordinal);
        Assert.True(outputs < second);
        var expected = text[..outputs]
            + "\"outputs\": [\n    {\n     \"output_type\": \"stream\",\n     \"name\": \"stdout\",\n"
            + "     \"text\": \"2024-03-05T10:00:00Z\"\n    }\n   ]"
            + text[(outputs + 13)..second] + "\"execution_count\": 7" + text[(second + 23)..];
        Assert.Equal(expected, File.ReadAllText(folder.At("b.ipynb")));
    }

    [Fact]
    public void Outputs_take_the_line_ends_of_the_file()
    {
        var notebook = NotebookFile.Read(folder.Write("a.ipynb", Odd));
        notebook.SetOutputs(notebook.Cells[1], 7, [new JObject { ["output_type"] = "stream", ["text"] = "a\nb" }]);
        notebook.Write(folder.At("b.ipynb"));
        var written = File.ReadAllText(folder.At("b.ipynb"));
        Assert.Contains("\"outputs\": [\r\n\t\t\t{\r\n\t\t\t\t\"output_type\": \"stream\",\r\n", written);
        Assert.DoesNotContain('\n', written.Replace("\r\n", ""));
    }

    [Theory]
    [InlineData("```\n# not a title\n```\n# Real", "Real")]
    [InlineData("Title\n=====\ntext", "Title")]
    [InlineData("    # code\n\n# Real #", "Real")]
    [InlineData("## part\n# *Real* `code` & more", "Real code & more")]
    [InlineData("#\n#hash\n> # quoted", "a")]
    public void The_title_is_the_first_heading_of_the_first_level(string source, string title)
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("# of code", "code"), (source, "markdown"));
        Assert.Equal(title, NotebookFile.Read(folder.At("a.ipynb")).Title);
    }

    [Theory]
    [InlineData(4, false)]
    [InlineData(5, true)]
    public void A_cell_that_sets_parameters_has_an_id_where_the_format_has_them(int minor, bool expected)
    {
        folder.Write(
            "a.ipynb", $$"""{"nbformat":4,"nbformat_minor":{{minor}},"metadata":{},"cells":[{"cell_type":"code","metadata":{"tags":["parameters"]},"source":"int a = 1;","outputs":[],"execution_count":null}]}""");
        var notebook = NotebookFile.Read(folder.At("a.ipynb"));
        notebook.SetParameters(new Dictionary<string, string> { ["a"] = "2" });
        notebook.Write(folder.At("b.ipynb"));
        var written = JObject.Parse(File.ReadAllText(folder.At("b.ipynb")));
        Assert.All(written["cells"]!, cell => Assert.Equal(expected, cell["id"] is not null));
        NotebookShape.Check(written);
    }

    [Theory]
    [InlineData("x")]
    [InlineData("")]
    [InlineData("b b")]
    [InlineData("é")]
    [InlineData("12345678901234567890123456789012345678901234567890123456789012345")]
    public void What_a_valid_notebook_lacks_is_put_in(string id)
    {
        folder.Write("a.ipynb",
            $$"""{"cells": [{"cell_type": "code", "source": "1"}, {"cell_type": "markdown", "source": "2", "id": "x"}, {"cell_type": "raw", "source": "3", "id": "{{id}}"}], "nbformat": 4, "nbformat_minor": 5}""");
        NotebookFile.Read(folder.At("a.ipynb")).Write(folder.At("b.ipynb"));
        NotebookShape.Check(JObject.Parse(File.ReadAllText(folder.At("b.ipynb"))));
    }

    [Fact]
    public void Parameters_take_the_place_of_those_of_an_earlier_run()
    {
        var notebook = NotebookFile.Read(Cases.Path("parameters-executed-copy.ipynb"));
        notebook.SetParameters(new Dictionary<string, string> { ["seed"] = "5" });
        notebook.ClearOutputs();
        notebook.Write(folder.At("b.ipynb"));
        var cells = (JArray)JObject.Parse(File.ReadAllText(folder.At("b.ipynb")))["cells"]!;
        Assert.Equal(3, cells.Count);
        Assert.Equal("// given on the command line\nseed = 5L;", (string?)cells[1]["source"]);
        Assert.All(cells, cell => Assert.Empty(cell["outputs"]!));
        NotebookShape.Check(JObject.Parse(File.ReadAllText(folder.At("b.ipynb"))));
    }

    [Theory]
    [InlineData("", "is empty")]
    [InlineData("[1]", "does not begin with '{'")]
    [InlineData("var x = 1;", "does not begin with '{'")]
    [InlineData("{\"cells\": [", "is damaged")]
    [InlineData("{\"cells\": [], \"cells\": [], \"nbformat\": 4}", "already exists")]
    [InlineData("{\"cells\": [], \"nbformat\": 4} x", "is damaged")]
    [InlineData("{\"worksheets\": [{\"cells\": []}], \"nbformat\": 3}", "format 3")]
    [InlineData("{\"cells\": [], \"nbformat\": 5}", "format 5")]
    [InlineData("{\"cells\": {}, \"nbformat\": 4}", "no list of cells")]
    [InlineData("{\"cells\": [1], \"nbformat\": 4}", "cell 1 is no object")]
    [InlineData("{\"cells\": [{\"cell_type\": \"heading\", \"source\": \"\"}], \"nbformat\": 4}",
        "cell 1 is of type 'heading'")]
    [InlineData("{\"cells\": [{\"cell_type\": \"code\", \"source\": [1]}], \"nbformat\": 4}", "cell 1 has no source")]
    [InlineData("{\"cells\": [{\"cell_type\": \"code\", \"source\": \"\", \"metadata\": {\"tags\": 3}}], "
        + "\"nbformat\": 4}", "the tags of cell 1")]
    [InlineData("{\"cells\": [{\"cell_type\": \"code\", \"source\": \"\", \"outputs\": [[]]}], \"nbformat\": 4}",
        "the outputs of cell 1")]
    public void What_is_no_notebook_is_refused_in_a_sentence(string text, string message)
    {
        var path = folder.Write("a.ipynb", text);
        var said = Assert.Throws<UsageException>(() => NotebookFile.Read(path)).Message;
        Assert.Contains(message, said);
        Assert.StartsWith(path, said);
    }

    [Fact]
    public void Metadata_that_is_a_value_is_refused_and_its_cell_named() =>
        Assert.Contains("the metadata of cell 2 is no object",
        Assert.Throws<UsageException>(() =>
            NotebookFile.Read(Cases.Path("fuzz/ipynb-metadata-is-a-value-InvalidOperationException.ipynb"))).Message);

    [Theory]
    [InlineData("utf-16", "is in UTF-16")]
    [InlineData("latin1", "byte 0xE9 at")]
    [InlineData("utf-8", null)] // with a mark
    public void Other_encodings_are_named(string encoding, string? message)
    {
        var path = folder.At("a.ipynb");
        File.WriteAllText(path, """{"cells": [{"cell_type": "raw", "source": "é"}], "nbformat": 4}""",
            Encoding.GetEncoding(encoding));
        var said = Record.Exception(() => Assert.Equal("é", NotebookFile.Source(NotebookFile.Read(path).Cells[0])));
        Assert.Equal(message is null, said is null);
        Assert.Contains(message ?? "", said?.Message ?? "");
    }

    [Fact]
    public void A_script_of_polyglot_notebooks_is_named_for_what_it_is() =>
        Assert.Contains(".dib",
            Assert.Throws<UsageException>(() => NotebookFile.Read(folder.Write("a.dib", "#!csharp\n1"))).Message);

    [Fact]
    public void Nesting_beyond_bounds_is_refused() =>
        Assert.Contains("is damaged", Assert.Throws<UsageException>(() => NotebookFile.Read(
        folder.Write("a.ipynb",
            "{\"cells\": [], \"nbformat\": 4, \"metadata\": {\"x\": " + new string('[', 100_000)
                + new string(']', 100_000) + "}}"))).Message);

    [Fact]
    public async Task Python_s_nbformat_finds_written_files_valid()
    {
        const string check = "import sys, nbformat\nfor path in sys.argv[1:]: nbformat.validate(nbformat.read(path, "
            + "nbformat.NO_CONVERT))";
        var start = new ProcessStartInfo(File.Exists("/usr/bin/python3") ? "/usr/bin/python3" : "python3")
        {
            RedirectStandardError = true,
        };
        Assert.SkipUnless(await Python(start, "import nbformat") == "", "no python with nbformat here");
        var notebook = NotebookFile.Read(Cases.Path("parameters-executed-copy.ipynb"));
        notebook.SetParameters(new Dictionary<string, string> { ["preset"] = "x" });
        notebook.Write(folder.At("b.ipynb"));
        Assert.Equal("", await Python(start, check, folder.At("b.ipynb")));
    }

    private static async Task<string> Python(ProcessStartInfo start, params string[] arguments)
    {
        start.ArgumentList.Clear();
        foreach (var argument in arguments.Prepend("-c"))
        {
            start.ArgumentList.Add(argument);
        }

        try
        {
            var (code, _, error) = await Child.RunAsync(start);
            return code == 0 ? "" : error;
        }
        catch (System.ComponentModel.Win32Exception e)
        {
            return e.Message;
        }
    }

    public void Dispose() => folder.Dispose();
}

/// <summary>What nbformat's schema demands of a notebook of format 4.</summary>
internal static class NotebookShape
{
    internal static void Check(JObject notebook)
    {
        Assert.Equal(4, (int)notebook["nbformat"]!);
        Assert.IsType<JObject>(notebook["metadata"]);
        var ids = (int)notebook["nbformat_minor"]! >= 5;
        var cells = notebook["cells"]!.Cast<JObject>().ToArray();
        Assert.Equal(ids ? cells.Length : 0,
            cells.Select(cell => (string?)cell["id"]).OfType<string>().Distinct()
                .Count(id =>
                    id.Length is > 0 and <= 64 && id.All(c => char.IsAsciiLetterOrDigit(c) || c is '-' or '_')));
        foreach (var cell in cells)
        {
            Assert.IsType<JObject>(cell["metadata"]);
            Assert.Contains((string?)cell["cell_type"], new[] { "code", "markdown", "raw" });
            Assert.True(IsText(cell["source"]));
            var code = (string?)cell["cell_type"] == "code";
            Assert.Equal(code, cell["outputs"] is JArray);
            Assert.Equal(code, cell.ContainsKey("execution_count"));
            Assert.All(cell["outputs"]?.Cast<JObject>() ?? [], Output);
        }
    }

    private static void Output(JObject output)
    {
        string[] expected = (string?)output["output_type"] switch
        {
            "stream" => ["name", "output_type", "text"],
            "error" => ["ename", "evalue", "output_type", "traceback"],
            "display_data" => ["data", "metadata", "output_type"],
            "execute_result" => ["data", "execution_count", "metadata", "output_type"],
            _ => [],
        };
        Assert.Equal(expected, output.Properties().Select(property => property.Name).Order(StringComparer.Ordinal));
        Assert.All((output["data"] as JObject)?.Properties() ?? [],
            form => Assert.True(form.Name.EndsWith("json") || IsText(form.Value)));
    }

    private static bool IsText(JToken? token) =>
        token is JValue { Value: string }
            || (token is JArray lines && lines.All(line => line is JValue { Value: string }));
}
