using System.Runtime.CompilerServices;
using TorchSharp;
using static ReasonGen.Kernels.Bf16Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Layers without bias that read the same x, as one matrix W [out, in] in panels, both ways, and its
/// gradient.</summary>
internal sealed unsafe class PanelWeights<L, V> where L : ILanes<V> where V : struct
{
    private static readonly int Width = Panels<L, V>.Width;

    private readonly int inputs, outputs;
    private readonly int[] rows; // of each layer
    private readonly AlignedFloats plain, turned; // [in / P][out][P], [out / P][in][P]
    private AlignedFloats? gradient; // as plain

    /// <param name="layers">[out, in] each, fp32 on the CPU.</param>
    internal PanelWeights(params ReadOnlySpan<Tensor> layers)
    {
        inputs = (int)layers[0].shape[1];
        rows = [.. layers.ToArray().Select(layer => (int)layer.shape[0])];
        outputs = rows.Sum();
        (plain, turned) = (FloatPool.Rent((long)inputs * outputs), FloatPool.Rent((long)inputs * outputs));
        var first = 0;
        foreach (var layer in layers)
        {
            using var whole = layer.contiguous();
            var from = (float*)Address(whole);
            Panels.Turn(from, inputs, turned.Address, first, (int)layer.shape[0], inputs, Width);
            Pack(from, first, (int)layer.shape[0]);
            first += (int)layer.shape[0];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Pack(float* w, int first, int count)
    {
        for (var o = first; o < first + count; o++, w += inputs)
        {
            for (var i = 0; i < inputs; i += Width)
            {
                var line = Panels<L, V>.At(plain.Address, outputs, o, i);
                L.Store(L.Load(w + i), line);
                L.Store(L.Load(w + i + L.Count), line + L.Count);
            }
        }
    }

    /// <summary>y = x Wᵀ, or y + x Wᵀ, of so many rows in panels.</summary>
    internal void Forward(float* x, float* y, int count, bool add)
    {
        for (var o = 0; o < outputs; o += Width)
        {
            Panels<L, V>.Multiply(Panels<L, V>.Rows(x, count), turned.Address + (long)o * inputs,
                y + (long)o * count, count, inputs, add);
        }
    }

    /// <summary>dx = dy W.</summary>
    internal void Backward(float* dy, float* dx, int count)
    {
        for (var i = 0; i < inputs; i += Width)
        {
            Panels<L, V>.Multiply(Panels<L, V>.Rows(dy, count), plain.Address + (long)i * outputs,
                dx + (long)i * count, count, outputs, add: false);
        }
    }

    /// <summary>dW grows by dyᵀ x.</summary>
    internal void Accumulate(float* dy, float* x, int count)
    {
        var add = gradient is not null;
        gradient ??= FloatPool.Rent((long)inputs * outputs);
        for (var i = 0; i < inputs; i += Width)
        {
            Panels<L, V>.Multiply(Panels<L, V>.Columns(dy, count), x + (long)i * count,
                gradient.Address + (long)i * outputs, outputs, count, add);
        }
    }

    /// <summary>The gradient of each layer, [out, in]; 0 where nothing was accumulated.</summary>
    internal Tensor[] Gradients()
    {
        var first = 0;
        return Array.ConvertAll(rows, count =>
        {
            var whole = zeros(count, inputs, ScalarType.Float32, CPU);
            var to = (float*)Address(whole);
            for (var o = first; gradient is not null && o < first + count; o++)
            {
                for (var i = 0; i < inputs; i += Width, to += Width)
                {
                    Unsafe.CopyBlock(to, Panels<L, V>.At(gradient.Address, outputs, o, i),
                        (uint)(Width * sizeof(float)));
                }
            }

            first += count;
            return whole;
        });
    }

    /// <summary>Gives its memory back.</summary>
    internal void Release()
    {
        FloatPool.Return(plain);
        FloatPool.Return(turned);
        FloatPool.Return(gradient);
    }
}
