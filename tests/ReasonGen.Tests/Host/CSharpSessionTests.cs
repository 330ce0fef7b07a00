using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What a cell may expect, as .NET Interactive has it.</summary>
public sealed class CSharpSessionTests
{
    private readonly CSharpSession session = new(Directory.GetCurrentDirectory());
    private readonly Shown shown = new();

    [Fact]
    public async Task Default_usings_are_there_and_state_is_kept()
    {
        Assert.True((await Run("var x = new List<int> { 3, 1 }.OrderBy(i => i).First();")).Ok);
        Assert.True((await Run("x + 1")).Ok);
        Assert.Equal("2", shown.Results.Single()["text/plain"] ?? shown.Results.Single().Properties().First().Value);
    }

    [Fact]
    public async Task A_cell_that_throws_keeps_what_it_assigned()
    {
        var failed = await Run("int a = 1; a = 5; throw new InvalidOperationException(\"no\");");
        Assert.Equal("Error", failed.ErrorName);
        Assert.Contains("no", failed.ErrorValue);
        Assert.True((await Run("Console.Write(a)")).Ok);
        Assert.Equal("5", shown.Text("stdout"));
    }

    [Theory]
    [InlineData("1 + 1", 1)]
    [InlineData("return 7;", 1)]
    [InlineData("string s = null; s", 1)]
    [InlineData("var v = 3;", 0)]
    [InlineData("Console.Out.Flush();", 0)]
    [InlineData("display(4)", 0)]
    public async Task Only_a_value_is_a_result(string code, int results)
    {
        Assert.True((await Run(code)).Ok);
        Assert.Equal(results, shown.Results.Count);
    }

    [Fact]
    public async Task Null_shows_as_null()
    {
        await Run("(string)null");
        Assert.Equal("<null>", (string?)shown.Results.Single()["text/plain"]);
    }

    [Fact]
    public async Task Displayed_values_can_be_updated()
    {
        await Run("var d = display(\"one\"); d.Update(\"two\"); \"three\".Display(); HTML(\"<b>x</b>\")");
        Assert.Equal(2, shown.Displays.Count);
        Assert.Equal("two", (string?)shown.Updates.Single().Properties().First().Value);
        Assert.Equal("<b>x</b>", (string?)shown.Results.Single()["text/html"]);
    }

    [Fact]
    public async Task Await_and_redeclaration_work()
    {
        Assert.True((await Run("await Task.Delay(1); int f() => 1; record R(int X);")).Ok);
        Assert.True((await Run("int f() => 2; record R(int X, int Y); Console.Write(f() + new R(1, 2).Y);")).Ok);
        Assert.Equal("4", shown.Text("stdout"));
    }

    [Fact]
    public async Task Console_streams_are_apart_and_follow_threads()
    {
        await Run(
            "Console.WriteLine(\"a\"); Console.Error.WriteLine(\"b\"); await Task.Run(() => "
            + "Console.WriteLine(\"c\"));");
        Assert.Equal("a\nc\n", shown.Text("stdout"));
        Assert.Equal("b\n", shown.Text("stderr"));
    }

    [Fact]
    public async Task A_compile_error_names_itself()
    {
        var failed = await Run("int x = \"text\";");
        Assert.Equal("compilation error", failed.ErrorValue);
        Assert.Contains("CS0029", shown.Text("stderr"));
        Assert.True((await Run("1")).Ok);
    }

    [Fact]
    public async Task A_missing_reference_is_an_error()
    {
        Assert.Contains("CS0006", string.Concat((await Run("#r \"nowhere.dll\"\n1")).Traceback!));
    }

    [Fact]
    public async Task The_kit_is_the_hosts_own()
    {
        Assert.True(
            (await Run(
                "#r \"../lib/ReasonGen.Notebook/bin/Release/net10.0/ReasonGen.Notebook.dll\"\n"
            + "using ReasonGen.Imaging;\nusing ReasonGen.Notebook;\n"
            + "display(Show.Images(new[] { new RgbImage(1, 1, new byte[3]) }));")).Ok);
        Assert.Contains("data:image/png;base64", (string?)shown.Displays.Single()["text/html"]);
    }

