// Forward and backward pass of FusedTraining.cs over the blocks of a batch. N tokens of a block, D width, M width of
// the MLP, H heads, K head width. Backwards, with r = 1 / rms(x):
//   RMSNorm: dx = r (dn · w) − x r³ Σ(dn · w · x) / D,  dw = Σ_n dn · x r;
//   act = silu(g) u: dg = da u σ(g) (1 + g (1 − σ(g))),  du = da silu(g).
using System.Runtime.CompilerServices;
using ReasonGen.Core;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

internal sealed unsafe partial class FusedPass<L, V> : IFusedPass where L : ILanes<V> where V : struct
{
    private static readonly int Width = Panels<L, V>.Width;

    private readonly DecoderSize size;
    private readonly FusedTokens tokens;
    private readonly Layer[] layers;
    private readonly AlignedFloats lastNorm;
    private readonly int inner; // width of queries, keys and values together
    private readonly List<Block> kept = [];
    private bool spent;

    private sealed record Layer(PanelWeights<L, V> Inner, PanelWeights<L, V> Output, PanelWeights<L, V> Gates,
        PanelWeights<L, V> Down, AlignedFloats InputNorm, AlignedFloats MlpNorm);

    internal FusedPass(DecoderSize size, Tensor[] weights, FusedTokens tokens)
    {
        (this.size, this.tokens) = (size, tokens);
        inner = size.Width + 2 * size.KeyValueHeads * size.HeadWidth;
        layers = [.. weights[..^1].Chunk(FusedTraining.WeightsOfLayer).Select(w => new Layer(
            new(w[0], w[1], w[2]), new(w[3]), new(w[4], w[5]), new(w[6]), Norm(w[7]), Norm(w[8])))];
        lastNorm = Norm(weights[^1]);
    }

    // What the forward pass over a block keeps for the backward pass, of each layer and at the end.
    private sealed class Block
    {
        internal required AlignedFloats Memory;
        internal required IReadOnlyList<int[]> Rows;
        internal required int Count; // N
        internal required Kept[] Layers;
        internal required float* Last, LastScale, Angles; // [N, D], [N], [N][K]
    }

    // [N, D] in panels unless said otherwise
    private readonly struct Kept
    {
        internal required float* X { get; init; }
        internal required float* Normed { get; init; }
        internal required float* Inner { get; init; } // queries and keys turned, values
        internal required float* Mixed { get; init; }
        internal required float* H { get; init; }
        internal required float* MlpNormed { get; init; }
        internal required float* Gates { get; init; } // [N, 2 M]
        internal required float* Scale { get; init; } // [N]: 1 / rms(x)
        internal required float* MlpScale { get; init; } // [N]
        internal required float* LogSums { get; init; } // [H][N]: log Σ e^score
    }

    public Tensor Forward(Tensor x, bool keep)
    {
        var y = zeros(x.shape, ScalarType.Float32, CPU);
        using var from = x.contiguous();
        foreach (var rows in tokens.Blocks)
        {
            var block = Begin(rows);
            Copy((float*)Address(from), block, block.Layers[0].X, fromPanels: false);
            var scratch = FloatPool.Rent((long)block.Count * Math.Max(size.MlpWidth, size.Width)
                + AttentionScratch(rows));
            for (var l = 0; l < layers.Length; l++)
            {
                Forward(layers[l], block, block.Layers[l], scratch.Address,
                    l + 1 < layers.Length ? block.Layers[l + 1].X : block.Last);
            }

            NormForward(block.Last, lastNorm.Address, scratch.Address, block.LastScale, block.Count);
            Copy((float*)Address(y), block, scratch.Address, fromPanels: true);
            FloatPool.Return(scratch);
            if (keep)
            {
                kept.Add(block);
            }
            else
            {
                FloatPool.Return(block.Memory);
            }
        }

        if (!keep)
        {
            Release();
        }

        return y;
    }

    private void Forward(Layer layer, Block block, Kept kept, float* scratch, float* y)
    {
        int n = block.Count, width = size.Width * n;
        float* act = scratch, attention = scratch + (long)n * size.MlpWidth;
        NormForward(kept.X, layer.InputNorm.Address, kept.Normed, kept.Scale, n);
        layer.Inner.Forward(kept.Normed, kept.Inner, n, add: false);
        Turn(kept.Inner, block, 1);
        foreach (var (first, count, head) in Heads(block))
        {
            Attend(kept, n, first, count, head, attention);
        }

        new Span<float>(kept.X, width).CopyTo(new(kept.H, width));
        layer.Output.Forward(kept.Mixed, kept.H, n, add: true);
        NormForward(kept.H, layer.MlpNorm.Address, kept.MlpNormed, kept.MlpScale, n);
        layer.Gates.Forward(kept.MlpNormed, kept.Gates, n, add: false);
        GateForward(kept.Gates, act, (long)n * size.MlpWidth);
        new Span<float>(kept.H, width).CopyTo(new(y, width));
        layer.Down.Forward(act, y, n, add: true);
    }

