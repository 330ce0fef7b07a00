using ReasonGen.Host.Engine;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What a cell that fails says: where it went wrong, and nothing of the program below it.</summary>
public sealed class CellErrorsTests : IDisposable
{
    private readonly TestFolder folder = new();
    private readonly CSharpSession session;

    public CellErrorsTests() => session = new CSharpSession(folder.Path);

    [Theory]
    [InlineData("await Task.Delay(1); F();")]
    [InlineData("F();")]
    [InlineData("Task.Run(() => F()).Wait();")]
    public async Task A_trace_ends_in_the_cell(string code)
    {
        await Run("int F() => throw new InvalidOperationException(\"no\");");
        var text = (await Run(code)).ErrorValue;
        Assert.Contains("no", text);
        Assert.StartsWith("   at Submission#", text.Split('\n')[^1]);
        Assert.DoesNotContain("ReasonGen.Host", text);
    }

    [Fact]
    public async Task Errors_of_imported_code_are_told_at_its_own_lines()
    {
        folder.Write("sub/lib.cs", "\nint a = 1;\nnonsense;");
        SmallNotebook.Write(folder.At("lib.ipynb"), ("text", "markdown"), ("int b = 1;", "code"),
            ("\nint c = nothing;", "code"));
        folder.Write("throws.cs", "int G() =>\n    throw new InvalidOperationException(\"no\");");
        Assert.StartsWith($"{folder.At("sub", "lib.cs")}(3,1): error",
            (await Run("1\n#!import sub/lib.cs")).Traceback![0]);
        Assert.StartsWith($"{folder.At("lib.ipynb")} cell 2(2,9): error",
            (await Run("#!import lib.ipynb")).Traceback![0]);
        Assert.Contains($"in {folder.At("throws.cs")}:line 2\n", (await Run("#!import throws.cs\nG();")).ErrorValue);
        Assert.StartsWith("cell(2,1): error", (await Run("#!import throws.cs\nnonsense;")).Traceback![0]);
    }

    [Fact]
    public async Task Relative_paths_in_imported_code_start_from_the_notebooks_folder()
    {
        folder.Write("a.csx", "int loaded = 5;");
        folder.Write("sub/lib.cs", "#load \"a.csx\"\nvar twice = 2 * loaded;");
        Assert.True((await Run("#!import sub/lib.cs")).Ok);
        Assert.Equal(10, session.Variables.Single(variable => variable.Name == "twice").Value);
    }

    [Fact]
    public async Task Cultures_are_not_there_and_the_error_names_the_remedy()
    {
        const string remedy = "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=0";
        Assert.Contains(remedy, (await Run("new System.Globalization.CultureInfo(\"de-DE\")")).ErrorValue);
        Assert.DoesNotContain(remedy, (await Run("throw new Exception();")).ErrorValue);
        var shown = new CellRecorder(1);
        Assert.True((await session.RunAsync("#!about", shown)).Ok);
        Assert.Contains("invariant culture", shown.Outputs.ToString());
    }

    private Task<CellResult> Run(string code) => session.RunAsync(code, new CellRecorder(1));

    public void Dispose() => folder.Dispose();
}
