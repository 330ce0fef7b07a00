using System.Globalization;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Ranks;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using ReasonGen.Setups;
using ReasonGen.Tests.Host;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Ranks;

/// <summary>What launchers tell, how work is dealt out, and what is refused.</summary>
public sealed class RankGroupTests
{
    // rank, how many, and both on this machine; empty where the process is by itself
    [Theory]
    [InlineData("", "")]
    [InlineData("OMPI_COMM_WORLD_RANK=3 OMPI_COMM_WORLD_SIZE=8 OMPI_COMM_WORLD_LOCAL_RANK=1 "
        + "OMPI_COMM_WORLD_LOCAL_SIZE=2",
        "mpirun of Open MPI 3 8 1 2")]
    [InlineData("OMPI_COMM_WORLD_RANK=0 OMPI_COMM_WORLD_SIZE=1", "")]
    [InlineData("PMI_RANK=1 PMI_SIZE=2", "mpiexec 1 2 1 2")]
    [InlineData("PMI_RANK=5 PMI_SIZE=8 MPI_LOCALRANKID=1 MPI_LOCALNRANKS=4", "mpiexec 5 8 1 4")]
    [InlineData("SLURM_PROCID=9 SLURM_STEP_NUM_TASKS=16 SLURM_STEP_NUM_NODES=2 SLURM_LOCALID=1 PMIX_RANK=9",
        "srun 9 16 1 8")]
    [InlineData("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=1 PMI_RANK=1 PMI_SIZE=2", "srun 1 2 1 2")]
    [InlineData("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=0 PMIX_RANK=0 PMI_RANK=1 PMI_SIZE=2 "
        + "MPI_LOCALRANKID=1 MPI_LOCALNRANKS=2",
        "mpiexec 1 2 1 2")] // in a shell that srun started
    [InlineData("SLURM_PROCID=1 SLURM_STEP_NUM_TASKS=2 SLURM_LOCALID=0 PMI_RANK=5 PMI_SIZE=8 MPI_LOCALRANKID=1 "
        + "MPI_LOCALNRANKS=4",
        "mpiexec 5 8 1 4")] // by a helper on each machine that srun started
    [InlineData("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 PMI_RANK=3 PMI_SIZE=4", "mpiexec 3 4 3 4")]
    [InlineData("SLURM_PROCID=0 SLURM_NTASKS=8", "")] // in a batch script, not under srun
    [InlineData("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=1", "")]
    [InlineData("OMPI_COMM_WORLD_RANK=a OMPI_COMM_WORLD_SIZE=2", "")]
    public void Launcher_is_known_by_its_variables(string variables, string expected)
    {
        var launcher = Launcher.Find(Variables(variables));
        Assert.Equal(expected, launcher is null ? ""
            : $"{launcher.Name} {launcher.Rank} {launcher.Size} {launcher.LocalRank} {launcher.LocalSize}");
    }

