using System.Buffers.Binary;
using System.Text.Json;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// The header of a safetensors file, checked whole before a byte of data is read: 8 bytes of length, JSON, then data
/// without gaps or overlaps. Stricter than the format's own library, as its text demands: no duplicate names, no white
/// space before the brace.
/// </summary>
public sealed class SafetensorsHeader
{
    private const long LargestHeader = 100_000_000;
    private const int MostDimensions = 64;

    private SafetensorsHeader(IReadOnlyList<TensorEntry> entries, IReadOnlyDictionary<string, string> metadata) =>
        (Entries, Metadata) = (entries, metadata);

    /// <summary>The tensors, in the order of their data.</summary>
    public IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>The free text map of the file.</summary>
    public IReadOnlyDictionary<string, string> Metadata { get; }

    /// <exception cref="UnusableFileException">The file is not a sound safetensors file.</exception>
    public static SafetensorsHeader Read(string path)
    {
        FileKinds.Of(path);
        try
        {
            using var file = File.OpenRead(path);
            var prefix = new byte[8];
            if (file.ReadAtLeast(prefix, 8, throwOnEndOfStream: false) < 8)
            {
                throw new FormatException($"it has {file.Length} bytes, too few for the header's length");
            }

            var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (length > LargestHeader || (long)length > file.Length - 8)
            {
                throw new FormatException(
                    $"its header would have {length} bytes, more "
                    + $"than {(length > LargestHeader ? "the format allows" : "the file has")}");
            }

            var json = new byte[length];
            file.ReadExactly(json);
            return Parse(path, json, 8 + (long)length, file.Length);
        }
        catch (Exception e)
            when (e is FormatException or JsonException or InvalidOperationException or OverflowException)
        {
            throw new UnusableFileException(path, $"not a sound safetensors file: {e.Message.TrimEnd('.')}",
                "download or write the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    private static SafetensorsHeader Parse(string path, byte[] json, long dataStart, long fileLength)
    {
        if (json.Length == 0 || json[0] != '{')
        {
            throw new FormatException("its header does not begin with a brace");
        }

        var reader = new Utf8JsonReader(json);
        var names = new HashSet<string>();
        var entries = new List<TensorEntry>();
        var metadata = new Dictionary<string, string>();
        reader.Read();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            if (!names.Add(name))
            {
                throw new FormatException($"the name '{name}' stands twice in its header");
            }

            reader.Read();
            if (name == "__metadata__")
            {
                ReadMetadata(ref reader, metadata);
            }
            else
            {
                entries.Add(ReadEntry(ref reader, path, name, dataStart));
            }
        }

        if (reader.Read())
        {
            throw new FormatException("something follows the header's closing brace");
        }

        entries = [.. entries.OrderBy(entry => entry.Begin).ThenBy(entry => entry.Bytes)];
        var end = dataStart;
        foreach (var entry in entries)
        {
            if (entry.Begin != end)
            {
                throw new FormatException(
                    $"the data of '{entry.Name}' begins at "
                    + $"byte {entry.Begin - dataStart}, not at {end - dataStart}: there is a gap or an overlap");
            }

            end = checked(end + entry.Bytes);
        }

        return end == fileLength ? new(entries, metadata)
            : throw new FormatException(
                $"its tensors have {end - dataStart} bytes, the file holds {fileLength - dataStart}");
    }

    private static TensorEntry ReadEntry(ref Utf8JsonReader reader, string path, string name, long dataStart)
    {
        Expect(ref reader, JsonTokenType.StartObject, name);
        string? typeName = null;
        List<long>? shape = null, offsets = null;
        var members = new HashSet<string>();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var member = reader.GetString()!;
            if (!members.Add(member))
            {
                throw new FormatException($"'{name}' has the member '{member}' twice");
            }

            reader.Read();
            switch (member)
            {
                case "dtype":
                    Expect(ref reader, JsonTokenType.String, name);
                    typeName = reader.GetString();
                    break;
                case "shape":
                    shape = ReadSizes(ref reader, name);
                    break;
                case "data_offsets":
                    offsets = ReadSizes(ref reader, name);
                    break;
                default:
                    throw new FormatException($"'{name}' has an unknown member '{member}'");
            }
        }

        if (typeName is null || shape is null || offsets is not [var begin, var end])
        {
            throw new FormatException($"'{name}' lacks dtype, shape or two data_offsets");
        }

        if (ElementTypes.FromSafetensors(typeName) is not { } type)
        {
            var quantised = typeName.StartsWith("F8_") || typeName.StartsWith("F6_") || typeName.StartsWith("F4");
            throw new FormatException(
                $"'{name}' has the "
                + $"dtype {typeName}{(quantised ? ", quantised weights, which need their scales" : "")}; read here "
                + $"are {string.Join(", ", ElementTypes.SafetensorsNames)}"
                + (quantised ? ". Use the checkpoint of this model in bf16 or fp16" : ""));
        }

        var bytes = ElementTypes.BytesOf(type, shape);
        return end - begin == bytes ? new(name, type, [.. shape], path, checked(dataStart + begin), bytes)
            : throw new FormatException(
                $"'{name}' spans {end - begin} bytes; {typeName} [{string.Join(", ", shape)}] has {bytes}");
    }

    private static List<long> ReadSizes(ref Utf8JsonReader reader, string name)
    {
        Expect(ref reader, JsonTokenType.StartArray, name);
        var sizes = new List<long>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            Expect(ref reader, JsonTokenType.Number, name);
            sizes.Add(sizes.Count == MostDimensions
                ? throw new FormatException($"'{name}' has more than {MostDimensions} dimensions")
                : reader.TryGetInt64(out var size) && size >= 0 ? size
                : throw new FormatException($"'{name}' has a size or offset that is no whole number of bytes"));
        }

        return sizes;
    }

    private static void ReadMetadata(ref Utf8JsonReader reader, Dictionary<string, string> metadata)
    {
        Expect(ref reader, JsonTokenType.StartObject, "__metadata__");
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var key = reader.GetString()!;
            reader.Read();
            Expect(ref reader, JsonTokenType.String, "__metadata__");
            if (!metadata.TryAdd(key, reader.GetString()!))
            {
                throw new FormatException($"the metadata name '{key}' stands twice");
            }
        }
    }

    private static void Expect(ref Utf8JsonReader reader, JsonTokenType type, string name)
    {
        if (reader.TokenType != type)
        {
            throw new FormatException($"'{name}' has a {reader.TokenType} where the format has a {type}");
        }
    }
}
