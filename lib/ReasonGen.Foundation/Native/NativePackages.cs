using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Runtime.Loader;
using TorchSharp;

namespace ReasonGen.Native;

/// <summary>
/// Finds libtorch where it does not lie beside the kit: for the installed command, which does not carry half a
/// gigabyte, and for a notebook that takes the kit as a package. In this order: the folder in
/// <c>REASONGEN_LIBTORCH</c>, the NuGet package cache, and for the command a restore into that cache, once, which is
/// announced on standard error.
/// </summary>
internal static class NativePackages
{
    internal const string Variable = "REASONGEN_LIBTORCH";
    private static readonly string Rid = RuntimeInformation.RuntimeIdentifier;
    private static readonly Lock Gate = new();
    private static bool wanted, loaded;
    private static nint handle;

    /// <summary>Why libtorch could not be had, in words for people; null where it could or nobody needed it.</summary>
    internal static string? Missing { get; private set; }

    private static string TorchSharpVersion { get; } = typeof(torch).Assembly.GetName().Version!.ToString(3);

    private static string LibTorchVersion { get; } =
        typeof(NativePackages).Assembly.GetCustomAttributes<AssemblyMetadataAttribute>()
        .Single(data => data.Key == "LibTorchVersion").Value!;

    /// <summary>Has libtorch loaded from elsewhere when TorchSharp first asks for it, or at once where the kit itself
    /// lies in the cache.</summary>
    internal static void Announce()
    {
        wanted = true;
        var (here, torchSharp) = (typeof(NativePackages).Assembly.Location, typeof(torch).Assembly.Location);
        if (Path.GetDirectoryName(here) != Path.GetDirectoryName(torchSharp))
        {
            // a notebook's kernel would try the files as they are, and TorchSharp copy all of them on failure
            LoadFrom(FindFolders());
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
                LoadFrom(FindFolders() ?? Restored());
            }
        }
    }

    /// <summary>Loads libtorch from a folder and TorchSharp's native library from its path, each after what it
    /// needs.</summary>
    internal static void Load(string folder, string library)
    {
        foreach (var name in new[] { "c10", "torch_cpu", "torch" })
        {
            NativeLibrary.TryLoad(Path.Combine(folder, FileName(name)), out _);
        }

        loaded = NativeLibrary.TryLoad(library, out handle);
    }

    private static void LoadFrom((string LibTorch, string Library)? found)
    {
        if (found is { } folders)
        {
            var library = NativeRuntime.Loadable(folders.Library, NativeRuntime.CacheFolder());
            NativeRuntime.Preparation = $"libtorch from {folders.LibTorch}; "
                + (library == folders.Library ? Path.GetFileName(library) + " as it is" : NativeRuntime.Preparation);
            Load(folders.LibTorch, library);
        }
    }

    private static (string LibTorch, string Library)? FindFolders()
    {
        var packages = Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set ? set
            : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");
        string Native(string package, string version) =>
            Path.Combine(packages, package, version, "runtimes", Rid, "native");
        var given = Environment.GetEnvironmentVariable(Variable);
        if (given is { Length: > 0 } && !File.Exists(Path.Combine(given, FileName("torch_cpu"))))
        {
            Missing = $"libtorch is not in the folder that {Variable} names, {given}: there is no "
                + $"{FileName("torch_cpu")} in it. Name the folder of libtorch {LibTorchVersion}'s own files, or "
                + $"unset the variable and the NuGet package cache is used.";
            return null;
        }

        var libTorch = given is { Length: > 0 } ? given : Native($"libtorch-cpu-{Rid}", LibTorchVersion);
        string[] libraries = [Path.Combine(libTorch, NativeRuntime.Library),
            Path.Combine(Native("torchsharp", TorchSharpVersion), NativeRuntime.Library)];
        var library = libraries.FirstOrDefault(File.Exists);
        return library is not null && File.Exists(Path.Combine(libTorch, FileName("torch_cpu"))) ? (libTorch, library)
            : null;
    }

    // The two packages that hold this machine's native files; the sources and credentials are those that the user has
    // configured.
    private static (string LibTorch, string Library)? Restored()
    {
        if (Missing is not null)
        {
            return null;
        }

        var packages = $"libtorch-cpu-{Rid} {LibTorchVersion} and TorchSharp {TorchSharpVersion}";
        Console.Error.WriteLine(
            $"libtorch is not on this machine yet: restoring {packages} into the NuGet package cache, once, some 200 "
            + $"MB to fetch …");
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
            using var restore = Process.Start(new ProcessStartInfo(File.Exists(own) ? own : "dotnet",
                ["restore", "--nologo", "--verbosity", "quiet"])
            {
                WorkingDirectory = folder, RedirectStandardOutput = true, RedirectStandardError = true,
            })!;
            restore.ErrorDataReceived += (_, _) => { };
            restore.BeginErrorReadLine();
            var said = restore.StandardOutput.ReadToEnd().Split('\n').Where(line => line.Contains("error"))
                .Select(line => line.Trim()).FirstOrDefault();
            restore.WaitForExit();
            if (restore.ExitCode == 0 && FindFolders() is { } found)
            {
                return found;
            }

            Missing = $"libtorch could not be had: {packages} could not be "
                + $"restored{(said is null ? "" : $" ({said})")}. Restore them where NuGet's sources can be reached, "
                + $"or name a folder that holds the files of libtorch {LibTorchVersion} in {Variable}.";
        }
        catch (Exception e)
            when (e is System.ComponentModel.Win32Exception or IOException or UnauthorizedAccessException)
        {
            Missing = $"libtorch could not be had: the dotnet SDK, which restores {packages}, could not be started "
                + $"({e.Message}). Install it, or name a folder that holds the files of "
                + $"libtorch {LibTorchVersion} in {Variable}.";
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }

        return null;
    }

    private static string FileName(string name) =>
        OperatingSystem.IsWindows() ? name + ".dll" : OperatingSystem.IsMacOS() ? $"lib{name}.dylib" : $"lib{name}.so";
}
