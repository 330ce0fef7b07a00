using System.Diagnostics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ReasonGen.Files;
using TorchSharp;

namespace ReasonGen.Native;

/// <summary>Prepares the process for libtorch: a native library that loads here, and an allocator that does not pay for
/// page faults.</summary>
public static partial class NativeRuntime
{
    /// <summary>File name of TorchSharp's native library.</summary>
    internal static readonly string Library = OperatingSystem.IsWindows() ? "LibTorchSharp.dll"
        : OperatingSystem.IsMacOS() ? "libLibTorchSharp.dylib" : "libLibTorchSharp.so";

    private static readonly Lazy<string?> LoadFailure = new(TryLoad);

    /// <summary>What was done to TorchSharp's native library so that it loads here, in one line for people.</summary>
    public static string Preparation { get; internal set; } = "nothing was needed";

    /// <summary>The libtorch that is used, its version and where it lies, in one line for people.</summary>
    public static string LibTorch { get; internal set; } = "none was found";

    /// <summary>Its version, 2.10 say; null where nothing states it.</summary>
    internal static Version? LibTorchVersion { get; set; }

    /// <summary>
    /// The files of libtorch that this process has loaded; more than one would be two libtorchs in one process.
    /// </summary>
    public static IReadOnlyList<string> LoadedFiles() => [.. Process.GetCurrentProcess().Modules.Cast<ProcessModule>()
        .Select(module => module.FileName)
        .Where(file => Path.GetFileName(file) == Path.GetFileName(LibTorchFolder.FileIn("", "torch_cpu"))).Distinct()];

    /// <summary>Loads libtorch, once.</summary>
    /// <exception cref="PlatformNotSupportedException">It does not load; the message names cause and
    /// remedy.</exception>
    public static void EnsureLoaded()
    {
        if (LoadFailure.Value is { } reason)
        {
            throw new PlatformNotSupportedException(reason);
        }
    }

    // Before any type of this assembly is used, hence before TorchSharp's first native call.
// a module initializer in a library: TorchSharp offers no other hook that comes early enough
#pragma warning disable CA2255
    [ModuleInitializer]
    internal static void Prepare()
#pragma warning restore CA2255
    {
        if (OperatingSystem.IsLinux())
        {
            AllocatorSettings.KeepFreedMemory();
            LetWaitingThreadsSleep();
            KeepConvolutionsRight();
            KeepCudaCompact();
        }

        var folder = NativeFolder();
        if (folder is null || NativePackages.Named is not null
            || !File.Exists(LibTorchFolder.FileIn(folder, "torch_cpu")))
        {
            NativePackages.Announce(folder);
            return;
        }

        LibTorch = $"libtorch {NativePackages.LibTorchVersion} of the package, beside the kit in {folder}";
        LibTorchVersion = LibTorchFolder.Number(NativePackages.LibTorchVersion);
        var library = Path.Combine(folder, Library);
        if (Loadable(library, folder, CacheFolder()) is { } other && other != library)
        {
            NativePackages.Load(folder, other);
        }
    }

    // libtorch's threads spin while they wait for each other; where another process wants the cores, that makes a step
    // several times slower.
    // The OpenMP library reads this when it is loaded, from the C library's environment, which .NET's own does not
    // reach. The user's word counts.
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

    // CUDA's memory in segments that grow, since the caches of the text phase and of the image phase differ in size and
    // leave gaps otherwise; and not cuDNN's attention, which makes a plan for every new length. The user's word counts.
    private static void KeepCudaCompact()
    {
        try
        {
            if (Environment.GetEnvironmentVariable("PYTORCH_ALLOC_CONF") is null) // the newer name of the same
            {
                _ = setenv("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True", 0);
            }

            _ = setenv("TORCH_CUDNN_SDPA_DEPRIORITIZED", "1", 0);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library
        }
    }

    /// <summary>Whether oneDNN was held to instructions of AVX; libtorch has no fast bf16 product then.</summary>
    internal static bool HasSlowBfloat16 { get; private set; }

