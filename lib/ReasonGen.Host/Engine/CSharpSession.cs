using System.Diagnostics;
using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Scripting.Hosting;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Engine;

/// <summary>A C# session as .NET Interactive has it: one state that grows cell by cell, and survives a cell that throws.</summary>
public sealed class CSharpSession
{
    private static readonly MethodInfo? HasResult = typeof(Compilation).GetMethod("HasSubmissionResult", BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);
    private readonly InteractiveAssemblyLoader loader = HostReferences.NewLoader();
    private readonly string directory;
    private ScriptOptions options;
    private ScriptState<object>? state;

    /// <param name="directory">What relative paths in <c>#r</c>, <c>#load</c> and <c>#!import</c> start from.</param>
    public CSharpSession(string directory)
    {
        ConsoleCapture.Install();
        this.directory = Path.GetFullPath(directory);
        var framework = ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => Path.GetDirectoryName(path) == Path.GetDirectoryName(typeof(object).Assembly.Location));
        options = ScriptOptions.Default
            .WithReferences(framework.Select(path => MetadataReference.CreateFromFile(path)))
            .AddReferences(typeof(CellFunctions).Assembly, typeof(Notebook.Html).Assembly)
            .WithImports("System", "System.Text", "System.Collections", "System.Collections.Generic", "System.Threading.Tasks", "System.Linq",
                typeof(CellFunctions).FullName!)
            .WithMetadataResolver(new HostReferences(this.directory))
            .WithSourceResolver(ScriptSourceResolver.Default.WithBaseDirectory(this.directory))
            .WithLanguageVersion(LanguageVersion.Latest)
            .WithOptimizationLevel(OptimizationLevel.Release)
            .WithEmitDebugInformation(true)
            .WithFileEncoding(System.Text.Encoding.UTF8);
    }

    /// <summary>The session's variables, the latest of each name.</summary>
    public IEnumerable<ScriptVariable> Variables => state?.Variables.GroupBy(variable => variable.Name).Select(group => group.Last()) ?? [];

    /// <summary>Runs a cell.</summary>
    /// <param name="code">C#, and magics on lines of their own.</param>
    /// <param name="output">Gets all that the cell shows, while it runs.</param>
    /// <param name="name">Name of the cell in stack traces.</param>
    /// <param name="cancel">Ends the wait; a cell that does not look at a token itself runs on.</param>
    public async Task<CellResult> RunAsync(string code, ICellOutput output, string name = "cell", CancellationToken cancel = default)
    {
        var before = CellFunctions.Output;
        CellFunctions.Output = output;
        try
        {
            foreach (var part in CellParts.Split(code, directory))
            {
                var watch = Stopwatch.StartNew();
                var result = await RunPartAsync(part, output, name, cancel);
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
        finally
        {
            CellFunctions.Output = before;
        }
    }

    private async Task<CellResult> RunPartAsync(CellPart part, ICellOutput output, string name, CancellationToken cancel)
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
                return string.IsNullOrWhiteSpace(part.Text) ? new CellResult() : await RunCodeAsync(part.Text, output, name, cancel);
        }
    }

    private Notebook.Html ListVariables(bool detailed) => Notebook.Show.Table(detailed ? ["Variable", "Type", "Value"] : ["Variable"],
        Variables.Select(variable => (IReadOnlyList<object?>)(detailed ? [variable.Name, variable.Type.Name, variable.Value?.ToString()] : [variable.Name])));

    private async Task<CellResult> RunCodeAsync(string code, ICellOutput output, string name, CancellationToken cancel)
    {
        options = options.WithFilePath(name);
        try
        {
            var script = state is null ? CSharpScript.Create<object>(code, options, null, loader) : state.Script.ContinueWith<object>(code, options);
            var compilation = script.GetCompilation();
            foreach (var warning in compilation.GetDiagnostics(cancel).Where(d => d.Severity == DiagnosticSeverity.Warning && d.Id is not ("CS1701" or "CS1702"))) // versions of assemblies: as .NET Interactive
            {
                output.Stream("stderr", warning + "\n");
            }

            // on the pool, so that a cell without an await still can be waited for
            var next = await Task.Run(() => state is null ? script.RunAsync(null, _ => true, cancel) : script.RunFromAsync(state, _ => true, cancel), CancellationToken.None);
            state = next;
            if (next.Exception is { } thrown)
            {
                return Failed(thrown);
            }

            if (HasResult?.Invoke(compilation, null) is true && next.ReturnValue is not DisplayedValue)
            {
                output.Result(Bundles.Of(next.ReturnValue));
            }

            return new CellResult();
        }
        catch (CompilationErrorException e)
        {
            output.Stream("stderr", string.Concat(e.Diagnostics.Select(diagnostic => diagnostic + "\n")));
            return new CellResult("Error", "compilation error", [.. e.Diagnostics.Select(diagnostic => diagnostic.ToString())]);
        }
        catch (Exception e)
        {
            return Failed(e);
        }
    }

    private static CellResult Failed(Exception e) => new("Error", e.ToString(), e.ToString().Split('\n'));
}
