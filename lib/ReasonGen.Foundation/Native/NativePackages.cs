using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using TorchSharp;

namespace ReasonGen.Native;

/// <summary>
/// Finds libtorch where it does not lie beside the kit, or where the user names another. In this order: the folder in
/// <c>REASONGEN_LIBTORCH</c>, which also goes before what lies beside the kit; for a kit that was built without
/// libtorch (<c>-p:Torch=none</c>) a PyTorch installation, then the NuGet package cache; for the installed command, and
/// a notebook that takes the kit as a package, first the cache, then a PyTorch installation, and for the command last a
/// restore into the cache, once, which is announced on standard error.
/// </summary>
internal static class NativePackages
{
    internal const string Variable = "REASONGEN_LIBTORCH";
    private const string Cpu = "torch_cpu";
    private static readonly string Rid = RuntimeInformation.RuntimeIdentifier;
    private static readonly Lock Gate = new();
    private static bool wanted, loaded;
    private static string? beside; // the folder of TorchSharp's native library where that lies beside the kit
    private static nint handle;

    /// <summary>Why libtorch could not be had, in words for people; null where it could or nobody needed it.</summary>
    internal static string? Missing { get; private set; }

    /// <summary>The folder that the user names, or null.</summary>
    internal static string? Named { get; } = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } named
        ? Path.GetFullPath(named) : null;

    private static string TorchSharpVersion { get; } = typeof(torch).Assembly.GetName().Version!.ToString(3);

    /// <summary>The version that TorchSharp was built for, and that packages bring.</summary>
    internal static string LibTorchVersion { get; } =
        typeof(NativePackages).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(data => data.Key == "LibTorchVersion").Value!;

    private static string Remedy => $"Name a folder of libtorch {LibTorchFolder.Range} in {Variable}: torch/lib of "
        + "a PyTorch installation, or lib of an unpacked libtorch";

    /// <summary>
    /// Has libtorch loaded from elsewhere: when TorchSharp first asks for it, or at once where that would be too late.
    /// </summary>
    /// <param name="kit">The folder beside the kit in which TorchSharp's native library lies; null where none
    /// does.</param>
    internal static void Announce(string? kit)
    {
        (wanted, beside) = (true, kit);
        var (here, torchSharp) = (typeof(NativePackages).Assembly.Location, typeof(torch).Assembly.Location);
        if (Named is not null || (kit is null && Path.GetDirectoryName(here) != Path.GetDirectoryName(torchSharp)))
        {
            // TorchSharp would take the files beside it; a notebook's kernel would try them as they are, and
            // TorchSharp copy all on failure
            LoadFrom(Found());
            return;
        }

        AssemblyLoadContext.GetLoadContext(typeof(torch).Assembly)!.ResolvingUnmanagedDll += (_, name) =>
        {
            EnsureLoaded();
            return name == "LibTorchSharp" ? handle : 0;
        };
    }

    /// <summary>Loads libtorch from elsewhere where that is wanted.</summary>
    internal static void EnsureLoaded()
    {
        lock (Gate)
        {
            if (wanted && !loaded && Missing is null)
            {
                LoadFrom(Found() ?? (beside is null ? Restored() : null));
            }
        }
    }

    /// <summary>
    /// Loads libtorch from a folder and TorchSharp's native library from its path, each after what it needs.
    /// </summary>
    /// <returns>Why that fails, in a sentence; null where it loads.</returns>
    internal static string? Load(string folder, string library)
    {
        foreach (var file in new[] { "c10", Cpu, "torch" }.Select(name => LibTorchFolder.FileIn(folder, name))
            .Where(File.Exists))
        {
            if (SharedLibrary.Load(file, out var part) is { } error)
            {
                return SharedLibrary.Explain(error);
            }

            // TorchSharp asks for the one beside itself by its full path, and a second libtorch in one process ends it
            if (beside is not null && Path.GetFileName(file) == LibTorchFolder.FileIn("", Cpu)
                && LibTorchFolder.FileIn(beside, Cpu) is var own && own != file && File.Exists(own)
                && !SharedLibrary.StandInFor(part, own))
            {
                return "this system lets no other libtorch go before the one beside the kit; a build with "
                    + "-p:Torch=none has none.";
            }
        }

        if (SharedLibrary.Load(library, out handle) is { } failure)
        {
            return SharedLibrary.Explain(failure);
        }

        loaded = true;
        return null;
    }

    private static void LoadFrom((LibTorchFolder LibTorch, string Library)? found)
    {
        if (found is not { } folders)
        {
            return;
        }

        var library = NativeRuntime.Loadable(folders.Library, beside is null ? [NativeRuntime.CacheFolder()]
            : [beside, NativeRuntime.CacheFolder()]);
        NativeRuntime.LibTorch = folders.LibTorch.Description;
        NativeRuntime.LibTorchVersion = LibTorchFolder.Number(folders.LibTorch.Stated);
        if (Load(folders.LibTorch.Folder, library) is { } error)
        {
            Missing = $"libtorch in {folders.LibTorch.Folder} ({folders.LibTorch.Source}) does not load: {error} "
                + $"{Remedy}.";
            return;
        }

        if (beside is not null && File.Exists(LibTorchFolder.FileIn(beside, "torch_cuda")))
        {
            // a CUDA build's own: TorchSharp does not look for it where it believes that it has loaded it
            typeof(torch).GetField("nativeBackendCudaLoaded",
                BindingFlags.NonPublic | BindingFlags.Static)?.SetValue(null, true);
        }
    }

    private static (LibTorchFolder LibTorch, string Library)? Found()
    {
        var packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set ? set
            : Path.Combine(PyTorchFolders.Home, ".nuget", "packages");
        string Native(string package, string version) =>
            Path.Combine(packages, package, version, "runtimes", Rid, "native");
        var cache = new LibTorchFolder(Native($"libtorch-cpu-{Rid}", LibTorchVersion), "the NuGet package cache");
        if (Named is not null)
        {
            var named = LibTorchFolder.At(Named, $"named by {Variable}");
            if (named.Problem() is { } problem)
            {
                Missing = $"libtorch cannot be taken from the folder that {Variable} names: {named.Folder} "
                    + $"{problem}. TorchSharp {TorchSharpVersion} works with libtorch {LibTorchFolder.Range}. "
                    + $"{Remedy}, "
                    + "or unset the variable.";
                return null;
            }

            return WithLibrary(named);
        }

        // what the kit was built without is wanted from PyTorch; the command was made for the cache
        LibTorchFolder[] python = [.. PyTorchFolders.Find()];
        LibTorchFolder[] all = beside is not null ? [.. python, cache] : [cache, .. python];
        if (all.FirstOrDefault(folder => folder.Problem() is null) is { } fitting)
        {
            return WithLibrary(fitting);
        }

        if (beside is not null)
        {
            var unfit = python.Select(folder => $" {folder.Folder} {folder.Problem()}.").FirstOrDefault();
            Missing = "this build carries no libtorch (-p:Torch=none), and none was found that it can use: neither "
                + $"PyTorch of VIRTUAL_ENV, CONDA_PREFIX or a python3 on the path, nor {cache.Folder}.{unfit} "
                + $"TorchSharp {TorchSharpVersion} works with libtorch {LibTorchFolder.Range}. {Remedy}; or install "
                + "PyTorch, or build without -p:Torch=none.";
        }

        return null;

        (LibTorchFolder, string)? WithLibrary(LibTorchFolder libTorch) =>
            new[] { beside, libTorch.Folder, Native("torchsharp", TorchSharpVersion) }
                .Where(folder => folder is not null)
                .Select(folder => Path.Combine(folder!, NativeRuntime.Library))
                .FirstOrDefault(File.Exists) is { } library ? (libTorch, library) : null;
    }

    // The two packages that hold this machine's native files; the sources and credentials are those that the user has
    // configured.
    private static (LibTorchFolder LibTorch, string Library)? Restored()
    {
        if (Missing is not null)
        {
            return null;
        }

        var packages = $"libtorch-cpu-{Rid} {LibTorchVersion} and TorchSharp {TorchSharpVersion}";
        Console.Error.WriteLine($"libtorch is not on this machine yet: restoring {packages} into the NuGet package "
            + "cache, once, some 200 MB to fetch …");
        var folder = Directory.CreateTempSubdirectory("reasongen-libtorch-").FullName;
        try
        {
            File.WriteAllText(Path.Combine(folder, "libtorch.csproj"), $"""
                <Project Sdk="Microsoft.NET.Sdk">
                  <PropertyGroup><TargetFramework>net{Environment.Version.Major}.0</TargetFramework></PropertyGroup>
                  <ItemGroup>
                    <PackageReference Include="libtorch-cpu-{Rid}" Version="{LibTorchVersion}" />
                    <PackageReference Include="TorchSharp" Version="{TorchSharpVersion}" />
                  </ItemGroup>
                </Project>
                """);
            var own = Path.GetFullPath(Path.Combine(RuntimeEnvironment.GetRuntimeDirectory(), "..", "..", "..",
                OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet"));
            var dotnet = File.Exists(own) ? own : "dotnet";
            using var restore = Process.Start(new ProcessStartInfo(dotnet,
                ["restore", "--nologo", "--verbosity", "quiet"])
            {
                WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            restore.ErrorDataReceived += (_, _) => { };
            restore.BeginErrorReadLine();
            var said = restore.StandardOutput.ReadToEnd().Split('\n').Where(line => line.Contains("error"))
                .Select(line => line.Trim()).FirstOrDefault();
            restore.WaitForExit();
            if (restore.ExitCode == 0 && Found() is { } found)
            {
                return found;
            }

            var reason = said is null ? "" : $" ({said})";
            Missing = $"libtorch could not be had: {packages} could not be restored{reason}. Restore them where "
                + "NuGet's "
                + $"sources can be reached. Or: {Remedy}.";
        }
        catch (Exception e) when (e is System.ComponentModel.Win32Exception or IOException
            or UnauthorizedAccessException)
        {
            Missing = $"libtorch could not be had: the dotnet SDK, which restores {packages}, could not be started "
                + $"({e.Message}). Install it. Or: {Remedy}.";
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        return null;
    }
}
