// A pickle, read by a machine that only ever builds: text, numbers, tuples, lists, dictionaries, and descriptions of
// tensors and of arrays (pytorch: torch/_weights_only_unpickler.py names what a file of weights needs). Nothing is
// imported, called or looked up; a name outside the list below ends the reading. Steps are bounded by the bytes, and
// what is read is a tree or shares branches, but never holds itself: see TorchFile for what its values may cost.
using System.Buffers.Binary;
using System.Text;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>Reads one pickle after another from a run of bytes.</summary>
/// <param name="bytes">The bytes.</param>
/// <param name="start">Where the first pickle begins.</param>
/// <param name="modules">Takes objects of TorchScript's classes as dictionaries of their attributes; no class is looked
/// up.</param>
internal sealed class Pickle(byte[] bytes, int start, bool modules = false)
{
    private const int MostSteps = 4_000_000, MostName = 512, MostDigits = 33;

    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);

    private static readonly Dictionary<(string Module, string Name), object> Allowed = new[]
    {
        (("collections", "OrderedDict"), (object)Callable.Dictionary),
        (("torch._utils", "_rebuild_tensor_v2"), Callable.Tensor),
        (("torch._utils", "_rebuild_tensor"), Callable.Tensor),
        (("torch._utils", "_rebuild_parameter"), Callable.Parameter),
        (("torch.nn.parameter", "Parameter"), Callable.Parameter), (("torch", "Size"), Callable.Size),
        (("torch", "device"), Callable.Device),
        // arrays of numpy, under the names of either version
        (("numpy.core.multiarray", "_reconstruct"), Callable.Array),
        (("numpy._core.multiarray", "_reconstruct"), Callable.Array),
        (("numpy.core.numeric", "_frombuffer"), Callable.Buffer),
        (("numpy._core.numeric", "_frombuffer"), Callable.Buffer),
        (("numpy", "ndarray"), Callable.ArrayClass), (("numpy", "dtype"), Callable.ArrayType),
        (("_codecs", "encode"), Callable.Encode), (("__builtin__", "bytes"), Callable.Bytes),
        (("builtins", "bytes"), Callable.Bytes),
        // what mmdetection keeps beside weights: numbers of numpy, of which nothing is made, and settings, which are
        // dictionaries
        (("numpy.core.multiarray", "scalar"), Callable.Inert), (("numpy._core.multiarray", "scalar"), Callable.Inert),
        (("mmcv.utils.config", "ConfigDict"), Callable.Dictionary),
        (("mmengine.config.config", "ConfigDict"), Callable.Dictionary),
        (("addict.addict", "Dict"), Callable.Dictionary),
    }.Concat(ElementTypes.TorchNames.SelectMany(type => new[]
    {
        (("torch", type.Storage), new StorageClass(type.Type)), (("torch", type.Torch), (object)new Token(type.Torch)),
    })).ToDictionary();

    private readonly List<object?> stack = [];
    private readonly Stack<int> marks = [];
    private readonly Dictionary<long, object?> memo =
        new(EqualityComparer<long>.Create((one, other) => one == other, key => HashCode.Combine(key)));
    private int steps;

    private enum Callable
    {
        Dictionary,
        Tensor,
        Parameter,
        Size,
        Device,
        Module,
        Array,
        Buffer,
        ArrayClass,
        ArrayType,
        Encode,
        Bytes,
        Inert,
    }

    /// <summary>Where the next pickle, or what follows the last, begins.</summary>
    internal int Position { get; private set; } = start;

    /// <summary>Instructions that were followed: what was read can hold no more values than that.</summary>
    internal int Steps => steps;

    /// <summary>Every storage that was named, by key.</summary>
    internal Dictionary<string, PickledStorage> Storages { get; } = [];

    /// <summary>The object of the pickle at <see cref="Position"/>.</summary>
    /// <exception cref="FormatException">The pickle is damaged, or asks for more than weights need.</exception>
    internal object? Read()
    {
        stack.Clear();
        marks.Clear();
        memo.Clear();
        while (++steps <= MostSteps)
        {
            var code = Take(1)[0];
            switch (code)
            {
                case (byte)'.': return Pop();
                case 0x80: Require(Take(1)[0] <= 5, "its pickle protocol is not one of 2 to 5"); break;
                case 0x95: Frame(BinaryPrimitives.ReadInt64LittleEndian(Take(8))); break;
                case (byte)'(': marks.Push(stack.Count); break;
                case (byte)'N': stack.Add(null); break;
                case 0x88 or 0x89: stack.Add(code == 0x88); break;
                case (byte)'K': stack.Add((long)Take(1)[0]); break;
                case (byte)'M': stack.Add((long)BinaryPrimitives.ReadUInt16LittleEndian(Take(2))); break;
                case (byte)'J': stack.Add((long)BinaryPrimitives.ReadInt32LittleEndian(Take(4))); break;
                case 0x8A: stack.Add(Long(Take(Take(1)[0]))); break;
                case (byte)'G': stack.Add(BinaryPrimitives.ReadDoubleBigEndian(Take(8))); break;
                case (byte)'X': stack.Add(Text(Take(BinaryPrimitives.ReadUInt32LittleEndian(Take(4))))); break;
                case 0x8C: stack.Add(Text(Take(Take(1)[0]))); break;
                case 0x8D: stack.Add(Text(Take(BinaryPrimitives.ReadInt64LittleEndian(Take(8))))); break;
                case (byte)'U': stack.Add(Encoding.Latin1.GetString(Take(Take(1)[0]))); break;
                case (byte)'T':
                    stack.Add(Encoding.Latin1.GetString(Take(BinaryPrimitives.ReadInt32LittleEndian(Take(4))))); break;
                case (byte)'C': stack.Add(Bytes(Take(1)[0])); break;
                case (byte)'B': stack.Add(Bytes(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)))); break;
                case 0x8E or 0x96: stack.Add(Bytes(BinaryPrimitives.ReadInt64LittleEndian(Take(8)))); break;
                case (byte)')': stack.Add(new PickledGroup(PickledKind.Tuple)); break;
                case (byte)']' or 0x8F: stack.Add(new PickledGroup(PickledKind.List)); break;
                case (byte)'}': stack.Add(new PickledGroup(PickledKind.Dictionary)); break;
                case (byte)'t': stack.Add(Tuple(SinceMark())); break;
                case 0x85 or 0x86 or 0x87: stack.Add(Tuple(PopMany(code - 0x84))); break;
                case (byte)'a': Extend(PopMany(1)); break;
                case (byte)'e': Extend(SinceMark()); break;
                case (byte)'s': Set(PopMany(2)); break;
                case (byte)'u': Set(SinceMark()); break;
                case (byte)'q': memo[Take(1)[0]] = Top(); break;
                case (byte)'r': memo[BinaryPrimitives.ReadUInt32LittleEndian(Take(4))] = Top(); break;
                case 0x94: memo[memo.Count] = Top(); break;
                case (byte)'h': stack.Add(Recall(Take(1)[0])); break;
                case (byte)'j': stack.Add(Recall(BinaryPrimitives.ReadUInt32LittleEndian(Take(4)))); break;
                case (byte)'c' or (byte)'i': stack.Add(Named(Line(), Line(), code == 'i')); break;
                case 0x93: stack.Add(PopMany(2) is [string module, string name] ? Named(module, name)
                    : throw new FormatException("it names no text")); break;
                case (byte)'Q': stack.Add(Storage(Pop())); break;
                case (byte)'R' or 0x81: stack.Add(Build(PopMany(2))); break;
                case (byte)'b':
                    SetState(Pop()); break;
                default:
                    var shown = code is > 32 and < 127 ? $" ('{(char)code}')" : "";
                    throw new FormatException(
                        $"it has the pickle instruction {code:X2}{shown}, which no file of weights needs");
            }
        }

        throw new FormatException($"its pickle takes more than {MostSteps} steps");
    }

    private object Named(string module, string name, bool asInstance = false)
    {
        if (modules && !asInstance
            && (module == "__torch__" || module.StartsWith("__torch__.", StringComparison.Ordinal)))
        {
            return Callable.Module;
        }

        return !asInstance && Allowed.TryGetValue((module, name), out var known) ? known : throw new FormatException(
            $"{Purpose()}it calls for '{module}.{name}', which is not on the list of what a file of weights may name; "
            + $"nothing was executed"
            + (module.StartsWith("torch.distributed", StringComparison.Ordinal) ? $". {FolderKinds.Sharded}" : ""));
    }

    // which value is about to be made, where a dictionary's key stands right below it
    private string Purpose()
    {
        if (stack is not [.., string { Length: <= MostName } key])
        {
            return "";
        }

        var alone = stack.Count - Floor >= 2 && IsDictionary(stack[^2]);
        var inRow = (stack.Count - Floor) % 2 == 1 && Floor > 0 && IsDictionary(stack[Floor - 1]);
        return alone || inRow ? $"to make '{key}' " : "";

        static bool IsDictionary(object? value) => value is PickledGroup { Kind: PickledKind.Dictionary };
    }

    // of a dictionary the attribute _metadata: versions of modules, of no use here; or a module's attributes
    private void SetState(object? state)
    {
        switch (Top())
        {
            case PickledArray array: array.SetState(state); break;
            case PickledType type: type.SetState(state); break;
            case PickledInert: break;
            case PickledGroup { Kind: PickledKind.Dictionary }:
                if (modules && state is PickledGroup { Kind: PickledKind.Dictionary } attributes)
                {
                    Set([.. attributes.Items]);
                }

                break;
            default: throw new FormatException("it sets attributes of something that is no dictionary");
        }
    }

    private static PickledGroup Tuple(IEnumerable<object?> items)
    {
        var tuple = new PickledGroup(PickledKind.Tuple);
        foreach (var item in items)
        {
            tuple.Add(item);
        }

        return tuple;
    }

    private object? Build(object?[] call)
    {
        var arguments = call[1] is PickledGroup { Kind: PickledKind.Tuple } tuple ? tuple.Items
            : throw new FormatException("it gives arguments that are no tuple");
        return (call[0], arguments) switch
        {
            (Callable.Dictionary or Callable.Module, []) => new PickledGroup(PickledKind.Dictionary),
            (Callable.Dictionary, [PickledGroup { Kind: PickledKind.List } pairs]) => Dictionary(pairs.Items),
            (Callable.Tensor, { Count: >= 4 and <= 7 }) => new PickledTensor([.. arguments.Take(4)]),
            (Callable.Parameter, [PickledTensor tensor, ..]) => tensor,
            (Callable.Size, [PickledGroup { Kind: PickledKind.Tuple } size]) => size,
            (Callable.Device, [string device, ..]) => device,
            (Callable.Array, [Callable.ArrayClass, PickledGroup, _]) => new PickledArray(),
            (Callable.Array, _) => throw new FormatException(
                "it calls 'numpy.core.multiarray._reconstruct' otherwise than numpy does for an array"),
            (Callable.Buffer, [var content, var type, var shape, "C" or "F"]) =>
                new PickledArray(shape, type, arguments[3] is "F", content),
            (Callable.ArrayType, [string code, ..]) => new PickledType(code),
            (Callable.Encode, [string text, "latin1"]) => new PickledBytes(default, text),
            (Callable.Bytes, []) => new PickledBytes(default),
            (Callable.Inert, _) => new PickledInert(),
            (Callable function, _) =>
                throw new FormatException($"it makes a {function} of {arguments.Count} arguments that do not make one"),
            _ => throw new FormatException("it calls something that is no function of a file of weights"),
        };
    }

    private PickledGroup Dictionary(IEnumerable<object?> pairs)
    {
        var dictionary = new PickledGroup(PickledKind.Dictionary);
        foreach (var pair in pairs)
        {
            // one list may be asked for often
            Require(++steps <= MostSteps, $"its pickle takes more than {MostSteps} steps");
            var items = pair is PickledGroup { Items: [_, _] } group ? group.Items
                : throw new FormatException("a dictionary is made of something that is no pair");
            dictionary.Add(items[0], items[1]);
        }

        return dictionary;
    }

    // ("storage", class, key, location, elements), in the legacy container followed by None or (key, first element,
    // elements)
    private PickledStorage Storage(object? id)
    {
        if (id is not PickledGroup { Kind: PickledKind.Tuple,
            Items: ["storage", StorageClass type, string key, _, long elements, ..] items }
            || items.Count > 6)
        {
            var kind = id is PickledGroup { Items: [string text, ..] } ? $" of the kind '{text}'" : "";
            throw new FormatException(
                $"a persistent id{kind} does not name a storage by class, key, location and number of elements");
        }

        (long, long)? view = items.Count < 6 || items[5] is null ? null
            : items[5] is PickledGroup { Items: [_, long first and >= 0, long count and >= 0] } && elements >= 0
                && first <= elements - count ? (first, count)
            : throw new FormatException($"a view of storage '{key}' lies outside it");
        var storage = new PickledStorage(key, type.Type, elements);
        Require(!Storages.TryGetValue(key, out var earlier) || earlier == storage,
            $"storage '{key}' is described in two different ways");
        Storages[key] = storage;
        return storage with { View = view };
    }

    private void Extend(IEnumerable<object?> items)
    {
        var list = Top() as PickledGroup;
        Require(list?.Kind == PickledKind.List, "it appends to something that is no list");
        foreach (var item in items)
        {
            list!.Add(item);
        }
    }

    private void Set(object?[] items)
    {
        Require(items.Length % 2 == 0 && Top() is PickledGroup,
            "it sets keys without values, or of something that is no dictionary");
        for (var i = 0; i < items.Length; i += 2)
        {
            ((PickledGroup)Top()!).Add(items[i], items[i + 1]);
        }
    }

    // only a hint for readers of streams, but one that must be true
    private void Frame(long length) =>
        Require(length >= 0 && length <= bytes.Length - Position,
            $"it has a pickle frame of {length} bytes where {bytes.Length - Position} are left");

    private ReadOnlySpan<byte> Take(long count)
    {
        Require(count >= 0 && count <= bytes.Length - Position, "its pickle is cut short");
        Position += (int)count;
        return bytes.AsSpan(Position - (int)count, (int)count);
    }

    private PickledBytes Bytes(long count)
    {
        Take(count);
        return new(bytes.AsMemory(Position - (int)count, (int)count));
    }

    private string Line()
    {
        var length = bytes.AsSpan(Position, Math.Min(MostName, bytes.Length - Position)).IndexOf((byte)'\n');
        Require(length >= 0, "a name in its pickle does not end");
        var line = Text(Take(length));
        Position++;
        return line;
    }

    private object? Recall(long index) => memo.TryGetValue(index, out var value) ? value
        : throw new FormatException("it recalls a value that was never stored");

    private object? Top() => stack.Count > Floor ? stack[^1] : throw Underflow();

    private object? Pop() => PopMany(1)[0];

    private object?[] PopMany(int count)
    {
        var items = stack.Count - count >= Floor ? stack[^count..].ToArray() : throw Underflow();
        stack.RemoveRange(stack.Count - count, count);
        return items;
    }

    private object?[] SinceMark()
    {
        Require(marks.Count > 0, "it closes a group that it never opened");
        var items = stack[Floor..].ToArray();
        stack.RemoveRange(marks.Peek(), items.Length);
        marks.Pop();
        return items;
    }

    private int Floor => marks.Count > 0 ? marks.Peek() : 0;

    private static FormatException Underflow() => new("it takes more values than it has");

    private static void Require(bool condition, string otherwise)
    {
        if (!condition)
        {
            throw new FormatException(otherwise);
        }
    }

    // a long; nothing is made of a longer one, as states of random generators have them
    private static object Long(ReadOnlySpan<byte> digits)
    {
        Require(digits.Length <= MostDigits, $"it has a whole number of {digits.Length} bytes");
        if (digits.Length > sizeof(long))
        {
            return new PickledInert();
        }

        var value = digits.Length > 0 && digits[^1] >= 0x80 ? -1L : 0L;
        for (var i = digits.Length - 1; i >= 0; i--)
        {
            value = (value << 8) | digits[i];
        }

        return value;
    }

    private static string Text(ReadOnlySpan<byte> utf8)
    {
        try
        {
            return Utf8.GetString(utf8);
        }
        catch (DecoderFallbackException e)
        {
            throw new FormatException("a text in it is not UTF-8", e);
        }
    }

    private sealed record StorageClass(ScalarType Type);

    private sealed record Token(string Name);
}