    [Fact]
    public void Tasks_of_srun_that_cannot_meet_are_refused() => Assert.Contains("--mpi=pmix",
        Assert.Throws<PlatformNotSupportedException>(
            () => Launcher.Find(Variables("SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=4"))).Message);

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(5)]
    public void What_was_dealt_out_comes_back_in_order(int size)
    {
        var all = ThreadGroup.Run(size, ranks =>
            ranks.Dealt([.. Enumerable.Range(0, 7).Where(i => i % size == ranks.Rank)], "numbers"));
        Assert.All(all, numbers => Assert.Equal(Enumerable.Range(0, 7), numbers));
        var shares = ThreadGroup.Run(size, ranks => ranks.Share(7)).ToArray();
        Assert.Equal(Enumerable.Range(0, 7), shares.SelectMany(share => Enumerable.Range(share.First, share.Count)));
    }

    [Theory]
    [InlineData(new long[] { 5, 1, 1, 1, 1, 1 }, 2, new[] { 0, 1, 1, 1, 1, 1 })]
    [InlineData(new long[] { 1, 2, 3, 4 }, 2, new[] { 0, 1, 1, 0 })]
    [InlineData(new long[] { 7, 7 }, 3, new[] { 0, 1 })]
    public void Owners_of_the_state_have_loads_of_nearly_one_size(long[] sizes, int ranks, int[] expected) =>
        Assert.Equal(expected, RankOperations.Owners(sizes, ranks));

    [Fact]
    public void A_weight_without_a_gradient_on_one_rank_takes_that_of_the_others()
    {
        var sums = ThreadGroup.Run(2, ranks =>
        {
            using var one = new TorchSharp.Modules.Parameter(ones(2));
            using var none = new TorchSharp.Modules.Parameter(ones(2));
            one.grad = ranks.Rank == 0 ? full(2, 3f) : null;
            ranks.SumGradients([one, none]);
            return (one.grad!.ToString(TorchSharp.TensorStringStyle.CSharp), none.grad is null);
        });
        Assert.All(sums, sum => Assert.Contains("3", sum.Item1));
        Assert.All(sums, sum => Assert.True(sum.Item2));
    }

    [Fact]
    public void Ranks_that_differ_are_refused_on_each_with_all_that_differs()
    {
        var messages = ThreadGroup.Run(3, ranks => Assert.Throws<ArgumentException>(() => ranks.Agree(new JObject
        {
            ["settings"] = new JObject { ["rate"] = ranks.Rank == 2 ? 0.5 : 0.25 },
            ["data"] = ranks.Rank < 2 ? "a" : "b",
        })).Message);
        Assert.All(messages, message => Assert.Contains(
            "settings.rate is 0.25 on rank 0 and 0.5 on rank 2; data is \"a\" on rank 0 and \"b\" on rank 2", message));
    }

    [Fact]
    public void Rewards_and_their_parts_come_from_all_ranks_in_order()
    {
        RewardRequest[] requests = [.. Enumerable.Range(0, 5)
            .Select(i => new RewardRequest(new($"{i}", "", []), "", new(1, 1, [0, 0, 0])))];
        var scored = ThreadGroup.Run(3, ranks =>
        {
            using var end = new SharedCancellation(ranks, default);
            var reward = new SharedReward(new EnsembleReward([(new LambdaReward("number", one =>
                one.Prompt.Text == "4" ? float.NaN : int.Parse(one.Prompt.Text, CultureInfo.InvariantCulture)), 1),
                (new LambdaReward("one", _ => 1), 2)]), ranks, end);
            var rewards = reward.Score(requests);
            return (rewards, reward.Parts.Select(part => $"{part.Name}: {string.Join(' ', part.Rewards)}").ToArray());
        });
        Assert.All(scored, one => Assert.Equal([2, 3, 4, 5, float.NaN], one.rewards));
        Assert.All(scored, one => Assert.Equal(["number: 0 1 2 3 NaN", "one: 1 1 1 1 1"], one.Item2));
    }

    [Fact]
    public void A_judge_that_one_rank_cannot_reach_is_an_error_on_all()
    {
        var messages = ThreadGroup.Run(2, ranks =>
        {
            using var end = new SharedCancellation(ranks, default);
            var reward = new SharedReward(new LambdaReward("judge", one => one.Prompt.Text == "1"
                ? throw new EndpointException("http://judge", "it is gone", "Start it") : 0), ranks, end);
            return Assert.Throws<EndpointException>(() => reward.Score([.. Enumerable.Range(0, 2).Select(i =>
                new RewardRequest(new($"{i}", "", []), "", new RgbImage(1, 1, [0, 0, 0])))])).Message;
        });
        Assert.All(messages, message => Assert.StartsWith("rank 1: http://judge: it is gone", message));
    }

    [Fact]
    public void Controllers_of_all_ranks_see_the_entropies_in_their_order()
    {
        // of five micro-batches: the last turn is of fewer than three ranks
        double[] entropies = [0.1, 0.9, 0.5, 0.2, 0.8];
        static AdaptiveEntropyTerm New() => new(new() { Target = 0.3 }, new() { Target = 0.4 });
        var alone = New();
        var expected = entropies.Select(entropy => alone.Next(entropy, 2 * entropy)).ToArray();
        var used = ThreadGroup.Run(3, ranks =>
        {
            var (inner, mine) = (New(), new List<EntropyCoefficients>());
            var shared = new RankOrderEntropy(inner, ranks);
            for (var m = ranks.Rank; m - ranks.Rank < entropies.Length; m += 3)
            {
                if (m < entropies.Length)
                {
                    mine.Add(shared.Next(entropies[m], 2 * entropies[m]));
                }
                else
                {
                    shared.Skip();
                }
            }

            return (ranks.Dealt(mine, "α"), shared.SaveState().ToString());
        });
        Assert.All(used, one => Assert.Equal(expected, one.Item1));
        Assert.All(used, one => Assert.Equal(alone.SaveState().ToString(), one.Item2));
    }

    [Fact]
    public void Controllers_of_each_rank_go_on_from_their_own_state_and_by_as_many_ranks_alone()
    {
        static AdaptiveEntropyTerm New() => new(new() { Target = 0.3 }, new() { Target = 0.4 });
        var saved = ThreadGroup.Run(3, ranks =>
        {
            var (inner, state) = (New(), new PerRankEntropy(New(), ranks));
            _ = (inner.Next(ranks.Rank, 1), state.Next(ranks.Rank, 1));
            return (Mine: inner.SaveState().ToString(), All: state.SaveState());
        });
        List<string> told = [];
        string[] Restored(int size, JObject state) => ThreadGroup.Run(size, ranks =>
        {
            var inner = New();
            new PerRankEntropy(inner, ranks, ranks.Rank == 0 ? told.Add : null).RestoreState(state);
            return inner.SaveState().ToString();
        });
        Assert.Equal(saved.Select(one => one.Mine), Restored(3, saved[0].All));
        Assert.Equal(3, saved.Select(one => one.Mine).Distinct().Count());
        Assert.All(new[] { 1, 2 }, size => Assert.Contains("of 3 ranks, a pair of each, and the ranks are " + size,
            Assert.Throws<UnusableFileException>(() => Restored(size, saved[0].All)).Message));
        var single = new PerRankEntropy(New(), Alone.Group).SaveState();
        Assert.Equal(New().SaveState().ToString(), Assert.Single(Restored(1, single)));
        Assert.Contains("of 1 rank, a pair of each, and the ranks are 2 now. Go on with 1,",
            Assert.Throws<UnusableFileException>(() => Restored(2, single)).Message);
        Assert.Empty(told);
        Assert.All(Restored(2, New().SaveState()), one => Assert.Equal(New().SaveState().ToString(), one));
        Assert.Contains("taken by all of them, 2 now", Assert.Single(told));
    }

    [Fact]
    public void Who_fails_at_what_others_wait_for_is_told_with_its_own_words() => Assert.Equal("no space left",
        Assert.Throws<IOException>(() => ThreadGroup.Run(2, ranks => ranks.AfterFirst(
            () => ranks.Rank == 1 ? throw new IOException("no space left") : ranks.Rank))).Message);

    [Fact]
    public void A_call_that_did_not_end_is_told_with_rank_and_name()
    {
        Assert.StartsWith("Rank 0 of 4: rank 2 has not come to 'rewards', where rank 0 waits, for 600 s: rank 2 hangs",
            RankWatch.Words(0, 4, 2, "rewards", 600));
        Assert.StartsWith("Rank 0 of 4: all ranks came to 'rewards', and it has not ended for 2.5 s: the connection",
            RankWatch.Words(0, 4, -1, "rewards", 2.5));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(4)]
    [InlineData(8)]
    public void Plan_of_several_ranks_shares_the_optimizer_of_all_weights_alone(int ranks)
    {
        double Optimizer(TrainingSetup setup, int size) =>
            MemoryPlan.Of(setup, TrainingStage.Grpo, QwenConfig.Qwen7B, size).Rows
                .Where(row => row.What is "fp32 masters" or "AdamW moments").Sum(row => row.GiB);
        var (whole, lora) = (TrainingSetup.Preset("janus-7b").WithLora(0), TrainingSetup.Preset("janus-7b"));
        Assert.Equal(Optimizer(whole, 1) / ranks, Optimizer(whole, ranks), 0.5);
        Assert.Equal(Optimizer(lora, 1), Optimizer(lora, ranks));
    }

    [Fact]
    public async Task Doctor_names_mpi_and_nccl()
    {
        var (_, output) = await Reasongen.RunAsync("doctor", "--json");
        Assert.Matches("\"MPI\": \"(none|.*\\(.*mpi.*\\))", output);
        Assert.Matches("\"NCCL\": \"(none|[0-9.]+ \\()", output);
    }

    private static Func<string, string?> Variables(string text)
    {
        var all = text.Split(' ', StringSplitOptions.RemoveEmptyEntries).Select(one => one.Split('='))
            .ToDictionary(one => one[0], one => one[1]);
        return name => all.GetValueOrDefault(name);
    }
}
