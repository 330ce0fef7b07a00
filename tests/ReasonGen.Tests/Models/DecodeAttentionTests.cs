using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Native;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class DecodeAttentionTests
{
    private static readonly bool Vectors = System.Numerics.Vector.IsHardwareAccelerated;

    [Theory]
    [InlineData(1, 4, 4, 5, 64, false)]
    [InlineData(3, 4, 2, 40, 128, true)]
    [InlineData(2, 16, 16, 300, 128, true)] // enough for several threads
    public void Attention_of_one_token_is_that_of_libtorch(int rows, int heads, int keyValueHeads, int length,
        int width, bool masked)
    {
        NativeRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var generator = Seeds.Torch(3);
        Tensor Random(params long[] shape) =>
            randn(shape, ScalarType.Float32, CPU, generator: generator).mul(3).to(ScalarType.BFloat16);
        KvCache NewCache() => new(2, rows, keyValueHeads, length + 7, width, CPU, ScalarType.BFloat16);
        using KvCache cache = NewCache(), other = NewCache();
        var before = Random(rows, keyValueHeads, length - 1, width);
        var angles = Rotary.Angles(arange(rows).unsqueeze(1).add(length), width, 1e4, null);
        foreach (var each in new[] { cache, other })
        {
            each.Extend(1, before, before.neg());
            each.Advance(length - 1);
        }

        var (cos, sin) = Rotary.CosSin(angles, ScalarType.BFloat16);
        (cos, sin) = (cos.unsqueeze(1), sin.unsqueeze(1));
        var mask = masked ? rand([rows, 1, 1, length], ScalarType.Float32, CPU, generator: generator).gt(0.4) : null;
        var q = Random(rows, 1, heads * width);
        var k = Random(rows, 1, keyValueHeads * width);
        var v = Random(rows, 1, keyValueHeads * width);
        var (cachedKeys, cachedValues) = cache.Whole(1);
        Assert.Equal(Vectors, DecodeAttention.CanHandle(q, width, cos, sin, mask, cachedKeys));
        var at = cache.EnsureCapacity(1);
        var actual = DecodeAttention.Attend(q, k, v, width, cos, sin, mask, cachedKeys, cachedValues, at);
        Assert.Equal([rows, 1, heads * width], actual.shape);

        Tensor Heads(Tensor y) => y.view(rows, 1, -1, width).transpose(1, 2);
        Tensor Turned(Tensor y) => Rotary.Turn(Heads(y), cos, sin);
        var (keys, values) = other.Extend(1, Turned(k), Heads(v));
        cache.Advance(1);
        Golden.Equal(keys, cache.Layer(1).Keys);
        Golden.Equal(values, cache.Layer(1).Values);
        Tensor Wide(Tensor cached) => cached.to(ScalarType.Float32).repeat_interleave(heads / keyValueHeads, 1);
        var expected = nn.functional.scaled_dot_product_attention(Turned(q).to(ScalarType.Float32), Wide(keys),
            Wide(values), mask, 0, false);
        expected = expected.transpose(1, 2).reshape(actual.shape);
        Assert.True(allclose(expected, actual.to(ScalarType.Float32), rtol: 1 / 256.0, atol: 1e-5)); // one rounding
    }

    [Fact]
    public void A_full_cache_says_so()
    {
        using var cache = new KvCache(1, 1, 2, 9, 64, CPU, ScalarType.BFloat16);
        cache.Advance(9);
        Assert.Contains("holds 9 tokens",
            Assert.Throws<InvalidOperationException>(() => cache.EnsureCapacity(1)).Message);
    }

    [Fact]
    public void Several_tokens_other_types_and_passes_with_a_graph_are_left_to_libtorch()
    {
        using var scope = NewDisposeScope();
        using var cache = new KvCache(1, 1, 2, 9, 64, CPU, ScalarType.BFloat16);
        var angles = ones(1, 1, 1, 64, ScalarType.BFloat16);
        bool CanHandle(Tensor q) => DecodeAttention.CanHandle(q, 64, angles, angles, null, cache.Whole(0).Keys);
        var one = ones(1, 1, 128, ScalarType.BFloat16);
        Assert.False(CanHandle(one));
        using var free = no_grad();
        Assert.Equal(Vectors, CanHandle(one));
        Assert.False(CanHandle(ones(1, 1, 128)));
        Assert.False(CanHandle(ones(1, 2, 128, ScalarType.BFloat16)));
    }
}
