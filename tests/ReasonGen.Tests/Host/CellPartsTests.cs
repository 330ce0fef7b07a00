using System.Text;
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

    [Theory]
    [InlineData("a.ipynb", """
        {"cells": [{"cell_type": "markdown", "source": "text"}, {"cell_type": "code", "source": "1"},
        {"cell_type": "code", "source": "let x = 1", "metadata": {"polyglot_notebook": {"kernelName": "fsharp"}}}],
        "nbformat": 4}
        """, "its code cell 2 is in fsharp")]
    [InlineData("a.dib", "#!meta\n#!csharp\n1", "is a script of Polyglot Notebooks")]
    [InlineData("A.DIB", "#!csharp\n1", "is a script of Polyglot Notebooks")]
    public void A_file_whose_cells_would_not_all_run_is_not_imported(string name, string text, string message)
    {
        folder.Write(name, text);
        Assert.Contains(message,
            Assert.Throws<CellSyntaxException>(() => CellParts.Split($"#!import {name}", folder.Path)).Message);
    }

    [Fact]
    public void A_file_in_another_encoding_is_not_imported_with_other_texts()
    {
        File.WriteAllBytes(folder.At("a.cs"), Encoding.Latin1.GetBytes("var a = 1;\nvar s = \"café\";"));
        Assert.Contains("line 2 is not UTF-8 text",
            Assert.Throws<CellSyntaxException>(() => CellParts.Split("#!import a.cs", folder.Path)).Message);
    }

    [Theory]
    [InlineData("#r \"nuget: X, 1.0\"", "X, 1.0")]
    [InlineData("#r \"nuget: X, 1.0\" // why", "X, 1.0")]
    [InlineData("#R\"NuGet:X\"//", "X")]
    [InlineData("#r \"nuget: X, 1.0\" why", "")]
    public void A_package_is_asked_for_with_a_comment_behind_it_or_none(string line, string package)
    {
        Assert.Equal(package,
            string.Join('|', Assert.Single(CellParts.Split(line + "\n1", folder.Path)).Packages!));
        Assert.Equal(new string(' ', line.Length) + "\n1", CellParts.Blanked(line + "\n1"));
    }

    [Theory]
    [InlineData("#i \"nuget:https://example.org/v3/index.json\"", "https://example.org/v3/index.json")]
    [InlineData("  #i \"nuget: /feed \" // ours", "/feed")]
    [InlineData("#i \"nuget:../feed\"", "../feed")]
    public void A_source_of_packages_is_taken_as_it_is_or_from_the_cells_folder(string line, string source)
    {
        var part = Assert.Single(CellParts.Split(line + "\n#r \"nuget: X\"\n1", folder.Path));
        Assert.Equal(source.Contains("://") ? source : Path.GetFullPath(source, folder.Path),
            Assert.Single(part.Sources!));
        Assert.Equal(("X", "\n\n1"), (Assert.Single(part.Packages!), part.Text));
        Assert.Equal(new string(' ', line.Length) + "\n1", CellParts.Blanked(line + "\n1"));
        Assert.NotEmpty(Assert.Single(CellParts.Split(line, folder.Path)).Sources!);
    }

    [Theory]
    [InlineData("#if DEBUG // nuget: none\n1\n#endif")]
    [InlineData("var s = \"\"\"\n#i \"nuget:/feed\"\n\"\"\";")]
    public void What_only_looks_like_a_source_of_packages_is_code(string code)
    {
        var part = Assert.Single(CellParts.Split(code, folder.Path));
        Assert.Equal((code, 0), (part.Text, part.Sources!.Count));
        Assert.Equal(code, CellParts.Blanked(code));
    }

    [Theory]
    [InlineData("#i \"nuget: \"")]
    [InlineData("#i \"nuget:a\0b\"")]
    public void A_source_of_packages_that_can_be_none_is_refused(string line) => Assert.Contains("it must be #i",
        Assert.Throws<CellSyntaxException>(() => CellParts.Split(line, folder.Path)).Message);

    public void Dispose() => folder.Dispose();
}
