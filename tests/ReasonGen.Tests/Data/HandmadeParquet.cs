using System.Buffers.Binary;
using System.Text;

namespace ReasonGen.Tests.Data;

/// <summary>Parquet files as other writers make them and the package that the kit writes with does not: one row group
/// of one row, no nulls, values as they are handed in.</summary>
internal static class HandmadeParquet
{
    internal const int Text = 0, ListGroup = 3, Json = 19; // converted types
    private const int I32 = 5, I64 = 6, Binary = 8, List = 9, Struct = 12; // of Thrift's compact protocol

    /// <summary>An element of the schema.</summary>
    /// <param name="Name">Its name; elements lie under the last that lacks children.</param>
    /// <param name="Type">Physical type of a leaf (1 INT32, 2 INT64, 6 BYTE_ARRAY, 7 FIXED_LEN_BYTE_ARRAY); null for a
    /// group.</param>
    /// <param name="Values">Values of a leaf as they stand in a page.</param>
    /// <param name="Converted">Converted type; null for none.</param>
    /// <param name="Logical">Field of the union of logical types, all of which are written without members.</param>
    /// <param name="Length">Bytes of a value of fixed length.</param>
    /// <param name="Children">Elements below a group.</param>
    /// <param name="Repeated">How many values a repeated leaf has; null where it is required.</param>
    /// <param name="Codec">How the values are said to be compressed: 0 not, 3 LZO, 5 LZ4.</param>
    /// <param name="Unfolded">Bytes that they unfold to; null where they are not compressed.</param>
    internal sealed record Element(string Name, int? Type, byte[] Values, int? Converted = null, int? Logical = null,
        int? Length = null, int Children = 0, int? Repeated = null, int Codec = 0, int? Unfolded = null);

    /// <summary>A column of texts with their length before them.</summary>
    internal static Element Texts(string name, byte[] value, int? converted = Text, int? repeated = null)
    {
        byte[] stored = [.. Fixed(value.Length), .. value];
        return new(name, 6, [.. Enumerable.Repeat(stored, repeated ?? 1).SelectMany(one => one)], converted,
            Repeated: repeated);
    }

    internal static Element Texts(string name, string value, int? converted = Text) =>
        Texts(name, Encoding.UTF8.GetBytes(value), converted);

    internal static Element Group(string name, int children, int? converted = null) =>
        new(name, null, [], converted, Children: children);

    internal static byte[] Fixed(long value, int bytes = 4)
    {
        var made = new byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(made, value);
        return made[..bytes];
    }

    /// <summary>Writes the file.</summary>
    /// <param name="path">Where.</param>
    /// <param name="top">Elements at the top of the schema.</param>
    /// <param name="elements">All elements, each group before what lies in it.</param>
    internal static void Write(string path, int top, params Element[] elements)
    {
        List<byte> file = [.. "PAR1"u8], columns = [];
        var (above, leaves) = (new Stack<(string Name, int Left)>(), 0);
        foreach (var element in elements)
        {
            string[] place = [.. above.Reverse().Select(one => one.Name), element.Name];
            if (element.Type is { } type)
            {
                var count = element.Repeated ?? 1;
                byte[] levels = element.Repeated is null ? [] // a run of zeros for new rows, and of ones for the others
                    : [.. Level([(1, 0), (count - 1, 1)]), .. Level([(count, 1)])];
                var (at, size) = (file.Count, levels.Length + element.Values.Length);
                var unfolded = Number(element.Unfolded ?? size);
                file.AddRange(Fields((1, I32, Number(0)), (2, I32, unfolded), (3, I32, Number(size)), (5, Struct,
                    Fields((1, I32, Number(count)), (2, I32, Number(0)), (3, I32, Number(3)), (4, I32, Number(3))))));
                file.AddRange([.. levels, .. element.Values]);
                byte[] names = [.. place.SelectMany(Name)];
                var bytes = Number(file.Count - at);
                columns.AddRange(Fields((2, I64, Number(at)), (3, Struct, Fields((1, I32, Number(type)),
                    (2, List, ListOf(I32, 1, Number(0))), (3, List, ListOf(Binary, place.Length, names)),
                    (4, I32, Number(element.Codec)), (5, I64, Number(count)), (6, I64, bytes), (7, I64, bytes),
                    (9, I64, Number(at))))));
                leaves++;
            }

            if (element.Children > 0)
            {
                above.Push((element.Name, element.Children));
                continue;
            }

            while (above.TryPop(out var parent))
            {
                if (parent.Left > 1)
                {
                    above.Push((parent.Name, parent.Left - 1));
                    break;
                }
            }
        }

        byte[] schema = [.. Fields((4, Binary, Name("schema")), (5, I32, Number(top))), .. elements.SelectMany(Schema)];
        var footer = Fields((1, I32, Number(1)), (2, List, ListOf(Struct, elements.Length + 1, schema)),
            (3, I64, Number(1)), (4, List, ListOf(Struct, 1, Fields((1, List, ListOf(Struct, leaves, [.. columns])),
                (2, I64, Number(file.Count)), (3, I64, Number(1))))));
        File.WriteAllBytes(path, [.. file, .. footer, .. Fixed(footer.Length), .. "PAR1"u8]);
    }

    private static byte[] Schema(Element element) => Fields((1, I32, Optional(element.Type)),
        (2, I32, Optional(element.Length)), (3, I32, Number(element.Repeated is null ? 0 : 2)),
        (4, Binary, Name(element.Name)), (5, I32, Optional(element.Children > 0 ? element.Children : null)),
        (6, I32, Optional(element.Converted)),
        (10, Struct, element.Logical is { } logical ? Fields(((short)logical, Struct, [0])) : null));

    private static byte[]? Optional(int? value) => value is { } number ? Number(number) : null;

    // fields that there are, in rising order, and the end of the struct
    private static byte[] Fields(params (short Field, int Type, byte[]? Value)[] fields)
    {
        var (made, last) = (new List<byte>(), 0);
        foreach (var (field, type, value) in fields.Where(one => one.Value is not null))
        {
            made.AddRange([(byte)((field - last) << 4 | type), .. value!]);
            last = field;
        }

        return [.. made, 0];
    }

    // of at most 14 items
    private static byte[] ListOf(int type, int count, byte[] items) => [(byte)(count << 4 | type), .. items];

    private static byte[] Name(string text) => [.. Varint((ulong)text.Length), .. Encoding.UTF8.GetBytes(text)];

    private static byte[] Number(long value) => Varint((ulong)((value << 1) ^ (value >> 63)));

    private static byte[] Varint(ulong value) =>
        value < 0x80 ? [(byte)value] : [(byte)(value | 0x80), .. Varint(value >> 7)];

    // runs of one value, of one bit each, behind their length
    private static byte[] Level((int Count, byte Value)[] runs)
    {
        byte[] made = [.. runs.Where(run => run.Count > 0)
            .SelectMany(run => (byte[])[.. Varint((ulong)run.Count << 1), run.Value])];
        return [.. Fixed(made.Length), .. made];
    }
}
