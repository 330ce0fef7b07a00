// Encoded images to pixels: the one place that decodes, for training, judges, captions and chat alike. What is shown is
// upright, as the EXIF orientation says, be it a JPEG's, a PNG's or a WebP's. Profiles (ICC) are passed over, as the
// reference does. Of an animation, the first frame.
// Deviation: transparent parts are laid on white; the reference (Pillow's convert) drops transparency and shows
// whatever colour lies below.
using System.Runtime.InteropServices;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using SkiaSharp;

namespace ReasonGen.Notebook;

/// <summary>Encoded images (PNG, JPEG, WebP, GIF, BMP) to pixels.</summary>
public static class ImageFile
{
    /// <summary>The image in a file, upright.</summary>
    /// <exception cref="UnusableFileException">The file is missing, a pipe that lies in a folder, no image, cut
    /// short, damaged or too large; the message says which.</exception>
    public static RgbImage Read(string path)
    {
        try
        {
            var bytes = FileKinds.IsNamedPipe(path) ? throw FileKinds.Pipe(path) : File.ReadAllBytes(path);
            return Decode(bytes, out var reason) ?? throw new UnusableFileException(path,
                $"it is no image that can be used: {reason}", "give a whole PNG, JPEG, WebP, BMP or GIF file");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the image cannot be read: {e.Message.TrimEnd('.')}",
                "check the path", e);
        }
    }

    /// <summary>
    /// The image, upright, transparent parts on white; null where the bytes are no image, or one that is cut short or
    /// too large.
    /// </summary>
    public static RgbImage? Decode(byte[] encoded) => Decode(encoded, out _);

    /// <summary>The same, with the reason where there is none.</summary>
    /// <param name="encoded">The bytes of an image file.</param>
    /// <param name="reason">Half a sentence; null where the image is returned.</param>
    public static RgbImage? Decode(byte[] encoded, out string? reason)
    {
        using var codec = Open(encoded, out reason);
        if (codec is null)
        {
            return null;
        }

        try
        {
            var info = new SKImageInfo(codec.Info.Width, codec.Info.Height, SKColorType.Rgba8888, SKAlphaType.Unpremul);
            using var bitmap = new SKBitmap(info);
            var result = codec.GetPixels(info, bitmap.GetPixels());
            if (result != SKCodecResult.Success)
            {
                reason = result == SKCodecResult.IncompleteInput ? "it is cut short"
                    : $"its pixels are damaged ({result})";
                return null;
            }

            var image = new RgbImage(info.Width, info.Height, OnWhite(bitmap.GetPixelSpan()));
            return ExifOrientation.Turn(image, OriginOf(encoded, codec));
        }
        // the library's word for memory that it could not have
        catch (Exception e) when (e.GetType() == typeof(Exception))
        {
            reason = $"it cannot be decoded: {e.Message.TrimEnd('.')}";
            return null;
        }
    }

    /// <summary>
    /// Upright size and media type from the first bytes alone; null where they are no image. Whether the rest is there,
    /// <see cref="Decode(byte[])"/> tells.
    /// </summary>
    public static (int Width, int Height, string MediaType)? Measure(byte[] encoded)
    {
        using var codec = Open(encoded, out _, whole: false);
        if (codec is null)
        {
            return null;
        }

        var (origin, width, height) = (OriginOf(encoded, codec), codec.Info.Width, codec.Info.Height);
        // as Upright gives it
        var type = origin > 1 ? "image/png" : $"image/{codec.EncodedFormat.ToString().ToLowerInvariant()}";
        return origin >= 5 ? (height, width, type) : (width, height, type);
    }

    /// <summary>
    /// The bytes as every program shows them: themselves, or a PNG of the upright image where they rely on EXIF
    /// orientation, which many readers pass over.
    /// </summary>
    /// <exception cref="FormatException">The bytes are no whole image.</exception>
    public static byte[] Upright(byte[] encoded)
    {
        using (var codec = Open(encoded, out _))
        {
            if (codec is not null && OriginOf(encoded, codec) <= 1)
            {
                return encoded;
            }
        }

        return Png.Encode(Decode(encoded, out var reason) ?? throw new FormatException(reason));
    }

    private static SKCodec? Open(byte[] encoded, out string? reason, bool whole = true)
    {
        var codec = SKCodec.Create(new SKMemoryStream(encoded));
        reason = codec is null ? encoded.Length == 0 ? "it is empty"
                : ImageEnd.IsThere(encoded) ? "its first bytes are those of no image" : "it is cut short"
            : ImageBounds.Refusal(codec.Info.Width, codec.Info.Height, encoded.Length)
                ?? (whole && !ImageEnd.IsThere(encoded) ? "it is cut short" : null);
        if (reason is not null)
        {
            codec?.Dispose();
            return null;
        }

        return codec;
    }

    internal static int OriginOf(byte[] encoded, SKCodec codec) =>
        ExifOrientation.Of(encoded) ?? (int)codec.EncodedOrigin;

    private static byte[] OnWhite(ReadOnlySpan<byte> rgba)
    {
        var rgb = new byte[rgba.Length / 4 * 3];
        var colours = MemoryMarshal.Cast<byte, Rgba>(rgba);
        for (var i = 0; i < colours.Length; i++)
        {
            var (r, g, b, alpha) = colours[i];
            (rgb[3 * i], rgb[3 * i + 1], rgb[3 * i + 2]) = (Over(r, alpha), Over(g, alpha), Over(b, alpha));
        }

        return rgb;

        static byte Over(byte value, byte alpha) => (byte)((value * alpha + 255 * (255 - alpha) + 127) / 255);
    }

    private readonly record struct Rgba(byte R, byte G, byte B, byte Alpha);
}
