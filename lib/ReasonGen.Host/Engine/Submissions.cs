using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.CSharp.Scripting;
using Microsoft.CodeAnalysis.CSharp.Syntax;
using Microsoft.CodeAnalysis.Emit;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Scripting.Hosting;

namespace ReasonGen.Host.Engine;

/// <summary>A variable of the session.</summary>
public sealed record CellVariable(string Name, Type Type, object? Value);

/// <summary>A cell that compiled.</summary>
/// <param name="Script">Its place in the chain.</param>
/// <param name="Start">Runs it on the values of those before it.</param>
/// <param name="HasValue">Whether it ends in an expression or returns something.</param>
/// <param name="Lasts">Whether later cells can name something of it.</param>
internal sealed record Submission(Script<object> Script, Func<object?[], Task<object?>> Start, bool HasValue,
    bool Lasts);

/// <summary>
/// The chain of compiled cells and their values. Roslyn compiles each cell as a continuation of those before it; a cell
/// that declares nothing is not made a link, and its code is let go, so that a session does not grow with every cell
/// that only calls or shows.
/// </summary>
internal sealed class Submissions(CellAssemblies assemblies)
{
    private static readonly MethodInfo? HasResult = typeof(Compilation).GetMethod("HasSubmissionResult",
        BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic);
    private static readonly EmitOptions Emit = new(debugInformationFormat: DebugInformationFormat.Embedded);
    private readonly InteractiveAssemblyLoader unused = new(); // each script would make one, and never give it back
    private Script<object>? last;
    private object?[] values = new object?[2]; // the first stands for a host object, which there is none
    private int links;

    /// <summary>The last link; null before the first.</summary>
    internal Script<object>? Last => last;

    /// <summary>The session's variables, the latest of each name.</summary>
    internal IEnumerable<CellVariable> Variables => values.Where(value => value is not null)
        .SelectMany(value =>
            value!.GetType().GetFields(BindingFlags.Instance | BindingFlags.Public | BindingFlags.DeclaredOnly)
            .Where(member => !member.Name.Contains('<'))
            .Select(member => new CellVariable(member.Name, member.FieldType, member.GetValue(value))))
        .GroupBy(variable => variable.Name).Select(group => group.Last());

    /// <summary>Compiles, and does not run, a cell of the usual kind, so that the first real one does not wait until
    /// the compiler itself is compiled.</summary>
    internal static void Warm(ScriptOptions options)
    {
        const string usual = """
            using ReasonGen.Notebook;
            record Run(string Name, double[] Values);
            var runs = Enumerable.Range(1, 3).Select(seed => new Run($"seed {seed}", [seed, 0.5 * seed])).ToList();
            foreach (var run in runs.Where(run => run.Values is [> 0, ..]))
            {
                Console.WriteLine($"{run.Name}: {run.Values.Average():0.00}");
            }

            await Task.Yield();
            runs.ToDictionary(run => run.Name, run => (run.Values.Length, Most: run.Values.Max()))
            """;
        new Submissions(new CellAssemblies()).Compile(usual, options, [], CancellationToken.None);
    }

    /// <summary>Compiles a cell.</summary>
    /// <param name="options">How; imports and references of the links before it hold without being named again.</param>
    /// <param name="diagnostics">Gets what the compiler says.</param>
    /// <returns>The cell; null where it has errors.</returns>
    internal Submission? Compile(string code, ScriptOptions options, List<Diagnostic> diagnostics,
        CancellationToken cancel)
    {
        var script = last is null ? CSharpScript.Create<object>(code, options, null, unused)
            : last.ContinueWith<object>(code, options);
        var compilation = script.GetCompilation();
        var image = new MemoryStream();
        var emitted = compilation.Emit(image, options: Emit, cancellationToken: cancel);
        diagnostics.AddRange(
            emitted.Diagnostics.Where(diagnostic => diagnostic.Severity >= DiagnosticSeverity.Warning));
        if (diagnostics.Any(diagnostic => diagnostic.Severity == DiagnosticSeverity.Error))
        {
            return null;
        }

        foreach (var reference in compilation.DirectiveReferences.OfType<PortableExecutableReference>()
            .Where(reference => reference.FilePath is not null))
        {
            assemblies.Know(reference.FilePath!);
        }

        var lasts = Declares(compilation);
        if (!emitted.Success)
        {
            // usings, references or comments alone: nothing to run
            return new(script, _ => Task.FromResult<object?>(null), false, lasts);
        }

        var entry = compilation.GetEntryPoint(cancel)!;
        var type = assemblies.Load(image, lasts).GetType(entry.ContainingType.MetadataName)!;
        var start = type.GetMethod(entry.MetadataName,
            BindingFlags.Static | BindingFlags.Public | BindingFlags.NonPublic)!
            .CreateDelegate<Func<object?[], Task<object?>>>();
        return new(script, start, HasResult?.Invoke(compilation, null) is true, lasts);
    }

    /// <summary>Starts a compiled cell; from here on its variables are those of the session, whether it ends well or
    /// not.</summary>
    internal Task<object?> Run(Submission cell)
    {
        if (values.Length < links + 2)
        {
            Array.Resize(ref values, 2 * values.Length);
        }

        if (cell.Lasts)
        {
            (last, links) = (cell.Script, links + 1);
        }

        return cell.Start(values);
    }

    /// <summary>Lets go of the values of a cell that later ones cannot name.</summary>
    internal void Forget(Submission cell)
    {
        if (!cell.Lasts
            && Array.FindLastIndex(values, value => value?.GetType() == cell.Start.Method.DeclaringType) is >= 0
                and var at)
        {
            values[at] = null;
        }
    }

    private static bool Declares(Compilation compilation) =>
        compilation.ScriptClass!.GetMembers()
            .Any(member => !member.IsImplicitlyDeclared && member.CanBeReferencedByName)
        || compilation.SyntaxTrees.Any(tree => tree.GetRoot() is CompilationUnitSyntax root
            && (root.Usings.Any() || root.Externs.Any() || root.GetReferenceDirectives().Any()
                || root.GetLoadDirectives().Any()));
}
