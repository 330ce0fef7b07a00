using System.Diagnostics;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using Spectre.Console;

namespace ReasonGen.Host.Notebooks;

/// <summary>Runs notebooks one after another, each in a process of its own, and shows how far they are.</summary>
internal sealed class NotebookRunner(IReadOnlyDictionary<string, string> parameters, IAnsiConsole console)
{
    private const int Most = 40; // lines shown of a cell or an error

    /// <summary>Runs them all; one that fails does not keep the others from running. Those that an interrupt left unrun
    /// are among the outcomes.</summary>
    internal async Task<IReadOnlyList<NotebookOutcome>> RunAsync(IReadOnlyList<NotebookRun> runs,
        CancellationToken cancel)
    {
        var outcomes = new List<NotebookOutcome>();
        foreach (var (index, run) in runs.Index())
        {
            if (cancel.IsCancellationRequested)
            {
                outcomes.Add(Of(run) with
                {
                    Reached = false, Error = "it was not run: the run was interrupted before",
                });
                continue;
            }

            var heading = $"[{index + 1}/{runs.Count}] {Terminal.Line(run.Label)}";
            var outcome = console.Profile.Capabilities.Interactive
                ? await console.Status().StartAsync(Markup.Escape(heading),
                    context => RunOneAsync(run, text => context.Status(Markup.Escape($"{heading}: {text}")), cancel))
                : await RunOneAsync(run, _ => { }, cancel);
            outcomes.Add(outcome);
            Tell(heading, outcome);
        }

        return outcomes;
    }

    private void Tell(string heading, NotebookOutcome outcome)
    {
        var state = outcome.Ok ? "[green]ok[/]" : outcome.FailedCell is null ? "[red]incomplete[/]" : "[red]failed[/]";
        console.MarkupLine(
            $"{Markup.Escape(heading)}  {state}  {outcome.Seconds:0.0} s, {outcome.PeakBytes / 1048576.0:0} MiB");
        if (outcome.Skipped.Count > 0)
        {
            console.WriteLine(
                $"  did not run, since only C# runs here: {Terminal.Line(string.Join(", ", outcome.Skipped))}");
        }

        if (outcome.FailedCell is { } cell)
        {
            console.WriteLine(
                $"  {(cell == 0 ? "the process" : $"cell {cell}")} failed:\n{Indent(outcome.Source)}\n  "
                + $"{Indent(outcome.Error).TrimStart()}");
        }
    }

    private async Task<NotebookOutcome> RunOneAsync(NotebookRun run, Action<string> status, CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        var start = SelfProcess.Start("execute", Path.GetFullPath(run.Notebook.Path), run.Executed);
        foreach (var (name, value) in parameters)
        {
            start.ArgumentList.Add("-p");
            start.ArgumentList.Add($"{name}={value}");
        }

        start.RedirectStandardOutput = start.RedirectStandardError = true;
        using var child = new TiedProcess(start, cancel);
        var process = child.Process;
        NotebookOutcome? outcome = null;
        var at = (Number: 0, Source: "");
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        while (await process.StandardOutput.ReadLineAsync(CancellationToken.None) is { } line)
        {
            // native code may have printed something before it on the same line
            if (line.IndexOf(NotebookExecution.Prefix, StringComparison.Ordinal) is >= 0 and var begin
                && Message(line[(begin + NotebookExecution.Prefix.Length)..]) is { } message)
            {
                if (message["Executed"] is not null)
                {
                    outcome = message.ToObject<NotebookOutcome>();
                }
                else
                {
                    at = message["source"] is null ? at : ((int)message["number"]!, (string)message["source"]!);
                    status($"cell {message["cell"]} of {message["of"]} "
                        + $"{Terminal.Line((string?)message["line"] ?? "")}");
                }
            }
        }

        await process.WaitForExitAsync(CancellationToken.None);
        return outcome is not null ? outcome with { Path = run.Notebook.Path }
            : Of(run) with
            {
                Seconds = watch.Elapsed.TotalSeconds, FailedCell = at.Number, Source = at.Source,
                Error = cancel.IsCancellationRequested ? "it was interrupted"
                    : $"its process ended with exit code {process.ExitCode}: {(await errors).Trim()}",
            };
    }

    private static JObject? Message(string text)
    {
        try
        {
            return PlainJson.Parse(text) as JObject;
        }
        catch (JsonException)
        {
            return null; // what a cell's own processes print may look like it
        }
    }

    private static NotebookOutcome Of(NotebookRun run) =>
        new(Path.GetFileNameWithoutExtension(run.Notebook.Path), run.Notebook.Title, run.Executed, 0, 0)
        {
            Path = run.Notebook.Path,
        };

    private static string Indent(string text)
    {
        var lines = Terminal.Plain(text).Split('\n');
        return string.Join('\n', lines.Take(Most).Select(line => "    " + line))
            + (lines.Length > Most ? $"\n    … {lines.Length - Most} lines more" : "");
    }
}
