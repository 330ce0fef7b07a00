using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using SkiaSharp;

namespace ReasonGen.Judges.Images;

/// <summary>Image files as the official scorers open them: with their mode, which for PNG is kept exactly.</summary>
public static class ImageReader
{
    /// <summary>The image in a file: PNG by this kit, JPEG, WebP, BMP and GIF by Skia.</summary>
    /// <exception cref="UnusableFileException">The file is missing, no image, or damaged.</exception>
    public static SourceImage Read(string path)
    {
        byte[] file;
        try
        {
            file = File.ReadAllBytes(path);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }

        try
        {
            return PngReader.Is(file) ? PngReader.Read(file, path) : Decode(file, path);
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(path, $"it is no image that can be read: {e.Message}",
                "give a PNG, JPEG, WebP, BMP or GIF file", e);
        }
    }

    private static SourceImage Decode(byte[] file, string path)
    {
        using var codec = SKCodec.Create(new SKMemoryStream(file))
            ?? throw new FormatException("it begins like no image format that is known");
        if (ImageBounds.Refusal(codec.Info.Width, codec.Info.Height, file.Length) is { } reason)
        {
            throw new FormatException(reason);
        }

        var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        using var bitmap = new SKBitmap(info);
        if (codec.GetPixels(info, bitmap.GetPixels()) != SKCodecResult.Success)
        {
            throw new FormatException("its pixels are damaged or cut short");
        }

        var rgba = bitmap.GetPixelSpan();
        var (rgb, alpha) = (new byte[3 * info.Width * info.Height], new byte[info.Width * info.Height]);
        for (var i = 0; i < alpha.Length; i++)
        {
            rgba.Slice(4 * i, 3).CopyTo(rgb.AsSpan(3 * i));
            alpha[i] = rgba[4 * i + 3];
        }

        var transparent = codec.Info.AlphaType != SKAlphaType.Opaque;
        var mode = codec.EncodedFormat == SKEncodedImageFormat.Gif ? ImageMode.Palette : transparent ? ImageMode.Rgba
            : ImageMode.Rgb;
        return new(new(info.Width, info.Height, rgb), mode, mode == ImageMode.Rgba ? alpha : null, path) { Orientation =
            ExifOrientation.Of(file) ?? (int)codec.EncodedOrigin };
    }
}
