using ReasonGen.Grpo;
using ReasonGen.Optimization;
using Xunit;

namespace ReasonGen.Tests.Grpo;

public sealed class GrpoConfigTests
{
    public static TheoryData<string, GrpoConfig> OutOfRange { get; } = new()
    {
        { nameof(GrpoConfig.PromptsPerStep), new() { PromptsPerStep = 0 } },
        { nameof(GrpoConfig.PromptsPerStep), new() { PromptsPerStep = 10, PromptsPerUpdate = 4 } }, // no multiple
        { nameof(GrpoConfig.PromptsPerStep), new() { PromptsPerStep = 1 << 20 } }, // 8 rollouts of each
        { nameof(GrpoConfig.PromptsPerRound), new() { PromptsPerRound = int.MaxValue } },
        { nameof(GrpoConfig.RolloutsPerPrompt), new() { RolloutsPerPrompt = int.MaxValue } },
        { nameof(GrpoConfig.MicroBatchRollouts), new() { MicroBatchRollouts = int.MaxValue } },
        { nameof(GrpoConfig.PromptsPerUpdate), new() { PromptsPerUpdate = 0 } },
        { nameof(GrpoConfig.RolloutsPerPrompt), new() { RolloutsPerPrompt = 1 } },
        { nameof(GrpoConfig.MicroBatchRollouts), new() { MicroBatchRollouts = 0 } },
        { nameof(GrpoConfig.PromptsPerRound), new() { PromptsPerRound = -1 } },
        { nameof(GrpoConfig.PromptsPerRefill), new() { PromptsPerRefill = 0 } },
        { nameof(GrpoConfig.MaxRounds), new() { MaxRounds = 0 } },
        { nameof(GrpoConfig.MaxEmptySteps), new() { MaxEmptySteps = 0 } },
        { nameof(GrpoConfig.LearningRate), new() { LearningRate = double.NaN } },
        { nameof(GrpoConfig.WarmupSteps), new() { WarmupSteps = -1 } },
        { nameof(GrpoConfig.WeightDecay), new() { WeightDecay = -0.1 } },
        { nameof(GrpoConfig.ClipRange), new() { ClipRange = 0 } },
        { nameof(GrpoConfig.GradientClip), new() { GradientClip = double.PositiveInfinity } },
        { nameof(GrpoConfig.WeightDecay), new() { WeightDecay = double.PositiveInfinity } },
        { nameof(GrpoConfig.KlWeight), new() { KlWeight = -1 } },
        { nameof(GrpoConfig.KlWeight), new() { KlWeight = double.PositiveInfinity } },
        { nameof(GrpoConfig.Temperature), new() { Temperature = 0 } },
    };

    [Theory]
    [MemberData(nameof(OutOfRange))]
    public void Validate_names_the_setting_that_is_out_of_range(string name, GrpoConfig config) =>
        Assert.Contains($"{nameof(GrpoConfig)}.{name} ", Assert.Throws<ArgumentException>(config.Validate).Message);

    [Theory]
    [InlineData(double.NaN)]
    [InlineData(double.NegativeInfinity)]
    public void What_is_no_finite_number_weighs_no_entropy(double value)
    {
        Assert.Throws<ArgumentException>(() => new FixedEntropyTerm(value));
        Assert.Contains("Target is ", Assert.Throws<ArgumentException>(() =>
            new EntropyController(new() { Target = -value })).Message);
        Assert.Contains("InitialAlpha is ", Assert.Throws<ArgumentException>(() =>
            new EntropyController(new() { Target = 2, InitialAlpha = value })).Message);
    }

    [Fact]
    public void Validate_accepts_the_presets()
    {
        GrpoConfig.Paper.Validate();
        GrpoConfig.Mini.Validate();
    }
}
