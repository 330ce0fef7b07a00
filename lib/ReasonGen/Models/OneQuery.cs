// Attention of one new token over a KV cache, in bf16 on a CPU:  o = Σ_j p_j v_j / Σ_j p_j,  p_j = exp(q·k_j / √K − m),  m the largest so far.
// libtorch's attention takes as long for one query as for a block of them. Here each head reads its keys and values once: where a larger score
// comes, the sums so far are scaled down (Milakov and Gimelshein 2018, as in FlashAttention). All in fp32, rounded once.
using System.Numerics;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Attention of one new token a row. B batch, H heads, K head width.</summary>
internal static unsafe class OneQuery
{
    private const long FewestForThreads = 1 << 19; // products; fewer are done before another thread wakes

    /// <summary>Whether q, [B, H, T, K], and the cache are of that kind.</summary>
    internal static bool Fit(Tensor q, KvCache cache, int layer) => q.shape[2] == 1 && FewRows.Fit(q, (int)q.shape[3], int.MaxValue)
        && cache.Whole(layer).Keys is { dtype: ScalarType.BFloat16 } keys && keys.numel() < 1 << 30;

    /// <summary>[B, H, 1, K] → [B, H, 1, K], over the first <paramref name="length"/> tokens of the cache.</summary>
    /// <param name="mask">[B, 1, 1, length] bool, true where a key may be seen, at least once a row; null for everywhere.</param>
    internal static Tensor Attend(Tensor q, KvCache cache, int layer, int length, Tensor? mask)
    {
        var (keys, values) = cache.Whole(layer); // [B, key-value heads, capacity, K]
        int rows = (int)q.shape[0], heads = (int)q.shape[1], width = (int)q.shape[3], shared = heads / (int)keys.shape[1];
        var result = empty(q.shape, ScalarType.BFloat16, CPU);
        using var visible = mask?.contiguous();
        var (from, to, allKeys, allValues) = (FewRows.Address(q), FewRows.Address(result), FewRows.Address(keys), FewRows.Address(values));
        var seen = visible is null ? 0 : FewRows.Address(visible);
        var stride = keys.shape[2] * width;
        var threads = (long)rows * heads * length * width < FewestForThreads ? 1 : get_num_threads();
        void Head(int head)
        {
            var cached = head / shared * stride;
            Mix((ushort*)from + (long)head * width, (ushort*)allKeys + cached, (ushort*)allValues + cached, (ushort*)to + (long)head * width,
                seen == 0 ? null : (bool*)seen + (long)(head / heads) * length, length, width);
        }

        if (threads == 1)
        {
            for (var head = 0; head < rows * heads; head++)
            {
                Head(head);
            }
        }
        else
        {
            Parallel.For(0, rows * heads, new() { MaxDegreeOfParallelism = threads }, Head);
        }

        return result;
    }

    private static void Mix(ushort* query, ushort* keys, ushort* values, ushort* to, bool* seen, int length, int width)
    {
        float* q = stackalloc float[width], sums = stackalloc float[width];
        FewRows.Widen(query, q, width);
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
                var (even, odd) = FewRows.Load(keys + i);
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
                var (even, odd) = FewRows.Load(values + i);
                Vector.Store(Vector.MultiplyAddEstimate(added, even, kept * Vector.Load(sums + i)), sums + i);
                Vector.Store(Vector.MultiplyAddEstimate(added, odd, kept * Vector.Load(sums + i + lane)), sums + i + lane);
            }
        }

        var all = new Vector<float>(total);
        for (var i = 0; i < width; i += 2 * lane)
        {
            FewRows.Store(Vector.Load(sums + i) / all, Vector.Load(sums + i + lane) / all, to + i);
        }
    }
}
