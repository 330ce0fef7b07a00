// RoIAlign (torchvision: roi_align_kernel.cpp): each of p×p bins of a region is the mean of samples of a map, bilinear
// between pixels, 0 beyond the rim.
//   region = corners·scale − ½;  samples of a bin: ⌈side/p⌉ along each axis, at (i + ½)/count;  outside [−1, size] none
// Deviation: the mean over a grid of bilinear samples is a product over the axes, so the weights of all samples that
// fall on a row or column are summed up first. On a CPU in fp32 the sum is made here, over the channels that lie side
// by side; elsewhere by two matrix products.
using System.Numerics;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

/// <summary>Regions of a map, each at one size.</summary>
internal static unsafe class RoiAlign
{
    private const int RegionsAtOnce = 64;

    /// <summary>Regions of a map.</summary>
    /// <param name="map">[h, w, C].</param>
    /// <param name="regions">In pixels of the image.</param>
    /// <param name="scale">Pixels of the map for one of the image.</param>
    /// <param name="output">Bins, rows first.</param>
    /// <param name="samples">Samples of a bin along an axis; 0 chooses by the size of the region.</param>
    /// <param name="aligned">Take pixels by their centres; else as before detectron2.</param>
    /// <returns>[n, rows, columns, C].</returns>
    internal static Tensor Pool(Tensor map, IReadOnlyList<Box> regions, float scale, (int Rows, int Columns) output,
        int samples = 0,
        bool aligned = true)
    {
        Bins[] rows =
            [.. regions.Select(region => new Bins(region.Y1, region.Y2, scale, (int)map.shape[0], output.Rows, samples,
                aligned))];
        Bins[] columns =
            [.. regions.Select(region => new Bins(region.X1, region.X2, scale, (int)map.shape[1], output.Columns,
                samples, aligned))];
        return map.device_type == DeviceType.CPU && map.dtype == ScalarType.Float32 ? Sum(map, rows, columns, output)
            : Multiply(map, rows, columns);
    }

    /// <summary>By sums over channels.</summary>
    internal static Tensor Sum(Tensor map, Bins[] rows, Bins[] columns, (int Rows, int Columns) output)
    {
        using var scope = NewDisposeScope();
        map = map.contiguous();
        var (width, channels) = ((int)map.shape[1], (int)map.shape[2]);
        var pooled = zeros(rows.Length, output.Rows, output.Columns, channels, device: CPU);
        if (rows.Length > 0)
        {
            nint from = MetaTensors.Address(map), to = MetaTensors.Address(pooled);
            ParallelParts.For(rows.Length, get_num_threads(), region =>
            {
                for (var bin = 0; bin < output.Rows * output.Columns; bin++)
                {
                    var (across, down) = (bin % output.Columns, bin / output.Columns);
                    var sum = (float*)to + ((long)region * output.Rows * output.Columns + bin) * channels;
                    for (int y = rows[region].First[down], i = 0; i < rows[region].Weights[down].Length; i++, y++)
                    {
                        for (int x = columns[region].First[across], j = 0; j < columns[region].Weights[across]
                            .Length; j++, x++)
                        {
                            Add((float*)from + ((long)y * width + x) * channels,
                                rows[region].Weights[down][i] * columns[region].Weights[across][j], sum, channels);
                        }
                    }
                }
            });
        }

        return pooled.MoveToOuterDisposeScope();
    }

    /// <summary>By matrix products, on any device.</summary>
    internal static Tensor Multiply(Tensor map, Bins[] rows, Bins[] columns)
    {
        using var scope = NewDisposeScope();
        var (height, width, channels) = (map.shape[0], map.shape[1], map.shape[2]);
        var parts = new List<Tensor>();
        foreach (var (down, across) in rows.Chunk(RegionsAtOnce).Zip(columns.Chunk(RegionsAtOnce)))
        {
            using var inner = NewDisposeScope();
            var lines = Dense(down, height, map).flatten(0, 1).matmul(map.reshape(height, -1))
                .view(down.Length, -1, width, channels);
            parts.Add(Dense(across, width, map).unsqueeze(1).matmul(lines).MoveToOuterDisposeScope());
        }

        return cat(parts).MoveToOuterDisposeScope();
    }

    // [n, bins, size]
    private static Tensor Dense(Bins[] all, long size, Tensor like)
    {
        var bins = all[0].First.Length;
        var values = new float[all.Length * bins * size];
        foreach (var (region, bin) in all.SelectMany((_, region) => Enumerable.Range(0, bins)
            .Select(bin => (region, bin))))
        {
            all[region].Weights[bin].CopyTo(values, (region * bins + bin) * size + all[region].First[bin]);
        }

        return tensor(values, [all.Length, bins, size], device: CPU).to(like.dtype, like.device);
    }

    private static void Add(float* from, float weight, float* to, int count)
    {
        var (all, i) = (new Vector<float>(weight), 0);
        for (; i <= count - Vector<float>.Count; i += Vector<float>.Count)
        {
            Vector.Store(Vector.MultiplyAddEstimate(all, Vector.Load(from + i), Vector.Load(to + i)), to + i);
        }

        for (; i < count; i++)
        {
            to[i] += weight * from[i];
        }
    }

    /// <summary>The bins of a region along one axis: the first pixel of each, and the weights of that and those after
    /// it.</summary>
    internal sealed class Bins
    {
        internal Bins(float begin, float end, float scale, int size, int count, int samples, bool aligned)
        {
            (First, Weights) = (new int[count], new float[count][]);
            float start = begin * scale - (aligned ? 0.5f : 0), length = end * scale - (aligned ? 0.5f : 0) - start;
            var bin = (aligned ? length : MathF.Max(length, 1)) / count;
            samples = samples > 0 ? samples : (int)MathF.Ceiling(bin);
            for (var i = 0; i < count; i++)
            {
                var (first, last, weights) = (size, -1, new Dictionary<int, float>());
                for (var sample = 0; sample < samples; sample++)
                {
                    var place = start + i * bin + (sample + 0.5f) * bin / samples;
                    if (place >= -1 && place <= size)
                    {
                        place = MathF.Max(place, 0);
                        var low = Math.Min((int)place, size - 1);
                        var (high, share) = low == size - 1 ? (low, 0) : (low + 1, place - low);
                        weights[low] = weights.GetValueOrDefault(low) + (1 - share);
                        weights[high] = weights.GetValueOrDefault(high) + share;
                        (first, last) = (Math.Min(first, low), Math.Max(last, high));
                    }
                }

                First[i] = Math.Min(first, size - 1);
                Weights[i] = last < 0 ? [] : [.. Enumerable.Range(first, last - first + 1)
                    .Select(at => weights.GetValueOrDefault(at) / samples)];
            }
        }

        internal int[] First { get; }

        internal float[][] Weights { get; }
    }
}
