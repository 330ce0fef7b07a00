// Matrices in panels, and their products, in fp32. A matrix of N rows and D columns lies as [D / P][N][P], P two
// vectors' values: a product
//   c[m, :] (+)= Σ_k a[m, k] b[k, :]
// reads b and writes c panel by panel, six rows by two vectors at a time in registers, and takes a by single values, in
// whatever order they lie. So one kernel makes y = x Wᵀ, its gradients dx = dy W and dW = dyᵀ x, and the products of
// attention, and nothing is copied in between.
using System.Runtime.CompilerServices;

namespace ReasonGen.Kernels;

/// <summary>Where the left factor's value (m, k) lies.</summary>
/// <param name="First">Of (0, 0).</param>
/// <param name="Row">From row to row.</param>
/// <param name="Step">From k to k + 1.</param>
/// <param name="RowPanel">From (m, k) to (m + P, k), where rows lie in panels; 0 where they do not.</param>
/// <param name="StepPanel">From (m, k) to (m, k + P), where a row's values lie in panels; 0 where they do not.</param>
internal readonly unsafe record struct LeftFactor(
    nint First, nint Row, nint Step, nint RowPanel = 0, nint StepPanel = 0);

/// <summary>Panels of any width.</summary>
internal static unsafe class Panels
{
    /// <summary>Lays rows [N, K] into the columns of panels [.. / P][K][P], from a first column on; zeros behind the
    /// last, up to the end of its panel.</summary>
    /// <param name="from">The rows.</param>
    /// <param name="row">From one to the next.</param>
    /// <param name="to">The panels.</param>
    /// <param name="first">Column of the first row.</param>
    /// <param name="count">N.</param>
    /// <param name="width">K.</param>
    /// <param name="panel">P.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Turn(float* from, long row, float* to, int first, int count, int width, int panel)
    {
        for (int o = 0, some; o < count; o += some)
        {
            var column = (first + o) % panel;
            some = Math.Min(panel - column, count - o); // rows that share a panel: each line of it is written once
            var rest = o + some == count ? panel - column - some : 0;
            var line = to + (long)((first + o) / panel) * panel * width + column;
            for (var k = 0; k < width; k++, line += panel)
            {
                for (var t = 0; t < some; t++)
                {
                    line[t] = from[(o + t) * row + k];
                }

                new Span<float>(line + some, rest).Clear();
            }
        }
    }
}

/// <summary>Products of matrices in panels.</summary>
internal static unsafe class Panels<L, V> where L : ILanes<V> where V : struct
{
    /// <summary>P, a panel's columns.</summary>
    internal static int Width => 2 * L.Count;

    /// <summary>Where the value of a row and a column lies.</summary>
    /// <param name="matrix">Of so many rows.</param>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal static float* At(float* matrix, int rows, int row, int column) =>
        matrix + ((long)(column / Width) * rows + row) * Width + column % Width;

    /// <summary>Rows of a matrix in panels as the left factor.</summary>
    internal static LeftFactor Rows(float* matrix, int rows) => new((nint)matrix, Width, 1, 0, (nint)rows * Width);

    /// <summary>Its columns as the rows of the left factor.</summary>
    internal static LeftFactor Columns(float* matrix, int rows) => new((nint)matrix, 1, Width, (nint)rows * Width);

    /// <summary>c = a b, or c + a b, for one panel of b and c.</summary>
    /// <param name="a">[rows, count].</param>
    /// <param name="b">[count, P].</param>
    /// <param name="c">[rows, P], so many values from one row to the next.</param>
    /// <param name="rows">At least 1.</param>
    /// <param name="count">Values of a sum, at least 1.</param>
    /// <param name="add">Whether the product is added to what c holds.</param>
    /// <param name="stride">From one row of c to the next; P when 0.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Multiply(LeftFactor a, float* b, float* c, int rows, int count, bool add, nint stride = 0)
    {
        var segment = a.StepPanel == 0 ? count : Width;
        stride = stride == 0 ? Width : stride;
        for (var row = 0; row < rows; row += 6)
        {
            Six(a, b, c, row, rows - 1, count, segment, add, stride);
        }
    }

