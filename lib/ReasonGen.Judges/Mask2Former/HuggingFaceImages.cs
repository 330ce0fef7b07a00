// The transformers library's way around Mask2Former (4.40: image_processing_mask2former.py). Before: Pillow's
// antialiased bilinear, to the short side where the long one allows, each side truncated, then stretched (not padded)
// to multiples of size_divisor; or to one fixed size; (x/255 − mean)/std.
// After, its own instance segmentation: masks at 384×384, the best queries × classes in order of probability, later
// ones painted over earlier ones.
// GenEval's detections are made from the same logits by InstanceResults instead.
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>One region of the library's instance segmentation.</summary>
internal sealed record Segment(int Id, int Class, double Score, byte[] Mask);

/// <summary>How the library prepares images, as the files beside a checkpoint say.</summary>
internal sealed class HuggingFaceImages
{
    private const int MaskSide = 384, LargestSide = 4096;
    private readonly string path;

    private readonly (int Width, int Height)? fixedSize;
    private readonly int shortest, longest, divisor;
    private readonly double factor;
    private readonly float[] mean, deviation;

    internal HuggingFaceImages(ConfigSection config)
    {
        config.Expect("do_resize", true);
        config.Expect("do_rescale", true);
        config.Expect("do_normalize", true);
        config.Expect("resample", 2);
        config.Expect("reduce_labels", false);
        config.Expect("do_reduce_labels", false);
        path = config.Path;
        var size = config["size"];
        fixedSize = size.Has("height")
            ? (size.Integer("width", 0, 1, LargestSide), size.Integer("height", 0, 1, LargestSide)) : null;
        (shortest, longest, divisor) =
            (size.Integer("shortest_edge", 800, 1, LargestSide), size.Integer("longest_edge", 1333, 1, LargestSide),
            config.Integer("size_divisor", 32, 0, LargestSide));
        factor = config.Number("rescale_factor", 1 / 255.0);
        (mean, deviation) =
            (Numbers("image_mean", [0.485, 0.456, 0.406], 0), Numbers("image_std", [0.229, 0.224, 0.225], 1e-6));

        float[] Numbers(string key, double[] otherwise, double least) =>
            [.. config.Numbers(key, otherwise, least, 1e6).Select(number => (float)number)];
    }

    /// <exception cref="UnusableFileException">preprocessor_config.json is missing or damaged.</exception>
    internal static HuggingFaceImages Read(string path)
    {
        var folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        return new(ConfigSection.OfImages(folder)
            ?? ConfigSection.Read(Path.Combine(folder, "preprocessor_config.json")));
    }

    /// <exception cref="UnusableFileException">The image would be shown to the detector in a size that it cannot
    /// read.</exception>
    internal DetectorImage Prepare(RgbImage image)
    {
        var (width, height) = fixedSize ?? Size(image.Width, image.Height);
        if (width < 1 || height < 1 || width % Mask2FormerConfig.SizeDivisor != 0
            || height % Mask2FormerConfig.SizeDivisor != 0)
        {
            throw new UnusableFileException(path,
                $"an image of {image.Width}x{image.Height} pixels would be shown to the "
                + $"detector as {width}x{height}, which are no multiples of 32",
                "let 'size_divisor' be 32, or give images that are less narrow");
        }

        var resized = Resampling.Resize(image, width, height, ResizeFilter.Bilinear);
        var values = new float[3 * width * height];
        for (var i = 0; i < values.Length; i++)
        {
            var channel = i / (width * height);
            var value = (float)(resized.Rgb[3 * (i % (width * height)) + channel] * factor);
            values[i] = (value - mean[channel]) / deviation[channel];
        }

        return new(tensor(values, [1, 3, height, width], device: CPU), (height, width), (image.Height, image.Width));
    }

    private (int Width, int Height) Size(int width, int height)
    {
        int small = shortest, large = (int)((long)shortest * Math.Max(width, height) / (double)Math.Min(width, height));
        if (large > longest)
        {
            (small, large) = ((int)((long)longest * small / (double)large), longest);
        }

        int Stretched(int side) => divisor > 0 ? (side + divisor - 1) / divisor * divisor : side;
        return width <= height ? (Stretched(small), Stretched(large)) : (Stretched(large), Stretched(small));
    }

    /// <summary>The library's post_process_instance_segmentation for one image: the map of segments (255 = none), and
    /// the segments.</summary>
    internal static (byte[] Map, IReadOnlyList<Segment> Segments) Segmentation(Tensor classLogits, Tensor maskLogits,
        (int Height, int Width) size, double threshold)
    {
        using var scope = NewDisposeScope();
        var (queries, classes) = ((int)classLogits.shape[0], (int)classLogits.shape[1] - 1);
        var probabilities = classLogits.softmax(-1).narrow(1, 0, classes).reshape(-1).Values<float>();
        int[] best = [.. Enumerable.Range(0, probabilities.Length).OrderByDescending(i => probabilities[i])
            .Take(queries)];
        var (scores, inside) = InstanceResults.Scores(InstanceResults.Larger(maskLogits, (MaskSide, MaskSide)));
        var masks = functional.interpolate(inside.to(ScalarType.Float32).unsqueeze(1), [size.Height, size.Width])
            .to(ScalarType.Byte).squeeze(1);
        var (means, map, segments) = (scores.Values<float>(), new byte[size.Height * size.Width], new List<Segment>());
        Array.Fill(map, byte.MaxValue);
        foreach (var i in best)
        {
            var (score, mask) = (probabilities[i] * means[i / classes], masks[i / classes].Values<byte>());
            if (score >= threshold && mask.AsSpan().IndexOfAnyExcept((byte)0) >= 0)
            {
                for (var at = 0; at < map.Length; at++)
                {
                    map[at] = mask[at] != 0 ? (byte)segments.Count : map[at];
                }

                segments.Add(new(segments.Count, i % classes, Math.Round((double)score, 6), mask));
            }
        }

        return (map, segments);
    }
}
