using System.Diagnostics;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Ranks;

/// <summary>Ranks as a launcher starts them: <c>mpirun</c> of Open MPI, a command line of its own for each.</summary>
internal sealed class LaunchedRanks : IDisposable
{
    // of Open MPI where several MPIs are installed and mpirun is another's
    private const string Launcher = "mpirun.openmpi";
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(10);
    private readonly string folder;
    private readonly Child launcher;
    private readonly Task<string> output, error;

    /// <param name="folder">For the numbers of their processes.</param>
    /// <param name="ranks">Arguments of the command on each rank.</param>
    /// <param name="before">Shell commands before it, by rank.</param>
    internal LaunchedRanks(string folder, string[][] ranks, params (int Rank, string Commands)[] before)
    {
        this.folder = folder;
        var start = new ProcessStartInfo(Launcher, ["--bind-to", "none"])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        foreach (var (name, value) in new[] { ("OMPI_ALLOW_RUN_AS_ROOT", "1"), ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"), ("OMP_NUM_THREADS", "1") })
        {
            start.Environment[name] = value;
        }

        foreach (var (rank, arguments) in ranks.Index())
        {
            var commands = string.Concat(before.Where(one => one.Rank == rank).Select(one => one.Commands + "; "));
            string[] command = ["-n", "1", "bash", "-c", $"echo $$ > '{PidFile(rank)}'; {commands}exec \"$@\"", "rank",
                "dotnet", Reasongen.Assembly, .. arguments];
            Array.ForEach(rank == 0 ? command : [":", .. command], start.ArgumentList.Add);
        }

        launcher = Child.Start(start);
        (output, error) = (launcher.StandardOutput.ReadToEndAsync(), launcher.StandardError.ReadToEndAsync());
    }

    /// <summary>Skips a test where ranks cannot be launched.</summary>
    internal static void SkipWithoutLauncher() => Assert.SkipUnless(!OperatingSystem.IsWindows()
        && (Environment.GetEnvironmentVariable("PATH") ?? "").Split(':')
            .Any(path => File.Exists(Path.Combine(path, Launcher))),
        "there is no mpirun of Open MPI here (Debian and Ubuntu: openmpi-bin)");

    /// <summary>Number of a rank's process.</summary>
    internal int ProcessOf(int rank) => int.Parse(File.ReadAllText(PidFile(rank)));

    /// <summary>Sends a signal to a rank.</summary>
    internal void Signal(int rank, string signal)
    {
        using var kill = Process.Start("kill", [$"-{signal}", $"{ProcessOf(rank)}"]);
        kill.WaitForExit();
    }

    /// <summary>Waits for a file that the ranks make.</summary>
    internal async Task AppearsAsync(string file)
    {
        for (var watch = Stopwatch.StartNew(); !File.Exists(file);)
        {
            Assert.True(!launcher.HasExited && watch.Elapsed < Longest, $"{file} does not appear\n"
                + (launcher.HasExited ? await output + await error : ""));
            await Task.Delay(250, TestContext.Current.CancellationToken);
        }
    }

    /// <summary>Waits for the end of all.</summary>
    /// <returns>The launcher's exit code, all that was said, and how long it took.</returns>
    internal async Task<(int Code, string Text, TimeSpan Took)> EndAsync()
    {
        var watch = Stopwatch.StartNew();
        using var time = new CancellationTokenSource(Longest);
        await launcher.WaitForExitAsync(time.Token);
        var took = watch.Elapsed;
        return (launcher.ExitCode, await output + await error, took);
    }

    public void Dispose() => launcher.Dispose();

    private string PidFile(int rank) => Path.Combine(folder, $"pid{rank}");
}
