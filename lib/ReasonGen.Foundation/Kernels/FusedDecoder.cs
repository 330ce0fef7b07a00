// All layers of a small decoder in one pass, in fp32 on a CPU, without a graph: what LlamaLayer computes for the tokens
// that are new,
//   h = x + W_o Attention(RMSNorm(x));  y = h + W_down( silu(W_gate n) · (W_up n) ) with n = RMSNorm(h),
// for up to 32 tokens at a time, on the thread that asks. libtorch's operators cost more than such a model's
// arithmetic; here a block's rows
// stay in the cache from layer to layer, and threads that have rows of their own never wait for each other. Padding is
// left out: a token
// that the mask hides gets zeros, and no later token sees it.
// Keys are kept a second time, 16 tokens by 16 and turned, so that 16 scores are summed at once: [row, head, token /
// 16, K, token % 16].
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Sizes of a decoder.</summary>
/// <param name="Width">D.</param>
/// <param name="MlpWidth">Width of the gated MLP.</param>
/// <param name="Heads">H, query heads.</param>
/// <param name="KeyValueHeads">Key and value heads.</param>
/// <param name="HeadWidth">K.</param>
/// <param name="Epsilon">ε of RMSNorm.</param>
internal readonly record struct DecoderSize(
    int Width, int MlpWidth, int Heads, int KeyValueHeads, int HeadWidth, float Epsilon);

/// <summary>A decoder layer's values.</summary>
/// <param name="Matrices">Query, key, value, output, gate, up and down.</param>
/// <param name="Norms">Before attention and before the MLP, [D] each.</param>
internal sealed record LayerValues(DenseValues[] Matrices, float[][] Norms);

/// <summary>A decoder's weights, packed, as they were when it was made. Threads may share it.</summary>
internal sealed unsafe partial class FusedDecoder
{
    private const long MostWeights = 1 << 23;
    private const int Together = 32; // tokens of one pass through the layers
    private const int Tile = FusedCache.Tile;

    [ThreadStatic]
    private static AlignedFloats? scratch;

    private readonly DecoderSize size;
    private readonly int lanes;
    private readonly Layer[] layers;
    private readonly AlignedFloats lastNorm;
    private readonly float[] cos, sin; // [positions, K / 2]

    private sealed record Layer(
        AlignedFloats InputNorm, PackedMatrix Inner, PackedMatrix Output,
        AlignedFloats MlpNorm, PackedMatrix Gates, PackedMatrix Down);

    /// <param name="size">Sizes; see <see cref="LanesFor"/>.</param>
    /// <param name="layers">In order.</param>
    /// <param name="lastNorm">[D].</param>
    /// <param name="cos">[positions, K/2].</param>
    /// <param name="sin">As <paramref name="cos"/>.</param>
    /// <param name="lanes">Values of a vector: what <see cref="LanesFor"/> gives, or a smaller one.</param>
    internal FusedDecoder(
        DecoderSize size, IEnumerable<LayerValues> layers, float[] lastNorm, float[] cos, float[] sin, int lanes)
    {
        (this.size, this.cos, this.sin, this.lanes) = (size, cos, sin, lanes);
        PackedMatrix Pack(int inputs, params DenseValues[] parts) => new(parts, inputs, lanes);
        this.layers = [.. layers.Select(layer => new Layer(
            Padded(layer.Norms[0]), Pack(size.Width, layer.Matrices[..3]), Pack(size.Width, layer.Matrices[3]),
            Padded(layer.Norms[1]), Pack(size.Width, layer.Matrices[4..6]), Pack(size.MlpWidth, layer.Matrices[6])))];
        this.lastNorm = Padded(lastNorm);
    }

    /// <summary>Values of the widest vector that this processor has and that a head can be made of; 0 where there is
    /// none.</summary>
    internal static int LanesFor(int headWidth) => Lanes.Widest(lanes => headWidth % lanes == 0);

    /// <summary>Whether weights of a decoder are of that kind, and so few that they stay in a processor's
    /// caches.</summary>
    internal static bool Pays(IEnumerable<Tensor> weights, long most = MostWeights) =>
        weights.All(weight => weight is { dtype: ScalarType.Float32, device_type: DeviceType.CPU })
        && weights.Sum(weight => weight.numel()) <= most;

