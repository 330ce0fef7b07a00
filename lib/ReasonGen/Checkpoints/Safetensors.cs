using System.Buffers.Binary;
using System.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>Reads and writes safetensors files.</summary>
public static class Safetensors
{
    /// <summary>Every tensor of a file, on the CPU, in the type it is stored in. The caller disposes them.</summary>
    /// <exception cref="CheckpointException">The file is missing or unsound.</exception>
    public static Dictionary<string, Tensor> Load(string path) => CheckpointFiles.Open(path).Load();

    /// <summary>Fills tensors that exist already, converting to their type and device.</summary>
    /// <exception cref="CheckpointException">The file is missing or unsound, or names or shapes differ: all differences are listed at once.</exception>
    public static void LoadInto(IReadOnlyDictionary<string, Tensor> targets, string path) => CheckpointFiles.Open(path).LoadInto(targets);

    /// <summary>Writes tensors as the format's own library does: larger types first, then by name. The file appears whole or not at all.</summary>
    /// <param name="path">The file; its folder is made when missing.</param>
    /// <param name="tensors">What to write.</param>
    /// <param name="metadata">Free text to keep in the header.</param>
    /// <param name="storeAs">Type to store floating-point tensors in; their own when null.</param>
    /// <exception cref="CheckpointException">The file cannot be written; one of that name stays as it was.</exception>
    public static void Save(string path, IEnumerable<KeyValuePair<string, Tensor>> tensors, IReadOnlyDictionary<string, string>? metadata = null,
        ScalarType? storeAs = null)
    {
        var items = tensors.Select(pair => (pair.Key, pair.Value, Type: storeAs is { } type && pair.Value.is_floating_point() ? type : pair.Value.dtype))
            .OrderByDescending(item => ElementTypes.SizeOf(item.Type)).ThenBy(item => item.Key, StringComparer.Ordinal).ToArray();
        var temporary = $"{path}.{Environment.ProcessId}.tmp";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
            using (var file = File.Create(temporary))
            {
                var header = Header(items, metadata);
                Span<byte> length = stackalloc byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
                file.Write(length);
                file.Write(header);
                foreach (var (_, tensor, type) in items)
                {
                    using var stored = tensor.detach().to(type).cpu().contiguous();
                    file.Write(stored.bytes);
                }
            }

            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            File.Delete(temporary);
            throw new CheckpointException(path, $"it could not be written: {e.Message.TrimEnd('.')}", "free space or choose a folder that can be written; what was saved before is intact", e);
        }
    }

    private static byte[] Header((string Name, Tensor Tensor, ScalarType Type)[] items, IReadOnlyDictionary<string, string>? metadata)
    {
        using var buffer = new MemoryStream();
        using (var json = new System.Text.Json.Utf8JsonWriter(buffer, new() { Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping }))
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
