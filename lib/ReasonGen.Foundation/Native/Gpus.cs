// What NVIDIA's driver says of its GPUs, asked of the driver itself (libcuda), which counts them as libtorch does:
// CUDA_VISIBLE_DEVICES holds for both. libtorch through TorchSharp tells no more than how many there are.
using System.Diagnostics;
using System.Runtime.InteropServices;

namespace ReasonGen.Native;

/// <summary>A GPU.</summary>
/// <param name="Index">As in "cuda:0".</param>
/// <param name="Name">As its maker calls it.</param>
/// <param name="Bytes">All of its memory.</param>
public sealed record Gpu(int Index, string Name, long Bytes)
{
    /// <summary>Tells the card from all others, of other machines too; null where the driver does not.</summary>
    internal string? Id { get; init; }
}

/// <summary>The GPUs of this machine.</summary>
public static unsafe class Gpus
{
    private const int IdBytes = 16;
    private static readonly Lazy<(IReadOnlyList<Gpu> All, string? Driver)> Found = new(Ask);

    /// <summary>Those that the driver lets this process see; none without a driver.</summary>
    public static IReadOnlyList<Gpu> All => Found.Value.All;

    /// <summary>The driver's version where it can be read, and the newest CUDA it serves; null without a
    /// driver.</summary>
    public static string? Driver => Found.Value.Driver;

    /// <summary>Whether the libtorch of this process was built for CUDA.</summary>
    public static bool LibtorchHasCuda
    {
        get
        {
            using var process = Process.GetCurrentProcess();
            return process.Modules.Cast<ProcessModule>()
                .Any(module => module.ModuleName.Contains("torch_cuda", StringComparison.Ordinal));
        }
    }

    /// <summary>Why libtorch sees no more GPUs than it does, in a sentence or two.</summary>
    /// <param name="count">How many it sees.</param>
    public static string WhyNoMore(int count) => count > 0 ? $"libtorch sees {count} GPU{(count == 1 ? "" : "s")}."
        : !LibtorchHasCuda ? "this libtorch computes on a CPU alone. Build with -p:Torch=cuda, or name the folder of a "
            + "libtorch with CUDA in REASONGEN_LIBTORCH; 'reasongen doctor' tells what is loaded."
        : Driver is null ? "libtorch has CUDA, but NVIDIA's driver is not there or does not start."
        : $"libtorch has CUDA and the driver ({Driver}) shows {All.Count} GPUs, but libtorch can use none of them: the "
            + "driver may be older than libtorch's CUDA, or CUDA_VISIBLE_DEVICES hides them.";

    private static (IReadOnlyList<Gpu>, string?) Ask()
    {
        var name = OperatingSystem.IsWindows() ? "nvcuda.dll" : "libcuda.so.1";
        if (!NativeLibrary.TryLoad(name, out var driver))
        {
            return ([], null);
        }

        nint Function(string export) => NativeLibrary.GetExport(driver, export);
        try
        {
            int count = 0, version = 0;
            if (((delegate* unmanaged<uint, int>)Function("cuInit"))(0) != 0
                || ((delegate* unmanaged<int*, int>)Function("cuDriverGetVersion"))(&version) != 0
                || ((delegate* unmanaged<int*, int>)Function("cuDeviceGetCount"))(&count) != 0)
            {
                return ([], null);
            }

            var get = (delegate* unmanaged<int*, int, int>)Function("cuDeviceGet");
            var getName = (delegate* unmanaged<byte*, int, int, int>)Function("cuDeviceGetName");
            var getMemory = (delegate* unmanaged<nuint*, int, int>)Function("cuDeviceTotalMem_v2");
            var getId = (delegate* unmanaged<byte*, int, int>)(NativeLibrary.TryGetExport(driver, "cuDeviceGetUuid",
                out var export) ? export : 0);
            var gpus = new List<Gpu>();
            byte* text = stackalloc byte[256], id = stackalloc byte[IdBytes];
            for (var (i, device, bytes) = (0, 0, (nuint)0); i < count; i++)
            {
                new Span<byte>(text, 256).Clear();
                if (get(&device, i) == 0 && getName(text, 255, device) == 0 && getMemory(&bytes, device) == 0)
                {
                    gpus.Add(new(i, Marshal.PtrToStringUTF8((nint)text)!, (long)bytes)
                    {
                        Id = getId is not null && getId(id, device) == 0
                            ? Convert.ToHexStringLower(new Span<byte>(id, IdBytes)) : null,
                    });
                }
            }

            return (gpus, $"{KernelModule()}CUDA {version / 1000}.{version % 1000 / 10}");
        }
        catch (EntryPointNotFoundException)
        {
            return ([], null); // another library of that name
        }
    }

    // "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  …"
    private static string KernelModule()
    {
        const string path = "/proc/driver/nvidia/version";
        try
        {
            return File.Exists(path) && File.ReadLines(path).First().Split(' ')
                .FirstOrDefault(word => Version.TryParse(word, out _)) is { } version ? $"{version}, for " : "";
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or InvalidOperationException)
        {
            return "";
        }
    }
}
