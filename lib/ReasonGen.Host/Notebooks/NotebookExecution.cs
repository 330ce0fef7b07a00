using System.Diagnostics;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Notebooks;

/// <summary>How the run of one notebook went.</summary>
/// <param name="Name">File name without ending.</param>
/// <param name="Title">Its heading.</param>
/// <param name="Executed">Path of the executed copy.</param>
/// <param name="Seconds">Wall clock.</param>
/// <param name="PeakBytes">Most memory its process held.</param>
/// <param name="FailedCell">Number of the cell that failed, counted from 1; null when all went well.</param>
/// <param name="Source">Source of that cell.</param>
/// <param name="Error">What it said.</param>
public sealed record NotebookOutcome(string Name, string Title, string Executed, double Seconds, long PeakBytes, int? FailedCell = null, string Source = "", string Error = "")
{
    public bool Ok => FailedCell is null;
}

/// <summary>Runs one notebook in this process and tells how far it is on standard output, a json a line.</summary>
internal static class NotebookExecution
{
    internal const string Prefix = "\u0001rg "; // marks our lines among whatever else may be printed

    internal static async Task<int> RunAsync(string path, string executedPath, IReadOnlyDictionary<string, string> parameters, CancellationToken cancel)
    {
        var console = Console.Out;
        void Tell(object message) => console.WriteLine(Prefix + JsonConvert.SerializeObject(message));
        var notebook = NotebookFile.Read(path);
        notebook.SetParameters(parameters);
        Directory.SetCurrentDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var watch = Stopwatch.StartNew();
        var session = new CSharpSession(Directory.GetCurrentDirectory());
        JObject[] cells = [.. notebook.Cells.Where(cell => (string?)cell["cell_type"] == "code")];
        var outcome = new NotebookOutcome(Path.GetFileNameWithoutExtension(path), notebook.Title, executedPath, 0, 0);
        var number = 0; // as in the notebook that was given: the cell that sets parameters is not counted
        for (var i = 0; i < cells.Length && outcome.Ok; i++)
        {
            number += NotebookFile.HasTag(cells[i], NotebookFile.Injected) ? 0 : 1;
            Tell(new { cell = i + 1, of = cells.Length, title = notebook.Title });
            var recorder = new CellRecorder(i + 1, line => Tell(new { cell = i + 1, of = cells.Length, title = notebook.Title, line }));
            var source = NotebookFile.Source(cells[i]);
            var result = await session.RunAsync(source, recorder, $"cell {number}", cancel);
            if (!result.Ok)
            {
                recorder.Fail(result);
                outcome = outcome with { FailedCell = number, Source = source, Error = result.ErrorValue == "compilation error" ? string.Join('\n', result.Traceback!) : result.ErrorValue };
            }

            cells[i]["execution_count"] = i + 1;
            cells[i]["outputs"] = recorder.Outputs;
            notebook.Write(executedPath); // after each cell, so that an interrupted run keeps what it did
        }

        using var process = Process.GetCurrentProcess();
        Tell(outcome with { Seconds = watch.Elapsed.TotalSeconds, PeakBytes = process.PeakWorkingSet64 });
        return outcome.Ok ? 0 : 1;
    }
}
