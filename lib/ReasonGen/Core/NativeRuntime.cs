using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace ReasonGen.Core;

/// <summary>Prepares the process for libtorch: a native library that loads here, and an allocator that does not pay for page faults.</summary>
public static partial class NativeRuntime
{
    private const string Library = "libLibTorchSharp.so";
    private static readonly Lazy<string?> LoadFailure = new(TryLoad);

    /// <summary>What was done to TorchSharp's native library so that it loads here, in one line for people.</summary>
    public static string Preparation { get; private set; } = "nothing was needed";

    /// <summary>Loads libtorch, once.</summary>
    /// <exception cref="PlatformNotSupportedException">It does not load; the message names cause and remedy.</exception>
    public static void EnsureLoaded()
    {
        if (LoadFailure.Value is { } reason)
        {
            throw new PlatformNotSupportedException(reason);
        }
    }

    // Before any type of this assembly is used, hence before TorchSharp's first native call.
#pragma warning disable CA2255 // a module initializer in a library: TorchSharp offers no other hook that comes early enough
    [ModuleInitializer]
    internal static void Prepare()
#pragma warning restore CA2255
    {
        if (OperatingSystem.IsLinux())
        {
            AllocatorSettings.KeepFreedMemory();
            LetWaitingThreadsSleep();
            PatchWhereNeeded(NativeFolder());
        }
    }

    // libtorch's threads spin while they wait for each other; where another process wants the cores, that makes a step several times slower.
    // The OpenMP library reads this when it is loaded, from the C library's environment, which .NET's own does not reach. The user's word counts.
    private static void LetWaitingThreadsSleep()
    {
        try
        {
            _ = setenv("OMP_WAIT_POLICY", "passive", 0);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library: threads spin
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    /// <summary>The folder in which TorchSharp's native library lies, or null.</summary>
    internal static string? NativeFolder()
    {
        var here = Path.GetDirectoryName(typeof(NativeRuntime).Assembly.Location) is { Length: > 0 } folder ? folder : AppContext.BaseDirectory;
        return new[] { here, Path.Combine(here, "runtimes", RuntimeInformation.RuntimeIdentifier, "native"), AppContext.BaseDirectory }
            .FirstOrDefault(candidate => File.Exists(Path.Combine(candidate, Library)));
    }

    private static void PatchWhereNeeded(string? folder)
    {
        if (folder is null || SystemHasNewSymbol())
        {
            return;
        }

        try
        {
            var path = Path.Combine(folder, Library);
            var bytes = File.ReadAllBytes(path);
            if (!ElfVersionPatch.Apply(bytes))
            {
                Preparation = $"{Library} in the output folder carries the patch for libstdc++ older than GCC 13's";
                return;
            }

            // The file may be a hard link into the package cache: replace the link, never write through it.
            var fresh = Write(bytes, folder) ?? Write(bytes, CacheFolder());
            Preparation = fresh is null ? $"{Library} needs a patch, but neither {folder} nor {CacheFolder()} can be written"
                : $"{Library} was patched for libstdc++ older than GCC 13's: {fresh}";
            if (fresh is not null && fresh != path)
            {
                foreach (var name in new[] { "libc10.so", "libtorch_cpu.so", "libtorch.so" })
                {
                    NativeLibrary.TryLoad(Path.Combine(folder, name), out _);
                }

                NativeLibrary.TryLoad(fresh, out _);
            }
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            Preparation = $"{Library} could not be patched: {e.Message}";
        }
    }

    private static string? Write(byte[] bytes, string folder)
    {
        try
        {
            Directory.CreateDirectory(folder);
            var fresh = Path.Combine(folder, $"{Library}.{Environment.ProcessId}.tmp");
            File.WriteAllBytes(fresh, bytes);
            File.Move(fresh, Path.Combine(folder, Library), overwrite: true);
            return Path.Combine(folder, Library);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string CacheFolder() =>
        Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.LocalApplicationData), "reasongen", $"native-{typeof(torch).Assembly.GetName().Version}");

    private static bool SystemHasNewSymbol() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out var library) && NativeLibrary.TryGetExport(library, ElfVersionPatch.NewSymbol, out _);

    private static string? TryLoad()
    {
        try
        {
            torch.InitializeDeviceType(DeviceType.CPU);
            return null;
        }
        catch (Exception e)
        {
            var cause = e.GetBaseException().Message.Split('\n')[0];
            return $"libtorch does not load: {cause} ({Preparation}). Remedy: build with 'dotnet build -c Release' on this machine; on Linux "
                + "install libstdc++ 6 and glibc 2.34 or newer, make the output folder writable, and see 'reasongen doctor'.";
        }
    }
}
