using System.Buffers.Binary;
using System.Text;

namespace ReasonGen.Imaging;

/// <summary>What a PNG is made of, for what the image library does not tell.</summary>
public static class PngChunks
{
    /// <summary>Names and data of the chunks that lie whole in a file, checksums not looked at; none of anything that
    /// does not begin like a PNG.</summary>
    public static IEnumerable<(string Name, ReadOnlyMemory<byte> Data)> Of(byte[] file)
    {
        for (var at = 8; file is [0x89, 0x50, 0x4E, 0x47, ..] && at <= file.Length - 12;)
        {
            var length = BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at));
            if (length > file.Length - at - 12)
            {
                yield break;
            }

            yield return (Encoding.ASCII.GetString(file, at + 4, 4), file.AsMemory(at + 8, (int)length));
            at += (int)length + 12;
        }
    }
}
