// Few rows at a time, in bf16 on a CPU, as when tokens are drawn one by one. With one row a product costs what reading
// W from memory costs, but libtorch's reads it at half the speed of the memory; without AVX-512 libtorch multiplies
// bf16 one by one, at a tenth of the processor's speed; and a norm costs its nine small operators. So the rows of W are
// summed up here, those of all layers that read the same x in one go, four rows of W at a time that lie far apart (a
// processor fetches ahead for each of them), and the norm is one loop.
// Two bf16 are one word, the even one in its lower half, the odd one above: a vector of words is taken apart into a
// vector of each.
// Sums are in fp32, results are rounded as libtorch rounds them, to the nearest and to even; a bias comes before the
// one rounding.
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using ReasonGen.Core;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>A linear layer as kernels see it: y = W x + b.</summary>
/// <param name="Weight">[out, in].</param>
/// <param name="Bias">[out], or null.</param>
/// <param name="Inputs">Values of x.</param>
/// <param name="Outputs">Values of y.</param>
internal readonly record struct DenseLayer(Tensor Weight, Tensor? Bias, int Inputs, int Outputs);

/// <summary>Products, norms and gates of few rows in bf16.</summary>
internal static unsafe class Bf16Kernels
{
    private const long FewestWeights = 1 << 16;

    /// <summary>How many rows are few: more where libtorch has no fast product for them.</summary>
    internal static readonly int MostRows =
        X86Base.IsSupported && (!Vector512.IsHardwareAccelerated || NativeRuntime.HasSlowBfloat16) ? 256 : 2;

    [ThreadStatic]
    private static float* wide;

    [ThreadStatic]
    private static long wideLength;

    // words of a vector, and the even or the odd values among twice as many
    private static int Lane => Vector<float>.Count;

    private static Vector<uint> Upper => new(0xFFFF0000);

    /// <summary>Whether x, […, <paramref name="inputs"/>], is of that kind.</summary>
    internal static bool CanHandle(Tensor x, int inputs) => CanHandle(x, inputs, MostRows);

    /// <summary>The same with so many rows at most.</summary>
    internal static bool CanHandle(Tensor x, int inputs, int rows) =>
        Vector.IsHardwareAccelerated && BitConverter.IsLittleEndian && inputs % (2 * Lane) == 0
        && x.dtype == ScalarType.BFloat16 && x.numel() <= (long)rows * inputs
        && x.device_type == DeviceType.CPU && !is_grad_enabled() && x.is_contiguous();

    /// <summary>Whether a layer is large enough to gain.</summary>
    internal static bool CanHandle(DenseLayer layer) =>
        layer.Weight.dtype == ScalarType.BFloat16 && (long)layer.Inputs * layer.Outputs >= FewestWeights;

    /// <summary>W x + b of each layer: […, in] → […, out].</summary>
    internal static Tensor[] Products(Tensor x, params DenseLayer[] layers)
    {
        int inputs = layers[0].Inputs, rows = (int)(x.numel() / inputs), threads = get_num_threads(),
            parts = threads == 1 ? 1 : 4 * threads;
        var shape = x.shape;
        var from = (nint)Widened(x);
        var results = new Tensor[layers.Length];
        var products = new Product[layers.Length];
        for (var i = 0; i < layers.Length; i++)
        {
            shape[^1] = layers[i].Outputs;
            results[i] = empty(shape, ScalarType.BFloat16, CPU);
            var bias = layers[i].Bias is { } b ? Address(b) : 0;
            products[i] =
                new(Address(layers[i].Weight), bias, from, Address(results[i]), rows, inputs, layers[i].Outputs);
        }

        var all = products.Sum(product => (long)product.Outputs);
        ParallelParts.For(parts, threads, part =>
        {
            long first = all * part / parts, end = all * (part + 1) / parts;
            foreach (var product in products)
            {
                product.Sum((int)Math.Max(first, 0), (int)Math.Min(end, product.Outputs));
                (first, end) = (first - product.Outputs, end - product.Outputs);
            }
        });
        return results;
    }