    [Theory]
    [InlineData("#!lsmagic", "#!time")]
    [InlineData("#!markdown\n# hello", "# hello")]
    [InlineData("#!html\n<i>x</i>", "<i>x</i>")]
    [InlineData("#!time\nvar z = 1;", "Wall time")]
    public async Task Magics_work(string code, string expected)
    {
        Assert.True((await Run(code)).Ok);
        Assert.Contains(expected, shown.Displays.Single().ToString());
    }

    [Fact]
    public async Task Whos_lists_variables_and_an_unknown_magic_is_a_clear_error()
    {
        await Run("var apple = 12;\n#!whos");
        Assert.Contains("apple", shown.Displays.Single().ToString());
        var failed = await Run("#!nonsense");
        Assert.Contains("there is no magic '#!nonsense'", failed.ErrorValue);
    }

    [Theory]
    [InlineData("var one = 1;\n#r \"System.Xml\"", "CS7009")]
    [InlineData("#r \"nowhere.dll\"", "CS0006")]
    [InlineData("static class E { public static int Twice(this int i) => 2 * i; }", "CS1109")]
    [InlineData("namespace N { class C { } }", "CS7021")]
    [InlineData("using var s = new System.IO.MemoryStream();", "CS1002")]
    public async Task What_dotnet_interactive_refuses_is_refused_in_its_words(string code, string error)
    {
        Assert.Contains(error, string.Concat((await Run(code)).Traceback!));
        Assert.True((await Run("1")).Ok);
    }

    [Fact]
    public async Task Nullable_context_is_off_in_every_cell()
    {
        Assert.True((await Run("string s = null; int F(string t) => t.Length;")).Ok);
        Assert.Empty(shown.Text("stderr"));
    }

    [Fact]
    public async Task Only_the_default_usings_are_there()
    {
        Assert.Contains("CS0103", string.Concat((await Run("File.Exists(\"x\")")).Traceback!));
        Assert.True((await Run("using System.IO;")).Ok);
        Assert.True((await Run("// nothing")).Ok);
        Assert.True((await Run("File.Exists(\"x\")")).Ok); // a using holds for the cells after it
    }

    [Fact]
    public async Task Streams_of_values_are_awaited_and_a_task_alone_is_an_object()
    {
        Assert.True(
            (await Run(
                "async IAsyncEnumerable<int> Three() { for (var i = 1; i <= 3; i++) { await Task.Yield(); yield "
                + "return i; } }\nawait foreach (var i in Three()) Console.Write(i);")).Ok);
        Assert.Equal("123", shown.Text("stdout"));
        Assert.True((await Run("Task.FromResult(5)")).Ok);
        Assert.Contains("Task", shown.Results.Last().ToString()); // the task itself, whatever its formatter says of it
    }

    [Fact]
    public async Task Load_and_import_bring_files_in()
    {
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        File.WriteAllText(Path.Combine(folder, "a.csx"), "int loaded = 11;");
        File.WriteAllText(Path.Combine(folder, "b.cs"), "#!time\nint imported = 12;");
        File.WriteAllText(Path.Combine(folder, "c.ipynb"),
            """{"cells":[{"cell_type":"markdown","source":"text"},{"cell_type":"code","source":["int noted = 13;"]}],"nbformat":4}""");
        var there = new CSharpSession(folder);
        Assert.True((await there.RunAsync("#load \"a.csx\"\nloaded += 1;", shown)).Ok);
        Assert.True(
            (await there.RunAsync(
                "#!import b.cs\n#!import c.ipynb\n#!csharp\nConsole.Write($\"{loaded} {imported} {noted}\")",
                shown)).Ok);
        Assert.Equal("12 12 13", shown.Text("stdout"));
        Assert.Contains("#!import none.cs", (await there.RunAsync("#!import none.cs", shown)).ErrorValue);
        Directory.Delete(folder, true);
    }

    [Fact]
    public async Task A_formatter_of_a_cell_takes_effect_and_several_types_make_one_bundle()
    {
        Assert.True(
            (await Run(
                "using Microsoft.DotNet.Interactive.Formatting;\nrecord Pear(int N);\n"
            + "Formatter.Register<Pear>(p => $\"<b>{p.N}</b>\", \"text/html\");\n"
            + "Formatter.Register<Pear>(p => $\"pear {p.N}\", \"text/plain\");\n"
            + "Formatter.SetPreferredMimeTypesFor(typeof(Pear), \"text/html\", \"text/plain\");")).Ok);
        Assert.True((await Run("new Pear(3)")).Ok);
        Assert.Equal(("<b>3</b>", "pear 3"),
            ((string?)shown.Results.Last()["text/html"], (string?)shown.Results.Last()["text/plain"]));
    }

