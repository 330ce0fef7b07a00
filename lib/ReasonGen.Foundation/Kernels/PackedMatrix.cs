// y = W x + b for a block of rows in fp32, W packed for it: [out, in] → panels of two vectors' columns, [out /
// 2L][in][2L], as Panels.cs multiplies them.
using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

/// <summary>A linear layer's values: W [out, in] row by row, and b or null.</summary>
internal readonly record struct DenseValues(float[] Weight, float[]? Bias);

/// <summary>A matrix and perhaps a bias, packed for vectors of so many lanes.</summary>
internal sealed unsafe class PackedMatrix
{
    private readonly AlignedFloats panels;
    private readonly AlignedFloats? bias;
    private readonly int inputs, panel;

    /// <param name="parts">Layers that read the same x; they are put one under the other.</param>
    /// <param name="inputs">Values of x.</param>
    /// <param name="lanes">Values of a vector.</param>
    internal PackedMatrix(DenseValues[] parts, int inputs, int lanes)
    {
        (this.inputs, panel) = (inputs, 2 * lanes);
        Outputs = parts.Sum(part => part.Weight.Length / inputs);
        Stride = (Outputs + panel - 1) / panel * panel;
        panels = new((long)Stride * inputs);
        bias = parts.Any(part => part.Bias is not null) ? new(Stride) : null;
        var row = 0;
        foreach (var (weight, shift) in parts)
        {
            shift?.CopyTo(new Span<float>(bias!.Address + row, shift.Length));
            fixed (float* from = weight)
            {
                Panels.Turn(from, inputs, panels.Address, row, weight.Length / inputs, inputs, panel);
            }

            row += weight.Length / inputs;
        }
    }

    internal int Outputs { get; }

    /// <summary>Values from one row of y to the next: all outputs, and zeros up to the last panel's end.</summary>
    internal int Stride { get; }

    /// <summary>y = W x + b, or y + W x + b.</summary>
    /// <param name="x">[rows, …], its first values those of x.</param>
    /// <param name="xStride">From one row of x to the next.</param>
    /// <param name="y">[rows, <see cref="Stride"/>].</param>
    /// <param name="rows">How many.</param>
    /// <param name="add">Whether the product is added to what y holds.</param>
    internal void Multiply<L, V>(float* x, int xStride, float* y, int rows, bool add)
        where L : ILanes<V> where V : struct
    {
        if (bias is not null)
        {
            Shift<L, V>(y, rows, add);
        }

        for (var column = 0; column < Stride; column += panel)
        {
            Panels<L, V>.Multiply(new((nint)x, xStride, 1), panels.Address + (long)column * inputs, y + column, rows,
                inputs, add || bias is not null, Stride);
        }
    }

    // y = b, or y + b
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Shift<L, V>(float* y, int rows, bool add) where L : ILanes<V> where V : struct
    {
        for (var row = 0; row < rows; row++)
        {
            for (var column = 0; column < Stride; column += L.Count, y += L.Count)
            {
                var shift = L.Load(bias!.Address + column);
                L.Store(add ? L.Add(L.Load(y), shift) : shift, y);
            }
        }
    }
}
