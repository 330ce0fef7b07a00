using System.Reflection;
using System.Runtime.Loader;

namespace ReasonGen.Notebook;

/// <summary>What a kernel that is not the kit's own lends to a running cell: a display that can be renewed, and its
/// stop button.</summary>
/// <param name="Display">Shows a value and gives back how to replace it; null outside of a cell.</param>
/// <param name="Cancellation">The token that the kernel cancels when the running cell is stopped.</param>
public sealed record KernelBridge(Func<object, Action<object>?> Display, Func<CancellationToken> Cancellation)
{
    private const string Kernel = "Microsoft.DotNet.Interactive", Extension = "ReasonGen.Interactive";

    /// <summary>The bridge to the kernel of this process; null in the kit's own session, which needs none.</summary>
    public static KernelBridge? Current { get; set; }

    // A notebook names the kit alone (#r of its path or package), and .NET Interactive looks for extensions in packages
    // only: so the kit brings its own, which lies beside it, or in its package where .NET Interactive expects
    // extensions.
    internal static void LoadExtension()
    {
        var here = typeof(KernelBridge).Assembly;
        if (AppDomain.CurrentDomain.GetAssemblies().All(assembly => assembly.GetName().Name != Kernel)
            || Path.GetDirectoryName(here.Location) is not { Length: > 0 } folder)
        {
            return;
        }

        string[] places = [folder, Path.Combine(folder, "..", "..", "interactive-extensions", "dotnet")];
        var path = places.Select(place => Path.GetFullPath(Path.Combine(place, Extension + ".dll")))
            .FirstOrDefault(File.Exists);
        if (path is not null)
        {
            AssemblyLoadContext.GetLoadContext(here)!.LoadFromAssemblyPath(path)
                .GetType($"{Extension}.ReasonGenExtension", throwOnError: true)!
                .GetMethod("AttachToRunningKernel", BindingFlags.Static | BindingFlags.Public)!.Invoke(null, null);
        }
    }
}