    public Tensor[] Backward(Tensor gradient)
    {
        if (spent)
        {
            throw new InvalidOperationException("a graph of this pass can be gone through once");
        }

        spent = true;
        var dx = zeros(gradient.shape, ScalarType.Float32, CPU);
        using var from = gradient.contiguous();
        AlignedFloats[] norms =
            [.. Enumerable.Range(0, 2 * layers.Length + 1).Select(_ => new AlignedFloats(size.Width))];
        foreach (var block in kept)
        {
            var n = block.Count;
            var scratch = FloatPool.Rent((long)n * (3 * size.Width + inner + 2 * size.MlpWidth)
                + AttentionScratch(block.Rows));
            float* d = scratch.Address, dn = d + n * size.Width;
            Copy((float*)Address(from), block, dn, fromPanels: false);
            new Span<float>(d, n * size.Width).Clear();
            NormBackward(dn, block.Last, block.LastScale, lastNorm.Address, norms[^1].Address, d, n);
            for (var l = layers.Length - 1; l >= 0; l--)
            {
                Backward(layers[l], block, block.Layers[l], d, norms[2 * l].Address, norms[2 * l + 1].Address);
            }

            Copy((float*)Address(dx), block, d, fromPanels: true);
            FloatPool.Return(scratch);
            FloatPool.Return(block.Memory);
        }

        kept.Clear();
        Tensor[] gradients = [dx, .. layers.SelectMany((layer, l) => (Tensor[])[.. layer.Inner.Gradients(),
            .. layer.Output.Gradients(), .. layer.Gates.Gradients(), .. layer.Down.Gradients(),
            Of(norms[2 * l]), Of(norms[2 * l + 1])]), Of(norms[^1])];
        Release();
        return gradients;
        Tensor Of(AlignedFloats norm) => tensor(new Span<float>(norm.Address, size.Width).ToArray(), device: CPU);
    }

    private void Release() => Array.ForEach(layers, layer =>
        Array.ForEach([layer.Inner, layer.Output, layer.Gates, layer.Down], weights => weights.Release()));

    // d is the gradient of the layer's output, then of its input
    private void Backward(Layer layer, Block block, Kept kept, float* d, float* dInputNorm, float* dMlpNorm)
    {
        var n = block.Count;
        float* dn = d + n * size.Width, mixed = dn + n * size.Width, dInner = mixed + n * size.Width;
        float* act = dInner + n * inner, da = act + (long)n * size.MlpWidth, attention = da + (long)n * size.MlpWidth;
        layer.Down.Backward(d, da, n);
        GateBackward(kept.Gates, da, act, (long)n * size.MlpWidth);
        layer.Down.Accumulate(d, act, n);
        layer.Gates.Backward(kept.Gates, dn, n);
        layer.Gates.Accumulate(kept.Gates, kept.MlpNormed, n);
        NormBackward(dn, kept.H, kept.MlpScale, layer.MlpNorm.Address, dMlpNorm, d, n);
        layer.Output.Backward(d, mixed, n);
        layer.Output.Accumulate(d, kept.Mixed, n);
        new Span<float>(dInner, n * inner).Clear();
        foreach (var (first, count, head) in Heads(block))
        {
            AttendBackward(kept, n, first, count, head, mixed, dInner, attention);
        }

        Turn(dInner, block, -1);
        layer.Inner.Backward(dInner, dn, n);
        layer.Inner.Accumulate(dInner, kept.Normed, n);
        NormBackward(dn, kept.X, kept.Scale, layer.InputNorm.Address, dInputNorm, d, n);
    }

    private Block Begin(IReadOnlyList<int[]> rows)
    {
        var n = rows.Sum(row => row.Length);
        var perToken = layers.Length * (5L * size.Width + inner + 2 * size.MlpWidth + 2 + size.Heads)
            + size.Width + 1 + size.HeadWidth;
        var memory = FloatPool.Rent(n * perToken);
        var next = memory.Address;
        float* Take(int width)
        {
            var taken = next;
            next += (long)n * width;
            return taken;
        }

        var wide = layers.Select(_ => (X: (nint)Take(size.Width), Normed: (nint)Take(size.Width),
            Inner: (nint)Take(inner), Mixed: (nint)Take(size.Width), H: (nint)Take(size.Width),
            MlpNormed: (nint)Take(size.Width), Gates: (nint)Take(2 * size.MlpWidth))).ToArray();
        float* last = Take(size.Width), lastScale = Take(1), angles = Take(size.HeadWidth);
        var (i, half) = (0, size.HeadWidth / 2);
        foreach (var place in rows.SelectMany(row => row))
        {
            tokens.Angles(place, angles + i++ * size.HeadWidth, half);
        }

        return new()
        {
            Memory = memory, Rows = rows, Count = n, Last = last, LastScale = lastScale, Angles = angles,
            Layers = Array.ConvertAll(wide, one => new Kept
            {
                X = (float*)one.X, Normed = (float*)one.Normed, Inner = (float*)one.Inner, Mixed = (float*)one.Mixed,
                H = (float*)one.H, MlpNormed = (float*)one.MlpNormed, Gates = (float*)one.Gates,
                Scale = Take(1), MlpScale = Take(1), LogSums = Take(size.Heads),
            }),
        };
    }

