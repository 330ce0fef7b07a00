// From logits to objects (mmdetection: maskformer_fusion_head.py, instance_postprocess; mask2former.py, simple_test).
//   p = softmax(class logits) without the last
//   objects: the 100 largest p of queries × classes; one query may stand for several
//   mask logits: bilinear to the padded input, cut to the resized image, bilinear to the image's own size
//   mask = logit > 0;  box = its first column and row, its last ones + 1; empty: zeros
//   score = p · Σ sigmoid(logit) over the mask / (pixels of the mask + 1e-6)
// Nothing is suppressed and nothing is thresholded.
// Deviations: 1. Objects come by falling score (the reference: by class, unsorted within); equal scores by falling
//   probability, then by query. 2. Masks are enlarged a few queries at a time, each query once.
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Scoring;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>One object: its class, score, box and mask; <paramref name="Query"/> is the query it comes from.</summary>
internal sealed record Instance(int Class, int Query, float Score, float X1, float Y1, float X2, float Y2,
    DetectionMask Mask);

internal static class InstanceResults
{
    private const int MostObjects = 100;
    private const long PixelsAtOnce = 8 << 20;

    /// <summary>The objects of one image.</summary>
    /// <param name="classLogits">[Q, classes + 1].</param>
    /// <param name="maskLogits">[Q, h, w].</param>
    /// <param name="padded">Height and width of the network's input.</param>
    /// <param name="resized">Height and width of the image in it.</param>
    /// <param name="original">Height and width of the image.</param>
    internal static IReadOnlyList<Instance> Find(Tensor classLogits, Tensor maskLogits, (int Height, int Width) padded,
        (int Height, int Width) resized, (int Height, int Width) original)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var classes = classLogits.shape[1] - 1;
        if (classLogits.shape[0] * classes < MostObjects)
        {
            throw new ArgumentException($"{classLogits.shape[0]} queries of {classes} classes are fewer than the "
                + $"{MostObjects} objects that are looked for", nameof(classLogits));
        }

        var probabilities = classLogits.to(ScalarType.Float32).softmax(-1).narrow(1, 0, classes).reshape(-1)
            .Values<float>();
        int[] best = [.. Enumerable.Range(0, probabilities.Length).OrderByDescending(i => probabilities[i])
            .Take(MostObjects)];
        var queries = best.Select(i => (int)(i / classes)).Distinct().ToArray();
        var found = new Dictionary<int, (DetectionMask Mask, float Score, float[] Box)>();
        var chunk = (int)Math.Max(1, PixelsAtOnce / Math.Max((long)original.Height * original.Width,
            (long)padded.Height * padded.Width));
        foreach (var some in queries.Chunk(chunk))
        {
            var logits = maskLogits.index_select(0, tensor(some, int64, maskLogits.device));
            foreach (var (query, mask) in some.Zip(Masks(logits, padded, resized, original)))
            {
                found[query] = mask;
            }
        }

        return
        [
            .. best.Select(i => (Index: i, Found: found[(int)(i / classes)]))
                .Select(item => new Instance((int)(item.Index % classes), (int)(item.Index / classes),
                    probabilities[item.Index] * item.Found.Score, item.Found.Box[0], item.Found.Box[1],
                    item.Found.Box[2], item.Found.Box[3], item.Found.Mask))
                .OrderByDescending(instance => instance.Score),
        ];
    }

    private static (DetectionMask Mask, float Score, float[] Box)[] Masks(Tensor logits, (int Height, int Width) padded,
        (int Height, int Width) resized, (int Height, int Width) original)
    {
        using var scope = NewDisposeScope();
        var whole = Larger(logits.to(ScalarType.Float32), padded).narrow(1, 0, resized.Height)
            .narrow(2, 0, resized.Width);
        var own = Larger(whole, original);
        var host = own.cpu().contiguous();
        var (from, size) = (MetaTensors.Address(host), original.Height * original.Width);
        var found = new (DetectionMask, float, float[])[own.shape[0]];
        ParallelParts.For(found.Length, get_num_threads(),
            i => found[i] = Measure(from + (nint)i * size * sizeof(float), original));
        return found;
    }

    // mask, mean confidence and box in one pass: as operators of libtorch they take a third of the network's time
    private static unsafe (DetectionMask Mask, float Score, float[] Box) Measure(nint from,
        (int Height, int Width) size)
    {
        var logits = new ReadOnlySpan<float>((float*)from, size.Height * size.Width);
        var mask = new DetectionMask(size.Width, size.Height, new byte[logits.Length]);
        var (sum, count) = (0.0, 0);
        for (var i = 0; i < logits.Length; i++)
        {
            if (logits[i] > 0)
            {
                mask.Inside[i] = 1;
                sum += 1 / (1 + MathF.Exp(-logits[i]));
                count++;
            }
        }

        return (mask, (float)(sum / (count + 1e-6)), Box(mask));
    }

    /// <summary>Mean confidence within each mask, [Q], and the masks, of mask logits [Q, H, W].</summary>
    internal static (Tensor Scores, Tensor Inside) Scores(Tensor logits)
    {
        var inside = logits.gt(0);
        var weights = inside.to(ScalarType.Float32);
        return (logits.sigmoid().mul_(weights).flatten(1).sum([1L]).div_(weights.flatten(1).sum([1L]).add_(1e-6f)),
            inside);
    }

    /// <summary>[Q, h, w], bilinear.</summary>
    internal static Tensor Larger(Tensor masks, (int Height, int Width) size) =>
        functional.interpolate(masks.unsqueeze(1), [size.Height, size.Width], mode: InterpolationMode.Bilinear,
            align_corners: false).squeeze(1);

    private static float[] Box(DetectionMask mask)
    {
        int left = mask.Width, right = -1, top = -1, bottom = -1;
        for (var y = 0; y < mask.Height; y++)
        {
            var row = mask.Inside.AsSpan(y * mask.Width, mask.Width);
            var first = row.IndexOfAnyExcept((byte)0);
            if (first >= 0)
            {
                (left, right, top, bottom) = (Math.Min(left, first), Math.Max(right, row.LastIndexOfAnyExcept((byte)0)),
                    top < 0 ? y : top, y);
            }
        }

        return right < 0 ? [0, 0, 0, 0] : [left, top, right + 1, bottom + 1];
    }
}
