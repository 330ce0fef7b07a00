// Attention of one new token over a KV cache, in bf16 on a CPU:  o = Σ_j p_j v_j / Σ_j p_j,  p_j = exp(q·k_j / √K − m),
//  m the largest so far.
// libtorch's attention takes as long for one query as for a block of them. Here each head reads its keys and values
// once: where a larger score comes, the sums so far are scaled down (Milakov and Gimelshein 2018, as in
// FlashAttention). All in fp32, rounded once. Turning and storing are done here too: a score of small operators a layer
// would take a tenth of a token's time.
using System.Numerics;
using System.Runtime.CompilerServices;
using ReasonGen.Core;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Attention of one new token a row, with what comes before it: RoPE and storing. B batch, H heads, K head
/// width.</summary>
internal static unsafe class DecodeAttention
{
    private const long FewestForThreads = 1 << 19; // products; fewer are done before another thread wakes

    /// <summary>Whether q, [B, T, H K], and the pass are of that kind; RoPE turns half a head by the other half, so
    /// vectors must fill a half.</summary>
    internal static bool CanHandle(Tensor q, int width, Tensor cos, Tensor sin, Tensor? mask, Tensor keys) =>
        q.shape[1] == 1 && Bf16Kernels.CanHandle(q, width / 2, int.MaxValue)
        && keys.dtype == ScalarType.BFloat16 && keys.numel() < 1 << 30
        && cos.is_contiguous() && sin.is_contiguous() && mask?.is_contiguous() != false;

    /// <summary>Turns query and key, stores key and value, and attends: [B, 1, H K] of each, before RoPE → [B, 1, H
    /// K].</summary>
    /// <param name="q">Query.</param>
    /// <param name="k">Key.</param>
    /// <param name="v">Value.</param>
    /// <param name="width">K.</param>
    /// <param name="cos">[B or 1, 1, 1, K].</param>
    /// <param name="sin">[B or 1, 1, 1, K], its first half negated.</param>
    /// <param name="mask">[B, 1, 1, S] bool, true where a key may be seen; null sees all.</param>
    /// <param name="keys">The layer's cache, [B, key-value heads, capacity, K].</param>
    /// <param name="values">As <paramref name="keys"/>.</param>
    /// <param name="at">Where the new token is stored.</param>
    internal static Tensor Attend(
        Tensor q, Tensor k, Tensor v, int width, Tensor cos, Tensor sin, Tensor? mask, Tensor keys, Tensor values,
        int at)
    {
        int rows = (int)q.shape[0], heads = (int)q.shape[2] / width, stored = (int)keys.shape[1], length = at + 1;
        var result = empty(q.shape, ScalarType.BFloat16, CPU);
        nint from = Address(q), to = Address(result), key = Address(k), value = Address(v);
        nint cosines = Address(cos), sines = Address(sin), allKeys = Address(keys), allValues = Address(values);
        var seen = mask is null ? 0 : Address(mask);
        // a row's own angles, or one's for all
        var (stride, angles) = (keys.shape[2] * width, cos.shape[0] == 1 ? 0 : width);
        for (var head = 0; head < rows * stored; head++)
        {
            var (place, angle) = (head * stride + (long)at * width, (long)(head / stored) * angles);
            Turn((ushort*)key + (long)head * width, (ushort*)cosines + angle, (ushort*)sines + angle,
                (ushort*)allKeys + place, width);
            new Span<ushort>((ushort*)value + (long)head * width, width).CopyTo(new((ushort*)allValues + place, width));
        }

        void Head(int head)
        {
            var turned = stackalloc ushort[width];
            long row = head / heads, cached = (row * stored + head % heads * stored / heads) * stride;
            Turn((ushort*)from + (long)head * width, (ushort*)cosines + row * angles, (ushort*)sines + row * angles,
                turned, width);
            Mix(turned, (ushort*)allKeys + cached, (ushort*)allValues + cached, (ushort*)to + (long)head * width,
                seen == 0 ? null : (bool*)seen + row * length, length, width);
        }

        if ((long)rows * heads * length * width < FewestForThreads)
        {
            for (var head = 0; head < rows * heads; head++)
            {
                Head(head);
            }
        }
        else
        {
            ParallelParts.For(rows * heads, get_num_threads(), Head);
        }

        return result;
    }

    // Rotary.Turn, rounded where that rounds
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Turn(ushort* x, ushort* cos, ushort* sin, ushort* to, int width)
    {
        for (var i = 0; i < width; i += 2 * Vector<float>.Count)
        {
            var other = i < width / 2 ? i + width / 2 : i - width / 2;
            var ((x0, x1), (y0, y1)) = (Load(x + i), Load(x + other));
            var ((c0, c1), (s0, s1)) = (Load(cos + i), Load(sin + i));
            Store(Bf16Kernels.Round(x0 * c0) + y0 * s0, Bf16Kernels.Round(x1 * c1) + y1 * s1, to + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Mix(ushort* query, ushort* keys, ushort* values, ushort* to, bool* seen, int length, int width)
    {
        float* q = stackalloc float[width], sums = stackalloc float[width];
        Widen(query, q, width);
        new Span<float>(sums, width).Clear();
        var (scale, most, total, lane) = (1 / MathF.Sqrt(width), float.NegativeInfinity, 0f, Vector<float>.Count);
        for (var j = 0; j < length; j++, keys += width, values += width)
        {
            if (seen != null && !seen[j])
            {
                continue;
            }

            Vector<float> evens = default, odds = default;
            for (var i = 0; i < width; i += 2 * lane)
            {
                var (even, odd) = Load(keys + i);
                evens = Vector.MultiplyAddEstimate(even, Vector.Load(q + i), evens);
                odds = Vector.MultiplyAddEstimate(odd, Vector.Load(q + i + lane), odds);
            }

            var score = Vector.Sum(evens + odds) * scale;
            var keep = 1f;
            if (!(score <= most))
            {
                (keep, most) = (MathF.Exp(most - score), score);
            }

            var share = MathF.Exp(score - most);
            total = total * keep + share;
            var (kept, added) = (new Vector<float>(keep), new Vector<float>(share));
            for (var i = 0; i < width; i += 2 * lane)
            {
                var (even, odd) = Load(values + i);
                Vector.Store(Vector.MultiplyAddEstimate(added, even, kept * Vector.Load(sums + i)), sums + i);
                Vector.Store(Vector.MultiplyAddEstimate(added, odd, kept * Vector.Load(sums + i + lane)),
                    sums + i + lane);
            }
        }

        var all = new Vector<float>(total);
        for (var i = 0; i < width; i += 2 * lane)
        {
            Store(Vector.Load(sums + i) / all, Vector.Load(sums + i + lane) / all, to + i);
        }
    }
}
