// Multi-scale deformable attention (mmcv: multi_scale_deform_attn.py). H heads of width d, L levels, P points:
//   out_q = W_o [ Σ_l Σ_p a_qhlp · value_lh(r_q + o_qhlp / (w_l, h_l)) ]_h + x_q
//   o, a = W (x + position), a softmaxed over levels and points together
// Values between pixels are bilinear, outside the map 0; pixel i has its centre at (i + ½)/n.
// Deviation: on a CPU in fp32 the sums are made here, in one pass that reads each pixel's channels side by side:
// libtorch's grid_sample wants maps channel by channel and gathers each value alone. Elsewhere grid_sample is used,
// all heads of a level at once.
using System.Numerics;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Attention over a few places of several maps that each query chooses.</summary>
internal static unsafe class Deformable
{
    /// <summary>One layer with its residual, [N, C] → [N, C].</summary>
    /// <param name="attention">Weights under the names of the reference's module.</param>
    /// <param name="x">Queries and values, [N, C]: all levels, one after the other.</param>
    /// <param name="position">Position and level of each, [N, C].</param>
    /// <param name="references">Where each query lies, 0 to 1, x first: [N, L, 2] in fp32.</param>
    /// <param name="shapes">Height and width of each level.</param>
    /// <param name="heads">Number of heads.</param>
    internal static Tensor Attend(Weights attention, Tensor x, Tensor position, Tensor references,
        (int Height, int Width)[] shapes, int heads)
    {
        using var scope = NewDisposeScope();
        long rows = x.shape[0], levels = shapes.Length;
        var query = x.add(position);
        var values = attention.Linear("value_proj", x).view(rows, heads, -1);
        var offsets = attention.Linear("sampling_offsets", query).to(ScalarType.Float32).view(rows, heads, levels, -1,
            2);
        var sizes = tensor(shapes.SelectMany(shape => new[] { (float)shape.Width, shape.Height }).ToArray(),
            [1, 1, levels, 1, 2], device: x.device);
        var locations = offsets.div_(sizes).add_(references.view(-1, 1, levels, 1, 2));
        var weights = attention.Linear("attention_weights", query).to(ScalarType.Float32).view(rows, heads, -1)
            .softmax(-1).view(rows, heads, levels, -1);
        var sums = Sample(values, shapes, locations, weights);
        return attention.Linear("output_proj", sums.view(rows, -1)).add_(x).MoveToOuterDisposeScope();
    }

    /// <summary>The weighted sums: values [N, H, d], locations [Q, H, L, P, 2], weights [Q, H, L, P], the last two in
    /// fp32 → [Q, H, d].</summary>
    internal static Tensor Sample(Tensor values, (int Height, int Width)[] shapes, Tensor locations, Tensor weights) =>
        values.device_type == DeviceType.CPU && values.dtype == ScalarType.Float32 && !is_grad_enabled()
            ? SampleRows(values, shapes, locations, weights) : SampleMaps(values, shapes, locations, weights);

    /// <summary>The same by libtorch's operator.</summary>
    internal static Tensor SampleMaps(Tensor values, (int Height, int Width)[] shapes, Tensor locations, Tensor weights)
    {
        using var scope = NewDisposeScope();
        var grids = locations.mul(2).sub_(1);
        Tensor? sum = null;
        var first = 0L;
        foreach (var (level, (height, width)) in shapes.Index())
        {
            // [H, d, h, w]
            var maps = values.narrow(0, first, height * width).permute(1, 2, 0).reshape(values.shape[1], -1, height,
                width).to(ScalarType.Float32);
            var found = functional.grid_sample(maps, grids.select(2, level).transpose(0, 1), GridSampleMode.Bilinear,
                GridSamplePaddingMode.Zeros,
                align_corners: false); // [H, d, Q, P]
            var weighted = found.mul_(weights.select(2, level).transpose(0, 1).unsqueeze(1)).sum([3L]);
            sum = sum is null ? weighted : sum.add_(weighted);
            first += height * width;
        }

        return sum!.permute(2, 0, 1).contiguous().to(values.dtype).MoveToOuterDisposeScope();
    }

