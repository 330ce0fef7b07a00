using System.Globalization;
using System.Runtime.InteropServices;

namespace ReasonGen.Ranks;

/// <summary>What the launcher of several ranks tells each of them, in environment variables.</summary>
/// <param name="Name">Of the launcher, for people.</param>
/// <param name="Rank">Of this process.</param>
/// <param name="Size">How many there are.</param>
/// <param name="LocalRank">Of this process among those on its machine.</param>
/// <param name="LocalSize">How many there are on its machine.</param>
/// <param name="IsOpenMpi">Whether Open MPI's library is to be tried before MPICH's.</param>
internal sealed partial record Launcher(string Name, int Rank, int Size, int LocalRank, int LocalSize, bool IsOpenMpi)
{
    private const string Visible = "CUDA_VISIBLE_DEVICES", Local = "MPI_LOCALRANKID";

    /// <summary>The launcher of this process; null where it was started by itself, or as the only one.</summary>
    /// <exception cref="PlatformNotSupportedException">It was started beside others, with no way to meet
    /// them.</exception>
    internal static Launcher? Find() => Find(Environment.GetEnvironmentVariable);

    /// <param name="variable">Gives a variable of the environment, or null.</param>
    internal static Launcher? Find(Func<string, string?> variable)
    {
        int? Number(string name) =>
            int.TryParse(variable(name), NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number
                : null;
        Launcher? found = null;
        if (Number("OMPI_COMM_WORLD_RANK") is { } rank && Number("OMPI_COMM_WORLD_SIZE") is { } size)
        {
            found = new("mpirun of Open MPI", rank, size, Number("OMPI_COMM_WORLD_LOCAL_RANK") ?? rank,
                Number("OMPI_COMM_WORLD_LOCAL_SIZE") ?? size, true);
        }
        else if (Number("PMI_RANK") is { } place && Number("PMI_SIZE") is { } count && IsOfMpiexec(variable))
        {
            found = new("mpiexec", place, count, Number(Local) ?? place, Number("MPI_LOCALNRANKS") ?? count, false);
        }
        else if (Number("SLURM_STEP_NUM_TASKS") is > 1 and var tasks && Number("SLURM_PROCID") is { } task)
        {
            var open = variable("PMIX_RANK") is not null;
            if (!open && variable("PMI_RANK") is null)
            {
                throw new PlatformNotSupportedException(
                    $"srun started {tasks} tasks and gave them no way to meet: each would train by itself. "
                    + "Start them with 'srun --mpi=pmix' (Open MPI) or 'srun --mpi=pmi2' (MPICH).");
            }

            var onEach = (tasks + (Number("SLURM_STEP_NUM_NODES") ?? 1) - 1) / (Number("SLURM_STEP_NUM_NODES") ?? 1);
            found = new("srun", task, tasks, Number("SLURM_LOCALID") ?? task, onEach, open);
        }

        return found is { Size: > 1 } ? found : null;
    }

    // Whether its own variables are this process': mpiexec of MPICH and its kin (Hydra) numbers the processes of a
    // machine, which srun does not. Those of Slurm may be of another step, by which it starts its helpers, or in whose
    // shell it runs.
    private static bool IsOfMpiexec(Func<string, string?> variable) => variable(Local) is not null
        || variable("SLURM_STEP_NUM_TASKS") is not { } tasks || tasks != variable("PMI_SIZE");

    /// <summary>Number of this process and how many there are, for a message, where nothing else is sure.</summary>
    internal static (int Rank, int Size) Place(Func<string, string?> variable)
    {
        foreach (var (rank, size) in new[] { ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
            ("PMI_RANK", "PMI_SIZE"), ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS") })
        {
            if (int.TryParse(variable(rank), out var number) && int.TryParse(variable(size), out var count))
            {
                return (number, count);
            }
        }

        return (0, 1);
    }

    /// <summary>
    /// Leaves this process one GPU of its machine, before CUDA starts: by local rank, of those that are visible. More
    /// ranks than GPUs share them.
    /// </summary>
    /// <returns>Its name in CUDA_VISIBLE_DEVICES; null where there is none.</returns>
    internal string? ChooseGpu()
    {
        var visible = Environment.GetEnvironmentVariable(Visible);
        string[] gpus = visible is not null
            ? visible.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries)
            : Directory.Exists(DriverFolder)
                ? [.. Directory.GetDirectories(DriverFolder).Select((_, i) => i.ToString(CultureInfo.InvariantCulture))]
                : [];
        if (gpus.Length == 0)
        {
            return null;
        }

        var mine = gpus[LocalRank % gpus.Length];
        Set(Visible, mine);
        return mine;
    }

    /// <summary>Sets a variable where native libraries read it too, unless the user has set it.</summary>
    internal static void SetDefault(string name, string value) =>
        Set(name, Environment.GetEnvironmentVariable(name) ?? value);

    private static void Set(string name, string value)
    {
        Environment.SetEnvironmentVariable(name, value);
        try
        {
            _ = OperatingSystem.IsWindows() ? 0 : setenv(name, value, 1);
        }
        catch (Exception e) when (e is EntryPointNotFoundException or DllNotFoundException)
        {
            // another C library: .NET's own environment is all there is
        }
    }

    private const string DriverFolder = "/proc/driver/nvidia/gpus";

    [LibraryImport("libc", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int setenv(string name, string value, int overwrite);
}
