// o = softmax(q kᵀ / √K) v of a long sequence, in fp32 on a CPU, without a mask and without a graph: a block of queries
// at a time, whose scores stay in the processor's cache from one product to the other.
// libtorch's attention hands blocks to the matrix library, for which they are small: it makes 0.8 of what large
// products make, which on AMD do not use AVX-512. Here six queries by two vectors of keys, or of a head's columns, are
// summed at a time, in registers. Keys and values are packed for that once a head, in the order in which they are read.
// How the work is shared among threads changes no bit of the result.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using ReasonGen.Core;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Attention of whole sequences. B batch, H heads, T queries, S keys, K head width.</summary>
internal static unsafe class BlockAttention
{
    private const int Rows = 48; // queries of a block, which Panels multiplies six at a time

    /// <summary>Whether it takes queries, keys, and values like those. A head's width must be whole pairs of
    /// vectors.</summary>
    /// <param name="q">[B, H, T, K], strided as it likes but for the last dimension.</param>
    /// <param name="k">[B, H, S, K], likewise.</param>
    internal static bool CanHandle(Tensor q, Tensor k) => q.device_type == DeviceType.CPU
        && q.dtype == ScalarType.Float32 && q.shape[2] >= Rows && k.shape[2] >= Rows && q.numel() > 0
        && Math.Max(q.numel(), k.numel()) < 1 << 28 && q.stride(3) == 1 && k.stride(3) == 1
        && !q.requires_grad && !k.requires_grad
        && (TakesLanes16(q.shape[3]) || (Vector256.IsHardwareAccelerated && q.shape[3] % (2 * Lanes8.Count) == 0));

    private static bool TakesLanes16(long width) =>
        Vector512.IsHardwareAccelerated && width % (2 * Lanes16.Count) == 0;

    /// <summary>Attends.</summary>
    /// <param name="q">[B, H, T, K] that <see cref="CanHandle"/>.</param>
    /// <param name="k">[B, H, S, K].</param>
    /// <param name="v">[B, H, S, K].</param>
    /// <returns>[B, T, H K].</returns>
    internal static Tensor Attend(Tensor q, Tensor k, Tensor v) => TakesLanes16(q.shape[3])
        ? Attend<Lanes16, Vector512<float>>(q, k, v) : Attend<Lanes8, Vector256<float>>(q, k, v);

    internal static Tensor Attend<L, V>(Tensor q, Tensor k, Tensor v) where L : ILanes<V> where V : struct
    {
        using var scope = NewDisposeScope();
        int heads = (int)q.shape[1], all = (int)q.shape[0] * heads, tokens = (int)q.shape[2], seen = (int)k.shape[2];
        int width = (int)q.shape[3], threads = get_num_threads(), blocks = (tokens + Rows - 1) / Rows;
        var stride = (seen + 2 * L.Count - 1) / (2 * L.Count) * (2 * L.Count);
        long packed = (long)stride * width, scratch = (long)Rows * (stride + width);
        var result = empty([q.shape[0], tokens, heads, width], ScalarType.Float32, CPU);
        Tensor keys = empty([all, packed], ScalarType.Float32, CPU), values = empty_like(keys),
            places = empty([threads, scratch], ScalarType.Float32, CPU);
        nint toKeys = Address(keys), toValues = Address(values), place = Address(places), to = Address(result);
        Strided queries = new(q), fromKeys = new(k), fromValues = new(v);
        Share(all, threads, (_, head) =>
        {
            Panels.Turn(fromKeys.Of(head, heads), fromKeys.Row, (float*)toKeys + head * packed, 0, seen, width,
                2 * L.Count);
            PackValues<L, V>(fromValues.Of(head, heads), fromValues.Row, (float*)toValues + head * packed, seen, width);
        });
        Share(all * blocks, threads, (thread, block) =>
        {
            int head = block / blocks, first = block % blocks * Rows;
            var part = new Block((float*)toKeys + head * packed, (float*)toValues + head * packed,
                (float*)place + thread * scratch, Math.Min(Rows, tokens - first), seen, stride, width);
            part.Attend<L, V>(queries.Of(head, heads) + first * queries.Row, queries.Row,
                (float*)to + (((long)head / heads * tokens + first) * heads + head % heads) * width, heads * width);
        });
        return result.flatten(2).MoveToOuterDisposeScope();
    }

    // the next part to whoever is free
    private static void Share(int parts, int threads, Action<int, int> work)
    {
        var next = -1;
        ParallelParts.For(threads, threads, thread =>
        {
            for (int part; (part = Interlocked.Increment(ref next)) < parts;)
            {
                work(thread, part);
            }
        });
    }

    // [S, K] → panels [K / 2L][S][2L]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void PackValues<L, V>(float* from, long row, float* to, int seen, int width)
        where L : ILanes<V> where V : struct
    {
        for (var n = 0; n < width; n += 2 * L.Count)
        {
            for (var j = 0; j < seen; j++, to += 2 * L.Count)
            {
                L.Store(L.Load(from + j * row + n), to);
                L.Store(L.Load(from + j * row + n + L.Count), to + L.Count);
            }
        }
    }

    private readonly record struct Strided(nint First, long Batch, long Head, long Row)
    {
        internal Strided(Tensor x) : this(Address(x[0, 0, 0]), x.stride(0), x.stride(1), x.stride(2))
        {
        }

        internal float* Of(int head, int heads) => (float*)First + head / heads * Batch + head % heads * Head;
    }

    // some queries of a head
    private readonly struct Block(float* keys, float* values, float* place, int rows, int seen, int stride, int width)
    {
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal void Attend<L, V>(float* q, long qRow, float* to, long toRow) where L : ILanes<V> where V : struct
        {
            float* scaled = place, scores = place + Rows * width, shares = stackalloc float[Rows];
            Scale<L, V>(q, qRow, scaled, width, 1 / MathF.Sqrt(width));
            for (var j = 0; j < stride; j += 2 * L.Count)
            {
                Panels<L, V>.Multiply(new((nint)scaled, width, 1), keys + (long)j * width, scores + j, rows, width,
                    add: false, stride);
            }

            for (var row = 0; row < rows; row++)
            {
                shares[row] = 1 / Lanes<L, V>.Exponentials(scores + (long)row * stride, seen);
            }

            for (var n = 0; n < width; n += 2 * L.Count)
            {
                Panels<L, V>.Multiply(new((nint)scores, stride, 1), values + (long)n * seen, to + n, rows, seen,
                    add: false, (nint)toRow);
            }

            for (var row = 0; row < rows; row++, to += toRow)
            {
                Scaled<L, V>(to, to, shares[row]);
            }
        }

        private void Scale<L, V>(float* from, long fromRow, float* to, long toRow, float by)
            where L : ILanes<V> where V : struct
        {
            for (var row = 0; row < rows; row++, from += fromRow, to += toRow)
            {
                Scaled<L, V>(from, to, by);
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void Scaled<L, V>(float* from, float* to, float by) where L : ILanes<V> where V : struct
        {
            for (var n = 0; n < width; n += L.Count)
            {
                L.Store(L.Multiply(L.Load(from + n), L.Of(by)), to + n);
            }
        }
    }
}
