// y = W x + b for a block of rows in fp32, W packed for it: [out, in] → panels of two vectors' columns, [out /
// 2L][in][2L]. Four rows by
// two vectors are summed at a time, in registers; W is read once for four rows, and lies in the order in which it is
// read.
using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

/// <summary>Memory of fp32 that begins at a line of the cache, and that the collector frees but never moves.</summary>
internal sealed unsafe class AlignedFloats
{
    private const int Line = 64;
    private readonly float[] memory; // what keeps it alive

    internal AlignedFloats(long count)
    {
        memory = GC.AllocateArray<float>(checked((int)count + Line / sizeof(float)), pinned: true);
        var first = (nint)Unsafe.AsPointer(ref memory[0]);
        Address = (float*)((first + Line - 1) / Line * Line);
        Count = count;
    }

    internal float* Address { get; }

    internal long Count { get; }
}

/// <summary>A linear layer's values: W [out, in] row by row, and b or null.</summary>
internal readonly record struct DenseValues(float[] Weight, float[]? Bias);

/// <summary>A matrix and perhaps a bias, packed for vectors of so many lanes.</summary>
internal sealed unsafe class PackedMatrix
{
    private readonly AlignedFloats panels, bias;
    private readonly int inputs, panel;

    /// <param name="parts">Layers that read the same x; they are put one under the other.</param>
    /// <param name="inputs">Values of x.</param>
    /// <param name="lanes">Values of a vector.</param>
    internal PackedMatrix(DenseValues[] parts, int inputs, int lanes)
    {
        (this.inputs, panel) = (inputs, 2 * lanes);
        Outputs = parts.Sum(part => part.Weight.Length / inputs);
        Stride = (Outputs + panel - 1) / panel * panel;
        (panels, bias) = (new((long)Stride * inputs), new(Stride));
        var row = 0;
        foreach (var (weight, shift) in parts)
        {
            shift?.CopyTo(new Span<float>(bias.Address + row, shift.Length));
            for (int o = 0, some; o < weight.Length / inputs; o += some, row += some)
            {
                some = Math.Min(panel - row % panel, weight.Length / inputs - o); // rows that share a panel
                var to = panels.Address + (long)(row / panel) * panel * inputs + row % panel;
                Turn(weight.AsSpan(o * inputs), to, some);
            }
        }
    }

    // some rows of W → columns of a panel, each line of it written once
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void Turn(ReadOnlySpan<float> rows, float* to, int some)
    {
        for (var k = 0; k < inputs; k++, to += panel)
        {
            for (var o = 0; o < some; o++)
            {
                to[o] = rows[o * inputs + k];
            }
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
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal void Multiply<L, V>(float* x, int xStride, float* y, int rows, bool add)
        where L : ILanes<V> where V : struct
    {
        var w = panels.Address;
        for (var column = 0; column < Stride; column += panel, w += panel * inputs)
        {
            for (var row = 0; row < rows; row += 4)
            {
                FourRows<L, V>(x, xStride, w, y + column, row, rows - 1, bias.Address + column, add);
            }
        }
    }

    // The last rows may be one and the same: what they add to is read before anything is written.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private void FourRows<L, V>(float* x, int xStride, float* w, float* y, int row, int last, float* shift, bool add)
        where L : ILanes<V> where V : struct
    {
        int row1 = Math.Min(row + 1, last), row2 = Math.Min(row + 2, last), row3 = Math.Min(row + 3, last);
        float* x0 = x + row * xStride, x1 = x + row1 * xStride, x2 = x + row2 * xStride, x3 = x + row3 * xStride;
        float* y0 = y + row * Stride, y1 = y + row1 * Stride, y2 = y + row2 * Stride, y3 = y + row3 * Stride;
        V a0 = L.Load(shift), b0 = L.Load(shift + L.Count), a1 = a0, b1 = b0, a2 = a0, b2 = b0, a3 = a0, b3 = b0;
        if (add)
        {
            (a0, b0) = (L.Add(a0, L.Load(y0)), L.Add(b0, L.Load(y0 + L.Count)));
            (a1, b1) = (L.Add(a1, L.Load(y1)), L.Add(b1, L.Load(y1 + L.Count)));
            (a2, b2) = (L.Add(a2, L.Load(y2)), L.Add(b2, L.Load(y2 + L.Count)));
            (a3, b3) = (L.Add(a3, L.Load(y3)), L.Add(b3, L.Load(y3 + L.Count)));
        }

        for (var k = 0; k < inputs; k++, w += 2 * L.Count)
        {
            V w0 = L.Load(w), w1 = L.Load(w + L.Count);
            var value = L.Of(x0[k]);
            a0 = L.MultiplyAdd(value, w0, a0);
            b0 = L.MultiplyAdd(value, w1, b0);
            value = L.Of(x1[k]);
            a1 = L.MultiplyAdd(value, w0, a1);
            b1 = L.MultiplyAdd(value, w1, b1);
            value = L.Of(x2[k]);
            a2 = L.MultiplyAdd(value, w0, a2);
            b2 = L.MultiplyAdd(value, w1, b2);
            value = L.Of(x3[k]);
            a3 = L.MultiplyAdd(value, w0, a3);
            b3 = L.MultiplyAdd(value, w1, b3);
        }

        L.Store(a0, y0);
        L.Store(b0, y0 + L.Count);
        L.Store(a1, y1);
        L.Store(b1, y1 + L.Count);
        L.Store(a2, y2);
        L.Store(b2, y2 + L.Count);
        L.Store(a3, y3);
        L.Store(b3, y3 + L.Count);
    }
}
