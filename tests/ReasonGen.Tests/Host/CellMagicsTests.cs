using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>Lines of a cell that begin with #!: which are magics, and what those do.</summary>
public sealed class CellMagicsTests
{
    private static string Here => Directory.GetCurrentDirectory();

    [Theory]
    [InlineData("var s = \"\"\"\n#!/bin/sh\necho\n\"\"\";")]
    [InlineData("var s = @\"\n#!/bin/sh\n\";")]
    [InlineData("var n = 1; var s = $@\"{n}\n#!/bin/sh {n}\n\";")]
    [InlineData("var n = 1; var s = $\"\"\"\n    {n}\n#!time\n    \"\"\";")]
    [InlineData("/*\n#!/bin/sh\n*/ var s = 1;")]
    [InlineData("#if false\n#!/bin/sh\n#endif\nvar s = 1;")]
    public void What_looks_like_a_magic_within_a_string_or_a_comment_is_text(string code)
    {
        var part = Assert.Single(CellParts.Split(code, Here));
        Assert.Equal((CellPartKind.Code, code, false), (part.Kind, part.Text, part.Timed));
        Assert.Equal(code, CellParts.Blanked(code));
    }

    [Theory]
    [InlineData("#!time\nvar s = \"\"\"\n#!html\n\"\"\";", "Code")]
    [InlineData("var s = \"\"\"\n#!html\n\"\"\";\n#!html\n<b>\"\"\"</b>\n#!csharp\n1", "Code,Html,Code")]
    [InlineData("#!markdown\n```\n#!/bin/sh\n```\n#!csharp\n1", "Markdown,Code")]
    [InlineData("/* a */\n#!html\n<b>/*</b>\n#!markdown\n*/", "Code,Html,Markdown")]
    [InlineData("var a = 1; // \"\"\"\n#!html\n<b>1</b>", "Code,Html")]
    public void Magics_cut_a_cell_where_they_stand_outside_of_strings(string code, string kinds) =>
        Assert.Equal(kinds, string.Join(',', CellParts.Split(code, Here).Select(part => part.Kind)));

    [Theory]
    [InlineData("#!set --name x --value hello", "hello")]
    [InlineData("#!set --value \"two \\ words\" --name x", "two \\ words")]
    [InlineData("#!set --name x --value @csharp:y", "Ada")]
    [InlineData("#!set --name x --value @y", "Ada")]
    [InlineData("#!set --name x --value @input:\"Who are you?\"", "Who are you? ok")]
    [InlineData("#!set --name x --value @password", "x ok")]
    public async Task Set_declares_a_variable(string magic, string value)
    {
        var (session, output) = (new CSharpSession(Here), new Recorded());
        Assert.True((await session.RunAsync("var y = \"Ada\";", output)).Ok);
        var result = await session.RunAsync(magic + "\nvar after = x + \"!\";", output);
        Assert.True(result.Ok, result.ErrorValue);
        Assert.Equal(value + "!", session.Variables.Single(variable => variable.Name == "after").Value);
    }

    [Theory]
    [InlineData("#!set", "lacks a value or a name")]
    [InlineData("#!set --name", "--name has no value")]
    [InlineData("#!set --name 1x --value 2", "a name that C# allows")]
    [InlineData("#!set --name x --value @fsharp:y", "C# alone")]
    [InlineData("#!set --name x --value \"open", "not closed")]
    [InlineData("#!set --name x --value 1 --byref yes", "there is no --byref")]
    [InlineData("#!share --from fsharp y", "C# alone")]
    [InlineData("#!fsharp\nlet x = 1", "#!fsharp asks for another language's kernel, and this session has C# alone")]
    [InlineData("#!pwsh\nls", "#!pwsh asks for another language's kernel")]
    [InlineData("#!mermaid\ngraph TD", "#!mermaid asks for another language's kernel")]
    public async Task A_magic_that_cannot_be_done_says_why_before_anything_runs(string code, string message)
    {
        var (session, output) = (new CSharpSession(Here), new Recorded());
        var result = await session.RunAsync("Console.Write(\"ran\");\n" + code, output);
        Assert.Contains(message, result.ErrorValue);
        Assert.DoesNotContain("ran", output.Text);
    }

    [Fact]
    public async Task About_tells_versions_and_lsmagic_lists_what_there_is()
    {
        var (session, output) = (new CSharpSession(Here), new Recorded());
        Assert.True((await session.RunAsync("#!about\n#!lsmagic", output)).Ok);
        Assert.Contains($".NET {Environment.Version}", output.Text);
        Assert.All(CellParts.Magics, magic => Assert.Contains("#!" + magic, output.Text));
    }

    [Fact]
    public async Task Packages_are_announced_before_they_are_restored()
    {
        var (session, output) = (new CSharpSession(Here), new Recorded());
        var result = await session.RunAsync("#r \"nuget: No.Such/Package, 1\"\n1", output);
        Assert.Contains("it must be #r", result.ErrorValue);
        Assert.StartsWith("Restoring packages: No.Such/Package, 1\nPackages not restored: No.Such/Package, 1\n",
            output.Text);
    }

    [Theory]
    [InlineData("\n")]
    [InlineData("#!/x\n")]
    [InlineData("#r \"nuget:")]
    [InlineData("#r \"nuget: a\"  \t")]
    [InlineData("\"\"\"\n#!")]
    [InlineData("#!set --name \"")]
    [InlineData("/*\n#!time ")]
    [InlineData("$\"{(")] // which the compiler reads by recursion
    [InlineData("$\"{\n#!time\n")]
    public void Long_cells_are_cut_in_time_that_grows_with_them(string piece)
    {
        var code = string.Concat(Enumerable.Repeat(piece, 100_000));
        Assert.Equal(code.Length, CellParts.Blanked(code).Length); // minutes where it grows with the square
        Record.Exception(() => CellParts.Split(code, Here));
    }

    private sealed class Recorded : ICellOutput
    {
        private readonly System.Text.StringBuilder text = new();

        internal string Text => text.ToString();

        public void Stream(string name, string said) => text.Append(said);

        public void Display(JObject bundle, string displayId) => text.Append($"{bundle["text/plain"]}\n");

        public void Update(JObject bundle, string displayId) => Display(bundle, displayId);

        public void Result(JObject bundle) => Display(bundle, "");

        public string Read(string prompt, bool hidden) => prompt + " ok";
    }
}
