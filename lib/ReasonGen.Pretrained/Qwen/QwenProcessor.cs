// Images → patches, as Qwen2VLImageProcessor does (transformers 4.51.0):
//   size: multiples of patch · merge nearest to the image's (halves to even), scaled into [MinPixels, MaxPixels];
//     Pillow's bicubic resize;
//   value = (byte / 255 − mean) / std;  rows: 2x2 squares of patches, row by row;  columns: channel, frame, row, column
//     of a patch.
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Qwen;

/// <summary>Turns images into the patches that Qwen2.5-VL's tower reads.</summary>
public sealed record QwenProcessor
{
    private const int MostPixels = 1 << 26; // four times what is published

    /// <summary>Pixels a side of a patch.</summary>
    public int PatchSize { get; init; } = 14;

    /// <summary>Frames a patch spans.</summary>
    public int TemporalPatchSize { get; init; } = 2;

    /// <summary>Patches a side of one token.</summary>
    public int MergeSize { get; init; } = 2;

    /// <summary>Fewest pixels of a resized image. Default 3136, as published.</summary>
    public int MinPixels { get; init; } = 4 * 28 * 28;

    /// <summary>Most pixels of a resized image. Default 12,845,056, as published.</summary>
    public int MaxPixels { get; init; } = 16384 * 28 * 28;

    /// <summary>Subtracted from red, green and blue in [0, 1].</summary>
    public IReadOnlyList<float> Mean { get; init; } = [0.48145466f, 0.4578275f, 0.40821073f];

    /// <summary>Divides them afterwards.</summary>
    public IReadOnlyList<float> Deviation { get; init; } = [0.26862954f, 0.26130258f, 0.27577711f];

    /// <summary>What a preprocessor_config.json says; bounds it leaves out are those of the reference's
    /// class.</summary>
    /// <exception cref="UnusableFileException">A number in it is none that could be meant, or a step is switched off
    /// or another one, which is not implemented.</exception>
    public static QwenProcessor FromJson(JObject json) => FromSection(new("preprocessor_config.json", "", json));

    private static QwenProcessor FromSection(ConfigSection section)
    {
        var published = new QwenProcessor();
        IReadOnlyList<float> Singles(string key, IReadOnlyList<float> otherwise, double least, double most) =>
            !section.Has(key) ? otherwise
            : [.. section.Numbers(key, [0, 0, 0], least, most).Select(value => (float)value)];
        section.ExpectUsualImages("do_resize", "do_rescale", "do_normalize");
        var size = section["size"]; // as newer libraries write the bounds; those of older ones go before
        return new()
        {
            PatchSize = section.Integer("patch_size", 14, 1, 1024),
            TemporalPatchSize = section.Integer("temporal_patch_size", 2, 1, 64),
            MergeSize = section.Integer("merge_size", 2, 1, 64),
            MinPixels = section.Integer("min_pixels", size.Integer("shortest_edge", 4 * 28 * 28, 1, MostPixels), 1,
                MostPixels),
            MaxPixels = section.Integer("max_pixels", size.Integer("longest_edge", 1280 * 28 * 28, 1, MostPixels), 1,
                MostPixels),
            Mean = Singles("image_mean", published.Mean, 0, 1),
            Deviation = Singles("image_std", published.Deviation, 1e-6, 1e6),
        };
    }

    /// <summary>The settings beside a checkpoint (the image_processor in processor_config.json, or else
    /// preprocessor_config.json); those of the model's sizes where there are none.</summary>
    /// <exception cref="UnusableFileException">The file is damaged.</exception>
    public static QwenProcessor Read(string folder, QwenVisionConfig config) =>
        ConfigSection.OfImages(folder) is { } section ? FromSection(section) : For(config);

    /// <summary>The processor of a model of these sizes that takes images as they are when they fit.</summary>
    public static QwenProcessor For(QwenVisionConfig config) => new()
    {
        PatchSize = config.PatchSize, TemporalPatchSize = config.TemporalPatchSize, MergeSize = config.MergeSize,
        MinPixels = 4 * config.PatchSize * config.MergeSize * config.PatchSize * config.MergeSize,
    };

