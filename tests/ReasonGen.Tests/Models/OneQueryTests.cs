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
        using KvCache cache = new(2, rows, keyValueHeads, length + 7, width, CPU, ScalarType.BFloat16), other = new(2, rows, keyValueHeads, length + 7, width, CPU, ScalarType.BFloat16);
        var (before, angles) = (Random(rows, keyValueHeads, length - 1, width), Rotary.Angles(arange(rows).unsqueeze(1).add(length), width, 1e4, null));
        foreach (var each in new[] { cache, other })
        {
            each.Extend(1, before, before.neg());
            each.Advance(length - 1);
        }

        var (cos, sin) = Rotary.CosSin(angles, ScalarType.BFloat16);
        var mask = masked ? rand([rows, 1, 1, length], ScalarType.Float32, CPU, generator: generator).gt(0.4) : null;
        var pass = new PassContext(cos.unsqueeze(1), sin.unsqueeze(1), mask, false, cache);
        var (q, k, v) = (Random(rows, 1, heads * width), Random(rows, 1, keyValueHeads * width), Random(rows, 1, keyValueHeads * width));
        Assert.Equal(System.Numerics.Vector.IsHardwareAccelerated, OneQuery.Fit(q, width, pass, 1));
        var actual = OneQuery.Attend(q, k, v, width, pass, 1);
        Assert.Equal([rows, 1, heads * width], actual.shape);

        Tensor Heads(Tensor y) => y.view(rows, 1, -1, width).transpose(1, 2);
        Tensor Turned(Tensor y) => Rotary.Turn(Heads(y), pass.Cos, pass.Sin);
        var (keys, values) = other.Extend(1, Turned(k), Heads(v));
        cache.Advance(1);
        Golden.Equal(keys, cache.Layer(1).Keys);
        Golden.Equal(values, cache.Layer(1).Values);
        Tensor Wide(Tensor cached) => cached.to(ScalarType.Float32).repeat_interleave(heads / keyValueHeads, 1);
        var expected = nn.functional.scaled_dot_product_attention(Turned(q).to(ScalarType.Float32), Wide(keys), Wide(values), mask, 0, false);
        Assert.True(allclose(expected.transpose(1, 2).reshape(actual.shape), actual.to(ScalarType.Float32), rtol: 1 / 256.0, atol: 1e-5)); // one rounding
        cache.Advance(7);
        Assert.Contains("holds", Assert.Throws<InvalidOperationException>(() => OneQuery.Attend(q, k, v, width, pass, 1)).Message);
    }

    [Fact]
    public void Several_tokens_other_types_and_passes_with_a_graph_are_left_to_libtorch()
    {
        using var scope = NewDisposeScope();
        using var cache = new KvCache(1, 1, 2, 9, 64, CPU, ScalarType.BFloat16);
        var pass = new PassContext(ones(1, 1, 1, 64, ScalarType.BFloat16), ones(1, 1, 1, 64, ScalarType.BFloat16), null, false, cache);
        Tensor q = ones(1, 1, 128, ScalarType.BFloat16), wide = ones(1, 1, 128), two = ones(1, 2, 128, ScalarType.BFloat16);
        Assert.False(OneQuery.Fit(q, 64, pass, 0));
        using var free = no_grad();
        Assert.Equal([System.Numerics.Vector.IsHardwareAccelerated, false, false, false],
            new[] { OneQuery.Fit(q, 64, pass, 0), OneQuery.Fit(wide, 64, pass, 0), OneQuery.Fit(two, 64, pass, 0), OneQuery.Fit(q, 64, pass with { Cache = null }, 0) });
    }
}
