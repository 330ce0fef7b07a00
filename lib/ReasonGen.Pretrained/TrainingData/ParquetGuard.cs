using System.Buffers.Binary;

namespace ReasonGen.TrainingData;

/// <summary>
/// A parquet file's metadata, checked against the file before the package that reads parquet sees it: sizes, counts and
/// places must lie in the file, and what pages unfold to stays within a few times what they are. See
/// <see cref="ThriftWalk"/> for why.
/// </summary>
internal sealed class ParquetGuard
{
    private const int MostElements = 10_000, MostDepth = 16, LargestPageHeader = 16 << 20, VersionTwo = 3,
        Dictionary = 2, ConvertedList = 3, Lzo = 3, Lz4 = 5;
    private const string OtherCodecs = "Write the set again with zstd, snappy or gzip";
    private const long FreeBytes = 64 << 20, MostUnfolding = 1000, FreeValues = 10_000_000, ValuesPerByte = 8;

    private readonly long end; // of the data: where the footer begins
    private readonly ThriftStruct[] groups;
    private readonly Dictionary<string, int> repetitions = []; // by path: lists that a column lies in

    /// <exception cref="FormatException">The file's footer is unsound.</exception>
    /// <exception cref="NotSupportedException">The package cannot read a column, which is named.</exception>
    internal ParquetGuard(FileStream file)
    {
        var length = file.Length;
        var tail = length >= 12 ? Bytes(file, length - 8, 8)
            : throw new FormatException($"it has {length} bytes, too few for a parquet file");
        if (!tail.AsSpan(4).SequenceEqual("PAR1"u8) || !Bytes(file, 0, 4).AsSpan().SequenceEqual("PAR1"u8))
        {
            throw new FormatException(tail.AsSpan(4).SequenceEqual("PARE"u8) ? "it is encrypted"
                : "it does not begin and end with PAR1, or is cut short");
        }

        var size = BinaryPrimitives.ReadUInt32LittleEndian(tail);
        end = length - 8 - size;
        var walk = new ThriftWalk(end >= 4 ? Bytes(file, end, (int)size)
            : throw new FormatException($"its footer would have {size} bytes, more than the file"));
        ThriftStruct footer;
        try
        {
            footer = walk.Read("FileMetaData");
        }
        catch (EndOfStreamException e)
        {
            throw new FormatException(e.Message, e);
        }

        ThriftStruct[] schema = [.. footer.Inner(2)];
        var at = 0;
        Require(schema.Length is > 0 and <= MostElements, $"its schema has {schema.Length} elements");
        Columns(schema, ref at, [], 0);
        Require(at == schema.Length, "its schema has elements that belong to nothing");
        groups = [.. footer.Inner(4)];
        for (var i = 0; i < groups.Length; i++)
        {
            CheckGroup(groups[i], i, length);
        }
    }

    /// <summary>Opens the file for the package: at the pages of one row group, which are checked, and nowhere
    /// else.</summary>
    /// <param name="path">The file.</param>
    /// <param name="group">Number of the row group.</param>
    /// <param name="only">The one column at the top that will be read; null for all.</param>
    /// <exception cref="FormatException">A page is unsound, or stored in a way that the package cannot read; the column
    /// is named.</exception>
    internal Stream Open(string path, int group, string? only = null)
    {
        var file = File.OpenRead(path);
        try
        {
            var pages = new HashSet<long> { 0 };
            long free = FreeBytes;
            foreach (var data in groups[group].Inner(1).Select(column => column.Inner(3).First()))
            {
                if (only is null || Path(data) == only)
                {
                    CheckPages(file, data, pages, ref free);
                }
            }

            return new ParquetPages(file, pages);
        }
        catch
        {
            file.Dispose();
            throw;
        }
    }

    /// <summary>Opens the file for its footer alone.</summary>
    internal static Stream OpenFooter(string path) => new ParquetPages(File.OpenRead(path), [0]);

