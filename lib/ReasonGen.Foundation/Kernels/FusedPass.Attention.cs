// Attention of the fused pass over whole rows, one row and head at a time; T tokens of the row.
//   forward, columns t: s_jt = k_j·q_t / √K for j ≤ t;  p = softmax over j;  o_t = Σ_j p_jt v_j;  log Σ_j e^s_jt is
//     kept;
//   backward, columns j: p_tj = e^(s_tj − log Σ_t),  δ_t = do_t·o_t,  ds_tj = p_tj (do_t·v_j − δ_t) / √K,
//     dv_j = Σ_t p_tj do_t,  dk_j = Σ_t ds_tj q_t,  dq_t = Σ_j ds_tj k_j.
using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

internal sealed unsafe partial class FusedPass<L, V>
{
    private const float Hidden = float.NegativeInfinity;

    // what attention over the longest of these rows needs besides
    private long AttentionScratch(IReadOnlyList<int[]> rows)
    {
        long longest = rows.Max(row => row.Length), columns = (longest + Width - 1) / Width * Width;
        return columns * (2 * Width + 8L * Math.Max(size.HeadWidth, Width)) + 4L * Width * (size.HeadWidth + 1);
    }

    // RoPE of queries and keys as Rotary.Turn computes it; back again with direction −1
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Turn(float* innerValues, Block block, float direction)
    {
        var half = size.HeadWidth / 2;
        var both = stackalloc float[size.HeadWidth];
        for (var i = 0; i < block.Count; i++)
        {
            float* cos = block.Angles + i * size.HeadWidth, sin = cos + half;
            for (var c = 0; c < inner - size.KeyValueHeads * size.HeadWidth; c += size.HeadWidth)
            {
                Load(innerValues, block.Count, i, c, both);
                HeadRotation.Turn(both, cos, sin, half, direction);
                Put(both, innerValues, block.Count, i, c);
            }
        }
    }

