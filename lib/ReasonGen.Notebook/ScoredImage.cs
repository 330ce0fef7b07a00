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
        var png = PngChunks.Of(encoded).ToArray();
        var header = png.FirstOrDefault(chunk => chunk.Name == "IHDR").Data.Span;
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

        var palette = header is [_, _, _, _, _, _, _, _, _, 3, ..]
            ? png.FirstOrDefault(chunk => chunk.Name == "PLTE").Data.Span : default;
        var image = new RgbImage(info.Width, info.Height, rgb);
        return new(upright ? ExifOrientation.Turn(image, ImageFile.OriginOf(encoded, codec)) : image,
            palette is [var r, var g, var b, ..] ? (r, g, b)
            : default);
    }

    // Two bytes a pixel, each row behind the number of its filter.
    private static byte[]? SixteenBitGrey(
        IEnumerable<(string Name, ReadOnlyMemory<byte> Data)> png, int width, int height)
    {
        using var packed = new MemoryStream();
        foreach (var chunk in png.Where(chunk => chunk.Name == "IDAT"))
        {
            packed.Write(chunk.Data.Span);
        }

        packed.Position = 0;
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
}
