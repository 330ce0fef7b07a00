using System.Runtime.InteropServices;

namespace ReasonGen.Native;

/// <summary>
/// Loads a shared library with all its symbols at once, so that one that does not fit fails here and not in the middle
/// of a run.
/// </summary>
internal static partial class SharedLibrary
{
    private const int Now = 2, LinkMap = 2; // RTLD_NOW, RTLD_DI_LINKMAP

    /// <summary>Loads it from its full path.</summary>
    /// <returns>What the system says where that fails; null where it is loaded.</returns>
    internal static string? Load(string file, out nint handle)
    {
        if (OperatingSystem.IsLinux())
        {
            try
            {
                _ = dlerror(); // bound by now: binding it after the failure would make it forget
                handle = dlopen(file, Now);
                return handle != 0 ? null : Marshal.PtrToStringUTF8(dlerror()) ?? $"{file} cannot be loaded";
            }
            catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
            {
                // a C library that keeps the two elsewhere
            }
        }

        try
        {
            handle = NativeLibrary.Load(file);
            return null;
        }
        catch (Exception e) when (e is DllNotFoundException or BadImageFormatException)
        {
            handle = 0;
            return e.Message;
        }
    }

    /// <summary>
    /// Has whoever asks for a path get a library that is loaded already. The system's loader knows a library by the
    /// path it came from, which is the second member of what its handle leads to (link.h: struct link_map).
    /// </summary>
    /// <returns>Whether this system allows it: glibc alone.</returns>
    internal static bool StandInFor(nint handle, string path)
    {
        try
        {
            if (!OperatingSystem.IsLinux() || dlinfo(handle, LinkMap, out var map) != 0)
            {
                return false;
            }

            Marshal.WriteIntPtr(map, IntPtr.Size, Marshal.StringToCoTaskMemUTF8(path)); // for the process's life
            return true;
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            return false;
        }
    }

    /// <summary>What the system said, and what it suggests.</summary>
    internal static string Explain(string error)
    {
        var words = error.Split('\n')[0].Trim().TrimEnd('.');
        return words + Suggestion(error);
    }

    private static string Suggestion(string error) => error switch
    {
        _ when error.Contains("GLIBCXX_") || error.Contains("CXXABI_") => ". This system's libstdc++ is too old "
            + "for it: install the one of GCC 13 or newer, or put the folder of another (conda's lib) into "
            + "LD_LIBRARY_PATH.",
        _ when error.Contains("GLIBC_") => ". This system's C library is too old for it: glibc 2.34 or newer is "
            + "needed.",
        _ when error.Contains("undefined symbol") => ". It lacks what TorchSharp's native library asks for: it is "
            + $"not libtorch {LibTorchFolder.Range}.",
        _ when error.Contains("cannot open shared object file") => ". A library that it needs is not beside it: "
            + "files of a PyTorch for CUDA find NVIDIA's from their own place alone, so name the installation's "
            + "folder and not a copy.",
        _ => ".",
    };

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial nint dlopen(string file, int flags);

    [LibraryImport("libc")]
    private static partial nint dlerror();

    [LibraryImport("libc")]
    private static partial int dlinfo(nint handle, int what, out nint map);
}