    // The last rows may be one and the same: what they add to is read before anything is written.
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Six(LeftFactor a, float* b, float* c, int row, int last, int count, int segment, bool add,
        nint stride)
    {
        int m1 = Math.Min(row + 1, last), m2 = Math.Min(row + 2, last), m3 = Math.Min(row + 3, last);
        int m4 = Math.Min(row + 4, last), m5 = Math.Min(row + 5, last);
        float* a0 = Row(a, row), a1 = Row(a, m1), a2 = Row(a, m2), a3 = Row(a, m3), a4 = Row(a, m4), a5 = Row(a, m5);
        V x0 = L.Of(0), y0 = x0, x1 = x0, y1 = x0, x2 = x0, y2 = x0, x3 = x0, y3 = x0, x4 = x0, y4 = x0, x5 = x0,
            y5 = x0;
        var step = a.Step;
        for (var from = 0; from < count; from += segment)
        {
            var at = from / segment * a.StepPanel;
            for (var end = b + (long)segment * 2 * L.Count; b < end; b += 2 * L.Count, at += step)
            {
                V left = L.Load(b), right = L.Load(b + L.Count), value = L.Of(a0[at]);
                (x0, y0) = (L.MultiplyAdd(value, left, x0), L.MultiplyAdd(value, right, y0));
                value = L.Of(a1[at]);
                (x1, y1) = (L.MultiplyAdd(value, left, x1), L.MultiplyAdd(value, right, y1));
                value = L.Of(a2[at]);
                (x2, y2) = (L.MultiplyAdd(value, left, x2), L.MultiplyAdd(value, right, y2));
                value = L.Of(a3[at]);
                (x3, y3) = (L.MultiplyAdd(value, left, x3), L.MultiplyAdd(value, right, y3));
                value = L.Of(a4[at]);
                (x4, y4) = (L.MultiplyAdd(value, left, x4), L.MultiplyAdd(value, right, y4));
                value = L.Of(a5[at]);
                (x5, y5) = (L.MultiplyAdd(value, left, x5), L.MultiplyAdd(value, right, y5));
            }
        }

        float* c0 = c + row * stride, c1 = c + m1 * stride, c2 = c + m2 * stride;
        float* c3 = c + m3 * stride, c4 = c + m4 * stride, c5 = c + m5 * stride;
        if (add)
        {
            (x0, y0) = (L.Add(x0, L.Load(c0)), L.Add(y0, L.Load(c0 + L.Count)));
            (x1, y1) = (L.Add(x1, L.Load(c1)), L.Add(y1, L.Load(c1 + L.Count)));
            (x2, y2) = (L.Add(x2, L.Load(c2)), L.Add(y2, L.Load(c2 + L.Count)));
            (x3, y3) = (L.Add(x3, L.Load(c3)), L.Add(y3, L.Load(c3 + L.Count)));
            (x4, y4) = (L.Add(x4, L.Load(c4)), L.Add(y4, L.Load(c4 + L.Count)));
            (x5, y5) = (L.Add(x5, L.Load(c5)), L.Add(y5, L.Load(c5 + L.Count)));
        }

        Store(x0, y0, c0);
        Store(x1, y1, c1);
        Store(x2, y2, c2);
        Store(x3, y3, c3);
        Store(x4, y4, c4);
        Store(x5, y5, c5);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(V left, V right, float* to)
    {
        L.Store(left, to);
        L.Store(right, to + L.Count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static float* Row(LeftFactor a, int row) => (float*)a.First
        + (a.RowPanel == 0 ? row * a.Row : row / Width * a.RowPanel + row % Width * a.Row);
}
