using System.Runtime.Intrinsics;
using ReasonGen.Kernels;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

public sealed class BlockAttentionTests : IDisposable
{
    private readonly IDisposable free = no_grad(), scope = NewDisposeScope(); // keeps what is only on its way

    [Theory]
    [InlineData(1, 2, 48, 48, 64)]
    [InlineData(2, 3, 50, 65, 32)]
    [InlineData(1, 1, 145, 131, 64)]
    [InlineData(1, 2, 53, 577, 96)]
    [InlineData(3, 1, 5, 7, 32)]
    [InlineData(1, 1, 1, 1, 32)]
    public void Attention_equals_libtorchs_with_vectors_of_any_length(int rows, int heads, int tokens, int seen,
        int width)
    {
        // as the heads of joined products lie
        Tensor Heads(int count, int parts, int part) => randn([rows, count, parts, heads, width],
            generator: new Generator(5, CPU)).permute(2, 0, 3, 1, 4)[part];
        var (q, k, v) = (Heads(tokens, 3, 0), Heads(seen, 3, 1), Heads(seen, 2, 1));
        var expected = nn.functional.scaled_dot_product_attention(q.to(ScalarType.Float64), k.to(ScalarType.Float64),
            v.to(ScalarType.Float64)).transpose(1, 2).flatten(2).to(ScalarType.Float32);
        Golden.Close(expected, BlockAttention.Attend<Lanes4, Vector128<float>>(q, k, v), 5e-6, "4");
        Golden.Close(expected, BlockAttention.Attend<Lanes8, Vector256<float>>(q, k, v), 5e-6, "8");
        Golden.Close(expected, BlockAttention.Attend<Lanes16, Vector512<float>>(q, k, v), 5e-6, "16");
    }

    [Fact]
    public void Scores_far_apart_neither_overflow_nor_vanish()
    {
        var (q, k, v) = (full([1, 1, 48, 32], 100f), zeros(1, 1, 50, 32), randn(1, 1, 50, 32));
        k[0, 0, 7] = 100f;
        var mixed = BlockAttention.Attend<Lanes8, Vector256<float>>(q, k, v);
        Golden.Close(v[0, 0, 7].expand(1, 48, 32), mixed, 1e-6);
        k.fill_(-100f);
        Golden.Close(v.mean([2L]).expand(1, 48, 32), BlockAttention.Attend<Lanes8, Vector256<float>>(q, k, v), 1e-6);
    }

    [Fact]
    public void What_is_no_number_stays_none()
    {
        var (q, k, v) = (randn(1, 1, 48, 32), randn(1, 1, 50, 32), randn(1, 1, 50, 32));
        q[0, 0, 3, 5] = float.NaN;
        var mixed = BlockAttention.Attend<Lanes8, Vector256<float>>(q, k, v).isnan();
        Assert.True(mixed[0, 3].all().ToBoolean());
        Assert.Equal(32, mixed.sum().ToInt32());
    }

    [Fact]
    public void Only_long_fp32_sequences_on_a_CPU_without_a_graph_are_taken()
    {
        var long64 = zeros(1, 2, 48, 64);
        Assert.Equal(Vector256.IsHardwareAccelerated, BlockAttention.CanHandle(long64, long64));
        Assert.False(BlockAttention.CanHandle(zeros(1, 2, 47, 64), long64));
        Assert.False(BlockAttention.CanHandle(long64, zeros(1, 2, 47, 64)));
        Assert.False(BlockAttention.CanHandle(zeros(1, 2, 48, 24), zeros(1, 2, 48, 24)));
        Assert.False(BlockAttention.CanHandle(zeros(1, 2, 64, 48).transpose(2, 3), long64));
        Assert.False(BlockAttention.CanHandle(long64.to(ScalarType.BFloat16), long64));
        Assert.False(BlockAttention.CanHandle(zeros([1, 2, 48, 64], requires_grad: true), long64));
        Assert.False(BlockAttention.CanHandle(zeros([1, 2, 48, 64], device: META), long64));
    }

    public void Dispose()
    {
        scope.Dispose();
        free.Dispose();
    }
}
