// What Janus sees of an image (deepseek-ai/Janus: image_processing_vlm.py):
//   the longer side becomes S, the shorter int(side / longer · S), at least 14, bicubic as Pillow does it; pasted in
//     the middle of an S×S square of colour int(255 mean); value = (fp32(byte / 255 in fp64) − mean) / std in fp32.
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>Turns images of any size into what the SigLIP tower reads.</summary>
public sealed record ImageProcessor
{
    /// <summary>Pixels S a side of the square. Default 384; at least 1.</summary>
    public int ImageSize { get; init; } = 384;

    /// <summary>Least pixels of the shorter side, before it is padded. Default 14.</summary>
    public int MinSize { get; init; } = 14;

    /// <summary>Subtracted from each channel of [0, 1]; its colour fills the square. Null neither shifts nor scales.
    /// Default one half.</summary>
    public IReadOnlyList<double>? Mean { get; init; } = [0.5, 0.5, 0.5];

    /// <summary>Divides each channel. Default one half, so that values lie in [-1, 1].</summary>
    public IReadOnlyList<double> Deviation { get; init; } = [0.5, 0.5, 0.5];

    /// <summary>The settings beside a checkpoint (the image_processor in processor_config.json, or else
    /// preprocessor_config.json), or the defaults where there are none.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="imageSize">Pixels a side that the tower reads.</param>
    /// <exception cref="UnusableFileException">The file is damaged, or asks for what is not implemented, or for another
    /// size.</exception>
    public static ImageProcessor Read(string folder, int imageSize)
    {
        var defaults = new ImageProcessor { ImageSize = imageSize };
        if (ConfigSection.OfImages(folder) is not { } json)
        {
            return defaults;
        }

        json.ExpectUsualImages("do_resize", "do_rescale", "do_pad");
        (ConfigSection Section, string Key)[] sides = json.Json["size"] is JObject size // as newer libraries write it
            ? [(json, "image_size"), .. size.Properties().Select(side => (json["size"], side.Name))]
            : [(json, "image_size"), (json, "size")];
        foreach (var (section, key) in sides)
        {
            if (section.Integer(key, imageSize) is var side && side != imageSize)
            {
                throw new UnusableFileException(json.Path,
                    $"its '{section.Name}{key}' is {side} where the model looks at "
                    + $"{imageSize} pixels a side", "restore the published file");
            }
        }

        var least = json.Integer("min_size", defaults.MinSize, 1);
        return defaults with
        {
            MinSize = least <= imageSize ? least
                : throw new UnusableFileException(json.Path,
                    $"its '{json.Name}min_size' is {least}, more than the {imageSize} pixels a side that the model "
                    + "looks at",
                    "restore the published file"),
            Mean = json.Flag("do_normalize", true) ? json.Numbers("image_mean", defaults.Mean!, 0, 1) : null,
            Deviation = json.Numbers("image_std", defaults.Deviation, 1e-6, 1e6),
        };
    }

    /// <summary>Size of an image before it is padded.</summary>
    public (int Width, int Height) SizeOf(int width, int height)
    {
        int Scaled(int side) => Math.Max((int)(side / (double)Math.Max(width, height) * ImageSize), MinSize);
        return (Scaled(width), Scaled(height));
    }

    /// <summary>The colour around an image that is no square.</summary>
    public (byte R, byte G, byte B) Background => (Mean ?? [0.5, 0.5, 0.5]) is var mean
        ? ((byte)(mean[0] * 255), (byte)(mean[1] * 255), (byte)(mean[2] * 255)) : default;

    /// <summary>Resized and padded to a square.</summary>
    public RgbImage Prepare(RgbImage image)
    {
        var (width, height) = SizeOf(image.Width, image.Height);
        return Resampling.PadToSquare(Resampling.Resize(image, width, height), Background);
    }

    /// <summary>Images → [N, 3, S, S] fp32.</summary>
    public Tensor PixelValues(IReadOnlyList<RgbImage> images, Device device)
    {
        using var scope = NewDisposeScope();
        var side = ImageSize;
        var bytes = tensor(images.SelectMany(image => Prepare(image).Rgb).ToArray(), [images.Count, side, side, 3],
            ScalarType.Byte, device: CPU);
        var values = bytes.to(ScalarType.Float64).mul(1 / 255.0).to(ScalarType.Float32);
        values = Mean is null ? values : values.sub(Single(Mean)).div(Single(Deviation));
        return values.permute(0, 3, 1, 2).contiguous().to(device).MoveToOuterDisposeScope();
    }

    private static Tensor Single(IEnumerable<double> values) =>
        tensor(values.Select(value => (float)value).ToArray(), device: CPU);
}
