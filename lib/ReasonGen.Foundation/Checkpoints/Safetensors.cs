using System.Buffers.Binary;
using System.Text;
using Newtonsoft.Json;
using ReasonGen.Files;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>Reads and writes safetensors files.</summary>
public static class Safetensors
{
    /// <summary>Largest file that the Python tools write unless told otherwise.</summary>
    public const long UsualShardBytes = 5_000_000_000;

    private const string Index = "model.safetensors.index.json";

    /// <summary>File beside weights that tells how they were trained.</summary>
    public const string Training = "training.json";

    /// <summary>Every tensor of a file, on the CPU, in the type it is stored in. The caller disposes them.</summary>
    /// <exception cref="UnusableFileException">The file is missing or unsound.</exception>
    public static Dictionary<string, Tensor> Load(string path) => CheckpointFiles.Open(path).Load();

    /// <summary>Fills tensors that exist already, converting to their type and device.</summary>
    /// <exception cref="UnusableFileException">The file is missing or unsound, or names or shapes differ: all that do
    /// are listed at once.</exception>
    public static void LoadInto(IReadOnlyDictionary<string, Tensor> targets, string path) =>
        CheckpointFiles.Open(path).LoadInto(targets);

    /// <summary>Writes tensors as the format's own library does: larger types first, then by name. The file appears
    /// whole or not at all.</summary>
    /// <param name="path">The file; its folder is made when missing.</param>
    /// <param name="tensors">What to write.</param>
    /// <param name="metadata">Free text to keep in the header.</param>
    /// <param name="storeAs">Type to store floating-point tensors in; their own when null.</param>
    /// <exception cref="UnusableFileException">The file cannot be written; one of that name stays as it
    /// was.</exception>
    public static void Save(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors,
        IReadOnlyDictionary<string, string>? metadata = null,
        ScalarType? storeAs = null)
    {
        var items = Items(tensors, storeAs);
        try
        {
            AtomicFile.Write(path, file => Write(file, items, metadata));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"it could not be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written; what was saved before is intact", e);
        }
    }

    /// <summary>
    /// Writes tensors into a folder as the Python tools do: model.safetensors, or shards and their index where that
    /// would be too large. All is written aside first and then moved in place, so that an earlier checkpoint stays
    /// whole if anything fails before.
    /// </summary>
    /// <param name="folder">The folder; it is made when missing. The files of an earlier checkpoint in it, torch's too,
    /// are removed, and the training.json that told of it.</param>
    /// <param name="tensors">What to write, in the order in which it fills the shards; none leaves the weights in the
    /// folder alone.</param>
    /// <param name="maxShardBytes">Largest size of a shard; a larger tensor has a shard of its own.</param>
    /// <param name="storeAs">Type to store floating-point tensors in; their own when null.</param>
    /// <param name="texts">Text files to put beside them, such as config.json.</param>
    /// <param name="replaced">Names of other files that an earlier checkpoint may have had beside its weights: removed
    /// with it where no text has that name.</param>
    /// <exception cref="UnusableFileException">The folder cannot be written; what was in it is intact.</exception>
    public static void SaveFolder(string folder, IEnumerable<KeyValuePair<string, Tensor>> tensors,
        long maxShardBytes = UsualShardBytes,
        ScalarType? storeAs = null, IReadOnlyDictionary<string, string>? texts = null,
        IReadOnlyList<string>? replaced = null)
    {
        var shards = new List<(long Bytes, List<KeyValuePair<string, Tensor>> Tensors)>();
        foreach (var pair in tensors)
        {
            var bytes = pair.Value.numel() * ElementTypes.SizeOf(TypeOf(pair.Value, storeAs));
            if (shards.Count == 0 || shards[^1].Bytes + bytes > maxShardBytes)
            {
                shards.Add((0, []));
            }

            shards[^1].Tensors.Add(pair);
            shards[^1] = (shards[^1].Bytes + bytes, shards[^1].Tensors);
        }

        try
        {
            using var aside = new AtomicFiles(folder);
            var files = new List<string>();
            var map = new SortedDictionary<string, string>(StringComparer.Ordinal);
            foreach (var (i, (_, held)) in shards.Index())
            {
                files.Add(shards.Count == 1 ? "model.safetensors"
                    : $"model-{i + 1:00000}-of-{shards.Count:00000}.safetensors");
                aside.Write(files[i],
                    file => Write(file, Items(held, storeAs), new Dictionary<string, string> { ["format"] = "pt" }));
                held.ForEach(pair => map.Add(pair.Key, files[i]));
            }

            var others = (texts ?? new Dictionary<string, string>()).ToDictionary();
            if (shards.Count > 1)
            {
                var (elements, bytes) = (shards.Sum(shard =>
                    shard.Tensors.Sum(pair => pair.Value.numel())), shards.Sum(shard => shard.Bytes));
                var index = new
                {
                    metadata = new { total_parameters = elements, total_size = bytes }, weight_map = map,
                };
                others[Index] = JsonConvert.SerializeObject(index, Formatting.Indented) + "\n";
            }

            foreach (var (name, text) in others)
            {
                aside.Write(name, file => file.Write(Encoding.UTF8.GetBytes(text)));
                files.Add(name);
            }

            if (shards.Count > 0)
            {
                // until the new one is there, new shards are not taken for old ones, nor for trained as those were
                File.Delete(Path.Combine(folder, Index));
                File.Delete(Path.Combine(folder, Training));
            }

            aside.Commit();
            string[] earlier = shards.Count == 0 ? []
                : [.. Directory.GetFiles(folder, "model*.safetensors*"),
                    .. Directory.GetFiles(folder, "pytorch_model*.bin*"),
                    .. (replaced ?? []).Select(name => Path.Combine(folder, name)).Where(File.Exists)];
            earlier.Where(path => !files.Contains(Path.GetFileName(path))).ToList().ForEach(File.Delete);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder, $"the checkpoint could not be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written", e);
        }
    }

    private static (string Name, Tensor Tensor, ScalarType Type)[] Items(
        IEnumerable<KeyValuePair<string, Tensor>> tensors, ScalarType? storeAs) =>
        [.. tensors.Select(pair => (pair.Key, pair.Value, Type: TypeOf(pair.Value, storeAs)))
            .OrderByDescending(item => ElementTypes.SizeOf(item.Type)).ThenBy(item => item.Key,
                StringComparer.Ordinal)];

    /// <summary>Writes a whole file into a stream.</summary>
    internal static void Write(Stream file, IEnumerable<KeyValuePair<string, Tensor>> tensors,
        IReadOnlyDictionary<string, string>? metadata) =>
        Write(file, Items(tensors, null), metadata);

    private static void Write(Stream file, (string Name, Tensor Tensor, ScalarType Type)[] items,
        IReadOnlyDictionary<string, string>? metadata)
    {
        var header = Header(items, metadata);
        Span<byte> length = stackalloc byte[8];
        BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
        file.Write(length);
        file.Write(header);
        foreach (var (_, tensor, type) in items)
        {
            using var scope = NewDisposeScope(); // holds what lies between, which may be collected while it is read
            file.Write(tensor.detach().to(type).cpu().contiguous().bytes);
        }
    }

    private static ScalarType TypeOf(Tensor tensor, ScalarType? storeAs) =>
        storeAs is { } type && tensor.is_floating_point() ? type : tensor.dtype;

    private static byte[] Header((string Name, Tensor Tensor, ScalarType Type)[] items,
        IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        var unescaped = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
        using (var json = new System.Text.Json.Utf8JsonWriter(buffer, new() { Encoder = unescaped }))
        {
            json.WriteStartObject();
            if (metadata is { Count: > 0 })
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in metadata)
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            long at = 0;
            foreach (var (name, tensor, type) in items)
            {
                json.WriteStartObject(name);
                json.WriteString("dtype", ElementTypes.NameOf(type));
                json.WriteStartArray("shape");
                foreach (var size in tensor.shape)
                {
                    json.WriteNumberValue(size);
                }

                json.WriteEndArray();
                json.WriteStartArray("data_offsets");
                json.WriteNumberValue(at);
                json.WriteNumberValue(at += tensor.numel() * ElementTypes.SizeOf(type));
                json.WriteEndArray();
                json.WriteEndObject();
            }

            json.WriteEndObject();
        }

        buffer.Write(Encoding.ASCII.GetBytes(new string(' ', (int)(-buffer.Length & 7))));
        return buffer.ToArray();
    }
}
