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

        if (DeviceKernels.CanHandle(x))
        {
            return DeviceKernels.RmsNorm(x, weight, epsilon.ToDouble());
        }

        using var scope = NewDisposeScope();
        var x32 = x.to(ScalarType.Float32);
        var norm = x32.norm(-1, true, 2); // […, 1]
        var scale = (norm * norm / width).add(epsilon, One).rsqrt();
        return ((x32 * scale).to(x.dtype) * weight).MoveToOuterDisposeScope();
    }

    /// <summary>silu(gate) · up, of both apart or joined along the last dimension.</summary>
    internal static Tensor SiluGate(Tensor[] inner)
    {
        var (gate, up) = inner is [var joined] ? SamplingWeights.Halves(joined) : (inner[0], inner[1]);
        return Bf16Kernels.CanHandle(gate, (int)gate.shape[^1]) ? Bf16Kernels.Gated(gate, up)
            : functional.silu(gate) * up;
    }

    /// <summary>RoPE, storing in the cache where there is one, and attention.</summary>
    /// <param name="projected">Query, key and value, [B, T, heads · K] each, before RoPE; or the three joined.</param>
    /// <param name="heads">H, of the query.</param>
    /// <param name="headWidth">K.</param>
    /// <param name="pass">Angles, mask and cache.</param>
    /// <param name="layer">Index of the layer, for the cache.</param>
    /// <returns>[B, T, H K].</returns>
    internal static Tensor Attention(Tensor[] projected, int heads, int headWidth, PassContext pass, int layer)
    {
        if (projected is [var a, var b, var c] && pass.Cache is { } cache && cache.Whole(layer) is var (keys, values)
            && DecodeAttention.CanHandle(a, headWidth, pass.Cos, pass.Sin, pass.Mask, keys))
        {
            var at = cache.EnsureCapacity(1);
            return DecodeAttention.Attend(a, b, c, headWidth, pass.Cos, pass.Sin, pass.Mask, keys, values, at);
        }

        long rows = projected[0].shape[0], tokens = projected[0].shape[1];
        Tensor Heads(Tensor y) => y.view(rows, tokens, -1, headWidth).transpose(1, 2); // [B, H, T, K]
        Tensor Turned(Tensor y) => Rotary.Turn(y, pass.Cos, pass.Sin);
        var (q, k, v) = projected is [var joined] ? SamplingWeights.Heads(Heads(joined), heads, Turned)
            : (Turned(Heads(projected[0])), Turned(Heads(projected[1])), Heads(projected[2]));
        if (pass.Cache is not null)
        {
            (k, v) = pass.Cache.Extend(layer, k, v, pass.Mask?.shape[^1]); // [B, key-value heads, S, K]
        }

        if (pass is { Cache.IsInGraph: true, Mask: { } seen })
        {
            return DeviceKernels.AttendByProducts(q, k, v, seen);
        }

        var group = heads / k.shape[1];
        if (group > 1 && tokens == 1 && DeviceKernels.PayFor(q.device_type))
        {
            return DeviceKernels.AttendInGroups(q, k, v, pass.Mask);
        }

        if (group > 1)
        {
            k = k.repeat_interleave(group, 1);
            v = v.repeat_interleave(group, 1);
        }

        var mixed = functional.scaled_dot_product_attention(q, k, v, pass.Mask, 0, pass.Causal); // [B, H, T, K]
        return mixed.transpose(1, 2).reshape(rows, tokens, -1);
    }
}
