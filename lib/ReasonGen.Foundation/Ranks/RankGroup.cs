using ReasonGen.Native;
using static TorchSharp.torch;

namespace ReasonGen.Ranks;

/// <summary>Starts and ends the group of this process: the ranks of its launcher (<c>mpirun</c>, <c>srun</c>, …), or
/// <see cref="Alone"/>.</summary>
public static class RankGroup
{
    private static readonly TimeSpan Turn = TimeSpan.FromSeconds(1), LongestTurn = TimeSpan.FromSeconds(5);

    /// <summary>Meets the others where a launcher started several; without one it does nothing. Called before CUDA
    /// starts: it chooses this rank's GPU.</summary>
    /// <exception cref="PlatformNotSupportedException">There is no MPI library, or another one than the
    /// launcher's.</exception>
    /// <exception cref="ArgumentException">A variable of the environment cannot be used.</exception>
    public static IRankGroup Start()
    {
        if (Launcher.Find() is not { } launcher)
        {
            return Alone.Group;
        }

        Environment.SetEnvironmentVariable("TERM", "dumb"); // a launcher's pipe may look like a terminal, and is none
        var gpu = launcher.ChooseGpu();
        var mpi = Mpi.Load(launcher.IsOpenMpi) ?? throw new PlatformNotSupportedException(
            $"{launcher.Name} started {launcher.Size} ranks, but no MPI library loads here{Mpi.Named}: install the one "
            + "that the launcher belongs to (Debian and Ubuntu: openmpi-bin, or mpich), or name its file in "
            + $"{Mpi.Variable}.");
        var (rank, size) = mpi.Start();
        if (size != launcher.Size)
        {
            mpi.End();
            throw new PlatformNotSupportedException(
                $"{launcher.Name} started {launcher.Size} ranks, and {mpi.Version} sees {size}: that library belongs "
                + $"to another launcher. Name the launcher's own in {Mpi.Variable}.");
        }

        NativeRuntime.EnsureLoaded();
        if (Environment.GetEnvironmentVariable("OMP_NUM_THREADS") is null or "")
        {
            // they share the machine's processors
            set_num_threads(Math.Max(1, Environment.ProcessorCount / launcher.LocalSize));
        }

        return new MpiGroup(mpi, rank, size) { Gpu = gpu is null ? null : $"{Environment.MachineName} {gpu}" };
    }

    /// <summary>Parts from the others, who all do.</summary>
    public static void End(IRankGroup ranks) => (ranks as MpiGroup)?.End();

    /// <summary>
    /// Ends all ranks because of an error on this one, which is said once: where several have it, the first speaks and
    /// ends the others.
    /// </summary>
    /// <param name="ranks">The group; null where it could not be made.</param>
    /// <param name="words">What went wrong.</param>
    /// <param name="code">Exit code of all.</param>
    /// <param name="ending">Told where another one ends this rank meanwhile.</param>
    /// <returns>The exit code, where this process is to end by itself.</returns>
    public static int Fail(IRankGroup? ranks, string words, int code, CancellationToken ending = default)
    {
        var (rank, size) =
            ranks is MpiGroup ? (ranks.Rank, ranks.Size) : Launcher.Place(Environment.GetEnvironmentVariable);
        if (rank == 0 || !ending.WaitHandle.WaitOne(Turn * rank < LongestTurn ? Turn * rank : LongestTurn))
        {
            Console.Error.WriteLine(size == 1 ? words : $"Rank {rank} of {size}: {words}");
            Console.Error.Flush();
        }

        (ranks as MpiGroup)?.Abort(code);
        return code;
    }

    /// <summary>What MPI and NCCL this machine has, for people.</summary>
    public static IReadOnlyList<(string Name, string Value)> Libraries() =>
    [
        ("MPI", (Mpi.Load(isOpenMpi: true) is { } mpi ? $"{mpi.Version} ({mpi.Name})"
            : "none; several GPUs would need it")
            + (Started() is { } launcher ? $"; started by {launcher.Name} as rank {launcher.Rank} of {launcher.Size}"
                : "")),
        ("NCCL", Nccl.Library.Load() is { } nccl ? $"{nccl.Version} ({nccl.Name})"
            : "none; several GPUs of one machine would need it"),
    ];

    private static Launcher? Started()
    {
        try
        {
            return Launcher.Find();
        }
        catch (PlatformNotSupportedException)
        {
            return null;
        }
    }
}
