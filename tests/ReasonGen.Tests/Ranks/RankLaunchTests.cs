using ReasonGen.Checkpoints;
using Xunit;

namespace ReasonGen.Tests.Ranks;

/// <summary>Two and three ranks of the command under a real launcher: they train, resume, and end together.</summary>
public sealed class RankLaunchTests : IDisposable
{
    // 1 to 3 s where the machine is free; without a word of theirs, ranks wait ten minutes for each other
    private static readonly TimeSpan Together = TimeSpan.FromSeconds(45);
    // two ranks may be many seconds apart on a busy machine, first of all when they start
    private static readonly TimeSpan Waited = TimeSpan.FromSeconds(30);
    private static readonly string Waits = $"export REASONGEN_RANK_TIMEOUT={Waited.TotalSeconds}";
    private static readonly string[] Small =
    [
        "--model", "mini", "--threads", "1", "--set", "grpo.promptsPerStep=2", "--set", "grpo.promptsPerRound=3",
        "--set", "grpo.promptsPerUpdate=1", "--set", "grpo.rolloutsPerPrompt=4", "--set", "grpo.microBatchRollouts=2",
        "--set", "rollout.rowsAtATime=4", "--set", "grpo.maxEmptySteps=1000", "--set", "run.validateEvery=0", "--set",
        "run.sampleEvery=0", "--set", "run.checkpointEvery=0",
    ];

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task Two_ranks_train_what_one_process_does_and_three_go_on_from_there()
    {
        LaunchedRanks.SkipWithoutLauncher();
        var (code, output) = await Host.Reasongen.RunAsync(Run("one", 3, save: 1));
        Assert.True(code == 0, output);
        await Succeeds(2, Run("many", 2, save: 1));
        await Succeeds(3, Run("many", 3, save: 1));
        var (one, many) = (Safetensors.Load(State("one")), Safetensors.Load(State("many")));
        Assert.Equal(one.Keys.Order(), many.Keys.Order());
        Assert.All(one, pair => Golden.Close(pair.Value, many[pair.Key], 1e-6, pair.Key));
    }

    [Fact]
    public async Task A_killed_rank_ends_all_and_the_run_goes_on_to_the_same_bits()
    {
        LaunchedRanks.SkipWithoutLauncher();
        using (var ranks = new LaunchedRanks(folder, [Run("cut", 3, save: 1), Run("cut", 3, save: 1)]))
        {
            await ranks.AppearsAsync(State("cut"));
            ranks.Signal(1, "KILL");
            var (code, text, took) = await ranks.EndAsync();
            Assert.True(code != 0 && took < Together, $"{code} after {took}\n{text}");
            Assert.Matches("rank 1.*(signal 9|Killed)", text.ReplaceLineEndings(" "));
        }

        await Succeeds(2, Run("cut", 3, save: 1));
        await Succeeds(2, Run("whole", 3, save: 1));
        var (cut, whole) = (Safetensors.Load(State("cut")), Safetensors.Load(State("whole")));
        Assert.All(whole, pair => Golden.Equal(pair.Value, cut[pair.Key], pair.Key));
    }

    [Fact]
    public async Task A_rank_that_hangs_is_named_with_the_call_it_did_not_come_to()
    {
        LaunchedRanks.SkipWithoutLauncher();
        var run = Run("run", 1000, save: 1);
        using var ranks = new LaunchedRanks(folder, [run, run], (0, Waits), (1, Waits));
        await ranks.AppearsAsync(State("run"));
        ranks.Signal(1, "STOP");
        var (code, text, took) = await ranks.EndAsync();
        Assert.True(code != 0 && took < Waited + Together, $"{code} after {took}\n{text}");
        // stopped in the middle of a call, it had come to it
        Assert.Matches("Rank 0 of 2: (rank 1 has not come to '[a-z -]+', where rank 0 waits,"
            + "|all ranks came to '[a-z -]+', and it has not ended) for 30 s", text);
    }

