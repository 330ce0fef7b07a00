using System.Runtime.InteropServices;

namespace ReasonGen.Core;

/// <summary>
/// Keeps memory that tensors free in the process. glibc gives large blocks back to the kernel at once, so each forward and backward pass
/// would fault the same pages in again, which costs up to two fifths of a training step on a CPU.
/// </summary>
internal static partial class AllocatorSettings
{
    // Parameters of mallopt(3).
    private const int TrimThreshold = -1, TopPad = -2, MmapMax = -4, ArenaMax = -8;
    private const int HugePages = 14; // MADV_HUGEPAGE
    private const long HeapReserve = 1L << 30;

    internal static void KeepFreedMemory()
    {
        try
        {
            // One arena, because only the main one grows past 64 MB; nothing by mmap; nothing trimmed.
            _ = mallopt(ArenaMax, 1);
            _ = mallopt(MmapMax, 0);
            _ = mallopt(TrimThreshold, int.MaxValue);
            _ = mallopt(TopPad, 256 << 20);
            AdviseHugePages();
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library: nothing to set
        }
    }

    // Grows the heap once, untouched, and asks for 2 MB pages there: 512 times fewer faults.
    private static void AdviseHugePages()
    {
        var block = malloc((nuint)HeapReserve);
        if (block == 0)
        {
            return;
        }

        AdviseHugePages(block, HeapReserve);
        free(block);
    }

    /// <summary>The same for a stretch of memory that is about to be filled.</summary>
    internal static void AdviseHugePages(nint block, long bytes)
    {
        if (!OperatingSystem.IsLinux())
        {
            return;
        }

        nint pageMask = ~((nint)(2 << 20) - 1);
        nint start = (block + (2 << 20) - 1) & pageMask, end = (block + (nint)bytes) & pageMask;
        if (end > start)
        {
            _ = madvise(start, (nuint)(end - start), HugePages);
        }
    }

    [LibraryImport("libc")]
    private static partial int mallopt(int parameter, int value);

    [LibraryImport("libc")]
    private static partial nint malloc(nuint bytes);

    [LibraryImport("libc")]
    private static partial void free(nint block);

    [LibraryImport("libc")]
    private static partial int madvise(nint start, nuint bytes, int advice);
}
