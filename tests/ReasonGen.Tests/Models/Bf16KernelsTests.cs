using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class Bf16KernelsTests
{
    [Theory]
    [InlineData(1, 256, 301, true)]
    [InlineData(2, 320, 512, false)]
    [InlineData(3, 8192, 9, true)]
    [InlineData(16, 352, 190, true)]
    [InlineData(257, 256, 300, false)]
    public void Products_and_norms_of_few_rows_are_those_of_libtorch(int rows, int inputs, int outputs, bool bias)
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(5);
        var x = randn([rows, 1, inputs], ScalarType.Float32, CPU, generator: generator).to(ScalarType.BFloat16);
        using Linear one = new(inputs, outputs, bias, CPU, ScalarType.BFloat16),
            two = new(inputs, 2 * outputs, bias, CPU, ScalarType.BFloat16);
        using var norm = new RmsNorm(inputs, 1e-6, CPU, ScalarType.BFloat16);
        Tensor[] slow = [one.forward(x), two.forward(x), norm.forward(x)]; // with a graph: libtorch's operators
        using var free = no_grad();
        Assert.Equal(rows <= Bf16Kernels.MostRows && System.Numerics.Vector.IsHardwareAccelerated,
            Bf16Kernels.CanHandle(x, inputs) && Bf16Kernels.CanHandle(one.Dense));
        Tensor[] fast = [.. Linear.ForwardMany(x, null, one, two), norm.forward(x)];
        Assert.All(slow.Zip(fast), pair =>
        {
            Assert.Equal(pair.First.shape, pair.Second.shape);
            // a step of bf16
            Assert.True(allclose(pair.First.to(ScalarType.Float32), pair.Second.to(ScalarType.Float32), rtol: 1 / 128.0,
                atol: 1e-3));
        });
        one.Adapter = (_, y) => y.add(1);
        Assert.True(allclose(fast[0].add(1), Linear.ForwardMany(x, null, one, two)[0]));
    }

    [Fact]
    public void A_gate_of_few_rows_is_that_of_libtorch()
    {
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(5);
        Tensor Random() =>
            randn([3, 1, 5632], ScalarType.Float32, CPU, generator: generator).mul(6).to(ScalarType.BFloat16);
        var (gate, up) = (Random(), Random());
        gate[0, 0, 7] = float.NegativeInfinity;
        gate[1, 0, 8] = -200;
        var (expected, actual) = (nn.functional.silu(gate).mul(up).to(ScalarType.Float32), Bf16Kernels.Gated(gate, up)
            .to(ScalarType.Float32));
        Assert.True(allclose(expected, actual, rtol: 1 / 128.0, atol: 1e-6, equal_nan: true));
    }

    [Fact]
    public void A_weight_that_is_no_number_spoils_its_own_output_alone()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var layer = new Linear(256, 300, false, CPU, ScalarType.BFloat16);
        using var norm = new RmsNorm(256, 1e-6, CPU, ScalarType.BFloat16);
        layer.Weight[7, 11] = float.NaN;
        norm.state_dict()["weight"][11] = float.NaN;
        var x = ones(1, 1, 256, ScalarType.BFloat16);
        Assert.Equal([7], isnan(layer.forward(x)).nonzero()[.., 2].data<long>().ToArray());
        Assert.Equal([11], isnan(norm.forward(x)).nonzero()[.., 2].data<long>().ToArray());
    }
}
