using System.Diagnostics;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using Spectre.Console;

namespace ReasonGen.Host.Notebooks;

/// <summary>Runs notebooks one after another, each in a process of its own, and shows how far they are.</summary>
internal sealed class NotebookRunner(string outputFolder, IReadOnlyDictionary<string, string> parameters, IAnsiConsole console)
{
    /// <summary>The notebooks that arguments name: files, and the <c>.ipynb</c> files of folders in order of name.</summary>
    /// <exception cref="UsageException">A path is missing, a folder holds no notebook, or no notebook has one of the parameters.</exception>
    internal static IReadOnlyList<NotebookFile> Find(IEnumerable<string> paths, IReadOnlyDictionary<string, string> parameters)
    {
        var files = paths.SelectMany(path => Directory.Exists(path) ? InFolder(path) : File.Exists(path) ? [path]
            : throw new UsageException($"there is no file or folder '{path}' (from {Directory.GetCurrentDirectory()})")).ToArray();
        NotebookFile[] notebooks = [.. files.Select(NotebookFile.Read)];
        foreach (var name in parameters.Keys.Where(name => !notebooks.Any(notebook => notebook.Parameters().ContainsKey(name))))
        {
            var known = notebooks.SelectMany(notebook => notebook.Parameters().Keys).Distinct().Order();
            throw new UsageException($"no notebook has a parameter '{name}'; there are {string.Join(", ", known.DefaultIfEmpty("none"))}");
        }

        foreach (var notebook in notebooks)
        {
            notebook.SetParameters(parameters); // a value that does not fit is found before anything runs
        }

        return notebooks;
    }

    /// <summary>Runs them all; one that fails does not keep the others from running.</summary>
    internal async Task<IReadOnlyList<NotebookOutcome>> RunAsync(IReadOnlyList<NotebookFile> notebooks, CancellationToken cancel)
    {
        var outcomes = new List<NotebookOutcome>();
        foreach (var (index, notebook) in notebooks.Index())
        {
            if (cancel.IsCancellationRequested)
            {
                break;
            }

            var heading = $"[{index + 1}/{notebooks.Count}] {Path.GetFileName(notebook.Path)}";
            var outcome = console.Profile.Capabilities.Interactive
                ? await console.Status().StartAsync(Markup.Escape(heading), context => RunOneAsync(notebook, text => context.Status(Markup.Escape($"{heading}: {text}")), cancel))
                : await RunOneAsync(notebook, _ => { }, cancel);
            outcomes.Add(outcome);
            var state = outcome.Ok ? "[green]ok[/]" : "[red]failed[/]";
            console.MarkupLine($"{Markup.Escape(heading)}  {state}  {outcome.Seconds:0.0} s, {outcome.PeakBytes / 1048576.0:0} MiB");
            if (!outcome.Ok)
            {
                var where = outcome.FailedCell == 0 ? "the process" : $"cell {outcome.FailedCell}";
                console.WriteLine($"  {where} failed:\n{Indent(outcome.Source)}\n  {Indent(outcome.Error).TrimStart()}");
            }
        }

        return outcomes;
    }

    private async Task<NotebookOutcome> RunOneAsync(NotebookFile notebook, Action<string> status, CancellationToken cancel)
    {
        var executed = Path.GetFullPath(Path.Combine(outputFolder, "notebooks", Path.GetFileName(notebook.Path)));
        var watch = Stopwatch.StartNew();
        var start = SelfProcess.Start("execute", notebook.Path, executed);
        foreach (var (name, value) in parameters)
        {
            start.ArgumentList.Add("-p");
            start.ArgumentList.Add($"{name}={value}");
        }

        start.RedirectStandardOutput = start.RedirectStandardError = true;
        using var process = Process.Start(start)!;
        NotebookOutcome? outcome = null;
        var errors = process.StandardError.ReadToEndAsync(CancellationToken.None);
        while (await process.StandardOutput.ReadLineAsync(CancellationToken.None) is { } line)
        {
            if (!line.StartsWith(NotebookExecution.Prefix))
            {
                continue;
            }

            var message = JObject.Parse(line[NotebookExecution.Prefix.Length..]);
            if (message["Executed"] is not null)
            {
                outcome = message.ToObject<NotebookOutcome>();
            }
            else
            {
                status($"cell {message["cell"]} of {message["of"]} {message["line"]}");
            }
        }

        await process.WaitForExitAsync(CancellationToken.None);
        return outcome ?? new NotebookOutcome(Path.GetFileNameWithoutExtension(notebook.Path), notebook.Title, executed, watch.Elapsed.TotalSeconds, 0, 0, "",
            cancel.IsCancellationRequested ? "it was interrupted" : $"it ended with exit code {process.ExitCode}: {(await errors).Trim()}");
    }

    private static IEnumerable<string> InFolder(string folder)
    {
        var files = Directory.GetFiles(folder, "*.ipynb").Order(StringComparer.Ordinal).ToArray();
        return files.Length > 0 ? files : throw new UsageException($"the folder '{folder}' holds no notebook (*.ipynb)");
    }

    private static string Indent(string text) => string.Join('\n', text.Split('\n').Take(40).Select(line => "    " + line));
}
