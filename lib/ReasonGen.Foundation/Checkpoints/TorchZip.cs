// The container of torch.save (pytorch: caffe2/serialize/inline_container.cc): a zip archive of stored entries under
// one folder.
// The central directory is believed only where local headers and file length agree with it. Read more strictly than
// torch does: no two entries of one name (case aside), no overlaps, nothing compressed or encrypted, no name that
// leaves the folder.
using System.Buffers.Binary;
using System.IO.Hashing;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace ReasonGen.Checkpoints;

internal static class TorchZip
{
    private const int LargestDirectory = 64 << 20;
    private const uint Elsewhere = uint.MaxValue; // a 32-bit field whose value stands in the zip64 extra

    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);

    /// <summary>The entries by name, without the folder they all lie in.</summary>
    /// <param name="file">The file.</param>
    /// <param name="program">Takes an archive of TorchScript too; its code, which alone may be compressed, is listed
    /// and never read.</param>
    /// <exception cref="FormatException">The container is unsound.</exception>
    internal static Dictionary<string, StoredBytes> Entries(SafeFileHandle file, bool program = false)
    {
        var (count, offset, size) = Directory(file);
        var directory = Read(file, offset, size);
        var found = new Dictionary<string, StoredBytes>(StringComparer.OrdinalIgnoreCase);
        var runs = new List<(long Begin, long End)>();
        string? folder = null;
        var at = 0;
        for (var i = 0L; i < count; i++)
        {
            var (name, header, data, length) = Entry(file, directory, ref at, offset, program);
            var slash = name.IndexOf('/');
            folder ??= slash > 0 ? name[..slash] : throw new FormatException($"its entry '{name}' lies in no folder");
            if (!name.StartsWith(folder + "/", StringComparison.Ordinal))
            {
                throw new FormatException($"its entry '{name}' lies outside its folder '{folder}'");
            }

            var inner = name[(folder.Length + 1)..];
            if (!program && (inner == "constants.pkl" || inner.StartsWith("code/")))
            {
                throw new FormatException($"it is a TorchScript program ('{inner}'), not a file of weights");
            }

            if (!found.TryAdd(inner, data))
            {
                throw new FormatException($"it has two entries of the name '{inner}'");
            }

            runs.Add((header, data.Begin + length));
        }

        runs.Sort();
        if (runs.Zip(runs.Skip(1)).Any(pair => pair.Second.Begin < pair.First.End))
        {
            throw new FormatException("two of its entries overlap");
        }

        return at == directory.Length ? found : throw new FormatException("its directory is longer than its entries");
    }

    /// <summary>The bytes of a small entry, checked.</summary>
    /// <exception cref="FormatException">It is larger than <paramref name="most"/>, or damaged.</exception>
    internal static byte[] Content(SafeFileHandle file, StoredBytes entry, int most)
    {
        if (entry.Bytes > most)
        {
            throw new FormatException(
                $"its entry '{entry.Name}' has {entry.Bytes} bytes, more than the {most} that are sensible");
        }

        var bytes = Read(file, entry.Begin, entry.Bytes);
        CheckCrc(entry, Crc32.HashToUInt32(bytes));
        return bytes;
    }

    internal static void CheckCrc(StoredBytes entry, uint crc)
    {
        if (entry.Crc != 0 && entry.Crc != crc)
        {
            throw new FormatException(
                $"the data of its entry '{entry.Name}' is damaged: the checksum is {crc:x8}, not {entry.Crc:x8}");
        }
    }

    private static (long Count, long Offset, long Size) Directory(SafeFileHandle file)
    {
        var length = RandomAccess.GetLength(file);
        var tail = Read(file, Math.Max(0, length - 65557), Math.Min(length, 65557));
        var at = tail.Length - 22;
        while (at >= 0 && !(U32(tail, at) == 0x06054b50 && U16(tail, at + 20) == tail.Length - at - 22))
        {
            at--;
        }

        if (at < 0)
        {
            throw new FormatException("it is cut short: the record that ends a zip container is missing");
        }

        var end = length - tail.Length + at;
        long count = U16(tail, at + 10), size = U32(tail, at + 12), offset = U32(tail, at + 16);
        var oneDisk = U16(tail, at + 4) == 0 && U16(tail, at + 6) == 0 && U16(tail, at + 8) == count;
        if (end >= 20 && Read(file, end - 20, 20) is var locator && U32(locator, 0) == 0x07064b50)
        {
            var place = I64(locator, 8);
            var record = Read(file, place, 56);
            long count64 = I64(record, 32), size64 = I64(record, 40), offset64 = I64(record, 48);
            oneDisk &= U32(locator, 4) == 0 && U32(locator, 16) == 1 && U32(record, 16) == 0 && U32(record, 20) == 0
                && I64(record, 24) == count64;
            if (U32(record, 0) != 0x06064b50 || I64(record, 4) + 12 != end - 20 - place
                || (count != 0xFFFF && count != count64) || (size != Elsewhere && size != size64)
                || (offset != Elsewhere && offset != offset64))
            {
                throw new FormatException("its two end records contradict each other");
            }

            (count, size, offset, end) = (count64, size64, offset64, place);
        }

        return !oneDisk ? throw new FormatException("it is one part of an archive that spans several disks")
            : count == 0 ? throw new FormatException("it holds no entries")
            : size > LargestDirectory || offset < 0 || size < 46 * count || offset != end - size
                ? throw new FormatException(
                    $"its directory of {count} entries and {size} bytes does not lie where its end record says")
                : (count, offset, size);
    }

    private static (string Name, long Header, StoredBytes Data, long Length) Entry(
        SafeFileHandle file, byte[] directory, ref int at, long limit, bool program)
    {
        if (directory.Length - at < 46 || U32(directory, at) != 0x02014b50)
        {
            throw new FormatException("its directory is damaged");
        }

        var fixedPart = directory.AsSpan(at, 46);
        int flags = U16(fixedPart, 8), method = U16(fixedPart, 10), nameLength = U16(fixedPart, 28),
            extraLength = U16(fixedPart, 30);
        long stored = U32(fixedPart, 20), length = U32(fixedPart, 24), header = U32(fixedPart, 42);
        var next = at + 46 + nameLength + extraLength + U16(fixedPart, 32);
        if (next > directory.Length)
        {
            throw new FormatException("its directory is cut short");
        }

        var nameBytes = directory.AsSpan(at + 46, nameLength);
        var name = SafeName(nameBytes);
        Zip64(directory.AsSpan(at + 46 + nameLength, extraLength), name, ref length, ref stored, ref header);
        at = next;
        if ((flags & 0x2041) != 0)
        {
            throw new FormatException($"its entry '{name}' is encrypted");
        }

        var code =
            program && method == 8 && name[(name.IndexOf('/') + 1)..].StartsWith("code/", StringComparison.Ordinal);
        length = code ? stored : length;
        if (method != 0 && !code)
        {
            var known = method == 8 ? ", deflate" : "";
            throw new FormatException(
                $"its entry '{name}' is compressed (method {method}{known}); torch.save stores entries as they are");
        }

        if (stored != length || U16(fixedPart, 34) != 0)
        {
            throw new FormatException(
                $"its entry '{name}' is {stored} bytes long in one place and {length} in another, or lies on another "
                + $"disk");
        }

        var local = Read(file, header, 30 + nameLength);
        if (header + 30 > limit || U32(local, 0) != 0x04034b50 || U16(local, 8) != method || U16(local, 6) != flags
            || U16(local, 26) != nameLength
            || !local.AsSpan(30).SequenceEqual(nameBytes))
        {
            throw new FormatException($"the local header of its entry '{name}' contradicts its directory");
        }

        // sizes follow the data when flag 8 is set, or stand in a zip64 extra
        var later = (flags & 8) != 0;
        if (!code
            && new[] { U32(local, 18), U32(local, 22) }
                .Any(size => size != length && size != Elsewhere && !(later && size == 0)))
        {
            throw new FormatException(
                $"its entry '{name}' has {length} bytes in its directory and another number in its local header");
        }

        var begin = header + 30 + nameLength + U16(local, 28);
        return length < 0 || length > limit - begin
            ? throw new FormatException($"its entry '{name}' runs past the end of the data")
            : (name, header, new(name[(name.IndexOf('/') + 1)..], begin, length, U32(fixedPart, 16)), length);
    }

    // Values too large for 32 bits, in the order of the fields that refer to them.
    private static void Zip64(ReadOnlySpan<byte> extra, string name, ref long length, ref long stored, ref long header)
    {
        var wanted = new[] { length, stored, header }.Count(field => field == Elsewhere) * 8;
        var given = 0;
        while (extra.Length > 0)
        {
            if (extra.Length < 4 || U16(extra, 2) > extra.Length - 4)
            {
                throw new FormatException($"the extra field of its entry '{name}' is longer than its space");
            }

            var value = extra.Slice(4, U16(extra, 2));
            if (U16(extra, 0) == 1)
            {
                given += value.Length;
                Take(ref length, ref value);
                Take(ref stored, ref value);
                Take(ref header, ref value);
            }

            extra = extra[(4 + U16(extra, 2))..];
        }

        if (given != wanted)
        {
            throw new FormatException(
                $"the zip64 field of its entry '{name}' has {given} bytes where {wanted} are needed");
        }

        static void Take(ref long field, ref ReadOnlySpan<byte> value)
        {
            if (field == Elsewhere && value.Length >= 8)
            {
                field = I64(value, 0);
                value = value[8..];
            }
        }
    }

    private static string SafeName(ReadOnlySpan<byte> bytes)
    {
        string name;
        try
        {
            name = Utf8.GetString(bytes);
        }
        catch (DecoderFallbackException e)
        {
            throw new FormatException("the name of an entry is not UTF-8", e);
        }

        return name is [_, ':', '/', ..] || name.Any(c => c is < ' ' or '\\')
            || name.Split('/').Any(part => part is "" or "." or "..")
            ? throw new FormatException($"the name of its entry '{name}' leads out of the archive") : name;
    }

    private static byte[] Read(SafeFileHandle file, long offset, long count)
    {
        if (offset < 0 || count < 0 || offset > RandomAccess.GetLength(file) - count)
        {
            throw new FormatException("it is cut short, or one of its offsets points past its end");
        }

        var bytes = new byte[count];
        var done = 0;
        while (done < count)
        {
            var read = RandomAccess.Read(file, bytes.AsSpan(done), offset + done);
            done += read > 0 ? read : throw new FormatException("it became shorter while it was read");
        }

        return bytes;
    }

    private static ushort U16(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[at..]);

    private static uint U32(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[at..]);

    private static long I64(ReadOnlySpan<byte> bytes, int at) => BinaryPrimitives.ReadInt64LittleEndian(bytes[at..]);
}
