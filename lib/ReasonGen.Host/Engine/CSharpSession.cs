using System.Diagnostics;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Engine;

/// <summary>A C# session as .NET Interactive has it: one state that grows cell by cell, and survives a cell that throws or is interrupted.</summary>
public sealed class CSharpSession
{
    private static readonly string[] Versions = ["CS1701", "CS1702"]; // of assemblies: .NET Interactive says nothing either
    private readonly CellAssemblies assemblies = new();
    private readonly Submissions submissions;
    private readonly string directory;
    private CellThread thread = new();
    private ScriptOptions options;

    /// <param name="directory">What relative paths in <c>#r</c>, <c>#load</c> and <c>#!import</c> start from.</param>
    public CSharpSession(string directory)
    {
        ConsoleCapture.Install();
        submissions = new Submissions(assemblies);
        this.directory = Path.GetFullPath(directory);
        options = ScriptOptions.Default
            .WithReferences(HostReferences.Framework)
            .AddReferences(HostReferences.Of(typeof(CellFunctions).Assembly), HostReferences.Of(typeof(Notebook.Html).Assembly))
            .WithImports("System", "System.Text", "System.Collections", "System.Collections.Generic", "System.Threading.Tasks", "System.Linq",
                typeof(CellFunctions).FullName!)
            .WithMetadataResolver(new HostReferences(this.directory))
            .WithSourceResolver(ScriptSourceResolver.Default.WithBaseDirectory(this.directory))
            .WithLanguageVersion(LanguageVersion.Latest)
            .WithOptimizationLevel(OptimizationLevel.Release)
            .WithEmitDebugInformation(true)
            .WithFileEncoding(System.Text.Encoding.UTF8);
    }

    /// <summary>How long an interrupted cell has to end by itself, at a token that it looks at, before it is broken off.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The session's variables, the latest of each name.</summary>
    public IEnumerable<CellVariable> Variables => submissions.Variables;

    /// <summary>What the next cell would be compiled after and with, for completion.</summary>
    internal (Script<object>? Last, ScriptOptions Options) Compilation => (submissions.Last, options);

    /// <summary>Runs a cell.</summary>
    /// <param name="code">C#, and magics on lines of their own.</param>
    /// <param name="output">Gets all that the cell shows, while it runs.</param>
    /// <param name="name">Name of the cell in stack traces.</param>
    /// <param name="cancel">Interrupts it: loops of the kit stop at their next item, other code is broken off after <see cref="Grace"/>.</param>
    public async Task<CellResult> RunAsync(string code, ICellOutput output, string name = "cell", CancellationToken cancel = default)
    {
        var (before, token) = (CellFunctions.Output, Notebook.Live.Cancellation);
        using var abort = new CancellationTokenSource();
        (CellFunctions.Output, Notebook.Live.Cancellation) = (new StoppableOutput(output, abort.Token), cancel);
        try
        {
            foreach (var part in CellParts.Split(code, directory))
            {
                var watch = Stopwatch.StartNew();
                var result = await RunPartAsync(part, output, name, abort, cancel);
                if (!result.Ok)
                {
                    return result;
                }

                if (part.Timed)
                {
                    output.Display(new JObject { ["text/plain"] = $"Wall time: {watch.Elapsed.TotalMilliseconds:0.##} ms" }, Guid.NewGuid().ToString("N"));
                }
            }

            return new CellResult();
        }
        catch (CellSyntaxException e)
        {
            output.Stream("stderr", e.Message + "\n");
            return new CellResult("Error", e.Message, [e.Message]);
        }
        catch (Exception e) when (cancel.IsCancellationRequested && e is OperationCanceledException or ThreadInterruptedException or ThreadAbortException)
        {
            return new CellResult("Interrupted", e is LeftBehindException ? e.Message : "the cell was interrupted", ["The cell was interrupted."]);
        }
        catch (Exception e)
        {
            var text = WithoutEngine(e.ToString());
            return new CellResult("Error", text, text.Split('\n'));
        }
        finally
        {
            (CellFunctions.Output, Notebook.Live.Cancellation) = (before, token);
        }
    }