    // between [B, T, D] and the panels of a block
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Copy(float* whole, Block block, float* panels, bool fromPanels)
    {
        var n = 0;
        foreach (var row in block.Rows)
        {
            foreach (var place in row)
            {
                for (var j = 0; j < size.Width; j += L.Count)
                {
                    float* a = whole + (long)place * size.Width + j, b = Panels<L, V>.At(panels, block.Count, n, j);
                    if (fromPanels)
                    {
                        L.Store(L.Load(b), a);
                    }
                    else
                    {
                        L.Store(L.Load(a), b);
                    }
                }

                n++;
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void NormForward(float* x, float* weight, float* y, float* scales, int count)
    {
        var step = (long)count * Width;
        for (var i = 0; i < count; i++, x += Width, y += Width)
        {
            V even = L.Of(0), odd = even;
            for (var (j, at) = (0, 0L); j < size.Width; j += Width, at += step)
            {
                V a = L.Load(x + at), b = L.Load(x + at + L.Count);
                (even, odd) = (L.MultiplyAdd(a, a, even), L.MultiplyAdd(b, b, odd));
            }

            scales[i] = (float)(1 / Math.Sqrt(L.Sum(L.Add(even, odd)) / size.Width + size.Epsilon));
            var scale = L.Of(scales[i]);
            for (var (j, at) = (0, 0L); j < size.Width; j += Width, at += step)
            {
                L.Store(L.Multiply(L.Multiply(L.Load(x + at), scale), L.Load(weight + j)), y + at);
                L.Store(L.Multiply(L.Multiply(L.Load(x + at + L.Count), scale), L.Load(weight + j + L.Count)),
                    y + at + L.Count);
            }
        }
    }

    // dx grows
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void NormBackward(float* dn, float* x, float* scales, float* weight, float* dWeight, float* dx, int count)
    {
        var step = (long)count * Width;
        for (var i = 0; i < count; i++, x += Width, dn += Width, dx += Width)
        {
            var (scale, sum) = (L.Of(scales[i]), L.Of(0));
            for (var (j, at) = (0, 0L); j < size.Width; j += L.Count, at += j % Width == 0 ? step - L.Count : L.Count)
            {
                V gradient = L.Load(dn + at), product = L.Multiply(gradient, L.Load(x + at));
                sum = L.MultiplyAdd(product, L.Load(weight + j), sum);
                L.Store(L.MultiplyAdd(product, scale, L.Load(dWeight + j)), dWeight + j);
            }

            var back = L.Of(-L.Sum(sum) * scales[i] * scales[i] * scales[i] / size.Width);
            for (var (j, at) = (0, 0L); j < size.Width; j += L.Count, at += j % Width == 0 ? step - L.Count : L.Count)
            {
                var own = L.MultiplyAdd(L.Multiply(L.Load(dn + at), L.Load(weight + j)), scale, L.Load(dx + at));
                L.Store(L.MultiplyAdd(L.Load(x + at), back, own), dx + at);
            }
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GateForward(float* gates, float* act, long count)
    {
        for (var up = gates + count; count > 0; count -= L.Count, gates += L.Count, up += L.Count, act += L.Count)
        {
            L.Store(L.Multiply(L.Multiply(L.Load(gates), Sigmoid(L.Load(gates))), L.Load(up)), act);
        }
    }

    // gates and up become their gradients
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void GateBackward(float* gates, float* da, float* act, long count)
    {
        for (long i = 0, up = count; i < count; i += L.Count, up += L.Count)
        {
            V g = L.Load(gates + i), u = L.Load(gates + up), gradient = L.Load(da + i), sigmoid = Sigmoid(g);
            V silu = L.Multiply(g, sigmoid), rest = L.MultiplyAdd(sigmoid, L.Of(-1), L.Of(1));
            L.Store(L.Multiply(silu, u), act + i);
            L.Store(L.Multiply(gradient, silu), gates + up);
            var slope = L.Multiply(sigmoid, L.MultiplyAdd(g, rest, L.Of(1)));
            L.Store(L.Multiply(L.Multiply(gradient, u), slope), gates + i);
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static V Sigmoid(V x) =>
        L.Divide(L.Of(1), L.Add(L.Of(1), Lanes<L, V>.Exp(L.Multiply(x, L.Of(-1)))));

    private static AlignedFloats Norm(Tensor weight)
    {
        float[] values = weight.Values<float>();
        var aligned = new AlignedFloats(values.Length);
        values.CopyTo(new Span<float>(aligned.Address, values.Length));
        return aligned;
    }
}
