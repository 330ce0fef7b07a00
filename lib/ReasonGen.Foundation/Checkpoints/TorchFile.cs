// Files of torch.save (pytorch: torch/serialization.py): a zip container with data.pkl and one entry a storage, or the
// older row of pickles followed by storages. Read are descriptions; the data stay where they are. Arrays of numpy are
// taken as tensors (detectron2's loader does so); their data are in the pickle, which then may stand without a
// container. What a file may cost is bounded by its size: values that are reached by several ways count each time, and
// tensors together unfold to no more than a few times the file.
using System.Buffers.Binary;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace ReasonGen.Checkpoints;

/// <summary>What a file of torch.save holds.</summary>
public static class TorchFile
{
    // large where its arrays are in it
    internal const int LargestPickle = 1_000_000_000, MostDimensions = 64;

    private const int UsualPickle = 16 << 20, MostNameCharacters = 32 << 20, MostUnfolding = 8;

    // where trainers put the state dict when they save more than that
    private static readonly string[] Wrappers = ["state_dict", "model", "module"];

    /// <summary>The tensors, in the order of the file; names of nested dictionaries and lists are joined by
    /// dots.</summary>
    /// <param name="path">The file.</param>
    /// <param name="unwrap">Take only the state dict where a trainer saved one under "state_dict", "model" or
    /// "module".</param>
    /// <exception cref="UnusableFileException">The file is missing, unsound, or more than weights; nothing in it is
    /// ever executed.</exception>
    public static IReadOnlyList<TensorEntry> Read(string path, bool unwrap = true)
    {
        var kind = FileKinds.Of(path);
        try
        {
            using var file = File.OpenHandle(path);
            return kind switch
            {
                FileKind.TorchZip => ReadZip(path, file, unwrap),
                FileKind.TorchLegacy => ReadHead(file, head => ReadLegacy(path, file, head, unwrap)),
                FileKind.Pickle => ReadHead(file, head => ReadBare(path, head, unwrap)),
                _ => throw new FormatException("it is a safetensors file"),
            };
        }
        catch (FormatException e)
        {
            throw new UnusableFileException(path, $"not a sound torch file: {e.Message}",
                "download or write the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    private static List<TensorEntry> ReadZip(string path, SafeFileHandle file, bool unwrap)
    {
        var entries = TorchZip.Entries(file);
        if (entries.TryGetValue("byteorder", out var order)
            && Encoding.Latin1.GetString(TorchZip.Content(file, order, 64)) is var bytes && bytes != "little")
        {
            throw new FormatException($"its byte order is '{bytes}'; read here are little-endian files");
        }

        var pickled = entries.TryGetValue("data.pkl", out var entry) ? TorchZip.Content(file, entry, LargestPickle)
            : throw new FormatException("it lacks the entry data.pkl");
        var pickle = new Pickle(pickled, 0);
        var saved = pickle.Read();
        return Tensors(path, RandomAccess.GetLength(file), saved, pickle.Steps, unwrap,
            key => entries.GetValueOrDefault("data/" + key));
    }

    // The pickles of a legacy file have no length, and are small beside the rest of it unless arrays are in them.
    private static List<TensorEntry> ReadHead(SafeFileHandle file, Func<byte[], List<TensorEntry>> read)
    {
        var head = new byte[Math.Min(RandomAccess.GetLength(file), UsualPickle)];
        ReadAt(file, head, 0);
        try
        {
            return read(head);
        }
        catch (FormatException) when (head.Length < Math.Min(RandomAccess.GetLength(file), LargestPickle))
        {
            head = new byte[Math.Min(RandomAccess.GetLength(file), LargestPickle)];
            ReadAt(file, head, 0);
            return read(head);
        }
    }

    private static List<TensorEntry> ReadBare(string path, byte[] all, bool unwrap)
    {
        var pickle = new Pickle(all, 0);
        var saved = pickle.Read();
        var entries = Tensors(path, all.Length, saved, pickle.Steps, unwrap, _ => throw new FormatException(
            "it is a bare pickle without the container of torch.save, and lacks the data of its tensors"));
        return entries.Count == 0 ? throw new FormatException(
            "it is a bare pickle without the container of torch.save, and holds no array of numpy")
            : pickle.Position == all.Length ? entries
            : throw new FormatException($"its pickle ends at byte {pickle.Position}, the file at {all.Length}");
    }

    // magic number, protocol 1001, facts about the writer, the object, the storages' keys; then of each storage its
    // length and its data
    private static List<TensorEntry> ReadLegacy(string path, SafeFileHandle file, byte[] head, bool unwrap)
    {
        var length = RandomAccess.GetLength(file);
        var pickle = new Pickle(head, FileKinds.LegacyMagic.Length);
        if (pickle.Read() is not 1001L)
        {
            throw new FormatException("the protocol of its container is not 1001");
        }

        if (pickle.Read() is PickledGroup system
            && system.Items.SkipWhile(item => item is not "little_endian").Skip(1).FirstOrDefault() is false)
        {
            throw new FormatException("its byte order is big-endian; read here are little-endian files");
        }

        var saved = pickle.Read();
        var storages = pickle.Storages;
        if (pickle.Read() is not PickledGroup { Kind: PickledKind.List } keys
            || pickle.Storages.Count > keys.Items.Count)
        {
            throw new FormatException("its list of storages lacks some that its tensors view");
        }

        var found = new Dictionary<string, StoredBytes>();
        long at = pickle.Position;
        foreach (var key in keys.Items)
        {
            if (key is not string name || !storages.TryGetValue(name, out var storage) || found.ContainsKey(name))
            {
                throw new FormatException(
                    $"its list of storages names '{key}', which no tensor views, or names it twice");
            }

            var count = new byte[8];
            ReadAt(file, count, at);
            if (BinaryPrimitives.ReadInt64LittleEndian(count) is var elements
                && (elements != storage.Elements || elements < 0 || elements > length))
            {
                throw new FormatException(
                    $"storage '{name}' has {elements} elements where its tensors count on {storage.Elements}");
            }

            found[name] = new(name, at + 8, elements * ElementTypes.SizeOf(storage.Type), 0);
            at = found[name].Begin + found[name].Bytes;
        }

        return at == length ? Tensors(path, length, saved, pickle.Steps, unwrap, found.GetValueOrDefault)
            : throw new FormatException($"its storages end at byte {at}, the file at {length}");
    }

    internal static List<TensorEntry> Tensors(
        string path, long fileBytes, object? saved, int most, bool unwrap, Func<string, StoredBytes?> locate)
    {
        if (saved is not PickledGroup { Kind: PickledKind.Dictionary } top)
        {
            var what = saved is PickledGroup group ? $"a {group.Kind}".ToLowerInvariant()
                : saved is PickledTensor ? "one tensor" : "a plain value";
            throw new FormatException($"what was saved is no dictionary of tensors but {what}");
        }

        top.CheckNesting();
        while (unwrap && Wrapped(top) is { } inside)
        {
            top = inside;
        }

        var entries = new List<TensorEntry>();
        var names = new HashSet<string>();
        long characters = 0, unfolded = 0, values = 0;
        Collect(top, null, named: true);
        return entries;

        void Collect(object? value, string? name, bool named)
        {
            if (++values > most || (characters += name?.Length ?? 0) > MostNameCharacters)
            {
                throw new FormatException("it holds more values than a file of weights can need");
            }

            if (value is PickledTensor or PickledArray)
            {
                if (!named)
                {
                    throw new FormatException("a dictionary of tensors has a key that is neither text nor a number");
                }

                entries.Add(names.Add(name!) ? value is PickledArray array ? array.Describe(path, name!)
                    : Describe(path, fileBytes, name!, (PickledTensor)value, locate)
                    : throw new FormatException($"the name '{name}' stands twice"));
                if ((unfolded += Math.Max(entries[^1].Bytes, Span(entries[^1]))) > MostUnfolding * fileBytes)
                {
                    throw new FormatException(
                        $"its tensors would unfold to more than {MostUnfolding} times the file, '{name}' the last of "
                        + $"them");
                }
            }
            else if (value is PickledGroup inner)
            {
                foreach (var (key, item) in Pairs(inner))
                {
                    Collect(item, name is null ? $"{key}" : $"{name}.{key}", named && PickledGroup.Names(key));
                }
            }
        }
    }

    private static PickledGroup? Wrapped(PickledGroup group) =>
        Pairs(group).Any(pair => pair.Value is PickledTensor) ? null
        : Wrappers.Select(name => Pairs(group).FirstOrDefault(pair => Equals(pair.Key, name)).Value)
            .OfType<PickledGroup>().FirstOrDefault(inner => inner.Kind == PickledKind.Dictionary);

    private static IEnumerable<(object? Key, object? Value)> Pairs(PickledGroup group) =>
        group.Kind == PickledKind.Dictionary ? group.Items.Chunk(2).Select(pair => (pair[0], pair[1]))
        : group.Items.Select((item, i) => ((object?)(long)i, item));

    private static TensorEntry Describe(string path, long fileBytes, string name, PickledTensor tensor,
        Func<string, StoredBytes?> locate)
    {
        if (tensor.Arguments is not [PickledStorage { Elements: >= 0 } storage, long offset and >= 0,
                PickledGroup { Kind: PickledKind.Tuple } size, PickledGroup { Kind: PickledKind.Tuple } stride]
            || size.Items.Count != stride.Items.Count || size.Items.Count > MostDimensions
            || !size.Items.Concat(stride.Items).All(number => number is long and >= 0))
        {
            throw new FormatException(
                $"'{name}' is not described by a storage, an offset, and as many sizes as strides, at most "
                + $"{MostDimensions} of them and all of at least 0");
        }

        var data = locate(storage.Key)
            ?? throw new FormatException($"it lacks the data of storage '{storage.Key}', which '{name}' views");
        long[] shape = [.. size.Items.Cast<long>()], strides = [.. stride.Items.Cast<long>()];
        long width = ElementTypes.SizeOf(storage.Type), bytes, last, begin;
        var (first, count) = storage.View ?? (0, storage.Elements);
        try
        {
            bytes = ElementTypes.BytesOf(storage.Type, shape);
            last = bytes == 0 ? offset - 1
                : shape.Zip(strides).Aggregate(offset, (sum, pair) => checked(sum + (pair.First - 1) * pair.Second));
            begin = checked(data.Begin + (first + offset) * width);
            if (checked(storage.Elements * width) != data.Bytes)
            {
                throw new FormatException(
                    $"'{name}' counts on {storage.Elements} elements in storage '{storage.Key}', which "
                    + $"has {data.Bytes} bytes");
            }
        }
        catch (OverflowException e)
        {
            throw new FormatException($"the sizes of '{name}' are larger than any file", e);
        }

        if (last >= count || bytes > fileBytes)
        {
            throw new FormatException(last >= count
                ? $"'{name}' reaches past the {count} elements of its storage '{storage.Key}'"
                : $"'{name}' would unfold to {bytes} bytes, more than the whole file has");
        }

        return new(name, storage.Type, shape, path, begin, bytes)
        {
            Storage = data, Strides = RowAfterRow(shape, strides) ? null : strides,
        };
    }

    // bytes from the first element to the last, which reading passes over; Describe has seen that they lie in the
    // storage
    private static long Span(TensorEntry entry) => entry.Strides is null || entry.Bytes == 0 ? 0
        : (1 + entry.Shape.Zip(entry.Strides, (size, stride) => (size - 1) * stride).Sum())
            * ElementTypes.SizeOf(entry.Type);

    private static bool RowAfterRow(long[] shape, long[] strides)
    {
        long expected = 1;
        for (var i = shape.Length - 1; i >= 0; i--)
        {
            if (shape[i] != 1 && strides[i] != expected)
            {
                return shape.Contains(0);
            }

            expected *= Math.Max(shape[i], 1);
        }

        return true;
    }

    private static void ReadAt(SafeFileHandle file, Span<byte> bytes, long offset)
    {
        for (int done = 0, read; done < bytes.Length; done += read)
        {
            if ((read = RandomAccess.Read(file, bytes[done..], offset + done)) == 0)
            {
                throw new FormatException("it is cut short");
            }
        }
    }
}
