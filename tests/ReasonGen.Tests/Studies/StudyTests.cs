using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Studies;

public sealed class StudyTests : IDisposable
{
    private static readonly StudyConfig Tiny = StudyConfig.Full with
    {
        TokenizerSteps = 2, BaseSteps = 3, SftSteps = 4, RlSteps = 1, JudgeRlSteps = 1, BenchmarkPromptsPerTask = 1,
        JudgeSteps = 2, JudgeImages = 4, JudgeTestImages = 2,
    };
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Every_stage_trains_from_scratch_and_is_read_back()
    {
        var study = new Study(Tiny, folder);
        foreach (var arm in Study.Arms.Concat(Study.JudgeArms))
        {
            using var trained = study.Rl(arm).Model;
            using var read = new Study(Tiny, folder).Load(arm);
            Assert.All(trained.TrainableParameters().Zip(read.TrainableParameters()),
                pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        }

        Assert.All(Study.ShippedFiles().Where(file => !file.Contains("seed2")),
            file => Assert.True(File.Exists(Path.Combine(folder, file)), file));
        Assert.Equal(Tiny.SftSteps, study.Record("sft").Count);
        Assert.Contains("study sft --seed 1", study.Record("sft").Command);
    }

    [Theory]
    [InlineData("base", "tokenizer")]
    [InlineData("sft", "tokenizer base")]
    [InlineData("rl-none", "tokenizer base sft judge-large judge-small")]
    public void What_a_stage_stands_on_is_taken_over_and_no_more(string made, string taken)
    {
        new Study(Tiny, folder).CopyFoundations(Study.DataFolder(), [made]);
        Assert.Equal(taken.Split(' ').Order(),
            Directory.GetFiles(Path.Combine(folder, "checkpoints"))
                .Select(file => Path.GetFileNameWithoutExtension(file)).Order());
    }

    [Fact]
    public void Steps_before_one_that_failed_are_kept()
    {
        var config = StudyConfig.Full with { RlSteps = 3, RlStepsPerSave = 100, BenchmarkPromptsPerTask = 1 };
        var (told, looks, seen) = (0, 0, 0);
        var first = new Study(config, folder)
        {
            OnStep = (record, _) => told = record.Count,
            Cancellation = () => told < 2 || looks++ == 0 ? default : throw new IOException("no room to sample"),
        };
        first.CopyFoundations(Study.DataFolder(), ["rl-none"]);
        Assert.Throws<IOException>(() => first.Rl("rl-none"));
        using (new Study(config, folder) { OnStep = (_, _) => seen++ }.Rl("rl-none").Model)
        {
            Assert.Equal(1, seen);
        }
    }

    [Fact]
    public void An_interrupted_stage_goes_on_to_the_same_weights()
    {
        var whole = new Study(Tiny, Path.Combine(folder, "whole"));
        using var expected = whole.Sft().Model;

        using var interrupt = new CancellationTokenSource();
        var first = new Study(Tiny, Path.Combine(folder, "cut")) { Cancellation = () => interrupt.Token };
        first.OnStep = (record, _) =>
        {
            if (record.Name == "sft" && record.Count == 2)
            {
                interrupt.Cancel();
            }
        };
        Assert.ThrowsAny<OperationCanceledException>(() => first.Sft());
        var second = new Study(Tiny, Path.Combine(folder, "cut")).Sft();
        using var actual = second.Model;
        Assert.All(expected.TrainableParameters().Zip(actual.TrainableParameters()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        Assert.Equal(whole.Record("sft")["loss"], first.Record("sft")["loss"]); // as they are kept
    }

    [Fact]
    public void Grpo_resumes_to_the_same_weights()
    {
        var study = new Study(Tiny, folder);
        // a reward that differs within a group without a trained policy
        var reward = new LambdaReward("brightness", request => request.Image.Rgb.Sum(value => value) % 2);
        var config = GrpoConfig.Mini with
        {
            PromptsPerStep = 2, PromptsPerUpdate = 1, PromptsPerRound = 3, RolloutsPerPrompt = 4,
            MicroBatchRollouts = 2,
        };
        GrpoTrainer New(Janus model) =>
            study.GrpoTrainer(model, new AdaptiveEntropyTerm(new() { Target = 1 }, new() { Target = 3 }), reward,
                config);
        using var one = study.NewModel();
        using (var trainer = New(one))
        {
            _ = trainer.Steps(2).Last();
            trainer.Save(Path.Combine(folder, "state"));
            _ = trainer.Steps(2).Last();
        }

        using var two = study.NewModel();
        using (var trainer = New(two))
        {
            trainer.Resume(Path.Combine(folder, "state"));
            _ = trainer.Steps(2).Last();
            Assert.Equal(4, trainer.StepCount);
        }

        Assert.All(one.TrainableParameters().Zip(two.TrainableParameters()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        using var other = study.GrpoTrainer(two, new NoEntropyTerm(), reward, config);
        Assert.Contains("other settings",
            Assert.Throws<UnusableFileException>(() => other.Resume(Path.Combine(folder, "state"))).Message);
    }

    [Fact]
    public void On_policy_the_ratio_is_one()
    {
        // the shipped model, which never samples a pad: such a token is masked while drawing but not in training, in
        // the reference too
        var study = new Study(StudyConfig.Quick);
        using var model = study.Load("sft");
        using var rollouts = study.Policy(model).Generate(ReasonGen.World.Prompts.Benchmark(1), 2, 5);
        using var trainer = study.GrpoTrainer(model, new NoEntropyTerm());
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var sampled = rollouts.SampledLogProbs;
        Golden.Close(sampled, where(sampled.ne(0), RolloutLogProbs.Compute(model, rollouts).LogProbs, sampled), 2e-5,
            "log-probs");
    }

    [Fact]
    public void Log_probs_with_a_graph_are_those_without_bit_for_bit()
    {
        // so the first update of an iteration is the same whether its old log-probs are taken before it or from it
        var study = new Study(StudyConfig.Quick);
        using var model = study.Load("sft");
        using var rollouts = study.Policy(model).Generate(ReasonGen.World.Prompts.Benchmark(1), 3, 5);
        using var scope = NewDisposeScope();
        var old = RolloutLogProbs.Old(model, rollouts, 1, 6);
        for (var start = 0; start < rollouts.Count; start += 6)
        {
            var (logProbs, _) = RolloutLogProbs.Compute(model, rollouts.Slice(start, 6));
            Assert.True(logProbs.requires_grad);
            Golden.Equal(old.narrow(0, start, 6).narrow(1, 0, logProbs.shape[1]), logProbs, $"rollouts from {start}");
        }

        Golden.Equal(old.narrow(0, 6, 12), RolloutLogProbs.Old(model, rollouts, 1, 6, from: 6).narrow(0, 6, 12));
    }

    [Fact]
    public void The_same_seed_gives_the_same_rollouts_and_another_seed_others()
    {
        var study = new Study(Tiny, folder);
        using var model = study.NewModel();
        var policy = study.Policy(model);
        var prompts = ReasonGen.World.Prompts.Benchmark(1);
        using var a = policy.Generate(prompts, 2, 5);
        using var b = policy.Generate(prompts, 2, 5);
        using var c = policy.Generate(prompts, 2, 6);
        Golden.Equal(a.Ids, b.Ids);
        Assert.False(a.ImageCodes.eq(c.ImageCodes).all().ToBoolean());
    }

    [Fact]
    public void A_constant_reward_ends_the_run_with_the_reason()
    {
        var study = new Study(Tiny, folder);
        using var model = study.NewModel();
        using var trainer = study.GrpoTrainer(model, new NoEntropyTerm(), new LambdaReward("zero", _ => 0),
            GrpoConfig.Mini with
            {
                PromptsPerStep = 1, PromptsPerUpdate = 1, PromptsPerRound = 1, RolloutsPerPrompt = 2, MaxRounds = 1,
            });
        Assert.Contains("always the same",
            Assert.Throws<TooFewGroupsException>(() => trainer.Steps(5).Count()).Message);
    }

    [Fact]
    public void A_loss_that_is_not_finite_stops_before_the_weights_are_touched()
    {
        var study = new Study(Tiny, folder);
        using var model = study.NewModel();
        using (no_grad())
        {
            model.TrainableParameters().First(p => p.Name.Contains("lm_head")).Parameter.fill_(float.NaN);
        }

        var before = model.TrainableParameters().First().Parameter.clone();
        using var trainer = study.SftTrainer(model, "sft");
        var thrown = Assert.Throws<NonFiniteLossException>(() => trainer.Step());
        Assert.Contains("step 0", thrown.Message);
        Golden.Equal(before, model.TrainableParameters().First().Parameter);
    }

    public void Dispose() => Directory.Delete(folder, true);
}
