namespace ReasonGen.Interactive.Tests;

public sealed class NotebookTests
{
    /// <summary>Some that train, draw, chart and read recorded runs, within seconds; .NET Interactive itself runs all
    /// of them.</summary>
    public static TheoryData<string> Some => [.. new[] { "01", "06", "08" }
        .SelectMany(number => Directory.GetFiles(InteractiveKernel.Notebooks, number + "-*.ipynb"))
        .Select(path => Path.GetFileName(path))];

    [Theory]
    [MemberData(nameof(Some))]
    public async Task Notebook_cells_run_in_dotnet_interactive(string notebook)
    {
        using var kernel = new InteractiveKernel();
        foreach (var cell in InteractiveKernel.Cells(notebook))
        {
            await kernel.RunAsync(cell);
        }
    }
}
