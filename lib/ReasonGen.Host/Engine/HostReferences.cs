using System.Collections.Immutable;
using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Scripting;
using Microsoft.CodeAnalysis.Scripting.Hosting;

namespace ReasonGen.Host.Engine;

/// <summary>
/// Resolves <c>#r</c>. A library that the host itself ships is taken from the host, so that a cell and the host mean the same types; every
/// other path is taken as it stands, relative to the notebook.
/// </summary>
internal sealed class HostReferences(string baseDirectory) : MetadataReferenceResolver
{
    private readonly ScriptMetadataResolver files = ScriptMetadataResolver.Default.WithBaseDirectory(baseDirectory)
        .WithSearchPaths(AppContext.BaseDirectory);

    public override bool ResolveMissingAssemblies => true;

    public override ImmutableArray<PortableExecutableReference> ResolveReference(string reference, string? baseFilePath, MetadataReferenceProperties properties)
    {
        if (reference.StartsWith("nuget:", StringComparison.OrdinalIgnoreCase))
        {
            return [];
        }

        var own = Path.Combine(AppContext.BaseDirectory, Path.GetFileName(reference));
        return File.Exists(own) ? [MetadataReference.CreateFromFile(own, properties)] : files.ResolveReference(reference, baseFilePath, properties);
    }

    public override PortableExecutableReference? ResolveMissingAssembly(MetadataReference definition, AssemblyIdentity identity)
    {
        var own = Path.Combine(AppContext.BaseDirectory, identity.Name + ".dll");
        return File.Exists(own) ? MetadataReference.CreateFromFile(own) : files.ResolveMissingAssembly(definition, identity);
    }

    /// <summary>A loader that knows the assemblies a notebook is likely to name.</summary>
    internal static InteractiveAssemblyLoader NewLoader()
    {
        var loader = new InteractiveAssemblyLoader();
        foreach (var name in new[]
        {
            "ReasonGen", "ReasonGen.Notebook", "TorchSharp", "Plotly.NET", "Plotly.NET.CSharp", "FSharp.Core", "Microsoft.Data.Analysis",
            "Microsoft.DotNet.Interactive.Formatting", "SkiaSharp", "Newtonsoft.Json",
        })
        {
            loader.RegisterDependency(Assembly.Load(name));
        }

        loader.RegisterDependency(typeof(HostReferences).Assembly);
        return loader;
    }

    public override bool Equals(object? other) => other is HostReferences references && references.files.Equals(files);

    public override int GetHashCode() => files.GetHashCode();
}
