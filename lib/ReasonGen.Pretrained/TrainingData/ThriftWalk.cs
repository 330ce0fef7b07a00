// Parquet's metadata (apache/parquet-format: parquet.thrift) in Thrift's compact protocol. The package that reads
// parquet trusts lengths, counts and types as they stand, so that one changed byte makes it read without end or take
// gigabytes. Here the same bytes are walked first: every field must have the type that the format gives it, and nothing
// may be longer than the bytes that are left.
using System.Text;

namespace ReasonGen.TrainingData;

/// <summary>A struct of parquet's metadata: what of it is looked at.</summary>
internal sealed class ThriftStruct
{
    private readonly List<(short Field, long Value)> numbers = [];
    private readonly List<(short Field, string Value)> texts = [];
    private readonly List<(short Field, ThriftStruct Value)> inner = [];

    internal long? Number(int field) =>
        numbers.Where(number => number.Field == field).Select(number => (long?)number.Value).FirstOrDefault();

    internal IEnumerable<string> Texts(int field) =>
        texts.Where(text => text.Field == field).Select(text => text.Value);

    internal IEnumerable<ThriftStruct> Inner(int field) =>
        inner.Where(one => one.Field == field).Select(one => one.Value);

    internal void Add(short field, long value) => numbers.Add((field, value));

    internal void Add(short field, string value) => texts.Add((field, value));

    internal void Add(short field, ThriftStruct value) => inner.Add((field, value));
}

