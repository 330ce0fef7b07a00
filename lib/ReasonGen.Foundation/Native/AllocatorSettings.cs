using System.Runtime.InteropServices;

namespace ReasonGen.Native;

/// <summary>
/// Keeps memory that tensors free in the process. glibc gives large blocks back to the kernel at once, so each forward
/// and backward pass would fault the same pages in again, which costs up to two fifths of a training step on a CPU. A
/// user's own settings of the allocator stay.
/// </summary>
internal static partial class AllocatorSettings
{
    // Parameters of mallopt(3).
    private const int TrimThreshold = -1, TopPad = -2, MmapThreshold = -3, MmapMax = -4, ArenaMax = -8;
    private const int HugePages = 14; // MADV_HUGEPAGE
    private const long HeapReserve = 1L << 30;

    internal static void KeepFreedMemory()
    {
        if (UserDecides())
        {
            return;
        }

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

    /// <summary>
    /// From here on large blocks come from the kernel and go back: for models whose tensors are so large that the gaps
    /// which freed ones leave in a heap count more than page faults.
    /// </summary>
    internal static void ReturnLargeBlocks()
    {
        if (!OperatingSystem.IsLinux() || UserDecides())
        {
            return;
        }

        try
        {
            _ = mallopt(MmapMax, 1 << 15); // the kernel allows a process twice as many mappings
            _ = mallopt(MmapThreshold, 2 << 20);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library: nothing to set
        }
    }

    private static bool UserDecides()
    {
        var variables = Environment.GetEnvironmentVariables();
        return variables.Keys.Cast<string>().Any(name => name.StartsWith("MALLOC_"))
            || variables["GLIBC_TUNABLES"] is string tuned && tuned.Contains("glibc.malloc");
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
