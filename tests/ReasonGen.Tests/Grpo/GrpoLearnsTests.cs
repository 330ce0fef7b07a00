using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Tests.Devices;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Grpo;

public sealed class GrpoLearnsTests
{
    [Fact]
    public void Steps_raise_the_reward_of_a_small_policy()
    {
        using var model = TinyJanus.Build();
        var config = new GrpoConfig
        {
            PromptsPerStep = 4, PromptsPerUpdate = 4, RolloutsPerPrompt = 16, MicroBatchRollouts = 64,
            LearningRate = 3e-3, WeightDecay = 0,
        };
        var reward = new LambdaReward("share of even codes", request => request.Image.Rgb[0] / 16f);
        var collector =
            new RolloutCollector(new CodesAsPixels(model), reward, i => new Prompt($"prompt {i}", "", []), config);
        using var trainer = new GrpoTrainer(model, collector, new NoEntropyTerm(), CodesAsPixels.Special.BeginOfImage);
        var rewards = trainer.Steps(12).Select(step => step.Reward).ToArray();
        Assert.True(rewards[^3..].Average() > rewards[..3].Average() + 0.1, string.Join(" ", rewards));
    }

    [Fact]
    public void First_steps_equal_the_run_that_ships()
    {
        Assert.SkipUnless(TestDevice.IsCpu, "the run was made on a CPU; a GPU draws other noise");
        // made by version 0.3.1; its numbers are printed with six digits
        var study = new Study(StudyConfig.Quick);
        var recorded = study.Record("rl-adaptive");
        using var model = study.Load("sft");
        using var trainer = study.GrpoTrainer(model, Study.Entropy("adaptive"));
        foreach (var (i, step) in trainer.Steps(2).Index())
        {
            Assert.Equal(recorded["reward"][i], step.Reward, 1e-5);
            Assert.Equal(recorded["text_entropy"][i], step.TextEntropy, 1e-4);
            Assert.Equal(recorded["image_entropy"][i], step.ImageEntropy, 1e-3);
            Assert.Equal(recorded["text_alpha"][i], step.TextAlpha, 1e-7);
            Assert.Equal(recorded["image_alpha"][i], step.ImageAlpha, 1e-7);
            Assert.Equal(recorded["gradient_norm"][i], step.GradientNorm, 1e-3);
        }
    }

    [Fact]
    public void Trainer_refuses_rollouts_of_another_model_and_of_another_temperature()
    {
        var study = new Study(StudyConfig.Smoke);
        using var model = study.Untrained();
        using var other = study.Untrained();
        var config = GrpoConfig.Mini;
        GrpoTrainer New(IRolloutSource source) => new(model,
            new RolloutCollector(source, new LambdaReward("zero", _ => 0), _ => new("a", "", []), config),
            new NoEntropyTerm(), 1);
        Assert.Contains("another model", Assert.Throws<ArgumentException>(() => New(study.Policy(other))).Message);
        Assert.Contains("temperature",
            Assert.Throws<ArgumentException>(() => New(study.Policy(model, temperature: 0.5))).Message);
    }

    [Fact]
    public void A_step_that_trained_on_no_group_says_nothing_of_entropy()
    {
        var study = new Study(StudyConfig.Smoke);
        using var model = study.Untrained();
        using var trainer = study.GrpoTrainer(model, Study.Entropy("adaptive"), new LambdaReward("one", _ => 1));
        var step = trainer.Step(TestContext.Current.CancellationToken);
        Assert.Equal((0, 1.0, 0.0, 0.0), (step.Groups, step.Reward, step.GradientNorm, step.ApproxKl));
        Assert.All([step.TextEntropy, step.ImageEntropy, step.TextAlpha, step.ImageAlpha, step.KlReference,
            step.RationaleTokens], value => Assert.Equal(double.NaN, value));
    }

    /// <summary>Draws four tokens' worth of images; an image's one pixel counts its even codes.</summary>
    private sealed class CodesAsPixels(Janus model) : IRolloutSource
    {
        internal static SpecialTokens Special { get; } = new(256, 257, 258, 259, 260, 261);

        private readonly RolloutSampler sampler =
            new(model, Special, new RolloutConfig { MaxTextTokens = 0, ImageTokens = 16 });

        public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
        {
            using var scope = NewDisposeScope();
            var rows = prompts.Select(prompt => new long[] { Special.Bos, 1 + prompt.Text[^1] % 100 }).ToArray();
            var ids =
                tensor(rows.SelectMany(row => row).ToArray(), [rows.Length, 2]).repeat_interleave(rolloutsPerPrompt, 0);
            return sampler.Generate(ids, ones_like(ids), seed);
        }

        public string[] Rationales(RolloutBatch rollouts) => [.. Enumerable.Repeat("", rollouts.Count)];

        public RgbImage[] Images(RolloutBatch rollouts)
        {
            using var scope = NewDisposeScope();
            var even = rollouts.ImageCodes.remainder(2).eq(0).sum([1L]);
            return [.. ReasonGen.Core.TensorValues.Values<long>(even)
                .Select(count => new RgbImage(1, 1, [(byte)count, 0, 0]))];
        }
    }
}
