// Arrays of numpy inside a pickle (numpy: core/src/multiarray/methods.c, array_reduce and array_setstate). An empty one
// is asked for, by _reconstruct(ndarray, (0,), b'b'), and then given the state (1, shape, dtype, Fortran order, bytes);
// protocol 5 says it at once, by _frombuffer(bytes, dtype, shape, order). A dtype is 'f4' with the state (3, order, …).
// Bytes are bytes or, before protocol 3, a text whose characters they are: _codecs.encode(text, 'latin1'). None of
// these is called: what is kept is what was said, and a name that lies in no such sentence ends the reading.
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>A run of bytes: where they lie in the pickle, or the text that spells them.</summary>
internal sealed record PickledBytes(ReadOnlyMemory<byte> Stored, string? Spelt = null)
{
    internal int Length => Spelt?.Length ?? Stored.Length;

    /// <summary>Whether every character of a text that spells them is a byte.</summary>
    internal bool AreBytes => Spelt is null || !Spelt.AsSpan().ContainsAnyExceptInRange('\0', '\u00FF');

    internal void CopyTo(Span<byte> target)
    {
        if (Spelt is null)
        {
            Stored.Span.CopyTo(target);
        }
        else
        {
            Encoding.Latin1.GetBytes(Spelt, target);
        }
    }
}

/// <summary>A dtype: 'f4', and the order of its bytes, '&lt;', '&gt;', or '|' and '=' where the machine's is meant.
/// </summary>
internal sealed class PickledType(string code)
{
    internal string Code => code;

    internal string Order { get; private set; } = "=";

    internal void SetState(object? state) =>
        Order = state is PickledGroup { Kind: PickledKind.Tuple, Items: [long, string order, ..] }
            && order is "<" or ">" or "|" or "=" ? order
            : throw new FormatException($"the state of a dtype of numpy, '{code}', names no order of bytes");
}

/// <summary>An array as the file gives it, unchecked: errors wait until it has a name.</summary>
internal sealed class PickledArray
{
    private (object? Shape, object? Type, object? Fortran, object? Content)? state;

    internal PickledArray()
    {
    }

    internal PickledArray(object? shape, object? type, bool fortran, object? content) =>
        state = (shape, type, fortran, content);

    internal void SetState(object? given) =>
        state = given is PickledGroup { Kind: PickledKind.Tuple, Items: [1L, var shape, var type, var fortran,
            var content] } ? (shape, type, fortran, content)
            : throw new FormatException(
                "the state of an array of numpy is not (1, shape, dtype, Fortran order, bytes)");

    /// <summary>The entry of a checkpoint that it is; its bytes stay here.</summary>
    /// <exception cref="FormatException">It is damaged, or of a type that no weights have.</exception>
    internal TensorEntry Describe(string path, string name)
    {
        if (state is not (PickledGroup { Kind: PickledKind.Tuple } sizes, PickledType dtype, bool fortran, var given)
            || sizes.Items.Count > TorchFile.MostDimensions || !sizes.Items.All(size => size is long and >= 0))
        {
            throw new FormatException($"'{name}' is an array of numpy without a shape of at most "
                + $"{TorchFile.MostDimensions} sizes, a dtype, an order and its bytes");
        }

        var type = ElementTypes.FromNumpy(dtype.Code) ?? throw new FormatException(
            $"'{name}' is an array of numpy of the type '{dtype.Code}'; read here are "
            + $"{string.Join(", ", ElementTypes.NumpyNames)}");
        long[] shape = [.. sizes.Items.Cast<long>()];
        var content = Bytes(given);
        long bytes;
        try
        {
            bytes = ElementTypes.BytesOf(type, shape);
        }
        catch (OverflowException e)
        {
            throw new FormatException($"the sizes of '{name}' are larger than any file", e);
        }

        return content?.Length == bytes && content.AreBytes
            ? new(name, type, shape, path, 0, bytes)
            {
                Inline = new(content, dtype.Order == ">" ? ElementTypes.SizeOf(type) : 1),
                Strides = fortran && shape.Count(size => size != 1) > 1 && bytes > 0 ? FirstIndexFastest(shape) : null,
            }
            : throw new FormatException($"'{name}' is an array of numpy of [{string.Join(", ", shape)}], "
                + $"{bytes} bytes, of which the file has "
                + (content?.AreBytes == false ? "a text that spells no bytes" : $"{content?.Length ?? 0}"));
    }

    // Python 2 had no other bytes than texts
    private static PickledBytes? Bytes(object? given) =>
        given is string text ? new(default, text) : given as PickledBytes;

    private static long[] FirstIndexFastest(long[] shape)
    {
        var strides = new long[shape.Length];
        for (long i = 0, step = 1; i < shape.Length; step *= shape[i++])
        {
            strides[i] = step;
        }

        return strides;
    }
}

/// <summary>Elements that lie in a pickle, and how many bytes at a time stand there in the order that this machine does
/// not have.</summary>
internal sealed record InlineElements(PickledBytes Content, int Turned)
{
    internal void CopyTo(Span<byte> target)
    {
        Content.CopyTo(target);
        switch (Turned)
        {
            case 2: Turn<short>(target, BinaryPrimitives.ReverseEndianness); break;
            case 4: Turn<int>(target, BinaryPrimitives.ReverseEndianness); break;
            case 8: Turn<long>(target, BinaryPrimitives.ReverseEndianness); break;
        }
    }

    private delegate void Turning<T>(ReadOnlySpan<T> from, Span<T> to);

    private static void Turn<T>(Span<byte> bytes, Turning<T> turn) where T : unmanaged =>
        turn(MemoryMarshal.Cast<byte, T>(bytes), MemoryMarshal.Cast<byte, T>(bytes));
}
