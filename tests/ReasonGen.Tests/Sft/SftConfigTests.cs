using ReasonGen.Sft;
using Xunit;

namespace ReasonGen.Tests.Sft;

public sealed class SftConfigTests
{
    private const double Infinite = double.PositiveInfinity;
    private static readonly SftConfig Fine = SftConfig.Paper(1);

    public static TheoryData<string, SftConfig> OutOfRange { get; } = new()
    {
        { "TotalSteps is 0; it must be at least 1", Fine with { TotalSteps = 0 } },
        { "LearningRate is Infinity; it must be above 0, and finite", Fine with { LearningRate = Infinite } },
        { "WarmupRatio is 1; it must be in [0, 1)", Fine with { WarmupRatio = 1 } },
        { "Beta1 is 2; it must be in [0, 1)", Fine with { Beta1 = 2 } },
        { "Beta2 is -1; it must be in [0, 1)", Fine with { Beta2 = -1 } },
        { "WeightDecay is Infinity; it must be at least 0, and finite", Fine with { WeightDecay = Infinite } },
        { "GradientClip is Infinity; it must be above 0, and finite", Fine with { GradientClip = Infinite } },
        { "TextScale is NaN; it must be at least 0, and finite", Fine with { TextScale = double.NaN } },
        { "ImageScale is -1; it must be at least 0", Fine with { ImageScale = -1 } },
        { "BeginOfImageScale is Infinity; it must be at least 0, and finite",
            Fine with { BeginOfImageScale = Infinite } },
        { "TextScale is 0; it must be above 0 where ImageScale is 0: nothing would be learnt",
            Fine with { TextScale = 0, ImageScale = 0, BeginOfImageScale = 1 } },
        { "MicroBatchSamples is 0; it must be at least 1", Fine with { MicroBatchSamples = 0 } },
    };

    [Theory]
    [MemberData(nameof(OutOfRange))]
    public void Validate_names_the_setting_that_is_out_of_range_its_value_and_the_range(string expected,
        SftConfig config) =>
        Assert.Equal($"{nameof(SftConfig)}.{expected}", Assert.Throws<ArgumentException>(config.Validate).Message);

    [Fact]
    public void Validate_accepts_the_presets_and_one_loss_of_two()
    {
        Fine.Validate();
        SftConfig.Mini(1).Validate();
        (Fine with { TextScale = 0 }).Validate();
        (Fine with { ImageScale = 0 }).Validate();
    }
}
