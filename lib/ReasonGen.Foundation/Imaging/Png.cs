using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace ReasonGen.Imaging;

/// <summary>Images as PNG, without an image library: what goes to a served judge and into training data.</summary>
public static class Png
{
    private static ReadOnlySpan<byte> Signature => [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>A PNG of 8-bit RGB; the same image always gives the same bytes.</summary>
    public static byte[] Encode(RgbImage image)
    {
        var stride = image.Width * 3;
        var rows = new MemoryStream();
        using (var zlib = new ZLibStream(rows, CompressionLevel.Optimal))
        {
            for (var y = 0; y < image.Height; y++)
            {
                zlib.WriteByte(0); // the row is stored as it is
                zlib.Write(image.Rgb, y * stride, stride);
            }
        }

        var png = new MemoryStream();
        png.Write(Signature);
        var size = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(size, image.Width);
        BinaryPrimitives.WriteInt32BigEndian(size.AsSpan(4), image.Height);
        (size[8], size[9]) = (8, 2); // bits per channel, RGB
        Chunk(png, "IHDR"u8, size);
        Chunk(png, "IDAT"u8, rows.ToArray());
        Chunk(png, "IEND"u8, []);
        return png.ToArray();
    }

    /// <summary>Width and height of a PNG whose every chunk is there and sound by its checksum, up to the last; null of
    /// anything else.</summary>
    public static (int Width, int Height)? Measure(ReadOnlySpan<byte> png)
    {
        if (!png.StartsWith(Signature))
        {
            return null;
        }

        (int Width, int Height)? size = null;
        for (var rest = png[Signature.Length..]; rest.Length >= 12;)
        {
            var length = BinaryPrimitives.ReadUInt32BigEndian(rest);
            if (length > rest.Length - 12 || Crc32.HashToUInt32(rest[4..((int)length + 8)])
                != BinaryPrimitives.ReadUInt32BigEndian(rest[((int)length + 8)..]))
            {
                return null;
            }

            var type = rest[4..8];
            var content = rest[8..((int)length + 8)];
            if (type.SequenceEqual("IEND"u8))
            {
                return size;
            }

            size = type.SequenceEqual("IHDR"u8) && length == 13
                ? (BinaryPrimitives.ReadInt32BigEndian(content), BinaryPrimitives.ReadInt32BigEndian(content[4..]))
                : size;
            rest = rest[((int)length + 12)..];
        }

        return null;
    }

    private static void Chunk(MemoryStream png, ReadOnlySpan<byte> type, ReadOnlySpan<byte> content)
    {
        var bytes = new byte[content.Length + 12];
        BinaryPrimitives.WriteInt32BigEndian(bytes, content.Length);
        type.CopyTo(bytes.AsSpan(4));
        content.CopyTo(bytes.AsSpan(8));
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(bytes.Length - 4),
            Crc32.HashToUInt32(bytes.AsSpan(4, content.Length + 4)));
        png.Write(bytes);
    }
}
