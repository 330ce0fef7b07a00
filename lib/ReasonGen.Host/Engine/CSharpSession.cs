using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Engine;

/// <summary>A C# session as .NET Interactive has it: one state that grows cell by cell, and survives a cell that throws
/// or is interrupted.</summary>
public sealed class CSharpSession
{
    // of assemblies: .NET Interactive says nothing either
    private static readonly string[] Versions = ["CS1701", "CS1702"];

    // numbers are written the same on every machine, and one without ICU runs the program too
    private const string NoCultures = "Cells know the invariant culture alone, and sort texts by the numbers of their "
        + "characters: take CultureInfo.InvariantCulture or a changed copy of it, or start the program with "
        + "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT=0 where the ICU libraries are installed.";
    private static readonly bool IsInvariant = CultureInfo.GetCultureInfo("").CompareInfo.Version.FullVersion == 0;
    private readonly CellAssemblies assemblies = new();
    private readonly Submissions submissions;
    private readonly string directory;
    private readonly List<string> sources = []; // of packages, which #i added
    private CellThread thread = new();
    private ScriptOptions options;

    /// <param name="directory">What relative paths in <c>#r</c>, <c>#load</c> and <c>#!import</c> start from.</param>
    public CSharpSession(string directory)
    {
        ConsoleCapture.Install();
        submissions = new Submissions(assemblies);
        this.directory = Path.GetFullPath(directory);
        options = OptionsIn(this.directory);
    }

    /// <summary>What the first cell of a session in a folder is compiled with.</summary>
    internal static ScriptOptions OptionsIn(string directory) => ScriptOptions.Default
        .WithReferences(HostReferences.Framework)
        .AddReferences(HostReferences.Of(typeof(CellFunctions).Assembly),
            HostReferences.Of(typeof(Notebook.Html).Assembly))
        .WithImports("System", "System.Text", "System.Collections", "System.Collections.Generic",
            "System.Threading.Tasks", "System.Linq",
            typeof(CellFunctions).FullName!)
        .WithMetadataResolver(new HostReferences(directory))
        .WithSourceResolver(ScriptSourceResolver.Default.WithBaseDirectory(directory))
        .WithLanguageVersion(LanguageVersion.Latest)
        .WithOptimizationLevel(OptimizationLevel.Release)
        .WithEmitDebugInformation(true)
        .WithFileEncoding(System.Text.Encoding.UTF8);

    /// <summary>The version of C# that cells are compiled as.</summary>
    internal static string LanguageVersionName =>
        LanguageVersion.Latest.MapSpecifiedToEffectiveVersion().ToDisplayString();

    /// <summary>How long an interrupted cell has to end by itself, at a token that it looks at, before it is broken
    /// off.</summary>
    public TimeSpan Grace { get; init; } = TimeSpan.FromSeconds(1);

    /// <summary>The session's variables, the latest of each name.</summary>
    public IEnumerable<CellVariable> Variables => submissions.Variables;

    /// <summary>What the next cell would be compiled after and with, for completion.</summary>
    internal (Script<object>? Last, ScriptOptions Options) Compilation => (submissions.Last, options);