    /// <summary>Whether a pass over such tokens is of that kind.</summary>
    /// <param name="x">[B, T, D].</param>
    /// <param name="mask">[B, S], or null.</param>
    /// <param name="positions">[B, T], or null.</param>
    /// <param name="tokens">Cached and new tokens.</param>
    internal bool CanHandle(Tensor x, Tensor? mask, Tensor? positions, long tokens)
    {
        var known = cos.Length / (size.HeadWidth / 2);
        bool Known(Tensor at) => at is { dtype: ScalarType.Int64, shape: [var rows, _] } && rows == x.shape[0]
            && at.is_contiguous() && !new ReadOnlySpan<long>((void*)Address(at), (int)at.numel())
                .ContainsAnyExceptInRange(0, known - 1);
        return x is { dtype: ScalarType.Float32, device_type: DeviceType.CPU, shape: [var count, _, var width] }
            && width == size.Width && !is_grad_enabled() && tokens <= known
            && (mask is null || mask.shape is [var masks, var columns] && masks == count && columns == tokens)
            && (positions is null || Known(positions));
    }

    /// <summary>Hidden states of new tokens after the last norm, their keys and values stored: [B, T, D] → [B, T,
    /// D].</summary>
    /// <param name="x">Embeddings, of the kind that <see cref="CanHandle"/> takes.</param>
    /// <param name="mask">[B, at + T], not 0 where a key may be seen; null sees all.</param>
    /// <param name="positions">[B, T]; null counts from <paramref name="at"/>.</param>
    /// <param name="at">Tokens in the caches.</param>
    /// <param name="capacity">Tokens that fit into them.</param>
    /// <param name="caches">Of each layer, [B, key-value heads, capacity, K].</param>
    /// <param name="turned">The keys once more, of each layer.</param>
    internal Tensor Forward(Tensor x, Tensor? mask, Tensor? positions, int at, int capacity,
        (nint Keys, nint Values)[] caches, nint[] turned)
    {
        using var scope = NewDisposeScope();
        int rows = (int)x.shape[0], tokens = (int)x.shape[1];
        var y = zeros(x.shape, ScalarType.Float32, CPU);
        x = x.contiguous();
        var seen = mask?.to(ScalarType.Bool).contiguous();
        var pass = new Pass
        {
            From = (float*)Address(x), To = (float*)Address(y), Seen = seen is null ? null : (bool*)Address(seen),
            Positions = positions is null ? null : (long*)Address(positions), Tokens = tokens, At = at,
            Length = at + tokens, Capacity = capacity, Tiles = (capacity + Tile - 1) / Tile,
            Caches = caches, Turned = turned,
        };
        switch (lanes)
        {
            case 16: Forward<Lanes16, Vector512<float>>(pass, rows); break;
            case 8: Forward<Lanes8, Vector256<float>>(pass, rows); break;
            default: Forward<Lanes4, Vector128<float>>(pass, rows); break;
        }

        return y.MoveToOuterDisposeScope();
    }

    // What one call reads and writes.
    private sealed class Pass
    {
        internal required float* From, To;
        internal required bool* Seen;
        internal required long* Positions;
        internal required int Tokens, At, Length, Capacity, Tiles;
        internal required (nint Keys, nint Values)[] Caches;
        internal required nint[] Turned;
    }

    // One token of one row, and the first that it sees.
    private readonly record struct Place(int Row, int Token, int First);

    private void Forward<L, V>(Pass pass, int rows) where L : ILanes<V> where V : struct
    {
        var (stride, bias) = ((pass.Length + Tile - 1) / Tile * Tile, (AlignedFloats?)null);
        if (pass.Seen != null)
        {
            bias = new((long)rows * stride);
            for (var (row, i) = (0, 0); row < rows; row++)
            {
                for (var j = 0; j < pass.Length; j++, i++)
                {
                    bias.Address[row * stride + j] = pass.Seen[i] ? 0 : -1e30f;
                }
            }
        }

        Span<Place> places = stackalloc Place[Together];
        var count = 0;
        for (var row = 0; row < rows; row++)
        {
            var seen = pass.Seen == null ? default
                : new ReadOnlySpan<bool>(pass.Seen + (long)row * pass.Length, pass.Length);
            var first = seen.IsEmpty ? 0 : seen.IndexOf(true);
            for (var token = 0; token < pass.Tokens; token++)
            {
                if (seen.IsEmpty || seen[pass.At + token])
                {
                    places[count++] = new(row, token, first);
                }

                if (count == Together || count > 0 && row == rows - 1 && token == pass.Tokens - 1)
                {
                    AllLayers<L, V>(pass, places[..count], bias is null ? null : bias.Address, stride);
                    count = 0;
                }
            }
        }
    }

