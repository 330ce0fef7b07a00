using System.Runtime.InteropServices;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using SkiaSharp;

namespace ReasonGen.Notebook;

/// <summary>Pictures to files and back.</summary>
public static class PictureFile
{
    /// <summary>The bytes of a PNG; every pixel is kept.</summary>
    public static byte[] Png(Picture picture)
    {
        using var bitmap = new SKBitmap(picture.Width, picture.Height, SKColorType.Rgba8888, SKAlphaType.Opaque);
        var pixels = new byte[picture.Width * picture.Height * 4];
        for (int from = 0, to = 0; from < picture.Rgb.Length; from += 3, to += 4)
        {
            picture.Rgb.AsSpan(from, 3).CopyTo(pixels.AsSpan(to));
            pixels[to + 3] = byte.MaxValue;
        }

        Marshal.Copy(pixels, 0, bitmap.GetPixels(), pixels.Length);
        using var data = bitmap.Encode(SKEncodedImageFormat.Png, 100);
        return data.ToArray();
    }

    /// <summary>A PNG, JPEG, WebP, BMP or GIF; what is transparent becomes black, as when a picture is converted to RGB.</summary>
    /// <exception cref="CheckpointException">The file is missing or no picture.</exception>
    public static Picture Read(string path)
    {
        try
        {
            using var file = File.OpenRead(path);
            using var codec = SKCodec.Create(file);
            using var bitmap = codec is null ? null : SKBitmap.Decode(codec, new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul));
            if (bitmap is null)
            {
                throw new CheckpointException(path, "it is no picture, or a damaged one", "give a PNG, JPEG, WebP, BMP or GIF file");
            }

            var (pixels, rgb) = (bitmap.Bytes, new byte[bitmap.Width * bitmap.Height * 3]);
            for (int from = 0, to = 0; to < rgb.Length; from += 4, to += 3)
            {
                pixels.AsSpan(from, 3).CopyTo(rgb.AsSpan(to));
            }

            return new(bitmap.Width, bitmap.Height, rgb);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new CheckpointException(path, $"the picture cannot be read: {e.Message.TrimEnd('.')}", "give the path of a PNG, JPEG, WebP, BMP or GIF file", e);
        }
    }
}
