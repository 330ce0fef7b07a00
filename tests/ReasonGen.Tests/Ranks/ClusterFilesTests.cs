using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using ReasonGen.Qwen;
using ReasonGen.Setups;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Ranks;

/// <summary>What environment/ says and does about several GPUs: its table of memory, and its scripts with stand-ins for
/// Slurm's commands.</summary>
public sealed class ClusterFilesTests : IDisposable
{
    private static readonly string Files = Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "environment");
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Table_of_memory_says_what_the_plan_does()
    {
        var lines = File.ReadAllLines(Path.Combine(Files, "cluster.md"));
        string[] Row(string name) => lines.Single(line => line.StartsWith($"| {name} |"))
            .Split('|', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)[1..];
        TrainingSetup Setup(int ranks) => TrainingSetup.Janus7B.WithLora(0)
            .WithRows(GpuSpeed.Known[0].Bytes, QwenConfig.Qwen7B, ranks); // as the command's
        string Peak(int ranks) => (MemoryPlan.Of(Setup(ranks), TrainingStage.Grpo,
            QwenConfig.Qwen7B, ranks).PeakBytes / (1L << 30)).ToString("0.0", CultureInfo.InvariantCulture);
        Assert.Equal(Row("ranks").Select(ranks => Peak(int.Parse(ranks, CultureInfo.InvariantCulture))), Row("GiB"));
    }

    // srun's exit code, and that of the script
    [Theory]
    [InlineData(true, 143, 0, true)]
    [InlineData(true, 130, 0, true)]
    [InlineData(true, 0, 0, false)]
    [InlineData(true, 2, 2, false)]
    [InlineData(false, 0, 0, false)]
    [InlineData(false, 2, 2, false)]
    [InlineData(false, 143, 143, false)]
    public async Task Batch_script_queues_itself_again_only_where_ranks_ended_because_they_were_asked_to(bool asked,
        int ended, int code, bool again)
    {
        Assert.SkipUnless(File.Exists("/bin/bash") && !OperatingSystem.IsWindows(), "the script is for bash");
        StandIn("srun", $"trap 'sleep 0.3; exit {ended}' USR1; echo \"$@\" > srun.said; echo $$ > pid; mv pid srun.pid"
            + (asked ? "; while :; do sleep 0.1; done" : $"; exit {ended}"));
        StandIn("scancel", "kill -USR1 \"$(cat srun.pid)\"");
        StandIn("scontrol", "echo \"$@\" > scontrol.said");
        var start = new ProcessStartInfo("/bin/bash", [Path.Combine(Files, "reasongen.slurm")])
        {
            WorkingDirectory = folder,
        };
        (start.Environment["PATH"], start.Environment["SLURM_JOB_ID"], start.Environment["SLURM_CPUS_PER_TASK"]) =
            ($"{folder}:{Environment.GetEnvironmentVariable("PATH")}", "7", "5");
        using var script = Child.Start(start);
        if (asked)
        {
            await Until.HoldsAsync(() => File.Exists(At("srun.pid")), "srun");
            script.Signal("TERM");
        }

        await script.WaitForExitAsync(TestContext.Current.CancellationToken);
        Assert.Equal((code, again), (script.ExitCode, File.Exists(At("scontrol.said"))));
        Assert.Contains("--cpus-per-task=5 ", File.ReadAllText(At("srun.said")));
        Assert.Equal(again ? "requeue 7\n" : "", again ? File.ReadAllText(At("scontrol.said")) : "");
    }

    [Fact]
    public void Pods_live_longer_than_mpirun_waits_for_ranks_that_were_asked_to_end()
    {
        var job = File.ReadAllText(Path.Combine(Files, "mpijob.yaml"));
        int Number(Match match) => int.Parse(match.Groups[1].Value, CultureInfo.InvariantCulture);
        var patience = Number(Regex.Match(job, @"odls_base_sigkill_timeout\s+- ""(\d+)"""));
        int[] graces = [.. Regex.Matches(job, @"terminationGracePeriodSeconds: (\d+)").Select(Number)];
        Assert.Equal(2, graces.Length); // of launcher and workers
        Assert.All(graces, grace => Assert.True(grace > patience, $"{grace} and {patience}"));
        Assert.Contains($"odls_base_sigkill_timeout {patience}", File.ReadAllText(Path.Combine(Files, "cluster.md")));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string At(string name) => Path.Combine(folder, name);

    private void StandIn(string name, string commands)
    {
        File.WriteAllText(At(name), $"#!/bin/bash\n{commands}\n");
        if (!OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(At(name), UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);
        }
    }
}
