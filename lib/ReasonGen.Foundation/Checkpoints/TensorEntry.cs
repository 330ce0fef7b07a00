using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>One tensor of a checkpoint file, as the file describes it.</summary>
/// <param name="Name">Name, as in the state dict.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Sizes; empty for a scalar.</param>
/// <param name="File">The file that holds its data.</param>
/// <param name="Begin">First byte, counted from the start of the file.</param>
/// <param name="Bytes">Number of bytes of its elements.</param>
public sealed record TensorEntry(string Name, ScalarType Type, long[] Shape, string File, long Begin, long Bytes)
{
    /// <summary>Elements from one index to the next, along each dimension; null for row after row.</summary>
    public long[]? Strides { get; init; }

    /// <summary>The run of bytes it lies in, where the container gives that a checksum.</summary>
    internal StoredBytes? Storage { get; init; }

    /// <summary>Its elements, where they lie in the file's pickle and not at <see cref="Begin"/>.</summary>
    internal InlineElements? Inline { get; init; }

    /// <summary>Number of elements.</summary>
    public long Elements => Bytes / ElementTypes.SizeOf(Type);
}

/// <summary>An entry of a container: where its bytes lie, and the checksum they should have.</summary>
/// <param name="Crc">CRC-32; 0 where it was not computed.</param>
internal sealed record StoredBytes(string Name, long Begin, long Bytes, uint Crc);

/// <summary>The element types that checkpoints of this kit may hold.</summary>
internal static class ElementTypes
{
    // safetensors' name, torch's storage class, torch's name
    private static readonly (string Safetensors, string Storage, string Torch, ScalarType Type, int Bytes)[] All =
    [
        ("F64", "DoubleStorage", "float64", ScalarType.Float64, 8),
        ("I64", "LongStorage", "int64", ScalarType.Int64, 8),
        ("F32", "FloatStorage", "float32", ScalarType.Float32, 4), ("I32", "IntStorage", "int32", ScalarType.Int32, 4),
        ("F16", "HalfStorage", "float16", ScalarType.Float16, 2),
        ("BF16", "BFloat16Storage", "bfloat16", ScalarType.BFloat16, 2),
        ("I16", "ShortStorage", "int16", ScalarType.Int16, 2), ("I8", "CharStorage", "int8", ScalarType.Int8, 1),
        ("U8", "ByteStorage", "uint8", ScalarType.Byte, 1), ("BOOL", "BoolStorage", "bool", ScalarType.Bool, 1),
    ];

    internal static IEnumerable<string> SafetensorsNames => All.Select(type => type.Safetensors);

    internal static IEnumerable<(string Storage, string Torch, ScalarType Type)> TorchNames =>
        All.Select(type => (type.Storage, type.Torch, type.Type));

    /// <summary>numpy's names, 'f4', of those types that it has.</summary>
    internal static IEnumerable<string> NumpyNames =>
        All.Where(type => type.Type != ScalarType.BFloat16).Select(type => $"{type.Torch[0]}{type.Bytes}");

    internal static ScalarType? FromNumpy(string name) => All.Where(type => type.Type != ScalarType.BFloat16
        && $"{type.Torch[0]}{type.Bytes}" == name).Select(type => (ScalarType?)type.Type).FirstOrDefault();

    internal static ScalarType? FromSafetensors(string name) =>
        All.Where(type => type.Safetensors == name).Select(type => (ScalarType?)type.Type).FirstOrDefault();

    internal static bool IsFloating(ScalarType type) =>
        type is ScalarType.Float64 or ScalarType.Float32 or ScalarType.Float16 or ScalarType.BFloat16;

    internal static string NameOf(ScalarType type) => Find(type).Safetensors;

    internal static string TorchNameOf(ScalarType type) => Find(type).Torch;

    internal static int SizeOf(ScalarType type) => Find(type).Bytes;

    /// <summary>Bytes of a tensor. A size of 0 empties it, but the other sizes must still make sense.</summary>
    /// <exception cref="OverflowException">More than a file can hold.</exception>
    internal static long BytesOf(ScalarType type, IEnumerable<long> shape)
    {
        var sizes = shape.ToArray();
        var bytes = sizes.Aggregate((long)SizeOf(type), (product, size) => checked(product * Math.Max(size, 1)));
        return sizes.Contains(0) ? 0 : bytes;
    }

    private static (string Safetensors, string Storage, string Torch, ScalarType Type, int Bytes) Find(ScalarType type)
    {
        var found = All.FirstOrDefault(known => known.Type == type);
        return found.Bytes > 0 ? found
            : throw new ArgumentException(
                $"checkpoint files hold {string.Join(", ", SafetensorsNames)} here, not {type}");
    }
}
