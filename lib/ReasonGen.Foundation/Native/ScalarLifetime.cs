// TorchSharp makes a Scalar of each number that is handed to an operator and does not keep it while the operator runs:
// a collection meanwhile frees it, and the operator reads another number, or one of another type ("alpha must not be a
// floating point number", "Unknown scalar type"). It is rare, and met in runs of hours. So what TorchSharp frees is
// freed later: its function that frees jumps to ours, which keeps the last 65,536 (2 MB).
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using TorchSharp;

namespace ReasonGen.Native;

/// <summary>Lets numbers that TorchSharp hands to libtorch outlive the call, on Linux on x64.</summary>
internal static unsafe class ScalarLifetime
{
    private const int Kept = 1 << 16; // more than one collection frees
    private const int ReadAndExecute = 5, ReadWriteAndExecute = 7;
    private static readonly nint[] Waiting = new nint[Kept];
    private static int last;

    /// <summary>Whether they do.</summary>
    internal static bool IsExtended { get; private set; }

    /// <summary>Changes TorchSharp's function in memory, once, where it is the one known here and the system lets us;
    /// leaves all as it is otherwise.</summary>
    internal static void Extend()
    {
        ReadOnlySpan<byte> known = [0x48, 0x85, 0xff, 0x74]; // test rdi, rdi; je: of some fifty bytes
        if (IsExtended || !OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64
            || !NativeLibrary.TryLoad("LibTorchSharp", typeof(torch).Assembly, null, out var library)
            || !NativeLibrary.TryGetExport(library, "THSTorch_dispose_scalar", out var function)
            || !new ReadOnlySpan<byte>((void*)function, known.Length).SequenceEqual(known))
        {
            return;
        }

        Span<byte> jump = [0x48, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xe0]; // mov rax, ours; jmp rax
        Unsafe.WriteUnaligned(ref jump[2], (nint)(delegate* unmanaged<nint, void>)&Later);
        nint page = Environment.SystemPageSize, start = function & ~(page - 1);
        var length = (nuint)(function + jump.Length - start);
        if (mprotect(start, length, ReadWriteAndExecute) == 0)
        {
            jump.CopyTo(new Span<byte>((void*)function, jump.Length));
            _ = mprotect(start, length, ReadAndExecute);
            IsExtended = true;
        }
    }

    [UnmanagedCallersOnly]
    private static void Later(nint scalar)
    {
        if (scalar != 0)
        {
            ref var place = ref Waiting[Interlocked.Increment(ref last) & (Kept - 1)];
            NativeMemory.Free((void*)Interlocked.Exchange(ref place, scalar)); // C++ takes them from the same place
        }
    }

    [DllImport("libc")]
    private static extern int mprotect(nint address, nuint length, int protection);
}