    [Fact]
    public async Task Long_sequences_stop_at_twenty_items()
    {
        Assert.True((await Run("Enumerable.Range(1000, 5000)")).Ok);
        var html = (string?)shown.Results.Single()["text/html"];
        Assert.Contains("1019", html);
        Assert.DoesNotContain("1020", html);
        Assert.Contains("more", html);
    }

    [Fact]
    public async Task Anonymous_values_and_closures_live_across_cells()
    {
        Assert.True((await Run("var pair = new { A = 1, B = \"x\" }; int count = 0; Action more = () => count++;")).Ok);
        Assert.True((await Run("more(); more();")).Ok);
        Assert.True(
            (await Run(
                "var same = new { A = 1, B = \"x\" "
                + "};\nConsole.Write($\"{pair.A}{pair.B}{count}{pair.Equals(same)}\");")).Ok);
        Assert.Equal("1x2True", shown.Text("stdout"));
    }

    [Theory]
    [InlineData("SkiaSharp.dll", "using (var bitmap = new SkiaSharp.SKBitmap(2, 2)) { Console.Write(bitmap.Width); }")]
    [InlineData("TorchSharp.dll", "Console.Write(TorchSharp.torch.ones(2).sum().item<float>());")]
    public async Task Native_libraries_of_what_ships_load_from_a_cell(string library, string code)
    {
        Assert.True((await Run($"#r \"{Path.Combine(AppContext.BaseDirectory, library)}\"")).Ok);
        var result = await Run(code);
        Assert.True(result.Ok, result.ErrorValue);
        Assert.Equal("2", shown.Text("stdout"));
    }

    [Fact]
    public async Task Cells_that_declare_nothing_leave_nothing_behind()
    {
        Assert.True((await Run("var kept = 5;")).Ok);
        for (var i = 0; i < 20; i++)
        {
            Assert.True((await Run($"Console.Write(kept + {i})")).Ok);
        }

        var loaded = System.Runtime.Loader.AssemblyLoadContext.All.Count(context => context.Name == "cell");
        for (var i = 0; i < 10 && loaded > 5; i++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            loaded = System.Runtime.Loader.AssemblyLoadContext.All.Count(context => context.Name == "cell");
        }

        Assert.InRange(loaded, 0, 15); // other sessions of this process run too
        Assert.Equal(["kept"], session.Variables.Select(variable => variable.Name));
    }

    [Fact]
    public async Task Whatever_a_value_does_when_it_is_shown_is_the_cells_error()
    {
        Assert.True(
            (await Run(
                "class Bad { public override string ToString() => throw new Exception(\"shy\"); }\n"
                + "var bad = new Bad();")).Ok);
        Assert.Contains("shy", (await Run("#!whos")).ErrorValue);
        Assert.True((await Run("1")).Ok);
    }

    [Fact]
    public async Task Lines_of_errors_count_from_the_top_of_the_cell()
    {
        await Run("#!time\nvar a = 1;\nnonsense;");
        Assert.Contains("(3,1)", shown.Text("stderr"));
    }

    private Task<CellResult> Run(string code) => session.RunAsync(code, shown);

    internal sealed class Shown : ICellOutput
    {
        private readonly List<(string Name, string Text)> streams = [];

        internal List<JObject> Displays { get; } = [];

        internal List<JObject> Updates { get; } = [];

        internal List<JObject> Results { get; } = [];

        public void Stream(string name, string text) => streams.Add((name, text));

        public void Display(JObject bundle, string displayId) => Displays.Add(bundle);

        public void Update(JObject bundle, string displayId) => Updates.Add(bundle);

        public void Result(JObject bundle) => Results.Add(bundle);

        public string? Read(string prompt, bool hidden) => "yes";

        internal string Text(string name) =>
            string.Concat(streams.Where(stream => stream.Name == name).Select(stream => stream.Text));
    }
}
