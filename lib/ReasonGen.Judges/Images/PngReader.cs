// PNG (ISO/IEC 15948) with the mode kept, as Pillow opens it: 1-bit grey is "1", 2 and 4 bits are spread over 0 to 255,
// 16-bit grey is clipped at 255
// when it becomes RGB, 16-bit colours lose their low byte; alpha is kept apart, transparency of a colour (tRNS) is
// passed over.
using System.Buffers.Binary;
using System.IO.Compression;
using ReasonGen.Imaging;

namespace ReasonGen.Judges.Images;

/// <summary>PNG files to images with their mode.</summary>
internal static class PngReader
{
    private static ReadOnlySpan<byte> Signature => [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A];

    // first column and row, and steps, of the seven passes of an interlaced file
    private static readonly (int X, int Y, int Across, int Down)[] Adam7 =
        [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)];

    internal static bool Is(ReadOnlySpan<byte> file) => file.StartsWith(Signature);

    /// <exception cref="FormatException">The file is damaged.</exception>
    internal static SourceImage Read(byte[] file, string name)
    {
        byte[]? header = null, palette = null;
        var (orientation, ended) = (1, false);
        var packed = new MemoryStream();
        for (var at = 8; !ended; )
        {
            var length = at + 12 <= file.Length ? BinaryPrimitives.ReadInt32BigEndian(file.AsSpan(at)) : -1;
            if (length < 0 || length > file.Length - at - 12)
            {
                throw new FormatException("it is cut short");
            }

            var kind = System.Text.Encoding.Latin1.GetString(file, at + 4, 4);
            var data = file.AsSpan(at + 8, length);
            if (System.IO.Hashing.Crc32.HashToUInt32(file.AsSpan(at + 4, length
                + 4)) != BinaryPrimitives.ReadUInt32BigEndian(file.AsSpan(at + 8 + length)))
            {
                throw new FormatException($"the checksum of its part {kind} is wrong");
            }

            switch (kind)
            {
                case "IHDR": header = data.ToArray(); break;
                case "PLTE": palette = data.ToArray(); break;
                case "IDAT": packed.Write(data); break;
                case "eXIf": orientation = ExifOrientation.Read(data) ?? 1; break;
                case "IEND": ended = true; break;
            }

            at += length + 12;
        }

        packed.Position = 0;
        return Decode(header is { Length: 13 } ? header : throw new FormatException("it does not begin with a header"),
            palette, packed, file.Length) with
        {
            Name = name, Orientation = orientation,
        };
    }

    private static SourceImage Decode(byte[] header, byte[]? palette, Stream packed, long bytes)
    {
        int width = BinaryPrimitives.ReadInt32BigEndian(header), height =
            BinaryPrimitives.ReadInt32BigEndian(header.AsSpan(4)), depth = header[8];
        var channels = header[9] switch { 0 or 3 => 1, 2 => 3, 4 => 2, 6 => 4, _ => 0 };
        var sound = header[9] switch { 0 => depth is 1 or 2 or 4 or 8 or 16, 3 => depth is 1 or 2 or 4 or 8, _ =>
            depth is 8 or 16 };
        if (width < 1 || height < 1 || channels == 0 || !sound || header[12] > 1)
        {
            throw new FormatException(
                $"its header gives {width}x{height} pixels of {depth} bits and colour type {header[9]}");
        }

        if (ImageBounds.Refusal(width, height, bytes) is { } reason)
        {
            throw new FormatException(reason);
        }

        if (header[9] == 3 && palette is null)
        {
            throw new FormatException("it lacks its table of colours");
        }

        var (rgb, alpha) = (new byte[3 * width * height], header[9] is 4 or 6 ? new byte[width * height] : null);
        using var zlib = new ZLibStream(packed, CompressionMode.Decompress);
        try
        {
            foreach (var (x0, y0, across, down) in header[12] == 1 ? Adam7 : [(0, 0, 1, 1)])
            {
                int columns = (width - x0 + across - 1) / across, rows = (height - y0 + down - 1) / down, unit =
                    Math.Max(1, channels * depth / 8);
                byte[] line = new byte[(columns * channels * depth + 7) / 8], above = new byte[line.Length];
                for (var row = 0; columns > 0 && row < rows; row++, (line, above) = (above, line))
                {
                    var filter = zlib.ReadByte();
                    zlib.ReadExactly(line);
                    Unfilter(filter, line, above, unit);
                    for (var i = 0; i < columns; i++)
                    {
                        Pixel(line, i, (y0 + row * down) * width + x0 + i * across);
                    }
                }
            }
        }
        catch (Exception e) when (e is EndOfStreamException or InvalidDataException)
        {
            throw new FormatException("its pixels are damaged or cut short", e);
        }

        return new(new(width, height, rgb), header[9] switch
        {
            0 => depth == 1 ? ImageMode.OneBit : ImageMode.Grey, 2 => ImageMode.Rgb, 3 => ImageMode.Palette, 4 =>
                ImageMode.GreyAlpha, _ => ImageMode.Rgba,
        }, alpha);

        void Pixel(byte[] line, int i, int to)
        {
            int Sample(int channel)
            {
                var bit = (i * channels + channel) * depth;
                return depth == 16 ? (line[bit / 8] << 8) | line[bit / 8 + 1]
                    : (line[bit / 8] >> (8 - depth - bit % 8)) & ((1 << depth) - 1);
            }

            byte Level(int channel) => depth switch
            {
                16 => channels == 1 ? (byte)Math.Min(Sample(channel), 255) : (byte)(Sample(channel) >> 8),
                _ => (byte)(Sample(channel) * 255 / ((1 << depth) - 1)),
            };
            if (header[9] == 3)
            {
                var index = Sample(0);
                if (3 * index + 2 < palette!.Length) // Pillow takes a colour beyond the table as black
                {
                    palette.AsSpan(3 * index, 3).CopyTo(rgb.AsSpan(3 * to));
                }

                return;
            }

            for (var c = 0; c < 3; c++)
            {
                rgb[3 * to + c] = Level(channels >= 3 ? c : 0);
            }

            if (alpha is not null)
            {
                alpha[to] = Level(channels - 1);
            }
        }
    }

    private static void Unfilter(int filter, byte[] line, byte[] above, int unit)
    {
        for (var i = 0; i < line.Length; i++)
        {
            int left = i >= unit ? line[i - unit] : 0, up = above[i], corner = i >= unit ? above[i - unit] : 0;
            line[i] += filter switch
            {
                0 => 0, 1 => (byte)left, 2 => (byte)up, 3 => (byte)((left + up) / 2), 4 =>
                    (byte)Paeth(left, up, corner),
                _ => throw new FormatException($"one of its rows has the filter {filter}"),
            };
        }
    }

    private static int Paeth(int left, int up, int corner)
    {
        int toLeft = Math.Abs(up - corner), toUp = Math.Abs(left - corner), toCorner = Math.Abs(left + up - 2 * corner);
        return toLeft <= toUp && toLeft <= toCorner ? left : toUp <= toCorner ? up : corner;
    }
}
