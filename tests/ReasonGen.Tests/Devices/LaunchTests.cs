using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Setups;
using ReasonGen.Sft;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Devices;

/// <summary>What a GPU is asked to do, counted without one.</summary>
public sealed class LaunchTests
{
    [Theory]
    [InlineData(0)]
    [InlineData(16)] // additions are merged while sampling
    public void A_token_of_the_1B_model_takes_at_most_500_launches(int rank)
    {
        var names = DecodeLaunches.OfToken(JanusConfig.Pro1B.Language, rank);
        Assert.True(names.Count <= 500, $"{names.Count}: {DecodeLaunches.Counts(names)}");
    }

    [Fact]
    public void Layers_of_the_1B_model_that_read_the_same_are_joined()
    {
        var language = JanusConfig.Pro1B.Language;
        Assert.InRange(2L * language.MlpWidth * language.Width, 3L * language.Width * language.Width,
            SamplingWeights.LargestJoined);
    }

    [Fact]
    public void A_micro_batch_reads_the_device_twice()
    {
        using var model = TinyJanus.Build();
        using var batch = SftBatch.Build([new([1, 2], [3, 4], [.. Enumerable.Range(0, 16).Select(i => (long)i)])],
            new(256, 257, 258, 259, 260, 261));
        using var log = new OperatorLog();
        _ = SftLoss.Compute(model, batch, 259, 2, 1, 1);
        Assert.Equal(0, log.Reads); // which labels are whose is one copy; the loss is read when all are done
    }

    [Fact]
    public void The_sources_of_the_kernels_compile_and_do_what_they_say()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        var x = randn([3, 5, 64], ScalarType.Float32, CPU, generator: Seeds.Torch(1)).to(ScalarType.BFloat16);
        var weight = randn([64], ScalarType.Float32, CPU, generator: Seeds.Torch(2)).to(ScalarType.BFloat16);
        var wide = x.to(ScalarType.Float32);
        var expected = wide.mul(wide.square().mean([-1], true).add(1e-6).rsqrt()).to(ScalarType.BFloat16).mul(weight);
        Golden.Equal(expected, DeviceKernels.RmsNorm(x, weight, 1e-6));
    }

    [Theory]
    [InlineData(2)]
    [InlineData(5)]
    public void A_mask_that_is_added_hides_what_the_other_hides(int room)
    {
        using var scope = NewDisposeScope();
        var prompt = tensor(new long[] { 0, 1, 1, 1, 1, 1 }, [2, 3], device: CPU);
        using var mask = new DecodeMask(prompt, room, ScalarType.Float32);
        Golden.Equal(cat([prompt, ones(2, 1, ScalarType.Int64, CPU)], 1), mask.Next()!);
        var visible = prompt.eq(1).view(2, 1, 1, 3);
        Assert.Same(visible, DeviceKernels.Additive(visible, ScalarType.Float32)); // on a CPU
        Assert.Equal(128, DeviceKernels.RoundUp(65, DeviceType.CUDA));
        Assert.Equal(65, DeviceKernels.RoundUp(65, DeviceType.CPU));
    }
}