    private void AllLayers<L, V>(Pass pass, ReadOnlySpan<Place> places, float* bias, int biasStride)
        where L : ILanes<V> where V : struct
    {
        var (first, count) = (layers[0], places.Length);
        int wide = first.Output.Stride, inner = first.Inner.Stride, gates = first.Gates.Stride;
        var needed = (long)count * (2 * wide + inner + gates + size.MlpWidth + L.Count) + pass.Length + Tile;
        scratch = scratch is { } kept && kept.Count >= needed ? kept : new(needed);
        float* x = scratch.Address, n = x + count * wide, q = n + count * wide;
        float* g = q + count * inner, a = g + count * gates;
        var scores = a + count * (size.MlpWidth + L.Count);
        var mlp = size.MlpWidth + L.Count; // the last vector may reach beyond the values
        for (var i = 0; i < count; i++)
        {
            var from = pass.From + ((long)places[i].Row * pass.Tokens + places[i].Token) * size.Width;
            var to = new Span<float>(x + i * wide, wide);
            new ReadOnlySpan<float>(from, size.Width).CopyTo(to);
            to[size.Width..].Clear();
        }

        for (var l = 0; l < layers.Length; l++)
        {
            var layer = layers[l];
            Norm<L, V>(x, layer.InputNorm.Address, n, count, wide);
            layer.Inner.Multiply<L, V>(n, wide, q, count, add: false);
            for (var i = 0; i < count; i++)
            {
                Store<L, V>(pass, places[i], l, q + i * inner);
            }

            for (var i = 0; i < count; i++)
            {
                var seen = bias == null ? null : bias + (long)places[i].Row * biasStride;
                Attend<L, V>(pass, places[i], l, q + i * inner, n + i * wide, seen, scores);
            }

            layer.Output.Multiply<L, V>(n, wide, x, count, add: true);
            Norm<L, V>(x, layer.MlpNorm.Address, n, count, wide);
            layer.Gates.Multiply<L, V>(n, wide, g, count, add: false);
            for (var i = 0; i < count; i++)
            {
                Gate<L, V>(g + i * gates, a + i * mlp);
            }

            layer.Down.Multiply<L, V>(a, mlp, x, count, add: true);
        }

        Norm<L, V>(x, lastNorm.Address, n, count, wide);
        for (var i = 0; i < count; i++)
        {
            var to = pass.To + ((long)places[i].Row * pass.Tokens + places[i].Token) * size.Width;
            new ReadOnlySpan<float>(n + i * wide, size.Width).CopyTo(new(to, size.Width));
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Norm<L, V>(float* x, float* weight, float* y, int count, int stride)
        where L : ILanes<V> where V : struct
    {
        for (var i = 0; i < count; i++, x += stride, y += stride)
        {
            var squares = L.Of(0);
            for (var j = 0; j < size.Width; j += L.Count)
            {
                var values = L.Load(x + j);
                squares = L.MultiplyAdd(values, values, squares);
            }

            var scale = L.Of((float)(1 / Math.Sqrt(L.Sum(squares) / size.Width + size.Epsilon)));
            for (var j = 0; j < size.Width; j += L.Count)
            {
                L.Store(L.Multiply(L.Multiply(L.Load(x + j), scale), L.Load(weight + j)), y + j);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Gate<L, V>(float* gates, float* to) where L : ILanes<V> where V : struct
    {
        for (var i = 0; i < size.MlpWidth; i += L.Count)
        {
            var gate = L.Load(gates + i);
            var silu = L.Divide(gate, L.Add(L.Of(1), Lanes<L, V>.Exp(L.Multiply(gate, L.Of(-1)))));
            L.Store(L.Multiply(silu, L.Load(gates + size.MlpWidth + i)), to + i);
        }
    }

    private static AlignedFloats Padded(float[] values)
    {
        var padded = new AlignedFloats(values.Length + Tile);
        values.CopyTo(new Span<float>(padded.Address, values.Length));
        return padded;
    }
}