    private async Task<CellResult> RunPartAsync(CellPart part, ICellOutput output, string name, CancellationTokenSource abort, CancellationToken cancel)
    {
        switch (part.Kind)
        {
            case CellPartKind.Html or CellPartKind.Markdown:
                output.Display(new JObject { [part.Kind == CellPartKind.Html ? "text/html" : "text/markdown"] = part.Text }, Guid.NewGuid().ToString("N"));
                return new CellResult();
            case CellPartKind.Variables:
                output.Display(Bundles.Of(ListVariables(part.Text == "whos")), Guid.NewGuid().ToString("N"));
                return new CellResult();
            case CellPartKind.Magics:
                output.Display(new JObject { ["text/plain"] = string.Join("\n", CellParts.Magics.Select(magic => "#!" + magic)) }, Guid.NewGuid().ToString("N"));
                return new CellResult();
            default:
                if (part.Packages is { Count: > 0 } packages)
                {
                    await AddPackagesAsync(packages, output, cancel);
                }

                return string.IsNullOrWhiteSpace(part.Text) ? new CellResult() : await RunCodeAsync(part.Text, output, name, abort, cancel);
        }
    }

    private Notebook.Html ListVariables(bool detailed) => Notebook.Show.Table(detailed ? ["Variable", "Type", "Value"] : ["Variable"],
        Variables.Select(variable => (IReadOnlyList<object?>)(detailed ? [variable.Name, variable.Type.Name, variable.Value?.ToString()] : [variable.Name])));

    private async Task AddPackagesAsync(IReadOnlyList<string> packages, ICellOutput output, CancellationToken cancel)
    {
        var restored = await NuGetPackages.RestoreAsync(packages, cancel);
        foreach (var library in restored.Runtime)
        {
            assemblies.Know(library);
        }

        foreach (var folder in restored.NativeFolders)
        {
            assemblies.KnowFolder(folder);
        }

        options = options.AddReferences(restored.Compile.Select(HostReferences.File));
        output.Display(new JObject { ["text/plain"] = "Installed packages: " + string.Join(", ", restored.Versions) }, Guid.NewGuid().ToString("N"));
    }

    private async Task<CellResult> RunCodeAsync(string code, ICellOutput output, string name, CancellationTokenSource abort, CancellationToken cancel)
    {
        options = options.WithFilePath(name);
        var diagnostics = new List<Diagnostic>();
        var cell = submissions.Compile(code, options, diagnostics, cancel);
        if (cell is null)
        {
            string[] lines = [.. diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error).Select(diagnostic => diagnostic.ToString())];
            output.Stream("stderr", string.Concat(lines.Select(line => line + "\n")));
            return new CellResult("Error", "compilation error", lines);
        }

        foreach (var warning in diagnostics.Where(diagnostic => !Versions.Contains(diagnostic.Id)))
        {
            output.Stream("stderr", warning + "\n");
        }

        await OnThreadAsync(async () =>
        {
            // a link hands its imports and references on: named again at each, they would add up
            options = cell.Lasts ? options.WithReferences(Array.Empty<MetadataReference>()).WithImports() : options;
            var value = await submissions.Run(cell);
            if (cell.HasValue && value is not DisplayedValue)
            {
                CellFunctions.Output!.Result(Bundles.Of(value));
            }
        }, abort, cancel);
        submissions.Forget(cell);
        return new CellResult();
    }

    // Lines of a stack trace that lie below the cell are ours and help nobody.
    private static string WithoutEngine(string trace)
    {
        var lines = trace.Split('\n').Where(line => !line.Contains($" {typeof(CSharpSession).Namespace}.")).ToList();
        while (lines.Count > 1 && lines[^1].StartsWith("--- End of stack trace"))
        {
            lines.RemoveAt(lines.Count - 1);
        }

        return string.Join('\n', lines);
    }

    // Runs work that ends when it is done; or, interrupted, by itself at a token, broken off, or left behind.
    private async Task OnThreadAsync(Func<Task> work, CancellationTokenSource abort, CancellationToken cancel)
    {
        thread = thread.Retired ? new CellThread() : thread;
        var running = thread.RunAsync(work, abort.Token);
        if (!cancel.CanBeCanceled)
        {
            await running;
            return;
        }

        await Task.WhenAny(running, Task.Delay(Timeout.Infinite, cancel));
        if (!running.IsCompleted && await Task.WhenAny(running, Task.Delay(Grace, CancellationToken.None)) != running)
        {
            var aborting = abort.CancelAsync();
            thread.Wake();
            if (await Task.WhenAny(running, Task.Delay(Grace / 2, CancellationToken.None)) != running)
            {
                throw new LeftBehindException();
            }

            await aborting;
        }

        await running;
    }

    private sealed class LeftBehindException() : OperationCanceledException(
        "the cell was left behind: it runs elsewhere since an await, or in native code that does not return; it ends when it next shows something");
}
