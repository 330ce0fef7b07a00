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
        await Run("Console.WriteLine(\"a\"); Console.Error.WriteLine(\"b\"); await Task.Run(() => Console.WriteLine(\"c\"));");
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
        Assert.True((await Run("#r \"../lib/ReasonGen.Notebook/bin/Release/net10.0/ReasonGen.Notebook.dll\"\nusing ReasonGen.Core;\nusing ReasonGen.Notebook;\n"
            + "display(Show.Pictures(new[] { new Picture(1, 1, new byte[3]) }));")).Ok);
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

    private Task<CellResult> Run(string code) => session.RunAsync(code, shown);

    private sealed class Shown : ICellOutput
    {
        private readonly List<(string Name, string Text)> streams = [];

        internal List<JObject> Displays { get; } = [];

        internal List<JObject> Updates { get; } = [];

        internal List<JObject> Results { get; } = [];

        public void Stream(string name, string text) => streams.Add((name, text));

        public void Display(JObject bundle, string displayId) => Displays.Add(bundle);

        public void Update(JObject bundle, string displayId) => Updates.Add(bundle);

        public void Result(JObject bundle) => Results.Add(bundle);

        internal string Text(string name) => string.Concat(streams.Where(stream => stream.Name == name).Select(stream => stream.Text));
    }
}
