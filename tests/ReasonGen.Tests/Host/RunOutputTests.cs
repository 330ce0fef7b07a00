using Newtonsoft.Json.Linq;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What a run keeps of what is printed when no cell stands there to take it.</summary>
public sealed class RunOutputTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Fact]
    public async Task What_a_cell_has_started_goes_on_showing_in_that_cell()
    {
        SmallNotebook.Write(folder.Write("in/a.ipynb", ""),
            ("var go = new TaskCompletionSource();\nvar counted = display(\"none\");\nConsole.WriteLine(\"at once\");\n"
                + "var later = Task.Run(async () =>\n{\n    await go.Task;\n    Console.WriteLine(\"from behind\");\n"
                + "    counted.Update(\"one\");\n});", "code"),
            ("1 + 1", "code"), ("go.SetResult();\nawait later;", "code"));
        var (code, output) = await Reasongen.RunAsync("run", folder.At("in"), "--out", folder.At("out"));
        Assert.True(code == 0, output);
        Assert.DoesNotContain("printed beside", output);
        var cells = JObject.Parse(File.ReadAllText(folder.At("out", "notebooks", "a.ipynb")))["cells"]!;
        Assert.Equal("one", (string?)((JObject)cells[0]!["outputs"]![0]!["data"]!).Properties().First().Value);
        Assert.Equal("at once\nfrom behind\n", (string?)cells[0]!["outputs"]![1]!["text"]);
        Assert.Equal([1, 2, 3], cells.Select(cell => (int)cell["execution_count"]!));
        Assert.Contains("from behind", File.ReadAllText(folder.At("out", "report.html")));
    }

    [Fact]
    public async Task What_native_code_and_other_processes_print_is_shown_beside_the_notebook()
    {
        SmallNotebook.Write(folder.Write("in/a.ipynb", ""),
            ("foreach (var one in new[] { Console.OpenStandardOutput(), Console.OpenStandardError() })\n{\n"
                + "    one.Write(Encoding.UTF8.GetBytes(\"past the \\u001b[31mcell\\n\"));\n    one.Flush();\n}\n"
                + "using (var child = System.Diagnostics.Process.Start(\"dotnet\", \"--version\"))\n{\n"
                + "    child.WaitForExit();\n}", "code"),
            ("Console.Write(\"in the cell\");", "code"));
        var (code, output, error) = await Reasongen.RunApartAsync("run", folder.At("in"), "--out", folder.At("out"));
        Assert.True(code == 0, output + error);
        var printed = output[output.IndexOf("printed beside its cells", StringComparison.Ordinal)..];
        Assert.Equal(3, printed.Split("past the \\u001b[31mcell").Length);
        Assert.Contains($"    {Environment.Version.Major}.", printed);
        Assert.DoesNotContain("in the cell", output);
        var page = File.ReadAllText(folder.At("out", "report.html"));
        Assert.DoesNotContain("past the", page.Split("class=\"output\"")[1]);
    }

    [Fact]
    public async Task The_next_notebook_s_process_is_there_when_one_ends_and_its_cells_are_not_begun()
    {
        const string begun = "var begun = DateTime.Now;\n",
            tell = "display($\"{System.Diagnostics.Process.GetCurrentProcess().StartTime.Ticks} {begun.Ticks} \"\n"
                + "    + $\"{DateTime.Now.Ticks}\");";
        SmallNotebook.Write(folder.Write("in/a.ipynb", ""), (begun + "await Task.Delay(2000);\n" + tell, "code"));
        SmallNotebook.Write(folder.Write("in/b.ipynb", ""), (begun + tell, "code"));
        var (code, output) = await Reasongen.RunAsync("run", folder.At("in"), "--out", folder.At("out"));
        Assert.True(code == 0, output);
        long[] Times(string name) => [.. ((string)((JObject)JObject.Parse(File.ReadAllText(folder.At("out", "notebooks",
            name)))["cells"]![0]!["outputs"]![0]!["data"]!).Properties().First().Value!).Split(' ').Select(long.Parse)];
        var (first, second) = (Times("a.ipynb"), Times("b.ipynb"));
        // a process's start is known to a hundredth of a second, on a clock of its own
        Assert.InRange(second[0], first[0] - TimeSpan.TicksPerSecond, first[2]);
        Assert.InRange(second[1], first[2], long.MaxValue);
    }

    [Fact]
    public async Task What_a_cell_displayed_is_kept_as_a_later_one_left_it()
    {
        SmallNotebook.Write(folder.Write("in/a.ipynb", ""), ("var d = display(\"old\");", "code"),
            ("d.Update(\"new\");", "code"));
        var (code, output) = await Reasongen.RunAsync("run", folder.At("in"), "--out", folder.At("out"));
        Assert.True(code == 0, output);
        var cells = JObject.Parse(File.ReadAllText(folder.At("out", "notebooks", "a.ipynb")))["cells"]!;
        Assert.Equal("new", (string?)((JObject)cells[0]!["outputs"]!.Single()["data"]!).Properties().Single().Value);
        Assert.Empty(cells[1]!["outputs"]!);
    }

    public void Dispose() => folder.Dispose();
}
