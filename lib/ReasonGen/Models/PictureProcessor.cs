// What Janus sees of a picture (deepseek-ai/Janus: image_processing_vlm.py):
//   the longer side becomes S, the shorter int(side / longer · S), at least 14, bicubic as Pillow does it; pasted in the middle of an S×S square
//   of colour int(255 mean); value = (fp32(byte / 255 in fp64) − mean) / std in fp32.
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Turns pictures of any size into what the SigLIP tower reads.</summary>
public sealed record PictureProcessor
{
    private const string FileName = "preprocessor_config.json";

    /// <summary>Pixels S a side of the square. Default 384; at least 1.</summary>
    public int ImageSize { get; init; } = 384;

    /// <summary>Least pixels of the shorter side, before it is padded. Default 14.</summary>
    public int MinSize { get; init; } = 14;

    /// <summary>Subtracted from each channel of [0, 1]; its colour fills the square. Null neither shifts nor scales. Default one half.</summary>
    public IReadOnlyList<double>? Mean { get; init; } = [0.5, 0.5, 0.5];

    /// <summary>Divides each channel. Default one half, so that values lie in [-1, 1].</summary>
    public IReadOnlyList<double> Deviation { get; init; } = [0.5, 0.5, 0.5];

    /// <summary>The settings beside a checkpoint (preprocessor_config.json), or the defaults where there are none.</summary>
    /// <param name="folder">The checkpoint's folder.</param>
    /// <param name="imageSize">Pixels a side that the tower reads.</param>
    /// <exception cref="CheckpointException">The file is damaged.</exception>
    public static PictureProcessor Read(string folder, int imageSize)
    {
        var (path, defaults) = (Path.Combine(folder, FileName), new PictureProcessor { ImageSize = imageSize });
        try
        {
            if (!File.Exists(path))
            {
                return defaults;
            }

            var json = JObject.Parse(File.ReadAllText(path));
            var read = defaults with
            {
                MinSize = (int?)json["min_size"] ?? defaults.MinSize,
                Mean = (bool?)json["do_normalize"] == false ? null : json["image_mean"]?.ToObject<double[]>() ?? defaults.Mean,
                Deviation = json["image_std"]?.ToObject<double[]>() ?? defaults.Deviation,
            };
            return read is { MinSize: >= 1, Mean: null or { Count: 3 }, Deviation.Count: 3 } && !read.Deviation.Contains(0) ? read
                : throw new CheckpointException(path, "it needs three means and three deviations that are not 0, and a least size of 1 or more",
                    "restore the published file");
        }
        catch (Exception e) when (e is Newtonsoft.Json.JsonException or FormatException or InvalidCastException or ArgumentException)
        {
            throw new CheckpointException(path, $"it is damaged: {e.Message.TrimEnd('.')}",
                "restore the published file, or remove it for the defaults", e);
        }
    }

    /// <summary>Size of a picture before it is padded.</summary>
    public (int Width, int Height) SizeOf(int width, int height)
    {
        int Scaled(int side) => Math.Max((int)(side / (double)Math.Max(width, height) * ImageSize), MinSize);
        return (Scaled(width), Scaled(height));
    }

    /// <summary>The colour around a picture that is no square.</summary>
    public (byte R, byte G, byte B) Background => (Mean ?? [0.5, 0.5, 0.5]) is var mean
        ? ((byte)(mean[0] * 255), (byte)(mean[1] * 255), (byte)(mean[2] * 255)) : default;

    /// <summary>Resized and padded to a square.</summary>
    public Picture Prepare(Picture picture)
    {
        var (width, height) = SizeOf(picture.Width, picture.Height);
        return Resampling.PadToSquare(Resampling.Resize(picture, width, height), Background);
    }

    /// <summary>Pictures → [N, 3, S, S] fp32.</summary>
    public Tensor PixelValues(IReadOnlyList<Picture> pictures, Device device)
    {
        using var scope = NewDisposeScope();
        var side = ImageSize;
        var bytes = tensor(pictures.SelectMany(picture => Prepare(picture).Rgb).ToArray(), [pictures.Count, side, side, 3], ScalarType.Byte);
        var values = bytes.to(ScalarType.Float64).mul(1 / 255.0).to(ScalarType.Float32);
        values = Mean is null ? values : values.sub(Single(Mean)).div(Single(Deviation));
        return values.permute(0, 3, 1, 2).contiguous().to(device).MoveToOuterDisposeScope();
    }

    private static Tensor Single(IEnumerable<double> values) => tensor(values.Select(value => (float)value).ToArray());
}
