// Attention of the fused pass: a head's scores 16 keys at once, softmax over them, and the mixture of the values.
// Scores of keys that the mask hides are lowered by 1e30, which leaves them a share of less than 1e-37.
using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

internal sealed unsafe partial class FusedDecoder
{
    // Turns query and keys in place as Rotary.Turn does, and stores keys and values.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Store<L, V>(Pass pass, Place place, int layer, float* q) where L : ILanes<V> where V : struct
    {
        int width = size.HeadWidth, half = width / 2, at = pass.At + place.Token;
        var position = pass.Positions == null ? at : pass.Positions[place.Row * pass.Tokens + place.Token];
        fixed (float* cosines = &cos[position * half], sines = &sin[position * half])
        {
            var y = q;
            for (var head = 0; head < size.Heads + size.KeyValueHeads; head++, y += width)
            {
                HeadRotation.Turn(y, cosines, sines, half);
            }
        }

        float* key = q + size.Width, value = key + size.KeyValueHeads * width;
        for (var head = 0; head < size.KeyValueHeads; head++, key += width, value += width)
        {
            var (both, cached) = ((long)place.Row * size.KeyValueHeads + head, pass.Caches[layer]);
            var to = (both * pass.Capacity + at) * width;
            for (var k = 0; k < width; k += L.Count)
            {
                L.Store(L.Load(key + k), (float*)cached.Keys + to + k);
                L.Store(L.Load(value + k), (float*)cached.Values + to + k);
            }

            FusedCache.Put(key, (float*)pass.Turned[layer] + both * pass.Tiles * Tile * width, at, width);
        }
    }

    // o = Σ_j p_j v_j,  p = softmax(q·k_j / √K), of each head.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Attend<L, V>(Pass pass, Place place, int layer, float* q, float* o, float* bias, float* scores)
        where L : ILanes<V> where V : struct
    {
        int width = size.HeadWidth, end = pass.At + place.Token + 1, begin = place.First / Tile * Tile;
        var scale = L.Of(1 / MathF.Sqrt(width));
        for (var head = 0; head < size.Heads; head++, q += width, o += width)
        {
            var both = (long)place.Row * size.KeyValueHeads + head * size.KeyValueHeads / size.Heads;
            var keys = (float*)pass.Turned[layer] + both * pass.Tiles * Tile * width;
            var values = (float*)pass.Caches[layer].Values + both * pass.Capacity * width;
            for (var j = begin; j < end; j += L.Count)
            {
                var from = keys + (long)(j / Tile) * Tile * width + j % Tile;
                V even = L.Of(0), odd = L.Of(0);
                for (var k = 0; k < width; k += 2)
                {
                    even = L.MultiplyAdd(L.Of(q[k]), L.Load(from + k * Tile), even);
                    odd = L.MultiplyAdd(L.Of(q[k + 1]), L.Load(from + (k + 1) * Tile), odd);
                }

                var score = L.Multiply(L.Add(even, odd), scale);
                L.Store(bias == null ? score : L.Add(score, L.Load(bias + j)), scores + j - begin);
            }

            var sum = Lanes<L, V>.Exponentials(scores, end - begin);
            Mix<L, V>(scores - begin, values, o, place.First, end, 1 / sum);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Mix<L, V>(float* shares, float* values, float* o, int first, int end, float scale)
        where L : ILanes<V> where V : struct
    {
        var width = size.HeadWidth;
        for (var k = 0; k < width; k += L.Count)
        {
            V a = L.Of(0), b = a, c = a, d = a;
            var from = values + k + (long)first * width;
            var j = first;
            for (; j + 3 < end; j += 4, from += 4 * width)
            {
                a = L.MultiplyAdd(L.Of(shares[j]), L.Load(from), a);
                b = L.MultiplyAdd(L.Of(shares[j + 1]), L.Load(from + width), b);
                c = L.MultiplyAdd(L.Of(shares[j + 2]), L.Load(from + 2 * width), c);
                d = L.MultiplyAdd(L.Of(shares[j + 3]), L.Load(from + 3 * width), d);
            }

            for (; j < end; j++, from += width)
            {
                a = L.MultiplyAdd(L.Of(shares[j]), L.Load(from), a);
            }

            L.Store(L.Multiply(L.Add(L.Add(a, b), L.Add(c, d)), L.Of(scale)), o + k);
        }
    }
}
