// Counts libtorch's operators by the hook that its own profiler uses (at::RecordFunction). A GPU starts one kernel for
// each operator that computes, and these are the same on every device; what only makes a view, takes memory or calls
// others does not count.
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ReasonGen.Tests.Devices;

/// <summary>The operators that this thread calls while it lives; one at a time.</summary>
internal sealed unsafe class OperatorLog : IDisposable
{
    // compute nothing: views, memory, and questions about tensors
    private static readonly HashSet<string> Free =
    [
        "view", "as_strided", "_unsafe_view", "reshape", "_reshape_alias", "transpose", "t", "permute", "expand",
        "squeeze", "unsqueeze", "select", "narrow", "slice", "split", "chunk", "unbind", "detach", "alias",
        "lift_fresh", "view_as", "unflatten", "flatten", "empty", "empty_like", "empty_strided", "resize_", "set_",
        "result_type", "is_nonzero", "resolve_conj", "resolve_neg", "to", "contiguous", "expand_as", "broadcast_to",
        "size", "numel", "requires_grad_",
    ];

    // one kernel on a GPU, several operators elsewhere
    private static readonly HashSet<string> Whole =
        ["scaled_dot_product_attention", "_fused_rms_norm", "native_group_norm"];

    private static readonly delegate* unmanaged<nint, nint> NameOf;
    private static readonly delegate* unmanaged<Callback, ulong> Add, AddEverywhere;
    private static readonly delegate* unmanaged<ulong, void> Remove;

    [ThreadStatic]
    private static OperatorLog? current;

    private readonly Stack<Call> open = new();
    private readonly ulong handle;

    static OperatorLog()
    {
        ReasonGen.Native.NativeRuntime.EnsureLoaded();
        var library = NativeLibrary.Load("libtorch_cpu.so");
        NameOf = (delegate* unmanaged<nint, nint>)NativeLibrary.GetExport(library, "_ZNK2at14RecordFunction4nameEv");
        Add = (delegate* unmanaged<Callback, ulong>)NativeLibrary.GetExport(library,
            "_ZN2at22addThreadLocalCallbackENS_22RecordFunctionCallbackE");
        AddEverywhere = (delegate* unmanaged<Callback, ulong>)NativeLibrary.GetExport(library,
            "_ZN2at17addGlobalCallbackENS_22RecordFunctionCallbackE");
        Remove = (delegate* unmanaged<ulong, void>)NativeLibrary.GetExport(library, "_ZN2at14removeCallbackEm");
    }

    internal OperatorLog()
    {
        current = this;
        handle = Add(Of(&Begin, &Finish));
    }

    /// <summary>Calls a function before each operator, on every thread, from here on.</summary>
    /// <param name="before">Given where a 0 is to be written, and what <see cref="Name"/> takes.</param>
    internal static void Watch(delegate* unmanaged[Cdecl]<nint, nint, nint> before) =>
        AddEverywhere(Of(before, &Nothing));

    /// <summary>The name of an operator that begins, such as "aten::add".</summary>
    internal static ReadOnlySpan<byte> Name(nint function) =>
        MemoryMarshal.CreateReadOnlySpanFromNullTerminated((byte*)NameOf(function));

    private static Callback Of(delegate* unmanaged[Cdecl]<nint, nint, nint> start,
        delegate* unmanaged[Cdecl]<nint, nint, void> end)
    {
        var callback = new Callback { Start = (nint)start, End = (nint)end, Share = 1 };
        callback.Flags[0] = 1; // functions, and no other scope
        return callback;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Nothing(nint function, nint context)
    {
    }

    /// <summary>Names of what a GPU would start a kernel for, in order.</summary>
    internal List<string> Launches { get; } = [];

    /// <summary>How often the CPU asked for a number of the device, and waited.</summary>
    internal int Reads { get; private set; }

    public void Dispose()
    {
        Remove(handle);
        current = null;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static nint Begin(nint result, nint function)
    {
        *(nint*)result = 0; // no context of its own
        if (current is { } log)
        {
            var name = Marshal.PtrToStringUTF8(NameOf(function))!.Replace("aten::", "");
            log.open.Push(new(name, log.open.TryPeek(out var outer) && (outer.IsPart || Whole.Contains(outer.Name))));
            log.Reads += name is "_local_scalar_dense" or "nonzero" ? 1 : 0;
        }

        return result;
    }

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static void Finish(nint function, nint context)
    {
        if (current is { } log && log.open.TryPop(out var ended))
        {
            // what called others is counted by them
            if (!ended.IsPart && !ended.HasLaunched && !Free.Contains(ended.Name))
            {
                log.Launches.Add(ended.Name);
                ended.HasLaunched = true;
            }

            if (ended.HasLaunched && log.open.TryPeek(out var outer))
            {
                outer.HasLaunched = true;
            }
        }
    }

    private sealed record Call(string Name, bool IsPart)
    {
        internal bool HasLaunched { get; set; }
    }

    // at::RecordFunctionCallback: two functions, the share of calls that are seen, a flag for each scope and three more
    [StructLayout(LayoutKind.Sequential)]
    private struct Callback
    {
        internal nint Start, End;
        internal double Share;
        internal fixed byte Flags[16];
    }
}