    [Fact]
    public async Task A_rank_that_is_asked_to_end_ends_all_after_the_same_step()
    {
        LaunchedRanks.SkipWithoutLauncher();
        var run = Run("run", 1000, save: 1000);
        using var ranks = new LaunchedRanks(folder, [run, run]);
        await ranks.AppearsAsync(Path.Combine(folder, "run", "run.json"));
        await Task.Delay(2000, TestContext.Current.CancellationToken);
        ranks.Signal(1, "TERM");
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code is 130 or 143, $"{code}\n{text}");
        Assert.DoesNotMatch("have parted|MPI_ABORT", text);
    }

    [Fact]
    public async Task A_full_disk_on_one_rank_ends_all_with_its_words()
    {
        LaunchedRanks.SkipWithoutLauncher();
        var run = Run("run", 1000, save: 2);
        using var ranks = new LaunchedRanks(folder, [run, run],
            (0, "trap '' XFSZ; ulimit -f 2048; export DOTNET_EnableWriteXorExecute=0"));
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code == 2, $"{code}\n{text}");
        Assert.Matches("Rank 0 of 2: .*the run's state could not be saved", text);
        Assert.DoesNotContain("   at ", text);
    }

    [Fact]
    public async Task A_judge_that_fails_on_one_rank_ends_all_and_the_state_is_kept()
    {
        LaunchedRanks.SkipWithoutLauncher();
        using var endpoint = new FaultyEndpoint((_, call) => call < 40 ? Reply.Says(call % 3 == 0 ? "\\boxed{Yes}"
            : "\\boxed{No}") : Reply.Fails(401, "no such key"));
        string[] run = [.. Run("run", 1000, save: 1000), "--judge", endpoint.Address, "--judge-model", "m"];
        using var ranks = new LaunchedRanks(folder, [run, run]);
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code == 1, $"{code}\n{text}");
        Assert.Matches("Rank 0 of 2: rank [01]: .*no such key", text);
        Assert.Single(text.Split('\n'), line => line.StartsWith("Rank "));
        Assert.True(File.Exists(State("run")));
    }

    [Fact]
    public async Task A_judge_may_take_longer_than_ranks_wait_for_one_that_hangs()
    {
        LaunchedRanks.SkipWithoutLauncher();
        using var endpoint = new FaultyEndpoint((_, call) => Reply.Says(call % 3 == 0 ? "\\boxed{Yes}" : "\\boxed{No}")
            with { Delay = call == 3 ? Waited + TimeSpan.FromSeconds(5) : TimeSpan.Zero });
        string[] run = [.. Run("run", 1, save: 1), "--judge", endpoint.Address, "--judge-model", "m"];
        using var ranks = new LaunchedRanks(folder, [run, run], (0, Waits), (1, Waits));
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code == 0, $"{code}\n{text}");
    }

    [Fact]
    public async Task Ranks_that_were_started_otherwise_are_refused()
    {
        const string Setting = "grpo.learningRate=1e-4",
            Difference = "settings.grpo.learningRate is 0.0005 on rank 0 and 0.0001 on rank 1";
        LaunchedRanks.SkipWithoutLauncher();
        using var ranks =
            new LaunchedRanks(folder, [Run("run", 3, save: 1), [.. Run("run", 3, save: 1), "--set", Setting]]);
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code == 2, $"{code}\n{text}");
        Assert.Contains($"Rank 0 of 2: The ranks were not started alike: {Difference}", text);
        Assert.False(Directory.Exists(Path.Combine(folder, "run")));
    }

    [Fact]
    public async Task An_error_of_one_rank_at_its_start_ends_all()
    {
        LaunchedRanks.SkipWithoutLauncher();
        using var ranks = new LaunchedRanks(folder, [Run("run", 3, save: 1), Run("run", 3, save: 1)],
            (1, "export REASONGEN_RANK_TIMEOUT=soon"));
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code != 0, text);
        Assert.Contains("Rank 1 of 2: REASONGEN_RANK_TIMEOUT is 'soon'", text);
    }

    [Theory]
    [InlineData("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=2 REASONGEN_MPI=none.so",
        "mpirun of Open MPI started 2 ranks, but no MPI library loads here (REASONGEN_MPI names none.so)")]
    [InlineData("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=4", "srun started 4 tasks and gave them no way to meet")]
    public async Task A_launcher_without_a_way_to_meet_is_refused(string variables, string message)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there is no env there");
        string[] command = [.. variables.Split(' '), "dotnet", Host.Reasongen.Assembly, .. Run("run", 1, save: 1)];
        var (code, _, error) = await Child.RunAsync(new("env", command));
        Assert.True(code == 2, error);
        Assert.Contains(message, error);
        Assert.False(Directory.Exists(Path.Combine(folder, "run")));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string[] Run(string name, int steps, int save) =>
        ["train", "grpo", .. Small, "--steps", $"{steps}", "--set", $"run.saveEvery={save}", "--out",
            Path.Combine(folder, name)];

    private string State(string name) => Path.Combine(folder, name, "state.safetensors");

    private async Task Succeeds(int size, string[] run)
    {
        using var ranks = new LaunchedRanks(folder, [.. Enumerable.Repeat(run, size)]);
        var (code, text, _) = await ranks.EndAsync();
        Assert.True(code == 0, $"{code}\n{text}");
    }
}