    // names of the leaves, and how many lists each lies in; a node's children follow it
    private void Columns(ThriftStruct[] schema, ref int at, string[] path, int lists)
    {
        var (depth, element) = (path.Length, schema[at++]);
        var children = element.Number(5) ?? 0;
        var isList = element.Number(6) == ConvertedList || element.Inner(10).Any(type => type.Inner(3).Any());
        if (element.Inner(10).Any(type => type.Inner(15).Any()))
        {
            throw Unread(string.Join('\0', path), "holds numbers of half precision (FLOAT16)",
                "Leave the column out, or write it as float32");
        }

        Require(depth <= MostDepth && children >= 0 && children <= schema.Length - at,
            "its schema is nested too deep, or lacks elements that it counts on");
        if (children == 0 && depth > 0)
        {
            Require(repetitions.TryAdd(string.Join('\0', path), lists),
                $"two of its columns are called '{string.Join('.', path)}'");
        }

        for (var i = 0; i < children; i++)
        {
            Require(at < schema.Length, "its schema lacks elements that it counts on");
            var (next, repeated) = (schema[at], schema[at].Number(3) == 2);
            if (isList && repeated && next.Number(5) is null or 0)
            {
                throw Unread(string.Join('\0', path), "holds lists of the old form of two levels", "Write the set "
                    + "again with lists of three levels, as pyarrow does, or leave the column out");
            }

            Columns(schema, ref at, [.. path, next.Texts(4).FirstOrDefault() ?? ""], lists + (repeated ? 1 : 0));
        }
    }

    private void CheckGroup(ThriftStruct group, int number, long fileBytes)
    {
        var rows = group.Number(3) ?? -1;
        ThriftStruct[] columns = [.. group.Inner(1)];
        Require(rows is >= 0 and <= int.MaxValue && (columns.Length > 0 || rows == 0)
            && columns.Length <= repetitions.Count,
            $"row group {number} has {rows} rows in {columns.Length} columns");
        var values = 0L;
        foreach (var column in columns)
        {
            var data = column.Inner(3).FirstOrDefault()
                ?? throw new FormatException($"row group {number} lacks the metadata of a column");
            var path = Path(data);
            var count = data.Number(5) ?? -1;
            Require(column.Number(1) is null && repetitions.ContainsKey(path),
                $"row group {number} has a column {Shown(path)} that its schema lacks, or that lies in another file");
            Require(repetitions[path] > 0 ? count >= rows : count == rows,
                $"its column {Shown(path)} has {count} values for {rows} rows in row group {number}");
            Require(data.Number(4) is >= 0 and <= 7,
                $"its column {Shown(path)} is compressed in a way that the format does not know");
            if (data.Number(4) == Lzo)
            {
                throw Unread(path, "is compressed with LZO", OtherCodecs);
            }

            Require(new[] { 9, 10, 11 }.Select(field => data.Number(field) ?? 0)
                .All(place => place >= 0 && place < end),
                $"its column {Shown(path)} would lie outside the file");
            values += Math.Min(count, int.MaxValue);
        }

        Require(values <= FreeValues + ValuesPerByte * fileBytes,
            $"row group {number} has {values} values, more than a file of {fileBytes} bytes can hold");
    }

