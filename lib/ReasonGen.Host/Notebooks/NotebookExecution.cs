using System.Collections.Concurrent;
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
/// <param name="FailedCell">Number of the cell that failed, counted from 1; 0 where the process ended in no cell; null
/// when no cell failed.</param>
/// <param name="Source">Source of that cell.</param>
/// <param name="Error">What it said.</param>
public sealed record NotebookOutcome(string Name, string Title, string Executed, double Seconds, long PeakBytes,
    int? FailedCell = null, string Source = "", string Error = "")
{
    /// <summary>The notebook's file.</summary>
    public string Path { get; init; } = "";

    /// <summary>Cells that were left out, since they are in languages that do not run here, with their
    /// languages.</summary>
    public IReadOnlyList<string> Skipped { get; init; } = [];

    /// <summary>What other processes and native code printed while it ran, which is in no cell.</summary>
    public string Printed { get; init; } = "";

    /// <summary>Whether it was reached: a run that is broken off leaves the rest unrun.</summary>
    public bool Reached { get; init; } = true;

    /// <summary>Whether every cell ran, and none failed.</summary>
    public bool Ok => FailedCell is null && Skipped.Count == 0 && Reached;
}

/// <summary>Runs one notebook in this process and tells how far it is on standard output, a json a line.</summary>
internal static class NotebookExecution
{
    internal const string Prefix = "\u0001rg "; // marks our lines among whatever else may be printed

    internal static async Task<int> RunAsync(string path, string executedPath,
        IReadOnlyDictionary<string, string> parameters, CancellationToken cancel)
    {
        var console = Console.Out;
        void Tell(object message) => console.WriteLine(Prefix + JsonConvert.SerializeObject(message));
        var notebook = NotebookFile.Read(path);
        notebook.SetParameters(parameters);
        notebook.ClearOutputs();
        Directory.SetCurrentDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        var watch = Stopwatch.StartNew();
        var session = new CSharpSession(Directory.GetCurrentDirectory());
        JObject[] cells = [.. notebook.Cells.Where(NotebookFile.IsCode)];
        var outcome = new NotebookOutcome(Path.GetFileNameWithoutExtension(path), notebook.Title, executedPath, 0,
            0) { Path = path };
        var ran = new List<(JObject Cell, int? Count, CellRecorder Shown)>();
        var owners = new ConcurrentDictionary<string, CellRecorder>();
        var number = 0; // as in the notebook that was given: the cell that sets parameters is not counted
        for (var i = 0; i < cells.Length && outcome.FailedCell is null; i++)
        {
            number += notebook.IsNew(cells[i]) ? 0 : 1;
            var (source, language, at) = (NotebookFile.Source(cells[i]), notebook.LanguageOf(cells[i]), number);
            Tell(new { cell = i + 1, of = cells.Length, number, source });
            var recorder = new CellRecorder(i + 1,
                line => Tell(new { cell = i + 1, of = cells.Length, number = at, line }), owners);
            if (!CellLanguage.IsKnown(language))
            {
                outcome = outcome with { Skipped = [.. outcome.Skipped, $"cell {number} ({language})"] };
                recorder.Stream("stderr", $"This cell did not run: it is in {language}, and C# is what runs here.\n");
                ran.Add((cells[i], null, recorder));
                continue;
            }

            ran.Add((cells[i], i + 1, recorder));
            var result = await session.RunAsync(notebook.Script(cells[i]), recorder, $"cell {number}", cancel);
            if (!result.Ok)
            {
                recorder.Fail(result);
                outcome = outcome with
                {
                    FailedCell = number, Source = source,
                    Error = result.ErrorValue == "compilation error" ? string.Join('\n', result.Traceback!)
                        : result.ErrorValue,
                };
            }

            // after each cell, so that an interrupted run keeps what it did
            outcome = Write(notebook, ran, executedPath, outcome);
        }

        outcome = Write(notebook, ran, executedPath, outcome);
        using var process = Process.GetCurrentProcess();
        Tell(outcome with { Seconds = watch.Elapsed.TotalSeconds, PeakBytes = process.PeakWorkingSet64 });
        return outcome.Ok ? 0 : 1;
    }

    // what cells that ran before have started may have shown something since
    private static NotebookOutcome Write(NotebookFile notebook,
        IEnumerable<(JObject Cell, int? Count, CellRecorder Shown)> ran, string path, NotebookOutcome outcome)
    {
        foreach (var (cell, count, shown) in ran.Where(one => one.Shown.HasNews))
        {
            notebook.SetOutputs(cell, count, shown.Outputs);
        }

        try
        {
            notebook.Write(path);
            return outcome;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return outcome.FailedCell is not null ? outcome
                : outcome with { FailedCell = 0, Error = $"the executed copy cannot be written: {e.Message}" };
        }
    }
}
