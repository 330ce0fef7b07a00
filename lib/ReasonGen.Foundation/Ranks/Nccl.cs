// NCCL for tensors on GPUs, one rank a GPU. It is the library that CUDA's libtorch needs (libnccl.so.2), or lies inside
// libtorch_cuda.so.
// All goes to stream 0, libtorch's own: a sum stands in line behind the kernels that made its numbers, and before those
// that read it.
using System.Runtime.InteropServices;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>A meeting of ranks in NCCL.</summary>
internal sealed unsafe class Nccl : IDisposable
{
    /// <summary>Bytes of what the first rank sends round before a meeting.</summary>
    internal const int IdBytes = 128;

    private const int Success = 0, InProgress = 7, Add = 0;
    private readonly Library library;
    private readonly nint meeting;

    /// <param name="library">The library.</param>
    /// <param name="rank">Of this process.</param>
    /// <param name="size">How many there are.</param>
    /// <param name="id">From the first rank's <see cref="Library.NewId"/>.</param>
    /// <exception cref="RankGroupException">They do not meet.</exception>
    internal Nccl(Library library, int rank, int size, ReadOnlySpan<byte> id)
    {
        this.library = library;
        UniqueId place;
        id.CopyTo(new Span<byte>(&place, IdBytes));
        nint made;
        library.Check(((delegate* unmanaged<nint*, int, UniqueId, int, int>)library.Function("ncclCommInitRank"))(&made,
            size, place, rank), "meeting the other ranks");
        meeting = made;
    }

    /// <summary>Sums a tensor over the ranks, in place; types narrower than fp32 in fp32.</summary>
    internal void Sum(Tensor tensor)
    {
        var type = tensor.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32;
        On(tensor, type, (data, whole) =>
            library.Check(
                ((delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int>)library.Function("ncclAllReduce"))(
                data, data, (nuint)whole.numel(), type == ScalarType.Float64 ? 8 : 7, Add, meeting, 0), "a sum"));
    }

    /// <summary>Replaces a tensor by that of one rank.</summary>
    internal void Broadcast(Tensor tensor, int from) => On(tensor, tensor.dtype, (data, whole) =>
        library.Check(
            ((delegate* unmanaged<nint, nint, nuint, int, int, nint, nint, int>)library.Function("ncclBroadcast"))(
            data, data, (nuint)(whole.numel() * whole.element_size()), 1, from, meeting, 0), "a broadcast"));

    public void Dispose() => _ = ((delegate* unmanaged<nint, int>)library.Function("ncclCommAbort"))(meeting);

    private void On(Tensor tensor, ScalarType type, Action<nint, Tensor> work)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var own = tensor.dtype == type && tensor.is_contiguous();
        var whole = own ? tensor.detach() : tensor.detach().to(type).contiguous();
        work(THSTensor_data(whole.Handle), whole);
        cuda.synchronize(); // here, where somebody watches: the call alone comes back at once
        var error = 0;
        library.Check(((delegate* unmanaged<nint, int*, int>)library.Function("ncclCommGetAsyncError"))(meeting,
            &error), "a look at its state");
        library.Check(error, "its work");
        if (!own)
        {
            tensor.copy_(whole);
        }
    }

    [DllImport("LibTorchSharp")]
    private static extern nint THSTensor_data(nint tensor);

    [StructLayout(LayoutKind.Sequential)]
    private struct UniqueId
    {
        private fixed byte content[IdBytes];
    }

    /// <summary>The library itself.</summary>
    internal sealed class Library
    {
        private readonly nint handle;

        private Library(string name, nint handle) => (Name, this.handle) = (name, handle);

        internal string Name { get; }

        /// <summary>As 2.28.9.</summary>
        internal string Version
        {
            get
            {
                var number = 0;
                Check(((delegate* unmanaged<int*, int>)Function("ncclGetVersion"))(&number), "its version");
                return number >= 10_000 ? $"{number / 10_000}.{number / 100 % 100}.{number % 100}"
                    : $"{number / 1000}.{number / 100 % 10}.{number % 100}";
            }
        }

        /// <returns>Null where there is none.</returns>
        internal static Library? Load()
        {
            foreach (var name in new[] { "libnccl.so.2", "libtorch_cuda.so",
                Path.Combine(AppContext.BaseDirectory, "libtorch_cuda.so") })
            {
                if (NativeLibrary.TryLoad(name, out var found)
                    && NativeLibrary.TryGetExport(found, "ncclCommInitRank", out _))
                {
                    return new(Path.GetFileName(name), found);
                }
            }

            return null;
        }

        internal byte[] NewId()
        {
            var id = new byte[IdBytes];
            fixed (byte* place = id)
            {
                Check(((delegate* unmanaged<byte*, int>)Function("ncclGetUniqueId"))(place), "making a meeting place");
            }

            return id;
        }

        internal nint Function(string name) => NativeLibrary.GetExport(handle, name);

        internal void Check(int code, string what)
        {
            if (code is not (Success or InProgress))
            {
                var text = Marshal.PtrToStringUTF8(
                    ((delegate* unmanaged<int, nint>)Function("ncclGetErrorString"))(code)) ?? $"error {code}";
                throw new RankGroupException(
                    $"NCCL ({Name}) fails at {what}: {text.TrimEnd('.')}. NCCL_DEBUG=INFO tells more.");
            }
        }
    }
}
