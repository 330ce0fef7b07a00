using System.Diagnostics;
using Spectre.Console;

namespace ReasonGen.Host.Notebooks;

/// <summary>Runs notebooks one after another, each in a process of its own, and shows how far they are. The next one's
/// process is started beside the one that runs, and waits with its compiler warm.</summary>
internal sealed class NotebookRunner(IReadOnlyDictionary<string, string> parameters, IAnsiConsole console)
{
    /// <summary>Option of execute: the process is started before its turn, and waits for it.</summary>
    internal const string Ahead = "--ahead";

    private const int Most = 40; // lines shown of a cell or an error

    /// <summary>Runs them all; one that fails does not keep the others from running. Those that an interrupt left unrun
    /// are among the outcomes.</summary>
    internal async Task<IReadOnlyList<NotebookOutcome>> RunAsync(IReadOnlyList<NotebookRun> runs,
        CancellationToken cancel)
    {
        var outcomes = new List<NotebookOutcome>();
        TiedProcess? ahead = null;
        try
        {
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

                if (ahead is { Process.HasExited: true }) // it waited, and something ended it: begin afresh
                {
                    ahead.Dispose();
                    ahead = null;
                }

                ahead?.Begin();
                using var child = ahead ?? Start(run, cancel);
                ahead = null;
                ahead = index + 1 < runs.Count ? StartAhead(runs[index + 1], cancel) : null;
                var heading = $"[{index + 1}/{runs.Count}] {Terminal.Line(run.Label)}";
                var outcome = console.Profile.Capabilities.Interactive
                    ? await console.Status().StartAsync(Markup.Escape(heading), context => HearAsync(child.Process, run,
                        text => context.Status(Markup.Escape($"{heading}: {text}")), cancel))
                    : await HearAsync(child.Process, run, _ => { }, cancel);
                outcomes.Add(outcome);
                Tell(heading, outcome);
            }
        }
        finally
        {
            ahead?.Dispose();
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

        if (outcome.Printed.Length > 0)
        {
            console.WriteLine($"  printed beside its cells, by other processes or native code:\n"
                + Indent(outcome.Printed));
        }
    }

    private TiedProcess Start(NotebookRun run, CancellationToken cancel, params string[] options)
    {
        var start = SelfProcess.Start(["execute", Path.GetFullPath(run.Notebook.Path), run.Executed, .. options]);
        foreach (var (name, value) in parameters)
        {
            start.ArgumentList.Add("-p");
            start.ArgumentList.Add($"{name}={value}");
        }

        start.RedirectStandardOutput = start.RedirectStandardError = true;
        return new TiedProcess(start, cancel);
    }

    // where there is no room for one more, it is started at its turn
    private TiedProcess? StartAhead(NotebookRun run, CancellationToken cancel)
    {
        try
        {
            return Start(run, cancel, Ahead);
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException)
        {
            return null;
        }
    }

    private static async Task<NotebookOutcome> HearAsync(Process process, NotebookRun run, Action<string> status,
        CancellationToken cancel)
    {
        var watch = Stopwatch.StartNew();
        var listener = new NotebookListener(status);
        await listener.HearAsync(process);
        return listener.Outcome is { } outcome
            ? outcome with
            {
                Path = run.Notebook.Path, Printed = $"{listener.Printed}\n{listener.Errors}".Trim(),
            }
            : Of(run) with
            {
                Printed = listener.Printed,
                Seconds = watch.Elapsed.TotalSeconds, FailedCell = listener.At.Number, Source = listener.At.Source,
                Error = cancel.IsCancellationRequested ? "it was interrupted"
                    : $"its process ended with exit code {process.ExitCode}: {listener.Errors}",
            };
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
