using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Ranks;

/// <summary>Several ranks train what one process would, up to the order of sums.</summary>
public sealed class RankTrainingTests : IDisposable
{
    private const double Tolerance = 1e-6;
    private const int Steps = 3;
    private static readonly Study Study = new(StudyConfig.Quick);
    private static readonly Lazy<float[]> SftOfOne = new(() => Sft(1, false)[0]);
    private static readonly Lazy<float[]> GrpoOfOne = new(() => Grpo(1, false)[0]);
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private string State => Path.Combine(folder, "state.safetensors");

    [Theory]
    [InlineData(2, false)]
    [InlineData(3, true)]
    [InlineData(4, false)]
    public void Supervised_steps_of_several_ranks_are_those_of_one(int ranks, bool shard) =>
        Near(SftOfOne.Value, Sft(ranks, shard));

    [Theory]
    [InlineData(2, true)]
    [InlineData(3, false)]
    [InlineData(4, true)]
    public void Grpo_steps_of_several_ranks_are_those_of_one(int ranks, bool shard) =>
        Near(GrpoOfOne.Value, Grpo(ranks, shard));

    [Fact]
    public void A_run_on_two_ranks_resumes_to_the_same_bits()
    {
        var straight = Grpo(2, shard: true);
        Grpo(2, shard: true, steps: 2, save: State);
        var resumed = Grpo(2, shard: true, steps: 1, resume: State);
        Assert.Equal(straight[0], resumed[0]);
        Assert.Equal(straight[1], resumed[1]);
    }

    [Theory]
    [InlineData(3, true)]
    [InlineData(1, false)]
    public void A_state_of_two_ranks_resumes_on_another_number(int ranks, bool shard)
    {
        Grpo(2, shard: true, steps: 2, save: State);
        Near(GrpoOfOne.Value, Grpo(ranks, shard, steps: 1, resume: State));
    }

    [Fact]
    public void A_rank_keeps_its_share_of_the_optimizer_alone()
    {
        var kept = ThreadGroup.Run(2, ranks =>
        {
            using var model = Study.Untrained();
            using var optimizer = new Optimization.AdamW(model.TrainableParameters(), ranks: ranks);
            return optimizer.State().Values.Sum(tensor => tensor.numel());
        });
        using var whole = Study.Untrained();
        var all = 2 * whole.TrainableParameters().Sum(p => p.Parameter.numel());
        Assert.Equal(all, kept.Sum());
        Assert.All(kept, share => Assert.InRange(share, all * 0.45, all * 0.55));
    }

    [Fact]
    public void A_wish_of_one_rank_to_end_is_heard_by_all_at_once()
    {
        using var asked = new CancellationTokenSource();
        var heard = ThreadGroup.Run(3, ranks =>
        {
            using var end = new SharedCancellation(ranks, ranks.Rank == 1 ? asked.Token : default);
            List<bool> seen = [end.Look()];
            if (ranks.Rank == 1)
            {
                asked.Cancel();
            }

            seen.Add(end.Token.IsCancellationRequested);
            seen.Add(end.Look());
            seen.Add(end.Token.IsCancellationRequested);
            return seen;
        });
        Assert.All(heard, seen => Assert.Equal([false, false, true, true], seen));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static void Near(float[] one, float[][] ranks)
    {
        Assert.All(ranks, weights => Assert.Equal(ranks[0], weights)); // the same bits on each
        Assert.InRange(one.Zip(ranks[0], (a, b) => Math.Abs(a - b)).Max(), 0, Tolerance);
    }

    private static float[][] Sft(int size, bool shard) => ThreadGroup.Run(size, ranks =>
    {
        using var model = Study.Load("base");
        // 32 samples: six micro-batches, the last of two. Where a gradient is all but 0, AdamW makes a step of the
        // learning rate of its rounding, so that is small here.
        var config = SftConfig.Mini(6) with { MicroBatchSamples = 6, LearningRate = 1e-4 };
        using var trainer = new SftTrainer(model, Study.Batches(model, "sft").Rationale,
            Study.Tokenizer.Special.BeginOfImage, config, ranks, shard);
        Assert.Equal(Steps, trainer.Steps(Steps).Count());
        return Weights(model);
    });

    private static float[][] Grpo(int size, bool shard, int steps = Steps, string? save = null,
        string? resume = null) =>
        ThreadGroup.Run(size, ranks =>
        {
            using var model = Study.Load("sft");
            using var end = new SharedCancellation(ranks, default);
            var config = Study.GrpoSettings with
            {
                PromptsPerStep = 4, PromptsPerUpdate = 2, PromptsPerRound = 5, RolloutsPerPrompt = 4,
                // eight rollouts an update: three micro-batches, the last of two
                MicroBatchRollouts = 3, WarmupSteps = 0,
            };
            var sampler = new PolicySampler(model, Study.Tokenizer, PromptTemplate.Mini,
                RolloutConfig.Mini with { Parts = 1, RowsAtATime = 7 }, CPU);
            IRolloutSource source = size == 1 ? sampler : new SharedRollouts(sampler, ranks, end, CPU);
            var entropy = Study.Entropy("adaptive");
            var collector = new RolloutCollector(source, new SharedReward(new DetectorReward(), ranks, end),
                i => Prompts.Draw(Seeds.Random(1, 22, i)), config);
            using var trainer = new GrpoTrainer(model, collector,
                size == 1 ? entropy : new RankOrderEntropy(entropy, ranks), Study.Tokenizer.Special.BeginOfImage,
                ranks: ranks, shardOptimizer: shard);
            if (resume is not null)
            {
                trainer.Resume(resume);
            }

            Assert.All(trainer.Steps(steps), step => Assert.True(step.Groups > 0));
            if (save is not null)
            {
                trainer.Save(save);
            }

            return Weights(model);
        });

    private static float[] Weights(Janus model) =>
        [.. model.TrainableParameters().SelectMany(p => p.Parameter.Values<float>())];
}
