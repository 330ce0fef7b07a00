// One or two rows at a time, in bf16 on a CPU, as when tokens are drawn one by one. A product then costs what reading W from memory costs, but
// libtorch's reads it at half the speed of the memory; and a norm costs its nine small operators. So the rows of W are summed up here, those of all
// layers that read the same x in one go, and the norm is one loop.
// Sums are in fp32, results are rounded as libtorch rounds them, to the nearest and to even; a bias comes before the one rounding.
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Products and norms of one or two rows in bf16.</summary>
internal static unsafe class FewRows
{
    private const int MostRows = 2, Stride = 64; // values of W a round: two cache lines
    private const long FewestWeights = 1 << 16;

    [ThreadStatic]
    private static float* wide;

    [ThreadStatic]
    private static int wideLength;

    /// <summary>Whether x, […, <paramref name="inputs"/>], is of that kind.</summary>
    internal static bool Fit(Tensor x, int inputs) => Vector512.IsHardwareAccelerated && BitConverter.IsLittleEndian && inputs % Stride == 0 && x.dtype == ScalarType.BFloat16
        && x.numel() <= MostRows * inputs && x.device_type == DeviceType.CPU && !is_grad_enabled() && x.is_contiguous();

    /// <summary>Whether a layer is large enough to gain.</summary>
    internal static bool Fit(Projection layer) => layer.Weight.dtype == ScalarType.BFloat16 && (long)layer.Inputs * layer.Outputs >= FewestWeights;

    /// <summary>W x + b of each layer: […, in] → […, out].</summary>
    internal static Tensor[] Products(Tensor x, params Projection[] layers)
    {
        int inputs = layers[0].Inputs, rows = (int)(x.numel() / inputs), threads = get_num_threads(), parts = threads == 1 ? 1 : 4 * threads;
        var shape = x.shape;
        var from = Widened(x, pairwise: true);
        var results = new Tensor[layers.Length];
        var places = new (nint Matrix, nint Bias, nint To, int Outputs)[layers.Length];
        for (var i = 0; i < layers.Length; i++)
        {
            shape[^1] = layers[i].Outputs;
            results[i] = empty(shape, ScalarType.BFloat16, CPU);
            places[i] = (Address(layers[i].Weight), layers[i].Bias is { } bias ? Address(bias) : 0, Address(results[i]), layers[i].Outputs);
        }

        var (a, all) = ((nint)from, places.Sum(place => (long)place.Outputs));
        Parallel.For(0, parts, new() { MaxDegreeOfParallelism = threads }, part =>
        {
            long first = all * part / parts, end = all * (part + 1) / parts;
            foreach (var (matrix, bias, to, outputs) in places)
            {
                Sum((ushort*)matrix, (ushort*)bias, (float*)a, (ushort*)to, rows, inputs, outputs, (int)Math.Max(first, 0), (int)Math.Min(end, outputs));
                (first, end) = (first - outputs, end - outputs);
            }
        });
        return results;
    }

    /// <summary>x / sqrt(mean(x²) + ε), rounded, times the weight.</summary>
    internal static Tensor Norm(Tensor x, Tensor weight, double epsilon)
    {
        var (result, width) = (empty(x.shape, ScalarType.BFloat16, CPU), (int)weight.numel());
        float* from = Widened(x, pairwise: false);
        ushort* w = (ushort*)Address(weight), to = (ushort*)Address(result);
        for (var left = x.numel(); left > 0; left -= width, from += width, to += width)
        {
            var squares = Vector512<float>.Zero;
            for (var i = 0; i < width; i += Vector512<float>.Count)
            {
                squares = Vector512.FusedMultiplyAdd(Vector512.Load(from + i), Vector512.Load(from + i), squares);
            }

            var scale = (float)(1 / Math.Sqrt(Vector512.Sum(squares) / width + epsilon));
            for (var i = 0; i < width; i++)
            {
                to[i] = Round(Wide(Round(from[i] * scale)) * Wide(w[i]));
            }
        }

        return result;
    }

    private static void Sum(ushort* matrix, ushort* bias, float* from, ushort* to, int rows, int inputs, int outputs, int first, int end)
    {
        // two bf16 are one word: the even one in its lower half, the odd one above; x comes in the same order
        var odd = Vector512.Create(0xFFFF0000);
        for (var o = first; o < end; o++)
        {
            var w = matrix + (long)o * inputs;
            for (var row = 0; row < rows; row++)
            {
                var x = from + row * inputs;
                Vector512<float> a = default, b = default, c = default, d = default;
                for (var i = 0; i < inputs; i += Stride)
                {
                    var (pairs, pairs2) = (Vector512.Load(w + i).AsUInt32(), Vector512.Load(w + i + 32).AsUInt32());
                    a = Vector512.FusedMultiplyAdd((pairs << 16).AsSingle(), Vector512.Load(x + i), a);
                    b = Vector512.FusedMultiplyAdd((pairs & odd).AsSingle(), Vector512.Load(x + i + 16), b);
                    c = Vector512.FusedMultiplyAdd((pairs2 << 16).AsSingle(), Vector512.Load(x + i + 32), c);
                    d = Vector512.FusedMultiplyAdd((pairs2 & odd).AsSingle(), Vector512.Load(x + i + 48), d);
                }

                to[row * outputs + o] = Round(Vector512.Sum(a + b + (c + d)) + (bias == null ? 0 : Wide(bias[o])));
            }
        }
    }

    // The values of x in fp32, in memory of this thread that the next call takes again; pairwise: of every 32 the 16 even ones first.
    private static float* Widened(Tensor x, bool pairwise)
    {
        var count = (int)x.numel();
        if (wideLength < count)
        {
            NativeMemory.AlignedFree(wide);
            wide = (float*)NativeMemory.AlignedAlloc((nuint)count * sizeof(float), 64);
            wideLength = count;
        }

        var values = (ushort*)Address(x);
        for (var i = 0; i < count; i++)
        {
            wide[pairwise ? (i & ~31) + (i & 1) * 16 + (i & 31) / 2 : i] = Wide(values[i]);
        }

        return wide;
    }

    private static nint Address(Tensor tensor)
    {
        fixed (byte* first = tensor.bytes)
        {
            return (nint)first; // not the collector's memory: it stays where it is
        }
    }

    // A bf16 is the upper half of an fp32.
    private static float Wide(ushort value) => BitConverter.UInt32BitsToSingle((uint)value << 16);

    private static ushort Round(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)0x7FC0 : (ushort)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
    }
}
