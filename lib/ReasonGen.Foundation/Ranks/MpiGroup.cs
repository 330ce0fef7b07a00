// A call of all ranks: each tells rank 0 that it has come to it, which sees at once who came to another one, and then
// the library's own call.
using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Text;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>Ranks that a launcher of MPI started. Tensors on the host go by MPI, those on GPUs by NCCL, or by the host
/// where it cannot.</summary>
internal sealed class MpiGroup : IRankGroup
{
    private const int NameBytes = 56, ArrivalBytes = 8 + NameBytes, ShortBlock = 512;
    private readonly Mpi mpi;
    private readonly RankWatch watch;
    private readonly Lock turn = new();
    private Nccl? nccl;
    private bool triedNccl;
    private long calls;

    internal MpiGroup(Mpi mpi, int rank, int size)
    {
        (this.mpi, Rank, Size) = (mpi, rank, size);
        watch = new(rank, size);
    }

    public int Rank { get; }

    public int Size { get; }

    /// <summary>The MPI library, for people.</summary>
    internal string Library => mpi.Version;

    /// <summary>The GPU that this rank computes on, with its machine; null on the CPU.</summary>
    internal string? Gpu { get; init; }

    /// <summary>How tensors on GPUs are summed; null before the first one.</summary>
    internal string? GpuTransport { get; private set; }

    public void Sum(Tensor tensor, string what) => Together(what, () =>
    {
        if (OnGpu(tensor) is { } gpu)
        {
            gpu.Sum(tensor);
            return;
        }

        OnHost(tensor, tensor.dtype == ScalarType.Float64 ? ScalarType.Float64 : ScalarType.Float32,
            (data, host) => mpi.Sum(data, host.numel(), host.dtype == ScalarType.Float64));
    });

    public void Broadcast(Tensor tensor, int from, string what) => Together(what, () =>
    {
        if (OnGpu(tensor) is { } gpu)
        {
            gpu.Broadcast(tensor, from);
            return;
        }

        OnHost(tensor, tensor.dtype, (data, host) => mpi.Broadcast(data, host.numel() * host.element_size(), from));
    });

    public byte[][] Gather(ReadOnlySpan<byte> mine, string what)
    {
        var given = mine.ToArray();
        var all = new byte[Size][];
        Together(what, () => Gather(given, all));
        return all;
    }

    private unsafe void Gather(byte[] mine, byte[][] all)
    {
        // lengths go round with the bytes themselves where they are few, as they mostly are
        var (block, blocks) = (new byte[ShortBlock], new byte[ShortBlock * Size]);
        BinaryPrimitives.WriteInt64LittleEndian(block, mine.LongLength);
        mine.AsSpan(0, Math.Min(mine.Length, ShortBlock - 8)).CopyTo(block.AsSpan(8));
        mpi.Gather(block, blocks);
        for (var rank = 0; rank < Size; rank++)
        {
            var one = blocks.AsSpan(rank * ShortBlock, ShortBlock);
            var length = BinaryPrimitives.ReadInt64LittleEndian(one);
            if (length <= ShortBlock - 8)
            {
                all[rank] = one.Slice(8, (int)length).ToArray();
                continue;
            }

            all[rank] = rank == Rank ? mine : new byte[length];
            fixed (byte* data = all[rank])
            {
                mpi.Broadcast((nint)data, length, rank);
            }
        }
    }

    /// <summary>Parts from the others, when all have come to their end.</summary>
    internal void End()
    {
        Together("the end", () =>
        {
            nccl?.Dispose();
            mpi.End();
        });
    }

    /// <summary>Ends all ranks at once.</summary>
    internal void Abort(int code) => mpi.Abort(code);

    private void Together(string what, Action call)
    {
        using var only = turn.EnterScope();
        watch.Do(what, () =>
        {
            Arrive(what);
            call();
        });
    }

    private void Arrive(string what)
    {
        Span<byte> mine = stackalloc byte[ArrivalBytes], other = stackalloc byte[ArrivalBytes];
        BinaryPrimitives.WriteInt64LittleEndian(mine, calls++);
        Encoding.UTF8.GetBytes(what.AsSpan(0, Math.Min(what.Length, NameBytes / 3)), mine[8..]);
        if (Rank != 0)
        {
            mpi.Send(mine, 0);
            return;
        }

        for (var rank = 1; rank < Size; rank++)
        {
            watch.Missing = rank;
            mpi.Receive(other, rank);
            if (!mine.SequenceEqual(other))
            {
                throw new RankGroupException(
                    $"the ranks have parted: at call {calls - 1} rank 0 came to '{what}' and rank {rank} to "
                    + $"'{Encoding.UTF8.GetString(other[8..]).TrimEnd('\0')}'; they do not see the same data, or an "
                    + $"error went unnoticed there.");
            }
        }

        watch.Missing = -1;
    }

    // Memory of the host in a type that MPI knows: the tensor's own, or a copy that goes back.
    private static unsafe void OnHost(Tensor tensor, ScalarType type, Action<nint, Tensor> work)
    {
        if (tensor.numel() == 0)
        {
            return;
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        var own = tensor.device_type == DeviceType.CPU && tensor.dtype == type && tensor.is_contiguous();
        var host = own ? tensor.detach() : tensor.detach().to(type).cpu().contiguous();
        work((nint)Unsafe.AsPointer(ref host.view(-1).narrow(0, 0, 1).bytes[0]), host);
        if (!own)
        {
            tensor.copy_(host);
        }
    }

    // NCCL where it can serve, decided by all ranks at the first tensor on a GPU
    private Nccl? OnGpu(Tensor tensor)
    {
        if (tensor.device_type != DeviceType.CUDA || triedNccl)
        {
            return tensor.device_type == DeviceType.CUDA ? nccl : null;
        }

        triedNccl = true;
        var id = Gpus.All.FirstOrDefault(gpu => gpu.Index == Math.Max(0, tensor.device.index))?.Id;
        (nccl, GpuTransport) = NcclStart.Try(Rank, Size, id ?? Gpu, tensor.device, mine =>
        {
            var all = new byte[Size][];
            Gather(mine, all);
            return all;
        }, host => mpi.Sum(AddressOf(host), host.numel(), wide: false));
        if (Rank == 0)
        {
            Console.Error.WriteLine($"Tensors on GPUs are summed by {GpuTransport}.");
        }

        return nccl;
    }

    private static unsafe nint AddressOf(Tensor host) => (nint)Unsafe.AsPointer(ref host.bytes[0]);
}
