// EXIF's eight ways for an image to lie: 1 upright, 2 mirrored, 3 half a turn, 4 upside down; 5 to 8 the same with rows
// and columns exchanged. The pixel (x, y) of the upright image is, in the stored one of w by h pixels,
//   2 (w−1−x, y)   3 (w−1−x, h−1−y)   4 (x, h−1−y)   5 (y, x)   6 (y, h−1−x)   7 (w−1−y, h−1−x)   8 (w−1−y, x).
using System.Buffers.Binary;

namespace ReasonGen.Imaging;

/// <summary>How an image lies in its file, and how it is turned upright.</summary>
public static class ExifOrientation
{
    private const int Tag = 0x0112, Entry = 12, HasExif = 8;

    /// <summary>The orientation that a PNG (chunk eXIf) or a WebP (chunk EXIF) gives, 1 where it is none of 1 to 8;
    /// null where there is none. The image library passes the first over, and the second where it begins with the mark
    /// of a JPEG's EXIF.</summary>
    /// <param name="file">The encoded image, or its beginning.</param>
    public static int? Of(byte[] file)
    {
        var exif = file is [(byte)'R', ..] ? OfWebP(file)
            : PngChunks.Of(file).FirstOrDefault(chunk => chunk.Name == "eXIf").Data.Span;
        return Read(exif) switch
        {
            null => null,
            >= 1 and <= 8 and var orientation => orientation,
            _ => 1,
        };
    }

    // where the first chunk says that there is one, as the format's own library looks for it
    private static ReadOnlySpan<byte> OfWebP(ReadOnlySpan<byte> file)
    {
        if (file.Length < 30 || !file.StartsWith("RIFF"u8) || !file[8..].StartsWith("WEBPVP8X"u8)
            || (file[20] & HasExif) == 0)
        {
            return default;
        }

        for (var at = 12L; at <= file.Length - 8;)
        {
            var chunk = file[(int)at..];
            long length = BinaryPrimitives.ReadUInt32LittleEndian(chunk[4..]);
            if (chunk.StartsWith("EXIF"u8))
            {
                return length <= chunk.Length - 8 ? chunk.Slice(8, (int)length) : default;
            }

            at += 8 + length + length % 2;
        }

        return default;
    }

    /// <summary>The orientation that the first directory of a TIFF header gives, as it stands there; null where there
    /// is none, or no such header. The mark of a JPEG's EXIF may stand before it, as some programs write it.</summary>
    public static int? Read(ReadOnlySpan<byte> tiff)
    {
        tiff = tiff.StartsWith("Exif\0\0"u8) ? tiff[6..] : tiff;
        var little = tiff.StartsWith("II"u8);
        if (tiff.Length < 8 || !(little || tiff.StartsWith("MM"u8)))
        {
            return null;
        }

        int Short(ReadOnlySpan<byte> at) => little ? BinaryPrimitives.ReadUInt16LittleEndian(at)
            : BinaryPrimitives.ReadUInt16BigEndian(at);
        var first = little ? BinaryPrimitives.ReadUInt32LittleEndian(tiff[4..])
            : BinaryPrimitives.ReadUInt32BigEndian(tiff[4..]);
        if (first > tiff.Length - 2)
        {
            return null;
        }

        var directory = tiff[(int)first..];
        for (var (at, left) = (2, Short(directory)); left > 0 && at <= directory.Length - Entry; at += Entry, left--)
        {
            if (Short(directory[at..]) == Tag)
            {
                return Short(directory[(at + 8)..]);
            }
        }

        return null;
    }

    /// <summary>The upright image; the same one where the orientation is none of 2 to 8.</summary>
    public static RgbImage Turn(RgbImage stored, int orientation)
    {
        if (orientation is < 2 or > 8)
        {
            return stored;
        }

        var (width, height) = orientation >= 5 ? (stored.Height, stored.Width) : (stored.Width, stored.Height);
        return new(width, height, Turn(stored.Rgb, stored.Width, stored.Height, orientation));
    }

    /// <summary>Pixels of any number of bytes, row by row, as they lie upright.</summary>
    /// <param name="pixels">Those of the file.</param>
    /// <param name="width">Pixels a row of the file.</param>
    /// <param name="height">Rows of the file.</param>
    /// <param name="orientation">1 to 8.</param>
    public static byte[] Turn(ReadOnlySpan<byte> pixels, int width, int height, int orientation)
    {
        var bytes = pixels.Length / (width * height);
        var exchanged = orientation >= 5;
        var across = exchanged ? height : width;
        bool mirrored = orientation is 2 or 3 or 7 or 8, upsideDown = orientation is 3 or 4 or 6 or 7;
        var upright = new byte[pixels.Length];
        for (var at = 0; at < width * height; at++)
        {
            var (y, x) = Math.DivRem(at, across);
            var (column, row) = exchanged ? (y, x) : (x, y);
            column = mirrored ? width - 1 - column : column;
            row = upsideDown ? height - 1 - row : row;
            pixels.Slice((row * width + column) * bytes, bytes).CopyTo(upright.AsSpan(at * bytes));
        }

        return upright;
    }
}
