using System.Collections.Concurrent;
using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;

namespace ReasonGen.Host.Engine;

/// <summary>
/// Loads what cells compile to, and what they refer to. What the host itself ships is the host's, so that a cell and
/// the host mean the same types; any other library is found by its own path, beside the libraries that were named, or
/// in a restored package, and its native libraries likewise.
/// </summary>
internal sealed class CellAssemblies
{
    private static readonly Dictionary<string, string> Shipped =
        ((string)AppContext.GetData("TRUSTED_PLATFORM_ASSEMBLIES")!).Split(Path.PathSeparator)
            .DistinctBy(path => Path.GetFileNameWithoutExtension(path), StringComparer.OrdinalIgnoreCase)
            .ToDictionary(path => Path.GetFileNameWithoutExtension(path), StringComparer.OrdinalIgnoreCase);

    private readonly ConcurrentDictionary<string, Assembly> cells = new();
    private readonly ConcurrentDictionary<string, string> libraries = new(StringComparer.OrdinalIgnoreCase);
    private readonly ConcurrentDictionary<string, bool> folders = new();
    private readonly Context lasting, references;

    internal CellAssemblies()
    {
        (lasting, references) = (new Context("cells", false, this), new Context("references", false, this));
    }

    /// <summary>Whether an assembly of this name comes with the host or the runtime.</summary>
    internal static bool IsShipped(string name) => Shipped.ContainsKey(name);

    /// <summary>The version of such an assembly, as its package has it.</summary>
    internal static string ShippedVersion(string name) =>
        FileVersionInfo.GetVersionInfo(Shipped[name]).ProductVersion?.Split('+')[0]
            ?? AssemblyName.GetAssemblyName(Shipped[name]).Version!.ToString();

    /// <summary>Makes a library known, and what lies beside it.</summary>
    internal void Know(string path)
    {
        libraries.TryAdd(Path.GetFileNameWithoutExtension(path), path);
        KnowFolder(Path.GetDirectoryName(path)!);
    }

    /// <summary>Makes a folder of native libraries known.</summary>
    internal void KnowFolder(string path) => folders.TryAdd(path, true);

    /// <summary>Loads a compiled cell. One that later cells cannot name is let go with its last object.</summary>
    internal Assembly Load(MemoryStream image, bool lasts)
    {
        image.Position = 0;
        if (!lasts)
        {
            return new Context("cell", true, this).LoadFromStream(image);
        }

        var assembly = lasting.LoadFromStream(image);
        return cells[assembly.GetName().Name!] = assembly;
    }

    private Assembly? Find(string name)
    {
        if (IsShipped(name))
        {
            return null; // the default context has it
        }

        var path = libraries.TryGetValue(name, out var known) ? known
            : folders.Keys.Select(folder => Path.Combine(folder, name + ".dll")).FirstOrDefault(File.Exists);
        return path is null ? null : references.LoadFromAssemblyPath(path);
    }

    private IntPtr FindNative(string name)
    {
        string[] files = OperatingSystem.IsWindows() ? [name, name + ".dll"]
            : OperatingSystem.IsMacOS() ? [name, $"lib{name}.dylib", name + ".dylib"]
            : [name, $"lib{name}.so", name + ".so"];
        var places = folders.Keys.SelectMany(folder =>
            new[] { folder, Path.Combine(folder, "runtimes", RuntimeInformation.RuntimeIdentifier, "native") });
        foreach (var path in places.SelectMany(place => files.Select(file => Path.Combine(place, file)))
            .Where(File.Exists))
        {
            if (NativeLibrary.TryLoad(path, out var handle))
            {
                return handle;
            }
        }

        return IntPtr.Zero;
    }

    private sealed class Context(string name, bool collectible, CellAssemblies owner)
        : AssemblyLoadContext(name, collectible)
    {
        protected override Assembly? Load(AssemblyName assemblyName) =>
            owner.cells.TryGetValue(assemblyName.Name!, out var cell) ? cell : owner.Find(assemblyName.Name!);

        protected override IntPtr LoadUnmanagedDll(string unmanagedDllName) => owner.FindNative(unmanagedDllName);
    }
}
