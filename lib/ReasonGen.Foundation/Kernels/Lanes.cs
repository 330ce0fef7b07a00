// One source for all vector widths: a kernel is generic over its lanes, and the just-in-time compiler makes one of it
// for each. Loops of kernels ask for all its optimizations at their first call: in its first, plain version every
// vector operation is a call, and of a short run a third went by in that.
//   e^x = 2^n e^r with n = round(x / ln 2), |r| ≤ ln 2 / 2; e^r from a polynomial of degree 5 (Cephes' expf), 2^n added
// to the exponent's bits.
using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;

namespace ReasonGen.Kernels;

/// <summary>What kernels do with a vector <typeparamref name="V"/> of fp32.</summary>
internal unsafe interface ILanes<V> where V : struct
{
    /// <summary>Values in a vector.</summary>
    static abstract int Count { get; }

    static abstract V Load(float* from);

    static abstract void Store(V values, float* to);

    static abstract V Of(float value);

    static abstract V Add(V a, V b);

    static abstract V Multiply(V a, V b);

    static abstract V Divide(V a, V b);

    /// <summary>a b + c, fused where the processor can.</summary>
    static abstract V MultiplyAdd(V a, V b, V c);

    /// <summary>The larger, and <paramref name="b"/> where that is no number.</summary>
    static abstract V Max(V a, V b);

    /// <summary>The smaller, and <paramref name="b"/> where that is no number.</summary>
    static abstract V Min(V a, V b);

    static abstract float Sum(V values);

    /// <summary>values · 2^n, where <paramref name="shifted"/> is n + 1.5 · 2²³.</summary>
    static abstract V Scale(V values, V shifted);
}

/// <summary>Which vectors this processor has.</summary>
internal static class Lanes
{
    /// <summary>Values of the widest vector that it has and that fits: 16, 8 or 4; 0 where none does.</summary>
    internal static int Widest(Func<int, bool> fits) => Vector512.IsHardwareAccelerated && fits(16) ? 16
        : Vector256.IsHardwareAccelerated && fits(8) ? 8 : Vector128.IsHardwareAccelerated && fits(4) ? 4 : 0;
}

/// <summary>Functions of whole vectors.</summary>
internal static unsafe class Lanes<L, V> where L : ILanes<V> where V : struct
{
    /// <summary>e^x within 2e-7 of it, for x in [−87, 88]; beyond it the value there.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static V Exp(V x)
    {
        const float shift = 12582912; // 1.5 · 2²³: adding it rounds, and the whole number stands in the lowest bits
        x = L.Min(L.Of(88), L.Max(L.Of(-87), x));
        var shifted = L.MultiplyAdd(x, L.Of(1.44269504f), L.Of(shift));
        var n = L.Add(shifted, L.Of(-shift));
        var r = L.MultiplyAdd(n, L.Of(2.12194440e-4f), L.MultiplyAdd(n, L.Of(-0.693359375f), x));
        var p = L.MultiplyAdd(L.Of(1.9875691e-4f), r, L.Of(1.3981999e-3f));
        p = L.MultiplyAdd(p, r, L.Of(8.3334519e-3f));
        p = L.MultiplyAdd(p, r, L.Of(4.1665796e-2f));
        p = L.MultiplyAdd(p, r, L.Of(1.6666666e-1f));
        p = L.MultiplyAdd(p, r, L.Of(0.5f));
        p = L.MultiplyAdd(L.Multiply(r, r), p, L.Add(r, L.Of(1)));
        return L.Scale(p, shifted);
    }

    /// <summary>Scores → e^(score − largest), in place, as softmax begins.</summary>
    /// <param name="scores">With room for whole vectors; what lies behind them there becomes next to nothing.</param>
    /// <param name="count">At least 1.</param>
    /// <returns>The sum.</returns>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static float Exponentials(float* scores, int count)
    {
        var whole = (count + L.Count - 1) / L.Count * L.Count;
        new Span<float>(scores + count, whole - count).Fill(-1e30f);
        var most = L.Load(scores);
        for (var j = L.Count; j < whole; j += L.Count)
        {
            most = L.Max(L.Load(scores + j), most);
        }

        var each = stackalloc float[L.Count];
        L.Store(most, each);
        var largest = each[0];
        for (var j = 1; j < L.Count; j++)
        {
            largest = Math.Max(largest, each[j]);
        }

        var (sum, off) = (L.Of(0), L.Of(-largest));
        for (var j = 0; j < whole; j += L.Count)
        {
            var share = Exp(L.Add(L.Load(scores + j), off));
            sum = L.Add(sum, share);
            L.Store(share, scores + j);
        }

        return L.Sum(sum);
    }
}

