// The one seam between the pages of the models and faster ways to compute the same: each operator is a CPU kernel where
// one can handle its input (bf16, few rows, no graph), and libtorch's everywhere else.
//   RMSNorm(x) = x / sqrt(mean(x²) + ε) in fp32, cast back, then times the weight.
// Deviation: mean(x²) is taken from the vector norm, which is one pass over x instead of three and equal up to
// rounding.
using ReasonGen.Kernels;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>Operators of the decoder. B batch, T tokens, S cached + new tokens, H heads, K head width.</summary>
internal static class Operators
{
    // TorchSharp makes the weight 1 of a sum anew at each call, and the collector may take it while libtorch reads it:
    // hot sums are given this one.
    private static readonly Scalar One = 1;

    /// <summary>x + y, of one shape.</summary>
    internal static Tensor Add(Tensor x, Tensor y) => x.add(y, One);

    /// <summary>W x + b of several layers for the same x: […, in] → […, out] each.</summary>
    internal static Tensor[] Linear(Tensor x, DenseLayer[] layers) =>
        Bf16Kernels.CanHandle(x, layers[0].Inputs) && Array.TrueForAll(layers, Bf16Kernels.CanHandle)
            ? Bf16Kernels.Products(x, layers)
            : Array.ConvertAll(layers, layer => functional.linear(x, layer.Weight, layer.Bias));

    /// <summary>RMSNorm over the last dimension.</summary>
    /// <param name="x">[…, D].</param>
    /// <param name="weight">[D].</param>
    /// <param name="width">D, which the caller keeps: a Scalar made here may be collected while libtorch reads
    /// it.</param>
    /// <param name="epsilon">ε, likewise.</param>
    internal static Tensor RmsNorm(Tensor x, Tensor weight, Scalar width, Scalar epsilon)
    {
        if (weight.dtype == ScalarType.BFloat16 && Bf16Kernels.CanHandle(x, (int)weight.numel()))
        {
            return Bf16Kernels.Norm(x, weight, epsilon.ToDouble());
        }

        using var scope = NewDisposeScope();
        var x32 = x.to(ScalarType.Float32);
        var norm = linalg.vector_norm(x32, 2, [-1], true); // […, 1]
        var scale = (norm * norm / width).add(epsilon, One).rsqrt();
        return ((x32 * scale).to(x.dtype) * weight).MoveToOuterDisposeScope();
    }

    /// <summary>silu(gate) · up.</summary>
    internal static Tensor SiluGate(Tensor gate, Tensor up) => Bf16Kernels.CanHandle(gate, (int)gate.shape[^1])
        ? Bf16Kernels.Gated(gate, up) : functional.silu(gate) * up;

    /// <summary>RoPE, storing in the cache where there is one, and attention.</summary>
    /// <param name="q">[B, T, H K], before RoPE.</param>
    /// <param name="k">[B, T, key-value heads · K], before RoPE.</param>
    /// <param name="v">As <paramref name="k"/>.</param>
    /// <param name="headWidth">K.</param>
    /// <param name="pass">Angles, mask and cache.</param>
    /// <param name="layer">Index of the layer, for the cache.</param>
    /// <returns>[B, T, H K].</returns>
    internal static Tensor Attention(Tensor q, Tensor k, Tensor v, int headWidth, PassContext pass, int layer)
    {
        if (pass.Cache is { } cache && cache.Whole(layer) is var (keys, values)
            && DecodeAttention.CanHandle(q, headWidth, pass.Cos, pass.Sin, pass.Mask, keys))
        {
            var at = cache.EnsureCapacity(1);
            return DecodeAttention.Attend(q, k, v, headWidth, pass.Cos, pass.Sin, pass.Mask, keys, values, at);
        }

        long rows = q.shape[0], tokens = q.shape[1];
        Tensor Heads(Tensor y) => y.view(rows, tokens, -1, headWidth).transpose(1, 2); // [B, H, T, K]
        q = Rotary.Turn(Heads(q), pass.Cos, pass.Sin);
        k = Rotary.Turn(Heads(k), pass.Cos, pass.Sin);
        v = Heads(v);
        if (pass.Cache is not null)
        {
            (k, v) = pass.Cache.Extend(layer, k, v); // [B, key-value heads, S, K]
        }

        var group = q.shape[1] / k.shape[1];
        if (group > 1)
        {
            k = k.repeat_interleave(group, 1);
            v = v.repeat_interleave(group, 1);
        }

        var mixed = functional.scaled_dot_product_attention(q, k, v, pass.Mask, 0, pass.Causal); // [B, H, T, K]
        return mixed.transpose(1, 2).reshape(rows, tokens, -1);
    }
}
