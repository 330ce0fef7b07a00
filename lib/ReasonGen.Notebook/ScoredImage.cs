// Image files as the benchmark scripts read them (Pillow): transparency is dropped, not blended; grey of 16 bits is
// clipped at 255; GenEval turns an
// image as its EXIF orientation says, DPG-Bench does not. ImageFile, which blends transparency on white, is for what
// people look at.
using System.Buffers.Binary;
using System.IO.Compression;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using SkiaSharp;

namespace ReasonGen.Notebook;

/// <summary>An image to be scored.</summary>
/// <param name="Pixels">Red, green, blue.</param>
/// <param name="Outside">What a cut beyond its edge holds: black, or the first colour of its palette.</param>
public sealed record ScoredImage(RgbImage Pixels, (byte R, byte G, byte B) Outside)
{
    /// <summary>Reads a file.</summary>
    /// <param name="path">The file.</param>
    /// <param name="upright">Whether it is turned as its orientation says.</param>
    /// <exception cref="UnusableFileException">It is missing, no image, or a damaged one.</exception>
    public static ScoredImage Read(string path, bool upright)
    {
        try
        {
            return Decode(File.ReadAllBytes(path), upright)
                ?? throw new UnusableFileException(path, "it is no image, or a damaged one",
                    "draw it again, or remove it");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the image cannot be read: {e.Message.TrimEnd('.')}",
                "check the path",
                e);
        }
    }

    /// <summary>Decodes; null where the bytes are no image, or one that is cut short or too large.</summary>
    public static ScoredImage? Decode(byte[] encoded, bool upright)
    {
        using var codec = SKCodec.Create(new SKMemoryStream(encoded));
        if (codec is null || ImageBounds.Refusal(codec.Info.Width, codec.Info.Height, encoded.Length) is not null)
        {
            return null;
        }

        var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
        var png = PngChunks(encoded);
        var header = png.FirstOrDefault(chunk => chunk.Name == "IHDR").Data;
        byte[] rgb;
        if (header is [_, _, _, _, _, _, _, _, 16, 0, _, _, 0])
        {
            if (SixteenBitGrey(png, info.Width, info.Height) is not { } grey)
            {
                return null;
            }

            rgb = grey;
        }
        else
        {
            if (codec.GetPixels(info, out var rgba) != SKCodecResult.Success)
            {
                return null;
            }

            rgb = new byte[info.Width * info.Height * 3];
            for (var i = 0; i < rgb.Length / 3; i++)
            {
                rgba.AsSpan(4 * i, 3).CopyTo(rgb.AsSpan(3 * i));
            }
        }

        var palette = header is [_, _, _, _, _, _, _, _, _, 3, ..] ? png.FirstOrDefault(chunk => chunk.Name == "PLTE")
            .Data : null;
        var image = new RgbImage(info.Width, info.Height, rgb);
        var orientation = png.FirstOrDefault(chunk => chunk.Name == "eXIf").Data is { } exif ? Orientation(exif)
            : (int)codec.EncodedOrigin;
        return new(upright ? Turn(image, orientation) : image, palette is [var r, var g, var b, ..] ? (r, g, b)
            : default);
    }

    private static List<(string Name, byte[] Data)> PngChunks(byte[] file)
    {
        List<(string, byte[])> chunks = [];
        if (file is not [0x89, 0x50, 0x4E, 0x47, ..])
        {
            return chunks;
        }

        for (var at = 8; at + 8 <= file.Length;)
        {
            var length = BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(at));
            if (length < 0 || at + 12L + length > file.Length)
            {
                break;
            }

            chunks.Add((System.Text.Encoding.ASCII.GetString(file, at + 4, 4), file[(at + 8)..(at + 8 + length)]));
            at += 12 + length;
        }

        return chunks;
    }

    // Two bytes a pixel, each row behind the number of its filter.
    private static byte[]? SixteenBitGrey(List<(string Name, byte[] Data)> png, int width, int height)
    {
        using var packed = new MemoryStream([.. png.Where(chunk => chunk.Name == "IDAT")
            .SelectMany(chunk => chunk.Data)]);
        using var zlib = new ZLibStream(packed, CompressionMode.Decompress);
        var stride = 2 * width;
        var (row, above, rgb) = (new byte[stride + 1], new byte[stride + 1], new byte[width * height * 3]);
        try
        {
            for (var y = 0; y < height; y++)
            {
                zlib.ReadExactly(row);
                for (var i = 1; i <= stride; i++)
                {
                    int left = i > 2 ? row[i - 2] : 0, up = above[i], corner = i > 2 ? above[i - 2] : 0;
                    row[i] += (byte)(row[0] switch { 1 => left, 2 => up, 3 => (left + up) / 2, 4 =>
                        Paeth(left, up, corner), _ => 0 });
                }

                for (var x = 0; x < width; x++)
                {
                    rgb.AsSpan((y * width + x) * 3, 3).Fill((byte)Math.Min(255, row[2 * x + 1] << 8 | row[2 * x + 2]));
                }

                (row, above) = (above, row);
            }
        }
        catch (Exception e) when (e is InvalidDataException or EndOfStreamException)
        {
            return null;
        }

        return rgb;
    }

    private static int Paeth(int left, int up, int corner)
    {
        int guess = left + up - corner, a = Math.Abs(guess - left), b = Math.Abs(guess - up),
            c = Math.Abs(guess - corner);
        return a <= b && a <= c ? left : b <= c ? up : corner;
    }

    // Tag 0x0112 of the first directory.
    private static int Orientation(byte[] exif)
    {
        var start = exif is [0x45, 0x78, 0x69, 0x66, 0, 0, ..] ? 6 : 0;
        var tiff = exif.AsSpan(start);
        if (tiff.Length < 8)
        {
            return 1;
        }

        var little = tiff[0] == 'I';
        int Short(ReadOnlySpan<byte> at) => little ? BinaryPrimitives.ReadUInt16LittleEndian(at)
            : BinaryPrimitives.ReadUInt16BigEndian(at);
        var directory = little ? BinaryPrimitives.ReadInt32LittleEndian(tiff[4..])
            : BinaryPrimitives.ReadInt32BigEndian(tiff[4..]);
        if (directory < 0 || directory + 2 > tiff.Length)
        {
            return 1;
        }

        for (var (i, count) = (0, Short(tiff[directory..])); i < count && directory + 2
            + 12 * (i + 1) <= tiff.Length; i++)
        {
            var entry = tiff.Slice(directory + 2 + 12 * i, 12);
            if (Short(entry) == 0x0112)
            {
                return Short(entry[8..]);
            }
        }

        return 1;
    }

    // 1 upright, 2 mirrored, 3 half a turn, 4 upside down, 5 to 8 rows and columns exchanged.
    private static RgbImage Turn(RgbImage image, int orientation)
    {
        if (orientation is < 2 or > 8)
        {
            return image;
        }

        var (width, height) = orientation < 5 ? (image.Width, image.Height) : (image.Height, image.Width);
        var rgb = new byte[image.Rgb.Length];
        for (var at = 0; at < width * height; at++)
        {
            int x = at % width, y = at / width;
            var (sx, sy) = orientation switch
            {
                2 => (image.Width - 1 - x, y),
                3 => (image.Width - 1 - x, image.Height - 1 - y),
                4 => (x, image.Height - 1 - y),
                5 => (y, x),
                6 => (y, image.Height - 1 - x),
                7 => (image.Width - 1 - y, image.Height - 1 - x),
                _ => (image.Width - 1 - y, x),
            };
            image.Rgb.AsSpan((sy * image.Width + sx) * 3, 3).CopyTo(rgb.AsSpan(at * 3));
        }

        return new(width, height, rgb);
    }
}
