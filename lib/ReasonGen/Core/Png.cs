using System.Buffers.Binary;
using System.IO.Compression;
using System.IO.Hashing;

namespace ReasonGen.Core;

/// <summary>Pictures as PNG, without an image library: what goes to a served judge and into training data.</summary>
public static class Png
{
    private static ReadOnlySpan<byte> Signature => [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];

    /// <summary>A PNG of 8-bit RGB; the same picture always gives the same bytes.</summary>
    public static byte[] Encode(Picture picture)
    {
        var stride = picture.Width * 3;
        var rows = new MemoryStream();
        using (var zlib = new ZLibStream(rows, CompressionLevel.Optimal))
        {
            for (var y = 0; y < picture.Height; y++)
            {
                zlib.WriteByte(0); // the row is stored as it is
                zlib.Write(picture.Rgb, y * stride, stride);
            }
        }

        var png = new MemoryStream();
        png.Write(Signature);
        var size = new byte[13];
        BinaryPrimitives.WriteInt32BigEndian(size, picture.Width);
        BinaryPrimitives.WriteInt32BigEndian(size.AsSpan(4), picture.Height);
        (size[8], size[9]) = (8, 2); // bits per channel, RGB
        Chunk(png, "IHDR"u8, size);
        Chunk(png, "IDAT"u8, rows.ToArray());
        Chunk(png, "IEND"u8, []);
        return png.ToArray();
    }

    private static void Chunk(MemoryStream png, ReadOnlySpan<byte> type, ReadOnlySpan<byte> content)
    {
        var bytes = new byte[content.Length + 12];
        BinaryPrimitives.WriteInt32BigEndian(bytes, content.Length);
        type.CopyTo(bytes.AsSpan(4));
        content.CopyTo(bytes.AsSpan(8));
        BinaryPrimitives.WriteUInt32BigEndian(bytes.AsSpan(bytes.Length - 4), Crc32.HashToUInt32(bytes.AsSpan(4, content.Length + 4)));
        png.Write(bytes);
    }
}
