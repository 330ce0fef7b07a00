using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using SkiaSharp;
using Xunit;

namespace ReasonGen.Tests.Notebook;

public sealed class ImageFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    // corners of the upright image, from the top left clockwise: red, green, blue, white
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    [InlineData(6)]
    [InlineData(7)]
    [InlineData(8)]
    public void A_jpeg_is_upright_whatever_its_orientation(int orientation)
    {
        var upright = Corners(48, 32);
        var stored = Stored(upright, orientation);
        var encoded = WithOrientation(Encode(stored, SKEncodedImageFormat.Jpeg), orientation);
        var decoded = ImageFile.Decode(encoded)!;
        Close(upright, decoded);
        Assert.Equal((48, 32, orientation == 1 ? "image/jpeg" : "image/png"), ImageFile.Measure(encoded));

        var sent = ImageFile.Upright(encoded);
        Close(upright, ImageFile.Decode(sent)!);
        using var codec = SKCodec.Create(new SKMemoryStream(sent));
        Assert.Equal(SKEncodedOrigin.TopLeft, codec.EncodedOrigin);
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Png, "")]
    [InlineData(SKEncodedImageFormat.Png, "Exif\0\0")]
    [InlineData(SKEncodedImageFormat.Webp, "")]
    [InlineData(SKEncodedImageFormat.Webp, "Exif\0\0")]
    public void A_png_and_a_webp_are_upright_whatever_their_orientation(SKEncodedImageFormat format, string mark)
    {
        var upright = Corners(48, 32);
        var plain = Encode(Stored(upright, 6), format);
        byte[] exif = [.. Encoding.ASCII.GetBytes(mark), .. Exif(6)];
        var encoded = format == SKEncodedImageFormat.Png ? [.. plain[..33], .. PngChunk("eXIf", exif), .. plain[33..]]
            : ExtendedWebP(plain, 32, 48, exif);
        Close(upright, ImageFile.Decode(encoded)!);
        Close(upright, ImageFile.Decode(ImageFile.Upright(encoded))!);
        Close(upright, ScoredImage.Decode(encoded, upright: true)!.Pixels);
        Assert.Equal((48, 32, "image/png"), ImageFile.Measure(encoded));
    }

    [Fact]
    public void The_sideways_case_is_seen_upright()
    {
        var image = ImageFile.Read(HandedIn.Path("exif6.jpg"));
        Assert.Equal((20, 40), (image.Width, image.Height));
    }

    [Theory]
    [InlineData(SKEncodedImageFormat.Png)]
    [InlineData(SKEncodedImageFormat.Jpeg)]
    [InlineData(SKEncodedImageFormat.Webp)]
    public void An_image_cut_short_anywhere_is_refused(SKEncodedImageFormat format)
    {
        var whole = Encode(Noise(40, 30), format);
        Assert.NotNull(ImageFile.Decode(whole));
        foreach (var length in new[] { 0.1, 0.3, 0.5, 0.7, 0.9, 0.98 }.Select(share => (int)(whole.Length * share))
            .Append(whole.Length - 1))
        {
            Assert.Null(ImageFile.Decode(whole[..length], out var reason));
            Assert.Equal("it is cut short", reason);
        }
    }

    [Theory]
    [InlineData("images/animated.gif")]
    [InlineData("images/cmyk.jpg")]
    [InlineData("images/progressive.jpg")]
    public void Kinds_that_are_not_written_here_are_found_cut_short_too(string name)
    {
        var whole = File.ReadAllBytes(HandedIn.Path(name));
        Assert.NotNull(ImageFile.Decode(whole));
        Assert.Null(ImageFile.Decode(whole[..(whole.Length / 2)]));
        Assert.Null(ImageFile.Decode(whole[..^1]));
        Assert.NotNull(ImageFile.Decode([.. whole, 1, 2, 3])); // what follows the end is another program's
    }

    [Theory]
    [InlineData("images/grey16.png", 128, 128, 128)]
    [InlineData("images/rgb16.png", 200, 100, 50)]
    [InlineData("images/grey-alpha.png", 255, 255, 255)] // transparent at this place: white
    [InlineData("images/palette-transparent.png", 255, 255, 255)]
    [InlineData("images/cmyk.jpg", 200, 100, 50)]
    [InlineData("images/animated.gif", 255, 0, 0)] // its first frame
    [InlineData("images/animated.webp", 255, 0, 0)]
    [InlineData("images/profile.png", 200, 100, 50)] // a profile changes nothing, as in the reference
    [InlineData("images/interlaced.png", 200, 100, 50)]
    public void Uncommon_kinds_have_the_right_colours(string name, int r, int g, int b)
    {
        var image = ImageFile.Read(HandedIn.Path(name));
        Assert.All(new[] { r, g, b }.Zip(image.Rgb),
            pair => Assert.InRange(pair.Second, pair.First - 3, pair.First + 3));
    }

    [Theory]
    [InlineData("fuzz/image-43-bytes-decode-takes-9s-and-2.1GB.gif")]
    [InlineData("fuzz/image-62-bytes-System.Exception-ImageFile28.gif")]
    public void An_image_that_declares_more_than_it_can_hold_is_refused_at_once(string name)
    {
        var before = GC.GetAllocatedBytesForCurrentThread();
        var error = Assert.Throws<UnusableFileException>(() => ImageFile.Read(HandedIn.Path(name)));
        Assert.Contains(Path.GetFileName(name), error.Message);
        Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
    }

    [Theory]
    [InlineData("empty.png", "", "it is empty")]
    [InlineData("text.png", "not an image", "those of no image")]
    [InlineData("missing.png", null, "cannot be read")]
    public void What_is_no_image_is_named_with_the_reason(string name, string? content, string reason)
    {
        var path = Path.Combine(folder, name);
        if (content is not null)
        {
            File.WriteAllText(path, content);
        }

        Assert.Contains(reason, Assert.Throws<UnusableFileException>(() => ImageFile.Read(path)).Message);
    }

    [Fact]
    public void Damaged_images_never_throw_anything_else()
    {
        var random = new Random(7);
        foreach (var format in new[] { SKEncodedImageFormat.Png, SKEncodedImageFormat.Jpeg, SKEncodedImageFormat.Webp })
        {
            var whole = Encode(Noise(24, 24), format);
            for (var trial = 0; trial < 100; trial++)
            {
                var damaged = (byte[])whole.Clone();
                for (var flip = 0; flip < 3; flip++)
                {
                    damaged[random.Next(damaged.Length)] = (byte)random.Next(256);
                }

                Assert.Null(Record.Exception(() => ImageFile.Decode(damaged)));
            }
        }
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static RgbImage Corners(int width, int height)
    {
        var rgb = new byte[width * height * 3];
        for (var i = 0; i < width * height; i++)
        {
            var (right, low) = (i % width >= width / 2, i / width >= height / 2);
            byte[] colour = (right, low) switch { (false, false) => [255, 0, 0], (true, false) => [0, 255, 0],
                (true, true) => [0, 0, 255], _ => [255, 255, 255] };
            colour.CopyTo(rgb, i * 3);
        }

        return new(width, height, rgb);
    }

    private static RgbImage Noise(int width, int height)
    {
        var rgb = new byte[width * height * 3];
        new Random(1).NextBytes(rgb);
        return new(width, height, rgb);
    }

    // as a camera held otherwise stores it: the inverse of what EXIF's table says to do
    private static RgbImage Stored(RgbImage upright, int orientation) => orientation switch
    {
        2 => Mirrored(upright),
        3 => Turned(Turned(upright)),
        4 => Mirrored(Turned(Turned(upright))),
        5 => Mirrored(Turned(upright)),
        6 => Turned(Turned(Turned(upright))),
        7 => Turned(Mirrored(upright)),
        8 => Turned(upright),
        _ => upright,
    };

    private static RgbImage Mirrored(RgbImage p) => Made(p.Width, p.Height, (x, y) => (p, p.Width - 1 - x, y));

    // a quarter clockwise
    private static RgbImage Turned(RgbImage p) => Made(p.Height, p.Width, (x, y) => (p, y, p.Height - 1 - x));

    private static RgbImage Made(int width, int height, Func<int, int, (RgbImage From, int X, int Y)> place)
    {
        var rgb = new byte[width * height * 3];
        for (var i = 0; i < width * height; i++)
        {
            var (from, x, y) = place(i % width, i / width);
            from.Rgb.AsSpan((y * from.Width + x) * 3, 3).CopyTo(rgb.AsSpan(i * 3));
        }

        return new(width, height, rgb);
    }

    private static byte[] Encode(RgbImage image, SKEncodedImageFormat format)
    {
        if (format == SKEncodedImageFormat.Png)
        {
            return Png.Encode(image);
        }

        byte[] rgba = [.. image.Rgb.Chunk(3).SelectMany(colour => colour.Append((byte)255))];
        using var pixels = SKImage.FromPixelCopy(new SKImageInfo(image.Width, image.Height, SKColorType.Rgba8888,
            SKAlphaType.Opaque), rgba);
        using var data = pixels.Encode(format, 95);
        return data.ToArray();
    }

    private static byte[] WithOrientation(byte[] jpeg, int orientation)
    {
        byte[] exif = [.. "Exif\0\0"u8, .. Exif(orientation)];
        var length = new byte[2];
        BinaryPrimitives.WriteUInt16BigEndian(length, (ushort)(exif.Length + 2));
        return [.. jpeg[..2], 0xFF, 0xE1, .. length, .. exif, .. jpeg[2..]];
    }

    private static byte[] Exif(int orientation) =>
        [.. "II*\0"u8, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, (byte)orientation, 0, 0, 0, 0, 0, 0, 0];

    private static byte[] PngChunk(string name, byte[] data)
    {
        byte[] named = [.. Encoding.ASCII.GetBytes(name), .. data];
        var (length, crc) = (new byte[4], new byte[4]);
        BinaryPrimitives.WriteInt32BigEndian(length, data.Length);
        BinaryPrimitives.WriteUInt32BigEndian(crc, Crc32.HashToUInt32(named));
        return [.. length, .. named, .. crc];
    }

    // a simple WebP with a header that says that EXIF follows, and behind it what does
    private static byte[] ExtendedWebP(byte[] simple, int width, int height, byte[] exif)
    {
        static byte[] Number(int value) => BitConverter.GetBytes(value);
        byte[] body = [.. "WEBPVP8X"u8, .. Number(10), 8, 0, 0, 0, .. Number(width - 1)[..3],
            .. Number(height - 1)[..3], .. simple[12..], .. "EXIF"u8, .. Number(exif.Length), .. exif];
        return [.. "RIFF"u8, .. Number(body.Length), .. body];
    }

    private static void Close(RgbImage expected, RgbImage actual)
    {
        Assert.Equal((expected.Width, expected.Height), (actual.Width, actual.Height));
        foreach (var (x, y) in new[] { (4, 4), (expected.Width - 5, 4), (expected.Width - 5, expected.Height - 5),
            (4, expected.Height - 5) })
        {
            var at = (y * expected.Width + x) * 3;
            Assert.All(expected.Rgb[at..(at + 3)].Zip(actual.Rgb[at..(at + 3)]),
                pair => Assert.InRange(pair.Second, pair.First - 12, pair.First + 12));
        }
    }
}
