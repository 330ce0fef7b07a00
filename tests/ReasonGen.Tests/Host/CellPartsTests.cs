using ReasonGen.Host.Engine;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class CellPartsTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("var s = \"\"\"\n#!/bin/sh\n\"\"\";\ns")]
    [InlineData("var s = $$\"\"\"\n#!html {{1}}\n\"\"\";\ns")]
    [InlineData("var s = @\"\n#!html\n\"\"x\"\"\n#!markdown\n\";\ns")]
    [InlineData("var s = $@\"{d[\"k\"]}\n#!/bin/sh\n\";\ns")]
    [InlineData("/*\n#!html\n*/ 1")]
    [InlineData("var s = @\"\n#r \"\"nuget: X\"\"\n#r \"\"\"\"nuget:Y\"\"\"\"\n\";")]
    public void A_line_within_a_string_or_a_comment_is_no_magic(string code)
    {
        var part = Assert.Single(CellParts.Split(code, "."));
        Assert.Equal((CellPartKind.Code, code), (part.Kind, part.Text));
        Assert.Equal(code, CellParts.Blanked(code));
    }

    [Theory]
    [InlineData("var s = \"it's\"; // don't /*\n#!html\n<b>it's \"\"\"</b>\n#!csharp\n1", "Code Html Code")]
    [InlineData("var s = \"\"\"\n#!x\n\"\"\";\n#!markdown\n# a\n#!csharp\nvar t = @\"\n#!y\n\";\n#!html\nx",
        "Code Markdown Code Html")]
    [InlineData("#!html\n/*\n#!csharp\n1", "Html Code")]
    public void A_magic_behind_a_string_is_one(string code, string kinds) =>
        Assert.Equal(kinds, string.Join(' ', CellParts.Split(code, ".").Select(part => part.Kind)));

    [Fact]
    public void A_package_in_a_string_is_not_asked_for() =>
        Assert.Empty(
            Assert.Single(CellParts.Split("var s = \"\"\"\"\n#r \"nuget: There.Is.None\"\n\"\"\"\";", ".")).Packages!);

    [Theory]
    [InlineData("#!time\n//\n", 900)]
    [InlineData("var s = \"\"\"\n#!x\n\"\"\";\n", 5_000)]
    [InlineData("#r \"nuget: A\"\n", 20_000)]
    public void A_long_cell_is_cut_at_once(string piece, int times) =>
        Assert.NotEmpty(CellParts.Split(string.Concat(Enumerable.Repeat(piece, times)), "."));

    [Fact]
    public void A_file_that_imports_itself_is_refused()
    {
        folder.Write("a.cs", "#!import b.cs\n1");
        folder.Write("b.cs", "#!import a.cs\n2");
        Assert.Contains("it imports itself",
            Assert.Throws<CellSyntaxException>(() => CellParts.Split("#!import a.cs", folder.Path)).Message);
    }

    public void Dispose() => folder.Dispose();
}