    /// <summary>x / sqrt(mean(x²) + ε), rounded, times the weight.</summary>
    internal static Tensor Norm(Tensor x, Tensor weight, double epsilon)
    {
        var (result, width) = (empty(x.shape, ScalarType.BFloat16, CPU), (int)weight.numel());
        ushort* from = (ushort*)Address(x), by = (ushort*)Address(weight), to = (ushort*)Address(result);
        for (var left = x.numel(); left > 0; left -= width, from += width, to += width)
        {
            var squares = Vector<float>.Zero;
            for (var i = 0; i < width; i += 2 * Lane)
            {
                var (even, odd) = Load(from + i);
                squares += even * even + odd * odd;
            }

            var scale = new Vector<float>((float)(1 / Math.Sqrt(Vector.Sum(squares) / width + epsilon)));
            for (var i = 0; i < width; i += 2 * Lane)
            {
                var ((even, odd), (evenBy, oddBy)) = (Load(from + i), Load(by + i));
                Store(Round(even * scale) * evenBy, Round(odd * scale) * oddBy, to + i);
            }
        }

        return result;
    }

    /// <summary>silu(gate), rounded, times up.</summary>
    internal static Tensor Gated(Tensor gate, Tensor up)
    {
        var (result, count) = (empty(gate.shape, ScalarType.BFloat16, CPU), gate.numel());
        ushort* from = (ushort*)Address(gate), by = (ushort*)Address(up), to = (ushort*)Address(result);
        for (var i = 0L; i < count; i += 2 * Lane)
        {
            var ((even, odd), (evenBy, oddBy)) = (Load(from + i), Load(by + i));
            Store(Round(even / (Vector<float>.One + Vector.Exp(-even))) * evenBy,
                Round(odd / (Vector<float>.One + Vector.Exp(-odd))) * oddBy, to + i);
        }

        return result;
    }

    // One matrix W [out, in], its bias or 0, x [rows, in] in fp32 and taken apart, and where W x + b goes.
    private readonly record struct Product(nint Matrix, nint Bias, nint From, nint To, int Rows, int Inputs,
        int Outputs)
    {
        /// <summary>Some rows of W, in four streams; the last of them may meet rows again that another has
        /// done.</summary>
        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        internal void Sum(int first, int end)
        {
            var stream = (end - first + 3) / 4;
            for (var o = first; o < first + stream; o++)
            {
                int o1 = Math.Min(o + stream, end - 1), o2 = Math.Min(o + 2 * stream, end - 1),
                    o3 = Math.Min(o + 3 * stream, end - 1);
                for (var row = 0; row < Rows; row += 2)
                {
                    if (row + 1 < Rows)
                    {
                        TwoRows(row, o, o1, o2, o3);
                    }
                    else
                    {
                        OneRow(row, o, o1, o2, o3);
                    }
                }
            }
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void OneRow(int row, int o0, int o1, int o2, int o3)
        {
            ushort* w0 = Row(o0), w1 = Row(o1), w2 = Row(o2), w3 = Row(o3);
            var x = (float*)From + (long)row * Inputs;
            Vector<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default,
                b2 = default, b3 = default;
            for (var i = 0; i < Inputs; i += 2 * Lane)
            {
                var (x0, x1) = (Vector.Load(x + i), Vector.Load(x + i + Lane));
                Add(w0 + i, x0, x1, ref a0, ref b0);
                Add(w1 + i, x0, x1, ref a1, ref b1);
                Add(w2 + i, x0, x1, ref a2, ref b2);
                Add(w3 + i, x0, x1, ref a3, ref b3);
            }

            Put(row, o0, a0 + b0);
            Put(row, o1, a1 + b1);
            Put(row, o2, a2 + b2);
            Put(row, o3, a3 + b3);
        }

        [MethodImpl(MethodImplOptions.AggressiveOptimization)]
        private void TwoRows(int row, int o0, int o1, int o2, int o3)
        {
            ushort* w0 = Row(o0), w1 = Row(o1), w2 = Row(o2), w3 = Row(o3);
            float* x = (float*)From + (long)row * Inputs, y = x + Inputs;
            Vector<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default,
                b2 = default, b3 = default;
            for (var i = 0; i < Inputs; i += 2 * Lane)
            {
                var (x0, x1, y0, y1) =
                    (Vector.Load(x + i), Vector.Load(x + i + Lane), Vector.Load(y + i), Vector.Load(y + i + Lane));
                Add(w0 + i, x0, x1, y0, y1, ref a0, ref b0);
                Add(w1 + i, x0, x1, y0, y1, ref a1, ref b1);
                Add(w2 + i, x0, x1, y0, y1, ref a2, ref b2);
                Add(w3 + i, x0, x1, y0, y1, ref a3, ref b3);
            }

            Put(row, o0, a0);
            Put(row, o1, a1);
            Put(row, o2, a2);
            Put(row, o3, a3);
            Put(row + 1, o0, b0);
            Put(row + 1, o1, b1);
            Put(row + 1, o2, b2);
            Put(row + 1, o3, b3);
        }

        private ushort* Row(int o) => (ushort*)Matrix + (long)o * Inputs;

        private void Put(int row, int o, Vector<float> sums) =>
            ((ushort*)To)[(long)row * Outputs + o] =
                Rounded(Vector.Sum(sums) + (Bias == 0 ? 0 : Wide(((ushort*)Bias)[o])));

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Add(ushort* w, Vector<float> x0, Vector<float> x1, ref Vector<float> even,
            ref Vector<float> odd)
        {
            var (w0, w1) = Load(w);
            even = Vector.MultiplyAddEstimate(w0, x0, even);
            odd = Vector.MultiplyAddEstimate(w1, x1, odd);
        }

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        private static void Add(ushort* w, Vector<float> x0, Vector<float> x1, Vector<float> y0, Vector<float> y1,
            ref Vector<float> a, ref Vector<float> b)
        {
            var (w0, w1) = Load(w);
            a = Vector.MultiplyAddEstimate(w0, x0, a);
            b = Vector.MultiplyAddEstimate(w0, y0, b);
            a = Vector.MultiplyAddEstimate(w1, x1, a);
            b = Vector.MultiplyAddEstimate(w1, y1, b);
        }
    }

    // The values of x in fp32 and taken apart, in memory of this thread that the next call takes again.
    private static float* Widened(Tensor x)
    {
        var count = x.numel();
        if (wideLength < count)
        {
            NativeMemory.AlignedFree(wide);
            wide = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);
            wideLength = count;
        }

        Widen((ushort*)Address(x), wide, count);
        return wide;
    }