/// <summary>AVX-512.</summary>
internal readonly unsafe struct Lanes16 : ILanes<Vector512<float>>
{
    public static int Count => 16;

    public static Vector512<float> Load(float* from) => Vector512.Load(from);

    public static void Store(Vector512<float> values, float* to) => Vector512.Store(values, to);

    public static Vector512<float> Of(float value) => Vector512.Create(value);

    public static Vector512<float> Add(Vector512<float> a, Vector512<float> b) => a + b;

    public static Vector512<float> Multiply(Vector512<float> a, Vector512<float> b) => a * b;

    public static Vector512<float> Divide(Vector512<float> a, Vector512<float> b) => a / b;

    public static Vector512<float> MultiplyAdd(Vector512<float> a, Vector512<float> b, Vector512<float> c) =>
        Vector512.MultiplyAddEstimate(a, b, c);

    public static Vector512<float> Max(Vector512<float> a, Vector512<float> b) => Vector512.MaxNative(a, b);

    public static Vector512<float> Min(Vector512<float> a, Vector512<float> b) => Vector512.MinNative(a, b);

    public static float Sum(Vector512<float> values) => Vector512.Sum(values);

    public static Vector512<float> Scale(Vector512<float> values, Vector512<float> shifted) =>
        (values.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
}

/// <summary>AVX2.</summary>
internal readonly unsafe struct Lanes8 : ILanes<Vector256<float>>
{
    public static int Count => 8;

    public static Vector256<float> Load(float* from) => Vector256.Load(from);

    public static void Store(Vector256<float> values, float* to) => Vector256.Store(values, to);

    public static Vector256<float> Of(float value) => Vector256.Create(value);

    public static Vector256<float> Add(Vector256<float> a, Vector256<float> b) => a + b;

    public static Vector256<float> Multiply(Vector256<float> a, Vector256<float> b) => a * b;

    public static Vector256<float> Divide(Vector256<float> a, Vector256<float> b) => a / b;

    public static Vector256<float> MultiplyAdd(Vector256<float> a, Vector256<float> b, Vector256<float> c) =>
        Vector256.MultiplyAddEstimate(a, b, c);

    public static Vector256<float> Max(Vector256<float> a, Vector256<float> b) => Vector256.MaxNative(a, b);

    public static Vector256<float> Min(Vector256<float> a, Vector256<float> b) => Vector256.MinNative(a, b);

    public static float Sum(Vector256<float> values) => Vector256.Sum(values);

    public static Vector256<float> Scale(Vector256<float> values, Vector256<float> shifted) =>
        (values.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
}

/// <summary>NEON, SSE, and whatever else .NET makes of four values.</summary>
internal readonly unsafe struct Lanes4 : ILanes<Vector128<float>>
{
    public static int Count => 4;

    public static Vector128<float> Load(float* from) => Vector128.Load(from);

    public static void Store(Vector128<float> values, float* to) => Vector128.Store(values, to);

    public static Vector128<float> Of(float value) => Vector128.Create(value);

    public static Vector128<float> Add(Vector128<float> a, Vector128<float> b) => a + b;

    public static Vector128<float> Multiply(Vector128<float> a, Vector128<float> b) => a * b;

    public static Vector128<float> Divide(Vector128<float> a, Vector128<float> b) => a / b;

    public static Vector128<float> MultiplyAdd(Vector128<float> a, Vector128<float> b, Vector128<float> c) =>
        Vector128.MultiplyAddEstimate(a, b, c);

    public static Vector128<float> Max(Vector128<float> a, Vector128<float> b) => Vector128.MaxNative(a, b);

    public static Vector128<float> Min(Vector128<float> a, Vector128<float> b) => Vector128.MinNative(a, b);

    public static float Sum(Vector128<float> values) => Vector128.Sum(values);

    public static Vector128<float> Scale(Vector128<float> values, Vector128<float> shifted) =>
        (values.AsInt32() + (shifted.AsInt32() << 23)).AsSingle();
}