    /// <summary>The size an image is resized to. A side may be 0, as in the reference, which then fails.</summary>
    /// <exception cref="ArgumentException">The image is too small or too long.</exception>
    public (int Height, int Width) SmartSize(int height, int width)
    {
        int unit = PatchSize * MergeSize;
        if (height < unit || width < unit)
        {
            throw new ArgumentException(
                $"an image of {width}x{height} pixels is too small: the model reads at least {unit}x{unit}");
        }

        if (Math.Max(height, width) / (double)Math.Min(height, width) > 200)
        {
            throw new ArgumentException(
                $"an image of {width}x{height} pixels is too long: at most 200 times its shorter side");
        }

        int h = (int)Math.Round(height / (double)unit) * unit, w = (int)Math.Round(width / (double)unit) * unit;
        if ((long)h * w > MaxPixels)
        {
            var shrink = Math.Sqrt((double)height * width / MaxPixels);
            return ((int)Math.Floor(height / shrink / unit) * unit, (int)Math.Floor(width / shrink / unit) * unit);
        }

        if ((long)h * w < MinPixels)
        {
            var enlarge = Math.Sqrt(MinPixels / ((double)height * width));
            return ((int)Math.Ceiling(height * enlarge / unit) * unit, (int)Math.Ceiling(width * enlarge / unit)
                * unit);
        }

        return (h, w);
    }

    /// <summary>Patches [S, values] fp32 on the CPU, image by image, and the grid of each.</summary>
    /// <exception cref="ArgumentException">An image is too small or too long.</exception>
    public (Tensor Patches, PatchGrid[] Grids) Process(IReadOnlyList<RgbImage> images)
    {
        using var scope = NewDisposeScope();
        var sizes = images.Select(SizeOf).ToArray(); // first: what is thrown below would be wrapped
        var resized = Enumerable.Range(0, sizes.Length).AsParallel().AsOrdered()
            .Select(i => Resampling.Resize(images[i], sizes[i].Width, sizes[i].Height)).ToArray();
        var grids =
            resized.Select(image => new PatchGrid(1, image.Height / PatchSize, image.Width / PatchSize)).ToArray();
        var batches = grids.Distinct().Count() == 1 ? [resized] : resized.Select(image => new[] { image });
        return (cat(batches.Select(Flatten).ToArray()).MoveToOuterDisposeScope(), grids);
    }

    private (int Height, int Width) SizeOf(RgbImage image) => SmartSize(image.Height, image.Width) is
        { Height: > 0, Width: > 0 } size ? size : throw new ArgumentException(
            $"an image of {image.Width}x{image.Height} pixels is too long: at most {MaxPixels} pixels are read, and "
            + "its shorter side would be none of them");

    // Images of one size → [n · patches, values].
    private Tensor Flatten(RgbImage[] images)
    {
        int height = images[0].Height, width = images[0].Width, unit = PatchSize * MergeSize;
        var bytes =
            tensor(images.SelectMany(image => image.Rgb).ToArray(),
                [images.Length, height, width, 3], ScalarType.Byte, device: CPU);
        // scaled in fp64, normalised in fp32
        var values = bytes.to(ScalarType.Float64).mul(1 / 255.0).to(ScalarType.Float32)
            .sub(tensor(Mean.ToArray(), device: CPU))
            .div(tensor(Deviation.ToArray(), device: CPU));
        return values.view(images.Length, height / unit, MergeSize, PatchSize, width / unit, MergeSize, PatchSize, 3)
            // image, block row and column, row and column in it, channel, frame, y, x
            .permute(0, 1, 4, 2, 5, 7, 3, 6).unsqueeze(6)
            .expand(-1, -1, -1, -1, -1, -1, TemporalPatchSize, -1, -1).reshape(-1,
                3 * TemporalPatchSize * PatchSize * PatchSize);
    }
}
