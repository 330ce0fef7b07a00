using Linear = ReasonGen.Models.Linear;
using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Native;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class LinearTests
{
    [Theory]
    [InlineData(1, 256, 300, true, true)]
    [InlineData(2, 1024, 67, false, true)]
    [InlineData(3, 256, 300, true, true)]
    [InlineData(1, 204, 400, true, false)] // not a multiple of any vector
    public void Few_rows_in_bfloat16_are_rounded_once_and_all_others_are_libtorchs(int rows, int inputs, int outputs,
        bool bias, bool whole)
    {
        NativeRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(1);
        using var layer = new Linear(inputs, outputs, bias, CPU, ScalarType.BFloat16);
        var weights = layer.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
        Assert.Equal(bias ? ["bias", "weight"] : ["weight"], weights.Keys.Order());
        var x = randn([rows, 1, inputs], generator: generator).to(ScalarType.BFloat16);
        Tensor y;
        var few = whole && rows <= Bf16Kernels.MostRows && System.Numerics.Vector.IsHardwareAccelerated;
        using (no_grad())
        {
            Assert.Equal(few, Bf16Kernels.CanHandle(x, inputs) && Bf16Kernels.CanHandle(layer.Dense));
            y = layer.forward(x);
        }

        Assert.Equal(ScalarType.BFloat16, y.dtype);
        Assert.Equal([rows, 1, outputs], y.shape);
        if (!few)
        {
            Golden.Equal(nn.functional.linear(x, weights["weight"], bias ? weights["bias"] : null), y);
            return;
        }

        var exact = nn.functional.linear(x.to(ScalarType.Float64), weights["weight"].to(ScalarType.Float64), bias
            ? weights["bias"].to(ScalarType.Float64) : null);
        Assert.True(y.to(ScalarType.Float64).sub(exact).abs().le(exact.abs().div(250).add(1e-5)).all().ToBoolean(),
            "off by more than one rounding"); // 2⁻⁸ of the value
        Assert.True(layer.forward(x).requires_grad, "a graph where one is wanted");
    }
}
