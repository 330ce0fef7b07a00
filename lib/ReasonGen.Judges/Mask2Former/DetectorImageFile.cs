using System.Buffers.Binary;
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

        return Turn(bitmap.GetPixelSpan(), info.Width, info.Height, Exif(encoded) ?? (int)codec.EncodedOrigin);
    }

    // The orientation in a PNG's eXIf chunk, which Skia passes over: tag 0x0112 of the first directory of a TIFF
    // header.
    private static int? Exif(ReadOnlySpan<byte> png)
    {
        for (var at = 8; png.StartsWith((ReadOnlySpan<byte>)[0x89, 0x50, 0x4E, 0x47]) && at <= png.Length - 12;)
        {
            var length = BinaryPrimitives.ReadUInt32BigEndian(png[at..]);
            if (length > png.Length - at - 12)
            {
                return null;
            }

            if (png.Slice(at + 4, 4).SequenceEqual("eXIf"u8))
            {
                return Orientation(png.Slice(at + 8, (int)length));
            }

            at += (int)length + 12;
        }

        return null;
    }

    private static int? Orientation(ReadOnlySpan<byte> tiff)
    {
        if (tiff.Length < 8 || !(tiff.StartsWith("II"u8) || tiff.StartsWith("MM"u8)))
        {
            return null;
        }

        var little = tiff[0] == 'I';
        int U16(ReadOnlySpan<byte> bytes) => little ? BinaryPrimitives.ReadUInt16LittleEndian(bytes)
            : BinaryPrimitives.ReadUInt16BigEndian(bytes);
        var first = little ? BinaryPrimitives.ReadUInt32LittleEndian(tiff[4..])
            : BinaryPrimitives.ReadUInt32BigEndian(tiff[4..]);
        if (first > tiff.Length - 2)
        {
            return null;
        }

        var directory = tiff[(int)first..];
        for (var (entry, left) = (2, U16(directory)); left > 0 && entry <= directory.Length - 12; entry += 12, left--)
        {
            if (U16(directory[entry..]) == 0x0112)
            {
                return U16(directory[(entry + 8)..]) is >= 1 and <= 8 and var turn ? turn : null;
            }
        }

        return null;
    }

    // EXIF's eight ways to lie: 1 upright, 2 mirrored, 3 upside down, 4 both; 5 to 8 the same with rows and columns
    // exchanged
    private static RgbImage Turn(ReadOnlySpan<byte> rgba, int width, int height, int origin)
    {
        var exchanged = origin >= 5;
        var (newWidth, newHeight) = exchanged ? (height, width) : (width, height);
        var rgb = new byte[rgba.Length / 4 * 3];
        for (var y = 0; y < newHeight; y++)
        {
            for (var x = 0; x < newWidth; x++)
            {
                var (column, row) = exchanged ? (y, x) : (x, y);
                column = origin is 2 or 3 or 7 or 8 ? width - 1 - column : column;
                row = origin is 3 or 4 or 6 or 7 ? height - 1 - row : row;
                rgba.Slice((row * width + column) * 4, 3).CopyTo(rgb.AsSpan((y * newWidth + x) * 3));
            }
        }

        return new(newWidth, newHeight, rgb);
    }
}
