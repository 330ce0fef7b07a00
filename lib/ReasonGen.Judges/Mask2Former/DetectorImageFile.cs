using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using SkiaSharp;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Image files as mmdetection's reader (OpenCV's imread in colour) sees them: what the detector is to be
/// shown.</summary>
public static class DetectorImageFile
{
    /// <summary>The image: gray and palettes expanded, 16 bits cut to the upper 8, transparency dropped (not put on a
    /// ground), turned as EXIF says.</summary>
    /// <exception cref="UnusableFileException">The file is missing, no image, or a damaged one.</exception>
    public static RgbImage Read(string path)
    {
        byte[] encoded;
        try
        {
            encoded = File.ReadAllBytes(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the image cannot be read: {e.Message.TrimEnd('.')}",
                "check the path",
                e);
        }

        using var codec = SKCodec.Create(new SKMemoryStream(encoded));
        if (codec is null)
        {
            throw new UnusableFileException(path, "it is no image", "give a PNG, JPEG, WebP or BMP file");
        }

        if (ImageBounds.Refusal(codec.Info.Width, codec.Info.Height, encoded.Length) is { } reason)
        {
            throw new UnusableFileException(path, $"it is no image that can be used: {reason}",
                "make or download it again");
        }

        var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, codec.Info.IsOpaque
            ? SKAlphaType.Opaque : SKAlphaType.Unpremul);
        using var bitmap = new SKBitmap(info);
        if (codec.GetPixels(info, bitmap.GetPixels()) != SKCodecResult.Success)
        {
            throw new UnusableFileException(path, "the image is damaged or cut short", "make or download it again");
        }

        var rgba = bitmap.GetPixelSpan();
        var rgb = new byte[3 * info.Width * info.Height];
        for (var i = 0; i < rgb.Length / 3; i++)
        {
            rgba.Slice(4 * i, 3).CopyTo(rgb.AsSpan(3 * i));
        }

        return ExifOrientation.Turn(new(info.Width, info.Height, rgb),
            ExifOrientation.Of(encoded) ?? (int)codec.EncodedOrigin);
    }
}