    private void CheckPages(FileStream file, ThriftStruct data, HashSet<long> pages, ref long free)
    {
        var (column, count, lists) = (Shown(Path(data)), data.Number(5)!.Value, repetitions[Path(data)]);
        var at = new[] { 9, 10, 11 }.Select(field => data.Number(field) ?? 0).Where(place => place != 0)
            .DefaultIfEmpty(0).Min();
        var dictionaries = 0;
        for (long values = 0; values < count;)
        {
            Require(at >= 4 && at < end, $"the pages of its column {column} run past the end of the data");
            var (header, bytes) = Header(file, at, column);
            long type = header.Number(1) ?? -1, unfolded = header.Number(2) ?? -1, stored = header.Number(3) ?? -1;
            Require(stored >= 0 && unfolded >= 0 && stored <= end - at - bytes,
                $"a page of its column {column} is longer than the file");
            free += MostUnfolding * stored - unfolded;
            Require(free >= 0,
                $"the pages of its column {column} would unfold to more than {MostUnfolding} times what they are");
            pages.Add(at);
            var begin = at + bytes;
            at = begin + stored;
            values += type switch
            {
                0 when header.Inner(5).FirstOrDefault() is { } page => PageValues(page, count - values, column),
                VersionTwo when lists > 0 => throw new NotSupportedException(
                    $"its column {column} holds lists in data pages of version 2, which the parquet library used here "
                    + $"does not read. "
                    + "Write the set again with data pages of version 1 (pyarrow: data_page_version='1.0')"),
                VersionTwo
                    when header.Inner(8).FirstOrDefault() is { } page && page.Number(2) is >= 0
                        && page.Number(2) <= page.Number(1)
                    && page.Number(5) is >= 0 && page.Number(6) is >= 0 && page.Number(5) + page.Number(6) <= stored =>
                    PageValues(page, count - values, column),
                Dictionary
                    when dictionaries++ == 0 && header.Inner(7).FirstOrDefault()?.Number(1) is >= 0 and var entries
                    && entries <= 8 * unfolded + 8 => 0,
                _ => throw new FormatException($"a page of its column {column} is of no kind that belongs there"),
            };
            var levels = type == VersionTwo // stand before what is compressed
                ? header.Inner(8).Sum(page => page.Number(5)!.Value + page.Number(6)!.Value) : 0;
            if (data.Number(4) == Lz4 && IsFramed(file, begin + levels, stored - levels, unfolded - levels))
            {
                throw Unread(Path(data), "is compressed with LZ4 in Hadoop's framing", OtherCodecs);
            }
        }
    }

    // two sizes before the block; a block itself never begins with the zero that a size below 16 MB begins with
    private static bool IsFramed(FileStream file, long at, long stored, long unfolded)
    {
        const int sizes = 8;
        if (stored <= sizes)
        {
            return false;
        }

        var head = Bytes(file, at, sizes);
        return BinaryPrimitives.ReadUInt32BigEndian(head) is > 0 and var whole && whole <= unfolded
            && BinaryPrimitives.ReadUInt32BigEndian(head.AsSpan(4)) is > 0 and var block && block <= stored - sizes;
    }

    private static long PageValues(ThriftStruct page, long left, string column) =>
        page.Number(1) is >= 0 and var values && values <= left ? values
            : throw new FormatException(
                $"a page of its column {column} has {page.Number(1)} values where {left} are left");

    // statistics may make a header long
    private (ThriftStruct Header, int Bytes) Header(FileStream file, long at, string column)
    {
        for (long window = 1 << 10; ; window *= 16)
        {
            var walk = new ThriftWalk(Bytes(file, at, (int)Math.Min(window, end - at)));
            try
            {
                var header = walk.Read("PageHeader");
                return (header, walk.Position);
            }
            catch (EndOfStreamException e) when (window >= end - at || window >= LargestPageHeader)
            {
                throw new FormatException($"the header of a page of its column {column} does not end", e);
            }
            catch (EndOfStreamException)
            {
            }
        }
    }

    private static string Path(ThriftStruct data) => string.Join('\0', data.Texts(3));

    private static string Shown(string path) => $"'{path.Replace('\0', '.')}'";

    private static byte[] Bytes(FileStream file, long at, int count)
    {
        var bytes = new byte[count];
        file.Position = at;
        file.ReadExactly(bytes);
        return bytes;
    }

    private static NotSupportedException Unread(string path, string what, string remedy) => new(
        $"its column {Shown(path)} {what}, which the parquet library used here does not read. {remedy}");

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new FormatException(otherwise);
        }
    }
}
