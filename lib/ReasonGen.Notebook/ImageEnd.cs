using System.Buffers.Binary;
using ReasonGen.Imaging;

namespace ReasonGen.Notebook;

/// <summary>
/// Whether an image file is there to its end. Decoders stop where they have seen enough pixels, and some fill up what
/// is missing; a download that broke off must be found all the same.
/// </summary>
internal static class ImageEnd
{
    /// <summary>False where a PNG, JPEG, GIF or WebP ends before its last part; bytes of other kinds pass.</summary>
    internal static bool IsThere(ReadOnlySpan<byte> bytes) => 0 switch
    {
        _ when bytes.Length > 8 && bytes[1..4].SequenceEqual("PNG"u8) => Png(bytes),
        _ when bytes.StartsWith((ReadOnlySpan<byte>)[0xFF, 0xD8]) => Jpeg(bytes),
        _ when bytes.StartsWith("GIF8"u8) => Gif(bytes),
        _ when bytes.Length >= 12 && bytes.StartsWith("RIFF"u8) && bytes[8..12].SequenceEqual("WEBP"u8) =>
            BinaryPrimitives.ReadUInt32LittleEndian(bytes[4..]) + 8L <= bytes.Length,
        _ => true,
    };

    // chunks up to IEND
    private static bool Png(ReadOnlySpan<byte> bytes)
    {
        for (long at = 8; at + 12 <= bytes.Length; )
        {
            var chunk = bytes[(int)at..];
            if (chunk[4..8].SequenceEqual("IEND"u8))
            {
                return true;
            }

            at += 12 + (long)BinaryPrimitives.ReadUInt32BigEndian(chunk);
        }

        return false;
    }

    // segments up to the end of the image; coded data runs to the next marker that is none of its own
    private static bool Jpeg(ReadOnlySpan<byte> bytes)
    {
        for (var at = 2; at + 1 < bytes.Length; )
        {
            if (bytes[at] != 0xFF)
            {
                var next = bytes[at..].IndexOf((byte)0xFF);
                if (next < 0)
                {
                    return false;
                }

                at += next;
                continue;
            }

            switch (bytes[at + 1])
            {
                case 0xD9:
                    return true;
                case 0xFF: // fill
                    at++;
                    break;
                case 0x00 or 0x01 or (>= 0xD0 and <= 0xD8): // coded data, and markers without a length
                    at += 2;
                    break;
                default:
                    at += at + 3 < bytes.Length ? 2 + BinaryPrimitives.ReadUInt16BigEndian(bytes[(at + 2)..])
                        : bytes.Length;
                    break;
            }
        }

        return false;
    }

    // header, colours, then extensions and frames up to the trailer
    private static bool Gif(ReadOnlySpan<byte> bytes)
    {
        if (bytes.Length < 13)
        {
            return false;
        }

        for (var at = 13 + Colours(bytes[10]); at < bytes.Length; )
        {
            switch (bytes[at])
            {
                case 0x3B:
                    return true;
                case 0x21:
                    at += 2;
                    break;
                case 0x2C when at + 9 < bytes.Length:
                    at += 11 + Colours(bytes[at + 9]);
                    break;
                default:
                    return false;
            }

            while (at < bytes.Length && bytes[at] > 0)
            {
                at += 1 + bytes[at];
            }

            at++;
        }

        return false;

        static int Colours(byte flags) => (flags & 0x80) != 0 ? 3 << ((flags & 7) + 1) : 0;
    }
}
