// The dozen calls of MPI that training needs, of the library that the launcher belongs to. One signature serves all:
// Open MPI's handles are addresses of objects that it exports, those of MPICH and its kin (Intel MPI, MVAPICH, Cray,
// MS-MPI) are fixed numbers; either goes in a register.
using System.Runtime.InteropServices;

namespace ReasonGen.Ranks;

/// <summary>An MPI library of this machine. Its calls are made by one thread at a time.</summary>
internal sealed unsafe class Mpi
{
    /// <summary>Names the library to take, by name or path.</summary>
    internal const string Variable = "REASONGEN_MPI";

    private const int LargestPart = 1 << 28, Serialized = 2, LongestText = 8192;
    private readonly nint library, world, sum, float32, float64, bytes, inPlace, noStatus;
    private readonly delegate* unmanaged<nint, nint, int, nint, nint, nint, int> allReduce;
    private readonly delegate* unmanaged<nint, int, nint, int, nint, int> broadcast;
    private readonly delegate* unmanaged<nint, int, nint, nint, int, nint, nint, int> allGather;
    private readonly delegate* unmanaged<nint, int, nint, int, int, nint, int> send;
    private readonly delegate* unmanaged<nint, int, nint, int, int, nint, nint, int> receive;

    private Mpi(string name, nint library)
    {
        (Name, this.library) = (name, library);
        var open = NativeLibrary.TryGetExport(library, "ompi_mpi_comm_world", out _);
        nint Handle(string symbol, int number) => open ? NativeLibrary.GetExport(library, symbol) : number;
        (world, sum) = (Handle("ompi_mpi_comm_world", 0x44000000), Handle("ompi_mpi_op_sum", 0x58000003));
        (float32, float64, bytes) = (Handle("ompi_mpi_float", 0x4c00040a), Handle("ompi_mpi_double",
            0x4c00080b), Handle("ompi_mpi_byte", 0x4c00010d));
        (inPlace, noStatus) = open ? (1, 0) : (-1, 1);
        errorsReturn = Handle("ompi_mpi_errors_return", 0x54000001);
        allReduce = (delegate* unmanaged<nint, nint, int, nint, nint, nint, int>)Function("MPI_Allreduce");
        broadcast = (delegate* unmanaged<nint, int, nint, int, nint, int>)Function("MPI_Bcast");
        allGather = (delegate* unmanaged<nint, int, nint, nint, int, nint, nint, int>)Function("MPI_Allgather");
        send = (delegate* unmanaged<nint, int, nint, int, int, nint, int>)Function("MPI_Send");
        receive = (delegate* unmanaged<nint, int, nint, int, int, nint, nint, int>)Function("MPI_Recv");
    }

    private readonly nint errorsReturn;

