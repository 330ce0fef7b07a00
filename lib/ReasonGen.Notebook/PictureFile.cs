using ReasonGen.Checkpoints;
using ReasonGen.Core;
using SkiaSharp;

namespace ReasonGen.Notebook;

/// <summary>Encoded pictures (PNG, JPEG, WebP, …) to pixels.</summary>
public static class PictureFile
{
    /// <summary>The picture in a file.</summary>
    /// <exception cref="CheckpointException">The file is missing or no picture.</exception>
    public static Picture Read(string path)
    {
        try
        {
            return Decode(File.ReadAllBytes(path))
                ?? throw new CheckpointException(path, "it is no picture, or a damaged one", "give a PNG, JPEG, WebP, BMP or GIF file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, $"the picture cannot be read: {e.Message.TrimEnd('.')}", "check the path", e);
        }
    }

    /// <summary>The picture, transparent parts on white; null where the bytes are no picture, or one that is cut short.</summary>
    public static Picture? Decode(byte[] encoded)
    {
        using var codec = SKCodec.Create(new SKMemoryStream(encoded));
        if (codec is null)
        {
            return null;
        }

        var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        using var bitmap = new SKBitmap(info);
        if (codec.GetPixels(info, bitmap.GetPixels()) != SKCodecResult.Success)
        {
            return null;
        }

        var rgb = new byte[info.Width * info.Height * 3];
        var rgba = bitmap.GetPixelSpan();
        for (var i = 0; i < rgb.Length / 3; i++)
        {
            for (var c = 0; c < 3; c++)
            {
                rgb[3 * i + c] = (byte)((rgba[4 * i + c] * rgba[4 * i + 3] + 255 * (255 - rgba[4 * i + 3]) + 127) / 255);
            }
        }

        return new Picture(info.Width, info.Height, rgb);
    }

    /// <summary>Size and media type from the first bytes alone; null where they are no picture.</summary>
    public static (int Width, int Height, string MediaType)? Measure(byte[] encoded)
    {
        using var codec = SKCodec.Create(new SKMemoryStream(encoded));
        return codec is null ? null : (codec.Info.Width, codec.Info.Height, $"image/{codec.EncodedFormat.ToString().ToLowerInvariant()}");
    }
}