    /// <summary>Runs a cell.</summary>
    /// <param name="code">C#, and magics on lines of their own.</param>
    /// <param name="output">Gets all that the cell shows, while it runs.</param>
    /// <param name="name">Name of the cell in stack traces.</param>
    /// <param name="cancel">Interrupts it: loops of the kit stop at their next item, other code is broken off after
    /// <see cref="Grace"/>.</param>
    public async Task<CellResult> RunAsync(string code, ICellOutput output, string name = "cell",
        CancellationToken cancel = default)
    {
        ConsoleCapture.Install(); // the cell before may have put something else in its place
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
                    output.Display(new JObject
                    {
                        ["text/plain"] = $"Wall time: {watch.Elapsed.TotalMilliseconds:0.##} ms",
                    }, Guid.NewGuid().ToString("N"));
                }
            }

            return new CellResult();
        }
        catch (CellSyntaxException e)
        {
            output.Stream("stderr", e.Message + "\n");
            return new CellResult("Error", e.Message, [e.Message]);
        }
        catch (Exception e)
            when (cancel.IsCancellationRequested
                && e.GetBaseException() is OperationCanceledException or ThreadInterruptedException
                    or ThreadAbortException) // in what Parallel and tasks wrap it in, too
        {
            return new CellResult("Interrupted", e is LeftBehindException ? e.Message : "the cell was interrupted",
                ["The cell was interrupted."]);
        }
        catch (Exception e)
        {
            var text = WithoutEngine(e.ToString())
                + (IsInvariant && e.GetBaseException() is CultureNotFoundException ? "\n" + NoCultures : "");
            return new CellResult("Error", text, text.Split('\n'));
        }
        finally
        {
            (CellFunctions.Output, Notebook.Live.Cancellation) = (before, token);
        }
    }

    private async Task<CellResult> RunPartAsync(CellPart part, ICellOutput output, string name,
        CancellationTokenSource abort, CancellationToken cancel)
    {
        switch (part.Kind)
        {
            case CellPartKind.Html or CellPartKind.Markdown:
                output.Display(new JObject
                {
                    [part.Kind == CellPartKind.Html ? "text/html" : "text/markdown"] = part.Text,
                }, Guid.NewGuid().ToString("N"));
                return new CellResult();
            case CellPartKind.Variables:
                output.Display(Bundles.Of(ListVariables(part.Text == "whos")), Guid.NewGuid().ToString("N"));
                return new CellResult();
            case CellPartKind.About:
                output.Display(
                    new JObject { ["text/plain"] =
                        $"ReasonGen.Notebooks {typeof(CSharpSession).Assembly.GetName().Version!.ToString(3)}: "
                    + $"C# {LanguageVersionName} on .NET {Environment.Version}, {RuntimeInformation.OSDescription}"
                    + (IsInvariant ? ". " + NoCultures : "") }, Guid.NewGuid().ToString("N"));
                return new CellResult();
            case CellPartKind.Magics:
                output.Display(new JObject
                {
                    ["text/plain"] = string.Join("\n", CellParts.Magics.Select(magic => "#!" + magic)),
                }, Guid.NewGuid().ToString("N"));
                return new CellResult();
            default:
                sources.AddRange([.. (part.Sources ?? []).Except(sources)]);
                if (part.Packages is { Count: > 0 } packages)
                {
                    await AddPackagesAsync(packages, output, cancel);
                }

                return string.IsNullOrWhiteSpace(part.Text) ? new CellResult()
                    : await RunCodeAsync(part, output, name, abort, cancel);
        }
    }

    private Notebook.Html ListVariables(bool detailed) =>
        Notebook.Show.Table(detailed ? ["Variable", "Type", "Value"] : ["Variable"],
        Variables.Select(variable =>
            (IReadOnlyList<object?>)(detailed ? [variable.Name, variable.Type.Name, variable.Value?.ToString()]
                : [variable.Name])));

    private async Task AddPackagesAsync(IReadOnlyList<string> packages, ICellOutput output, CancellationToken cancel)
    {
        var id = Guid.NewGuid().ToString("N");
        void Say(string what) => output.Update(new JObject { ["text/plain"] = what }, id);
        output.Display(new JObject { ["text/plain"] = $"Restoring packages: {string.Join(", ", packages)}" }, id);
        RestoredPackages restored;
        try
        {
            restored = await NuGetPackages.RestoreAsync(packages, sources, cancel);
        }
        catch
        {
            Say($"Packages not restored: {string.Join(", ", packages)}");
            throw;
        }

        foreach (var library in restored.Runtime)
        {
            assemblies.Know(library);
        }

        foreach (var folder in restored.NativeFolders)
        {
            assemblies.KnowFolder(folder);
        }

        options = options.AddReferences(restored.Compile.Select(HostReferences.File));
        Say($"Installed packages: {string.Join("; ", restored.Versions)}");
    }

    private async Task<CellResult> RunCodeAsync(CellPart part, ICellOutput output, string name,
        CancellationTokenSource abort, CancellationToken cancel)
    {
        if (CellNesting.TooDeepAt(part.Text) is { } line)
        {
            throw new CellSyntaxException(
                $"{part.Origin ?? name}, line {line}: the code is nested deeper than the compiler can take; "
                + "break it up into variables and methods, or read the data that it spells from a file");
        }

        options = options.WithFilePath(name); // relative paths start from the cell's folder, in what it imports too
        var code = part.Origin is null ? part.Text
            : $"#line 1 \"{string.Concat(part.Origin.Select(c => c == '"' || c < ' ' ? '_' : c))}\"\n{part.Text}";
        var diagnostics = new List<Diagnostic>();
        var cell = submissions.Compile(code, options, diagnostics, cancel);
        if (cell is null)
        {
            string[] lines = [.. diagnostics.Where(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error)
                .Select(diagnostic => diagnostic.ToString())];
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
        var lines = trace.Split('\n').Where(line =>
            !line.StartsWith("   at ReasonGen.Host.Engine.") && !line.StartsWith("   at ReasonGen.Host.Kernel."))
            .ToList();
        if (lines.FindLastIndex(line => line.StartsWith("   at Submission#")) is >= 0 and var last)
        {
            lines.RemoveRange(last + 1, lines.Count - last - 1);
        }

        while (lines.Count > 1 && lines[^1].StartsWith("--- End of stack trace"))
        {
            lines.RemoveAt(lines.Count - 1);
        }

        return string.Join('\n', lines);
    }

    // Runs work that ends when it is done; or, interrupted, by itself at a token, broken off, or left behind. What
    // waits here is a thread of its own and not one of the pool, which a cell may have filled.
    private Task OnThreadAsync(Func<Task> work, CancellationTokenSource abort, CancellationToken cancel) =>
        Task.Factory.StartNew(() =>
    {
        thread = thread.Retired ? new CellThread() : thread;
        var running = thread.RunAsync(work, abort.Token);
        var done = ((IAsyncResult)running).AsyncWaitHandle;
        WaitHandle.WaitAny([done, cancel.WaitHandle]);
        if (!done.WaitOne(cancel.IsCancellationRequested ? Grace : Timeout.InfiniteTimeSpan))
        {
            var aborting = Task.Factory.StartNew(abort.Cancel, CancellationToken.None, TaskCreationOptions.LongRunning,
                TaskScheduler.Default);
            thread.Wake();
            if (!done.WaitOne(Grace / 2))
            {
                throw new LeftBehindException();
            }

            aborting.Wait(CancellationToken.None);
        }

        running.GetAwaiter().GetResult();
    }, CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default);

    private sealed class LeftBehindException() : OperationCanceledException(
        "the cell was left behind: it runs elsewhere since an await, or in native code that does not return; it ends "
        + "when it next shows something");
}