    /// <summary>Values in fp32, of each two vectors first the even ones.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Widen(ushort* values, float* to, long count)
    {
        for (var i = 0L; i < count; i += 2 * Lane)
        {
            var (even, odd) = Load(values + i);
            Vector.Store(even, to + i);
            Vector.Store(odd, to + i + Lane);
        }
    }

    /// <summary>Where a contiguous tensor of less than 2 GB lies.</summary>
    internal static nint Address(Tensor tensor)
    {
        fixed (byte* first = tensor.bytes)
        {
            return (nint)first; // not the collector's memory: it stays where it is
        }
    }

    /// <summary>Two vectors' worth of values; a bf16 is the upper half of an fp32.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static (Vector<float> Even, Vector<float> Odd) Load(ushort* values)
    {
        var words = Vector.Load((uint*)values);
        return (Singles(words << 16), Singles(words & Upper));
    }

    /// <summary>Rounds, and puts back together what <see cref="Load"/> took apart.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static void Store(Vector<float> even, Vector<float> odd, ushort* to) =>
        Vector.Store(Rounded(even) >> 16 | Rounded(odd), (uint*)to);

    /// <summary>Values as bf16 has them.</summary>
    internal static Vector<float> Round(Vector<float> values) => Singles(Rounded(values));

    private static Vector<float> Singles(Vector<uint> bits) => Vector.AsVectorSingle(bits);

    private static float Wide(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static Vector<uint> Rounded(Vector<float> values)
    {
        var bits = Vector.AsVectorUInt32(values);
        var rounded = bits + new Vector<uint>(0x7FFF) + (bits >> 16 & Vector<uint>.One) & Upper;
        return Vector.ConditionalSelect(Vector.AsVectorUInt32(Vector.Equals(values, values)), rounded, new(0x7FC00000));
    }

    private static ushort Rounded(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7FC0 : (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}