    // the rows and heads of a block
    private IEnumerable<(int First, int Count, int Head)> Heads(Block block)
    {
        var first = 0;
        foreach (var row in block.Rows)
        {
            for (var head = 0; head < size.Heads; head++)
            {
                yield return (first, row.Length, head);
            }

            first += row.Length;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Attend(Kept kept, int n, int first, int count, int head, float* scratch)
    {
        int width = size.HeadWidth, columns = (count + Width - 1) / Width * Width;
        float* rows = scratch, turned = rows + columns * width, keys = turned + columns * width;
        float* values = keys + columns * width, scores = values + columns * width, mixed = scores + columns * Width;
        var shares = mixed + width * Width;
        Gather(kept.Inner, n, first, count, QueryColumn(head), rows);
        Transpose(rows, count, turned);
        Gather(kept.Inner, n, first, count, KeyColumn(head), keys);
        Gather(kept.Inner, n, first, count, ValueColumn(head), values);
        var scale = 1 / MathF.Sqrt(width);
        for (var from = 0; from < count; from += Width)
        {
            int seen = Math.Min(count, from + Width), some = seen - from;
            Panels<L, V>.Multiply(new((nint)keys, width, 1), turned + from * width, scores, seen, width, add: false);
            for (var j = from + 1; j < seen; j++)
            {
                new Span<float>(scores + j * Width, j - from).Fill(Hidden);
            }

            Softmax(scores, seen, scale, shares, shares + Width);
            Panels<L, V>.Multiply(new((nint)values, 1, width), scores, mixed, width, seen, add: false);
            for (var t = 0; t < some; t++)
            {
                kept.LogSums[head * n + first + from + t] = shares[Width + t];
                for (var k = 0; k < width; k++)
                {
                    rows[k] = mixed[k * Width + t] * shares[t];
                }

                Put(rows, kept.Mixed, n, first + from + t, head * width);
            }
        }
    }

    // columns of scores become e^(scale · (score − largest)); of each, 1 / sum and log of the sum of e^(scale · score)
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Softmax(float* scores, int rows, float scale, float* inverse, float* logSums)
    {
        var highest = stackalloc float[L.Count];
        for (var half = 0; half < Width; half += L.Count)
        {
            var largest = L.Of(Hidden);
            for (var j = 0; j < rows; j++)
            {
                largest = L.Max(largest, L.Load(scores + j * Width + half));
            }

            V sum = L.Of(0), by = L.Of(scale), off = L.Multiply(largest, L.Of(-scale));
            for (var j = 0; j < rows; j++)
            {
                var at = scores + j * Width + half;
                var share = Lanes<L, V>.Exp(L.MultiplyAdd(L.Load(at), by, off));
                sum = L.Add(sum, share);
                L.Store(share, at);
            }

            L.Store(L.Divide(L.Of(1), sum), inverse + half);
            L.Store(sum, logSums + half);
            L.Store(largest, highest);
            for (var t = 0; t < L.Count; t++)
            {
                logSums[half + t] = MathF.Log(logSums[half + t]) + scale * highest[t];
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void AttendBackward(Kept kept, int n, int first, int count, int head, float* dMixed, float* dInner,
        float* scratch)
    {
        int width = size.HeadWidth, columns = (count + Width - 1) / Width * Width;
        int panels = (width + Width - 1) / Width;
        float* queries = scratch, d = queries + columns * width, rows = d + columns * width;
        float* keys = rows + columns * width, turnedKeys = keys + (long)columns * panels * Width;
        float* turnedValues = turnedKeys + columns * width, dQueries = turnedValues + columns * width;
        float* shares = dQueries + (long)columns * panels * Width, ds = shares + columns * Width;
        float* back = ds + columns * Width, deltas = back + width * Width;
        Gather(kept.Mixed, n, first, count, head * width, rows);
        Gather(dMixed, n, first, count, head * width, d);
        for (var t = 0; t < count; t++)
        {
            var sum = L.Of(0);
            for (var k = 0; k < width; k += L.Count)
            {
                sum = L.MultiplyAdd(L.Load(rows + t * width + k), L.Load(d + t * width + k), sum);
            }

            deltas[t] = L.Sum(sum);
        }

        Gather(kept.Inner, n, first, count, QueryColumn(head), queries);
        Gather(kept.Inner, n, first, count, ValueColumn(head), rows);
        Transpose(rows, count, turnedValues);
        Gather(kept.Inner, n, first, count, KeyColumn(head), rows);
        Transpose(rows, count, turnedKeys);
        new Span<float>(keys, columns * panels * Width).Clear();
        for (var t = 0; t < count; t++)
        {
            Put(rows + t * width, keys, count, t, 0);
        }

        var logSums = kept.LogSums + head * n + first;
        for (var from = 0; from < count; from += Width)
        {
            // keys from … are seen by queries from … on
            int rest = count - from, some = Math.Min(Width, rest);
            LeftFactor Of(float* values) => new((nint)(values + from * width), width, 1);
            LeftFactor Turned(float* values) => new((nint)(values + from * width), 1, width);
            Panels<L, V>.Multiply(Of(queries), turnedKeys + from * width, shares, rest, width, add: false);
            Panels<L, V>.Multiply(Of(d), turnedValues + from * width, ds, rest, width, add: false);
            Shares(shares, ds, logSums + from, deltas + from, rest);
            Panels<L, V>.Multiply(Turned(d), shares, back, width, rest, add: false);
            Add(back, some, dInner, n, first + from, ValueColumn(head));
            Panels<L, V>.Multiply(Turned(queries), ds, back, width, rest, add: false);
            Add(back, some, dInner, n, first + from, KeyColumn(head));
            for (var panel = 0; panel < panels; panel++)
            {
                var matrix = (long)panel * count * Width;
                Panels<L, V>.Multiply(new((nint)ds, Width, 1), keys + matrix + from * Width,
                    dQueries + matrix + from * Width, rest, some, add: from > 0);
            }
        }

        for (var t = 0; t < count; t++)
        {
            Load(dQueries, count, t, 0, rows);
            Put(rows, dInner, n, first + t, QueryColumn(head));
        }
    }

    // scores → p, and do·v → ds; of the first rows, later columns are hidden
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Shares(float* scores, float* ds, float* logSums, float* deltas, int rows)
    {
        var scale = L.Of(1 / MathF.Sqrt(size.HeadWidth));
        for (var t = 0; t < rows; t++, scores += Width, ds += Width)
        {
            V off = L.Of(-logSums[t]), delta = L.Of(-deltas[t]);
            for (var half = 0; half < Width; half += L.Count)
            {
                var share = Lanes<L, V>.Exp(L.MultiplyAdd(L.Load(scores + half), scale, off));
                L.Store(share, scores + half);
                L.Store(L.Multiply(L.Multiply(share, scale), L.Add(L.Load(ds + half), delta)), ds + half);
            }

            if (t + 1 < Width)
            {
                new Span<float>(scores + t + 1, Width - t - 1).Clear();
                new Span<float>(ds + t + 1, Width - t - 1).Clear();
            }
        }
    }

    // [K][P], turned, onto some rows of a head's columns
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Add(float* turned, int some, float* matrix, int n, int first, int column)
    {
        for (var t = 0; t < some; t++)
        {
            for (var k = 0; k < size.HeadWidth; k += L.Count)
            {
                var to = Panels<L, V>.At(matrix, n, first + t, column + k);
                for (var lane = 0; lane < L.Count; lane++)
                {
                    to[lane] += turned[(k + lane) * Width + t];
                }
            }
        }
    }

    // columns of a head, row by row: [T][K]
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Gather(float* matrix, int n, int first, int count, int column, float* to)
    {
        for (var t = 0; t < count; t++, to += size.HeadWidth)
        {
            Load(matrix, n, first + t, column, to);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Load(float* matrix, int n, int row, int column, float* to)
    {
        for (var k = 0; k < size.HeadWidth; k += L.Count)
        {
            L.Store(L.Load(Panels<L, V>.At(matrix, n, row, column + k)), to + k);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Put(float* from, float* matrix, int n, int row, int column)
    {
        for (var k = 0; k < size.HeadWidth; k += L.Count)
        {
            L.Store(L.Load(from + k), Panels<L, V>.At(matrix, n, row, column + k));
        }
    }

    // [T][K] → [T / P][K][P], zeros behind the last
    private void Transpose(float* rows, int count, float* to) =>
        Panels.Turn(rows, size.HeadWidth, to, 0, count, size.HeadWidth, Width);

    private int QueryColumn(int head) => head * size.HeadWidth;

    private int KeyColumn(int head) => size.Width + head * size.KeyValueHeads / size.Heads * size.HeadWidth;

    private int ValueColumn(int head) => KeyColumn(head) + size.KeyValueHeads * size.HeadWidth;
}
