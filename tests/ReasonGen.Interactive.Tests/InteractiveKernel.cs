using System.Text.Json;
using Microsoft.DotNet.Interactive;
using Microsoft.DotNet.Interactive.Commands;
using Microsoft.DotNet.Interactive.CSharp;
using Microsoft.DotNet.Interactive.Events;
using Microsoft.DotNet.Interactive.PackageManagement;

namespace ReasonGen.Interactive.Tests;

/// <summary>.NET Interactive's kernels as its Jupyter server composes them, in a folder: the notebooks' own unless
/// another is given.</summary>
internal sealed class InteractiveKernel : IDisposable
{
    private readonly CompositeKernel kernel = new();

    internal InteractiveKernel(string? folder = null)
    {
        Directory.SetCurrentDirectory(folder ?? Notebooks);
        kernel.Add(new CSharpKernel().UseNugetDirective((csharp, packages) =>
        {
            csharp.AddAssemblyReferences(packages.SelectMany(package => package.AssemblyPaths));
            return Task.CompletedTask;
        }).UseKernelHelpers().UseValueSharing());
        kernel.DefaultKernelName = "csharp";
        kernel.UseImportMagicCommand();
    }

    internal static string Root { get; } = FindRoot();

    internal static string Notebooks { get; } = Path.Combine(Root, "notebooks");

    /// <summary>Runs a cell that must succeed.</summary>
    internal async Task<IReadOnlyList<KernelEvent>> RunAsync(string code, CancellationToken cancel = default)
    {
        var result = await kernel.SendAsync(new SubmitCode(code), cancel);
        Assert.False(result.Events.OfType<CommandFailed>().FirstOrDefault() is { } failed,
            $"{code}\n\n{result.Events.OfType<CommandFailed>().FirstOrDefault()?.Message}");
        return [.. result.Events];
    }

    /// <summary>Sends a cell and does not wait for it.</summary>
    internal Task<KernelCommandResult> SendAsync(KernelCommand command) =>
        kernel.SendAsync(command, CancellationToken.None);

    /// <summary>Code cells of a notebook of the repository, its parameters set to the quickest preset.</summary>
    internal static IEnumerable<string> Cells(string notebook)
    {
        using var json = JsonDocument.Parse(File.ReadAllText(Path.Combine(Notebooks, notebook)));
        foreach (var cell in json.RootElement.GetProperty("cells").EnumerateArray()
            .Where(cell => cell.GetProperty("cell_type").GetString() == "code"))
        {
            var source = cell.GetProperty("source");
            var code = source.ValueKind == JsonValueKind.String ? source.GetString()!
                : string.Concat(source.EnumerateArray().Select(line => line.GetString()));
            yield return code.Replace("preset = \"quick\"", "preset = \"smoke\"");
        }
    }

    public void Dispose()
    {
        kernel.Dispose();
        Directory.SetCurrentDirectory(AppContext.BaseDirectory); // the folder may be removed
    }

    private static string FindRoot()
    {
        var folder = new DirectoryInfo(AppContext.BaseDirectory);
        while (!File.Exists(Path.Combine(folder.FullName, "ReasonGen.Notebooks.sln")))
        {
            folder = folder.Parent ?? throw new InvalidOperationException("the tests run inside a checkout");
        }

        return folder.FullName;
    }
}