    // On a virtual machine that hides its processor's caches, oneDNN 3.7 computes convolutions wrongly as soon as it
    // may use AVX2 or AVX-512: with 24 input channels the result is off by a fifth, and gradients are off or NaN where
    // the number of output channels is no multiple of 16.
    // Held to AVX everything is right there. The user's word counts; 'reasongen doctor' and a test compare a
    // convolution with its sum.
    private static void KeepConvolutionsRight()
    {
        string[] names = ["ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA"];
        if (RuntimeInformation.OSArchitecture != Architecture.X64
            || Directory.Exists("/sys/devices/system/cpu/cpu0/cache")
            || names.Any(name => Environment.GetEnvironmentVariable(name) is { Length: > 0 }))
        {
            return;
        }

        try
        {
            HasSlowBfloat16 = setenv(names[0], "AVX", 0) == 0;
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library
        }
    }

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);

    /// <summary>The folder in which TorchSharp's native library lies, or null.</summary>
    internal static string? NativeFolder()
    {
        var here = Path.GetDirectoryName(typeof(NativeRuntime).Assembly.Location) is { Length: > 0 } folder ? folder
            : AppContext.BaseDirectory;
        return new[] { here, Path.Combine(here, "runtimes", RuntimeInformation.RuntimeIdentifier, "native"),
            AppContext.BaseDirectory }
            .FirstOrDefault(candidate => File.Exists(Path.Combine(candidate, Library)));
    }

    /// <summary>TorchSharp's native library, or a copy that is patched so that it loads here, in the first of the
    /// folders that can be written.</summary>
    internal static string Loadable(string library, params string[] writable)
    {
        if (!OperatingSystem.IsLinux() || SystemHasNewSymbol())
        {
            return library;
        }

        try
        {
            var bytes = File.ReadAllBytes(library);
            if (!ElfVersionPatch.Apply(bytes))
            {
                Preparation = $"{Library} carries the patch for libstdc++ older than GCC 13's";
                return library;
            }

            // The file may be a hard link into the package cache: replace the link, never write through it.
            var fresh = writable.Select(folder => Write(bytes, folder)).FirstOrDefault(written => written is not null);
            Preparation =
                fresh is null ? $"{Library} needs a patch, but none of {string.Join(", ", writable)} can be written"
                : $"{Library} was patched for libstdc++ older than GCC 13's: {fresh}";
            return fresh ?? library;
        }
        catch (Exception e) when (e is InvalidDataException or IOException or UnauthorizedAccessException)
        {
            Preparation = $"{Library} could not be patched: {e.Message}";
            return library;
        }
    }

    private static string? Write(byte[] bytes, string folder)
    {
        var path = Path.Combine(folder, Library);
        try
        {
            if (!(File.Exists(path) && File.ReadAllBytes(path).AsSpan().SequenceEqual(bytes)))
            {
                AtomicFile.Write(path, bytes);
            }

            return path;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>A folder of the user's for what is made of TorchSharp's files.</summary>
    internal static string CacheFolder() =>
        Path.Combine(SystemFolder.Of(Environment.SpecialFolder.LocalApplicationData), "reasongen",
            $"native-{typeof(torch).Assembly.GetName().Version}");

    private static bool SystemHasNewSymbol() =>
        NativeLibrary.TryLoad("libstdc++.so.6", out var library)
            && NativeLibrary.TryGetExport(library, ElfVersionPatch.NewSymbol, out _);

    private static string? TryLoad()
    {
        try
        {
            NativePackages.EnsureLoaded();
            if (NativePackages.Missing is { } missing)
            {
                return missing; // before TorchSharp copies half a gigabyte in search of it
            }

            torch.InitializeDeviceType(DeviceType.CPU);
            ScalarLifetime.Extend();
            Nnpack.LeaveOut();
            return null;
        }
        catch (Exception e)
        {
            var cause = e.GetBaseException().Message.Split('\n')[0];
            return $"libtorch does not load: {cause} ({Preparation}). Remedy: build with 'dotnet build -c Release' on "
                + $"this machine; on Linux "
                + "install libstdc++ 6 and glibc 2.34 or newer, make the output folder writable, and see 'reasongen "
                + "doctor'.";
        }
    }
}
