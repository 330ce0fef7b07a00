using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Reflection;
using Microsoft.CodeAnalysis;
using Microsoft.CodeAnalysis.Scripting;

namespace ReasonGen.Host.Engine;

/// <summary>
/// Resolves <c>#r</c>. A library that the host itself ships is taken from the host, so that a cell and the host mean
/// the same types; every other path is taken as it stands, relative to the notebook.
/// </summary>
internal sealed class HostReferences(string baseDirectory) : MetadataReferenceResolver
{
    private static readonly string FrameworkFolder = Path.GetDirectoryName(typeof(object).Assembly.Location)!;
    private static readonly ConcurrentDictionary<string, PortableExecutableReference> Known = new();
    private static readonly Lazy<string> FrameworkDocumentation = new(FindFrameworkDocumentation);
    private readonly ScriptMetadataResolver files = ScriptMetadataResolver.Default.WithBaseDirectory(baseDirectory)
        .WithSearchPaths(AppContext.BaseDirectory);

    /// <summary>The libraries of the runtime.</summary>
    internal static IEnumerable<PortableExecutableReference> Framework { get; } =
    [
        .. ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .Where(path => Path.GetDirectoryName(path) == FrameworkFolder).Select(File),
    ];

    public override bool ResolveMissingAssemblies => true;

    public override ImmutableArray<PortableExecutableReference> ResolveReference(string reference, string? baseFilePath,
        MetadataReferenceProperties properties)
    {
        var own = Path.Combine(AppContext.BaseDirectory, Path.GetFileName(reference));
        return System.IO.File.Exists(own) ? [File(own)] : files.ResolveReference(reference, baseFilePath, properties);
    }

    public override PortableExecutableReference? ResolveMissingAssembly(MetadataReference definition,
        AssemblyIdentity identity)
    {
        var own = Path.Combine(AppContext.BaseDirectory, identity.Name + ".dll");
        return System.IO.File.Exists(own) ? File(own) : files.ResolveMissingAssembly(definition, identity);
    }

    /// <summary>A library by its path, with its documentation; read once.</summary>
    internal static PortableExecutableReference File(string path) =>
        Known.GetOrAdd(Path.GetFullPath(path),
            full => MetadataReference.CreateFromFile(full, documentation: Documentation(full)));

    /// <summary>A loaded library.</summary>
    internal static PortableExecutableReference Of(Assembly assembly) => File(assembly.Location);

    private static XmlDocumentationProvider? Documentation(string path)
    {
        var beside = Path.ChangeExtension(path, ".xml");
        var ours = System.IO.File.Exists(beside) ? beside
            : Path.Combine(FrameworkDocumentation.Value, Path.GetFileName(beside));
        return System.IO.File.Exists(ours) ? XmlDocumentationProvider.CreateFromFile(ours) : null;
    }

    // The runtime has no documentation; the SDK's reference assemblies of the same version have it beside them.
    private static string FindFrameworkDocumentation()
    {
        var packs =
            Path.GetFullPath(Path.Combine(FrameworkFolder, "..", "..", "..", "packs", "Microsoft.NETCore.App.Ref"));
        return Directory.Exists(packs)
            ? Directory.GetDirectories(packs, $"{Environment.Version.Major}.*")
                .Select(pack => Path.Combine(pack, "ref", $"net{Environment.Version.Major}.0"))
            .LastOrDefault(Directory.Exists) ?? "" : "";
    }

    public override bool Equals(object? other) => other is HostReferences references && references.files.Equals(files);

    public override int GetHashCode() => files.GetHashCode();
}