/// <summary>Walks one struct of parquet's metadata.</summary>
internal ref struct ThriftWalk(ReadOnlySpan<byte> bytes)
{
    private const int True = 1, False = 2, Byte = 3, I16 = 4, I32 = 5, I64 = 6, Double = 7, Binary = 8, List = 9,
        Struct = 12;
    private const int Deepest = 12;

    // by struct, fields with their types: b binary or text, B bool, d double, y s i l whole numbers of 8 to 64 bits, [
    // a list, else a struct
    private static readonly Dictionary<string, Dictionary<short, string>> Grammar = new (string Name, string Fields)[]
    {
        ("FileMetaData", "1 i,2 [SchemaElement,3 l,4 [RowGroup,5 [KeyValue,6 b,7 [ColumnOrder,9 b"),
        ("SchemaElement", "1 i,2 i,3 i,4 b,5 i,6 i,7 i,8 i,9 i,10 LogicalType"),
        ("LogicalType",
            "1 Empty,2 Empty,3 Empty,4 Empty,5 DecimalType,6 Empty,7 TimeType,8 TimeType,10 IntType,11 Empty,12 "
            + "Empty,13 Empty,14 Empty,15 Empty,16 VariantType,17 GeometryType,18 GeographyType"),
        ("DecimalType", "1 i,2 i"), ("TimeType", "1 B,2 TimeUnit"), ("TimeUnit", "1 Empty,2 Empty,3 Empty"),
        ("IntType", "1 y,2 B"),
        ("VariantType", "1 y"), ("GeometryType", "1 b"), ("GeographyType", "1 b,2 i"), ("Empty", ""),
        ("ColumnOrder", "1 Empty"),
        ("RowGroup", "1 [ColumnChunk,2 l,3 l,4 [SortingColumn,5 l,6 l,7 s"), ("SortingColumn", "1 i,2 B,3 B"),
        ("KeyValue", "1 b,2 b"),
        ("ColumnChunk", "1 b,2 l,3 ColumnMetaData,4 l,5 i,6 l,7 i,9 b"),
        ("ColumnMetaData",
            "1 i,2 [i,3 [b,4 i,5 l,6 l,7 l,8 [KeyValue,9 l,10 l,11 l,12 Statistics,13 [PageEncodingStats,14 l,15 i,16 "
            + "SizeStatistics,17 GeospatialStatistics"),
        ("Statistics", "1 b,2 b,3 l,4 l,5 b,6 b,7 B,8 B"), ("PageEncodingStats", "1 i,2 i,3 i"),
        ("SizeStatistics", "1 l,2 [l,3 [l"),
        ("GeospatialStatistics", "1 BoundingBox,2 [i"), ("BoundingBox", "1 d,2 d,3 d,4 d,5 d,6 d,7 d,8 d"),
        ("PageHeader", "1 i,2 i,3 i,4 i,5 DataPageHeader,6 Empty,7 DictionaryPageHeader,8 DataPageHeaderV2"),
        ("DataPageHeader", "1 i,2 i,3 i,4 i,5 Statistics"), ("DictionaryPageHeader", "1 i,2 i,3 B"),
        ("DataPageHeaderV2", "1 i,2 i,3 i,4 i,5 i,6 i,7 B,8 Statistics"),
    }.ToDictionary(one => one.Name,
    one => one.Fields.Split(',', StringSplitOptions.RemoveEmptyEntries).Select(field => field.Split(' '))
        .ToDictionary(field => short.Parse(field[0]), field => field[1]));

    private readonly ReadOnlySpan<byte> bytes = bytes;
    private int structs;

    /// <summary>Bytes that were walked.</summary>
    internal int Position { get; private set; }

    /// <exception cref="EndOfStreamException">The bytes end before the struct does.</exception>
    /// <exception cref="FormatException">A field is not what the format says.</exception>
    internal ThriftStruct Read(string kind, int depth = 0)
    {
        // a struct that says anything has some bytes; a run of empty ones would take far more memory than the file
        Require(depth <= Deepest && ++structs <= 64 + bytes.Length / 6,
            "its metadata is nested too deep, or of too many parts");
        var (result, fields, seen) = (new ThriftStruct(), Grammar[kind], 0UL);
        short field = 0;
        while (Next() is var head && head != 0)
        {
            field = head >> 4 == 0 ? (short)Signed(Varint(3)) : (short)(field + (head >> 4));
            Require(field is > 0 and < 64 && (seen & (1UL << field)) == 0,
                $"a field of its {kind} is numbered {field}, or stands twice");
            seen |= 1UL << field;
            Value(result, field, head & 15, fields.GetValueOrDefault(field), kind, depth);
        }

        return result;
    }

    private void Value(ThriftStruct parent, short field, int type, string? expected, string kind, int depth)
    {
        if (expected is null)
        {
            Skip(type, kind, field, depth);
            return;
        }

        Require(Fits(type, expected), $"field {field} of its {kind} has the type {type} where the format has another");
        if (type != List)
        {
            Scalar(parent, field, type, expected, depth);
            return;
        }

        var (count, inside) = ListHead(kind, field);
        Require(count == 0 || Fits(inside, expected[1..]),
            $"field {field} of its {kind} is a list of the type {inside} where the format has another");
        for (var i = 0; i < count; i++)
        {
            Scalar(parent, field, inside, expected[1..], depth);
        }
    }

    private void Scalar(ThriftStruct parent, short field, int type, string expected, int depth)
    {
        switch (type)
        {
            case True or False: break;
            case Byte: Next(); break;
            case I16 or I32: parent.Add(field, Signed(Varint(5))); break;
            case I64: parent.Add(field, Signed(Varint(10))); break;
            case Double: Take(8); break;
            // names are
            case Binary when field is 3 or 4: parent.Add(field, Encoding.UTF8.GetString(Take(Length()))); break;
            case Binary: parent.Add(field, Take(Length()).Length); break;
            case Struct: parent.Add(field, Read(expected, depth + 1)); break;
        }
    }

    // the package passes over an unknown struct without what is in it: only an empty one is safe to leave to it
    private void Skip(int type, string kind, short field, int depth)
    {
        switch (type)
        {
            case True or False: break;
            case Byte: Next(); break;
            case I16 or I32 or I64: Varint(10); break;
            case Double: Take(8); break;
            case Binary: Take(Length()); break;
            case Struct when Next() == 0: break;
            case List when depth < Deepest:
                var (count, inside) = ListHead(kind, field);
                for (var i = 0; i < count; i++)
                {
                    Require(inside is not (True or False),
                        $"field {field} of its {kind} is a list that the format does not know");
                    Skip(inside, kind, field, depth + 1);
                }

                break;
            default: throw new FormatException(
                $"its {kind} has a field {field} of the type {type} that is not read here");
        }
    }

    private static bool Fits(int type, string expected) => expected[0] switch
    {
        'B' when expected.Length == 1 => type is True or False,
        'y' => type == Byte,
        's' => type == I16,
        'i' => type == I32,
        'l' => type == I64,
        'd' => type == Double,
        'b' => type == Binary,
        '[' => type == List,
        _ => type == Struct,
    };

    private (int Count, int Type) ListHead(string kind, short field)
    {
        var head = Next();
        var count = head >> 4 == 15 ? (long)Varint(5) : head >> 4;
        Require(count <= bytes.Length - Position,
            $"field {field} of its {kind} is a list of {count} items, more than the bytes that are left");
        return ((int)count, head & 15);
    }

    private int Length() => (int)Math.Min(Varint(5), int.MaxValue);

    private byte Next() =>
        Position < bytes.Length ? bytes[Position++] : throw new EndOfStreamException("its metadata is cut short");

    private ReadOnlySpan<byte> Take(int count)
    {
        if (count > bytes.Length - Position)
        {
            throw new EndOfStreamException($"a text of its metadata has {count} bytes, more than are left");
        }

        Position += count;
        return bytes.Slice(Position - count, count);
    }

    private ulong Varint(int most)
    {
        var value = 0UL;
        for (var i = 0; i < most; i++)
        {
            var next = Next();
            value |= (ulong)(next & 0x7F) << (7 * i);
            if (next < 0x80)
            {
                return most != 5 || value <= uint.MaxValue ? value
                    : throw new FormatException("a number of its metadata has more than 32 bits");
            }
        }

        throw new FormatException("a number of its metadata does not end");
    }

    private static long Signed(ulong value) => (long)(value >> 1) ^ -(long)(value & 1);

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new FormatException(otherwise);
        }
    }
}
