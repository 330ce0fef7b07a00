using Newtonsoft.Json.Linq;
using ReasonGen.Files;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>Notebooks as strangers hand them in, run together once as a user would.</summary>
public sealed class RunCasesTests(RunCasesTests.Made made) : IClassFixture<RunCasesTests.Made>
{
    /// <summary>Runs them.</summary>
    public sealed class Made : IAsyncLifetime
    {
        private const string Escapes = "c\u001b[31m\u202ered";
        internal readonly TestFolder folder = new();

        internal int Code { get; private set; }

        internal JObject Told { get; private set; } = [];

        internal string Said { get; private set; } = "";

        internal string Page => File.ReadAllText(folder.At("out", "report.html"));

        internal JToken Outcome(string name) => Told["notebooks"]!.First(notebook => (string?)notebook["name"] == name);

        internal JObject Copy(string path) =>
            (JObject)PlainJson.Parse(File.ReadAllText(folder.At("out", "notebooks", path)));

        public async ValueTask InitializeAsync()
        {
            // an earlier run left these, with other code
            Directory.CreateDirectory(folder.At("out", "notebooks"));
            File.WriteAllText(folder.At("out", "report.html"), "<title>ReasonGen-R1, step by step</title>");
            File.WriteAllText(folder.At("out", "notebooks", ".executed"), "Executed copies\nstale.ipynb\n");
            SmallNotebook.Write(folder.At("out", "notebooks", "stale.ipynb"), ("\"old code\"", "code"));
            var crash = new string('x', 150);
            SmallNotebook.Write(folder.At($"{crash}.ipynb"),
                ("throw new Exception(\"" + new string('y', 150) + "\");", "code"), ("1", "code"));
            if (!OperatingSystem.IsWindows())
            {
                SmallNotebook.Write(folder.At(Escapes + ".ipynb"), ("1", "code"));
            }

            // outputs of an earlier run in a notebook that fails before it comes to them
            var kept = JObject.Parse(File.ReadAllText(folder.At($"{crash}.ipynb")));
            kept["cells"]![1]!["outputs"] =
                new JArray(new JObject { ["output_type"] = "stream", ["name"] = "stdout", ["text"] = "old result" });
            File.WriteAllText(folder.At($"{crash}.ipynb"), kept.ToString());
            string[] cases = ["stale.ipynb", "poly.ipynb", "dates.ipynb", "attach.ipynb", "shebang-in-string.ipynb",
                "same-name/a", "same-name/b",
                "fuzz/ipynb-200-quote-marks-destroy-the-whole-report.ipynb"];
            var (code, output, error) = await Reasongen.RunApartAsync(["run", .. cases.Select(Cases.Path), folder.Path,
                "--out", folder.At("out"), "--json"]);
            (Code, Said) = (code, error);
            Assert.True(output.StartsWith('{'), output + error);
            Told = JObject.Parse(output);
        }

        public ValueTask DisposeAsync()
        {
            folder.Dispose();
            return default;
        }
    }

    [Fact]
    public void It_is_not_called_done_and_every_notebook_is_told_of()
    {
        Assert.Equal(1, made.Code);
        Assert.Equal((int)made.Told["asked"]!, made.Told["notebooks"]!.Count());
    }

    [Fact]
    public void A_cell_whose_process_dies_is_named_and_nothing_old_is_shown()
    {
        Assert.Equal(1, (int)made.Outcome("stale")["failedCell"]!);
        Assert.Contains("its process ended with exit code", (string?)made.Outcome("stale")["error"]);
        Assert.DoesNotContain("old code", made.Page);
        Assert.DoesNotContain("old result", made.Page);
        Assert.Contains("FailFast", (string?)made.Copy("stale.ipynb")["cells"]![0]!["source"]);
    }

    [Fact]
    public void Other_languages_are_shown_or_named_and_counted()
    {
        var poly = made.Outcome("poly");
        Assert.False((bool)poly["ok"]!);
        Assert.Equal("cell 3 (fsharp)", (string?)Assert.Single(poly["skipped"]!));
        Assert.Contains("<b>hello</b>", made.Page);
        Assert.Contains("did not run, since only C# runs here: cell 3 (fsharp)", made.Said);
        Assert.Equal("<b>hello</b>",
            (string?)made.Copy("poly.ipynb")["cells"]![1]!["outputs"]![0]!["data"]!["text/html"]);
    }

    [Fact]
    public void Dates_stay_as_they_are_written()
    {
        Assert.True((bool)made.Outcome("dates")["ok"]!);
        var copy = File.ReadAllText(made.folder.At("out", "notebooks", "dates.ipynb"));
        Assert.Contains("2024-05-03T10:20:41.512345+02:00", copy);
        Assert.Contains("\"2024-03-05T10:00:00+02:00\"", copy);
        Assert.Contains("\"text/plain\": \"2024-03-05T10:00:00Z\"", copy);
        Assert.Contains("2024-03-05T10:00:00+02:00", made.Page);
    }

    [Fact]
    public void Attached_images_are_shown() =>
        Assert.Matches("<img src=\"data:image/png;base64,iVBOR[^\"]*\" alt=\"img\"", made.Page);

    [Fact]
    public void A_script_in_a_string_is_text() =>
        Assert.Contains("17", made.Copy("shebang-in-string.ipynb")["cells"]![0]!["outputs"]!.ToString());

    [Fact]
    public void Notebooks_of_one_name_are_kept_apart()
    {
        Assert.Contains("from a", made.Page);
        Assert.Contains("from b", made.Page);
        Assert.Equal(["from a", "from b"], made.Told["notebooks"]!.Where(one => (string?)one["name"] == "x")
            .Select(one =>
                (string?)JObject.Parse(
                    File.ReadAllText((string)one["executed"]!))["cells"]![0]!["outputs"]![0]!["data"]!["text/plain"]));
    }

    [Fact]
    public void A_text_nested_too_deep_costs_that_cell_alone()
    {
        Assert.True((bool)made.Outcome("ipynb-200-quote-marks-destroy-the-whole-report")["ok"]!);
        Assert.Contains("This could not be laid out", made.Page);
        Assert.Contains("from b", made.Page);
    }

    [Fact]
    public void Lines_in_a_pipe_are_whole() =>
        Assert.Contains(made.Said.Split('\n'), line => line.Contains(new string('x', 150) + ".ipynb  failed"));

    [Fact]
    public void A_terminal_takes_no_orders_from_a_file_name()
    {
        Assert.DoesNotContain('\u001b', made.Said);
        Assert.DoesNotContain('\u202e', made.Said);
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no such file names there");
        Assert.Contains("c\\u001b[31m\\u202ered.ipynb  ok", made.Said);
    }

    [Fact]
    public void Every_copy_is_a_valid_notebook()
    {
        foreach (var outcome in made.Told["notebooks"]!)
        {
            NotebookShape.Check(
                (JObject)PlainJson.Parse(File.ReadAllText((string)outcome["executed"]!)));
        }
    }
}