    /// <summary>What the variable says, for a message; empty where it is not set.</summary>
    internal static string Named =>
        Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } chosen ? $" ({Variable} names {chosen})" : "";

    /// <summary>File name of the library.</summary>
    internal string Name { get; }

    /// <summary>What the library calls itself, in one line.</summary>
    internal string Version
    {
        get
        {
            var text = stackalloc byte[LongestText];
            var length = 0;
            var code = ((delegate* unmanaged<byte*, int*, int>)Function("MPI_Get_library_version"))(text, &length);
            return code != 0 ? Name : string.Join(' ', Marshal.PtrToStringUTF8((nint)text, length).TrimEnd('\0')
                .Split(['\n', ','], 2)[0].Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries));
        }
    }

    /// <summary>Loads the library, but does not start it.</summary>
    /// <param name="isOpenMpi">Whether Open MPI's is tried before MPICH's.</param>
    /// <returns>Null where there is none.</returns>
    internal static Mpi? Load(bool isOpenMpi)
    {
        // UCX, which some builds use, would take the signals by which .NET finds null references
        Launcher.SetDefault("UCX_ERROR_SIGNALS", "");
        // a rank that waits leaves its processor to those that work
        Launcher.SetDefault("OMPI_MCA_mpi_yield_when_idle", "1");
        string[] open = ["libmpi.so.40", "libmpi.so.80", "libmpi.40.dylib"],
            mpich = ["libmpich.so.12", "libmpi.so.12", "libmpi.12.dylib"];
        string[] names = Environment.GetEnvironmentVariable(Variable) is { Length: > 0 } chosen ? [chosen]
            : OperatingSystem.IsWindows() ? ["msmpi.dll"]
                : isOpenMpi ? [.. open, .. mpich, "libmpi.so"] : [.. mpich, .. open, "libmpi.so"];
        foreach (var name in names)
        {
            if (NativeLibrary.TryLoad(name, out var library)
                && NativeLibrary.TryGetExport(library, "MPI_Init_thread", out _))
            {
                return new(name, library);
            }
        }

        return null;
    }

    /// <summary>Meets the others.</summary>
    /// <returns>Number of this process, and how many there are.</returns>
    internal (int Rank, int Size) Start()
    {
        int given, rank, size;
        Check(((delegate* unmanaged<nint, nint, int, int*, int>)Function("MPI_Init_thread"))(0, 0, Serialized, &given));
        Check(((delegate* unmanaged<nint, nint, int>)Function("MPI_Comm_set_errhandler"))(world, errorsReturn));
        Check(((delegate* unmanaged<nint, int*, int>)Function("MPI_Comm_rank"))(world, &rank));
        Check(((delegate* unmanaged<nint, int*, int>)Function("MPI_Comm_size"))(world, &size));
        return (rank, size);
    }

    /// <summary>Sums over the ranks, in place.</summary>
    /// <param name="data">Numbers in memory of the host.</param>
    /// <param name="count">How many.</param>
    /// <param name="wide">Whether they are fp64; else fp32.</param>
    internal void Sum(nint data, long count, bool wide)
    {
        for (long at = 0; at < count; at += LargestPart)
        {
            Check(allReduce(inPlace, data + (nint)(at * (wide ? 8 : 4)), (int)Math.Min(LargestPart, count - at),
                wide ? float64 : float32, sum, world));
        }
    }

    /// <summary>Fills memory of the host with that of one rank.</summary>
    internal void Broadcast(nint data, long length, int from)
    {
        for (long at = 0; at < length; at += LargestPart)
        {
            Check(broadcast(data + (nint)at, (int)Math.Min(LargestPart, length - at), bytes, from, world));
        }
    }

    /// <summary>A few bytes of each rank, as many on each.</summary>
    internal void Gather(ReadOnlySpan<byte> mine, Span<byte> all)
    {
        fixed (byte* given = mine, place = all)
        {
            Check(allGather((nint)given, mine.Length, bytes, (nint)place, mine.Length, bytes, world));
        }
    }

    /// <summary>A few bytes to one rank.</summary>
    internal void Send(ReadOnlySpan<byte> data, int to)
    {
        fixed (byte* place = data)
        {
            Check(send((nint)place, data.Length, bytes, to, 0, world));
        }
    }

    /// <summary>A few bytes from one rank.</summary>
    internal void Receive(Span<byte> data, int from)
    {
        fixed (byte* place = data)
        {
            Check(receive((nint)place, data.Length, bytes, from, 0, world, noStatus));
        }
    }

    /// <summary>Ends all ranks; does not come back.</summary>
    internal void Abort(int code) => ((delegate* unmanaged<nint, int, int>)Function("MPI_Abort"))(world, code);

    /// <summary>Parts from the others, who all call it.</summary>
    internal void End() => Check(((delegate* unmanaged<int>)Function("MPI_Finalize"))());

    private nint Function(string name) => NativeLibrary.GetExport(library, name);

    private void Check(int code)
    {
        if (code != 0)
        {
            var text = stackalloc byte[LongestText];
            var length = 0;
            ((delegate* unmanaged<int, byte*, int*, int>)Function("MPI_Error_string"))(code, text, &length);
            throw new RankGroupException(
                $"{Name} reports an error between the "
                + $"ranks: {Marshal.PtrToStringUTF8((nint)text, length).ReplaceLineEndings(" ")}.");
        }
    }
}
