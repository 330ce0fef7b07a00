using ReasonGen.Core;
using ReasonGen.Models;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class OneQueryTests
{
    [Theory]
    [InlineData(1, 4, 4, 5, 64, false)]
    [InlineData(3, 4, 2, 40, 128, true)]
    [InlineData(2, 16, 16, 300, 128, true)] // enough for several threads
    public void Attention_of_one_token_is_that_of_libtorch(int rows, int heads, int keyValueHeads, int length, int width, bool masked)
    {
        NativeRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var generator = Seeds.Torch(3);
        Tensor Random(params long[] shape) => randn(shape, ScalarType.Float32, CPU, generator: generator).mul(3).to(ScalarType.BFloat16);
        using var cache = new KvCache(2, rows, keyValueHeads, length + 7, width, CPU, ScalarType.BFloat16);
        var (k, v) = cache.Extend(1, Random(rows, keyValueHeads, length, width), Random(rows, keyValueHeads, length, width));
        var q = Random(rows, 1, heads, width).transpose(1, 2); // [B, H, 1, K]
        var mask = masked ? rand([rows, 1, 1, length], ScalarType.Float32, CPU, generator: generator).gt(0.4) : null;
        Assert.Equal(System.Numerics.Vector.IsHardwareAccelerated, OneQuery.Fit(q, cache, 1));
        Tensor Wide(Tensor cached) => cached.to(ScalarType.Float32).repeat_interleave(heads / keyValueHeads, 1);
        var expected = nn.functional.scaled_dot_product_attention(q.to(ScalarType.Float32), Wide(k), Wide(v), mask, 0, false);
        var actual = OneQuery.Attend(q, cache, 1, length, mask);
        Assert.Equal([rows, heads, 1, width], actual.shape);
        Assert.True(allclose(expected, actual.to(ScalarType.Float32), rtol: 1 / 256.0, atol: 1e-5)); // one rounding
    }

    [Fact]
    public void Several_tokens_other_types_and_passes_with_a_graph_are_left_to_libtorch()
    {
        using var cache = new KvCache(1, 1, 2, 9, 64, CPU, ScalarType.BFloat16);
        using Tensor q = ones(1, 2, 1, 64, ScalarType.BFloat16), wide = ones(1, 2, 1, 64), two = ones(1, 2, 2, 64, ScalarType.BFloat16);
        Assert.False(OneQuery.Fit(q, cache, 0));
        using var free = no_grad();
        Assert.False(OneQuery.Fit(wide, cache, 0));
        Assert.False(OneQuery.Fit(two, cache, 0));
    }
}