    /// <summary>The same with each pixel's channels read side by side.</summary>
    internal static Tensor SampleRows(Tensor values, (int Height, int Width)[] shapes, Tensor locations, Tensor weights)
    {
        using var scope = NewDisposeScope();
        (values, locations, weights) = (values.contiguous(), locations.contiguous(), weights.contiguous());
        int queries = (int)locations.shape[0], heads = (int)values.shape[1], width = (int)values.shape[2],
            points = (int)locations.shape[3];
        var sums = empty(queries, heads, width, device: CPU);
        nint from = MetaTensors.Address(values), to = MetaTensors.Address(sums),
            places = MetaTensors.Address(locations), shares = MetaTensors.Address(weights);
        var parts = Math.Min(queries, 8 * get_num_threads());
        ParallelParts.For(parts, get_num_threads(), part =>
        {
            for (var query = (long)queries * part / parts; query < (long)queries * (part + 1) / parts; query++)
            {
                for (var head = 0; head < heads; head++)
                {
                    var place = (query * heads + head) * shapes.Length * points;
                    SumUp((float*)from + head * width, shapes, (float*)places + 2 * place, (float*)shares + place,
                        points, width, heads * width,
                        (float*)to + (query * heads + head) * width);
                }
            }
        });
        return sums.MoveToOuterDisposeScope();
    }

    private static void SumUp(float* values, (int Height, int Width)[] shapes, float* places, float* shares, int points,
        int width, int stride, float* to)
    {
        new Span<float>(to, width).Clear();
        foreach (var (height, columns) in shapes)
        {
            for (var point = 0; point < points; point++, places += 2, shares++)
            {
                float x = places[0] * columns - 0.5f, y = places[1] * height - 0.5f;
                if (x > -1 && x < columns && y > -1 && y < height) // else no pixel is near; NaN is not either
                {
                    int left = (int)MathF.Floor(x), top = (int)MathF.Floor(y);
                    float right = x - left, low = y - top;
                    // outside the map the share is 0, of some pixel within
                    float leftShare = left < 0 ? 0 : (1 - right) * *shares, rightShare = left + 1 >= columns ? 0
                        : right * *shares;
                    float topShare = top < 0 ? 0 : 1 - low, lowShare = top + 1 >= height ? 0 : low;
                    long upper = Math.Max(top, 0) * (long)columns,
                        lower = Math.Min(top + 1, height - 1) * (long)columns;
                    int first = Math.Max(left, 0), second = Math.Min(left + 1, columns - 1);
                    Add(values + (upper + first) * stride, values + (upper + second) * stride, values
                        + (lower + first) * stride,
                        values + (lower + second) * stride, leftShare * topShare, rightShare * topShare,
                            leftShare * lowShare, rightShare * lowShare, width, to);
                }
            }

            values += (long)height * columns * stride;
        }
    }

    private static void Add(float* a, float* b, float* c, float* d, float shareA, float shareB, float shareC,
        float shareD, int width, float* to)
    {
        var (allA, allB, allC, allD, i) = (new Vector<float>(shareA), new Vector<float>(shareB),
            new Vector<float>(shareC), new Vector<float>(shareD), 0);
        for (; i <= width - Vector<float>.Count; i += Vector<float>.Count)
        {
            var upper = Vector.MultiplyAddEstimate(allA, Vector.Load(a + i), allB * Vector.Load(b + i));
            var lower = Vector.MultiplyAddEstimate(allC, Vector.Load(c + i), allD * Vector.Load(d + i));
            Vector.Store(Vector.Load(to + i) + (upper + lower), to + i);
        }

        for (; i < width; i++)
        {
            to[i] += shareA * a[i] + shareB * b[i] + (shareC * c[i] + shareD * d[i]);
        }
    }
}
