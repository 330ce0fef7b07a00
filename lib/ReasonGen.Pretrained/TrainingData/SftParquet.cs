// The published SFT data (Franklin0/ReasonGen-R1-SFT-230k) and what is written in its schema:
//   image {bytes, path}, bytes or a base64 data URL,  brief_caption,  detailed_caption,
//   augmented_prompts {short_caption, paraphrases [], varied_captions [], tags [], object_prompts []};  lists may be
//     stored as their Python text, augmented_prompts as JSON text.
using System.Collections;
using System.Text;
using System.Text.Json.Serialization;
using System.Text.RegularExpressions;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using Parquet;
using Parquet.Serialization;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.TrainingData;

/// <summary>A parquet file of SFT rows, read a row group at a time: the set is never held as a whole.</summary>
public sealed partial class SftParquet
{
    private const string NoText = "is neither a text nor the bytes of one in UTF-8";
    private static readonly string[] Columns = ["image", "brief_caption", "detailed_caption", "augmented_prompts"];
    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);

    private readonly ParquetGuard guard;

    private SftParquet(string path, int[] groupRows, ParquetGuard guard) =>
        (Path, GroupRows, this.guard) = (path, groupRows, guard);

    public string Path { get; }

    /// <summary>Rows of each row group.</summary>
    public IReadOnlyList<int> GroupRows { get; }

    /// <summary>Rows in all.</summary>
    public long Count => GroupRows.Sum(rows => (long)rows);

    /// <summary>Opens a file and reads its footer.</summary>
    /// <exception cref="UnusableFileException">It is missing, a pipe, no parquet file, lacks a column, or has one of a
    /// form that is not read here; the column is named.</exception>
    public static SftParquet Open(string path) => Guard(path, "it cannot be read as parquet", async () =>
    {
        ParquetGuard guard;
        using (var file = FileKinds.OpenRead(path))
        {
            guard = new(file);
        }

        await using var stream = ParquetGuard.OpenFooter(path);
        await using var reader = await ParquetReader.CreateAsync(stream);
        string[] names = [.. reader.Schema.Fields.Select(field => field.Name)];
        var missing = Columns.Except(names).ToArray();
        if (missing.Length == 0 && reader.RowGroups.Count > 0)
        {
            guard.Open(path, 0).Dispose(); // what the package cannot read is told now, not in the middle of training
        }

        return missing.Length == 0
            ? new SftParquet(path, [.. reader.RowGroups.Select(group => checked((int)group.RowCount))], guard)
            : throw new UnusableFileException(path,
                $"it has no column {string.Join(", ", missing)}; it has {string.Join(", ", names)}",
                "give a set in the published schema, or make one with 'reasongen caption'");
    });

    /// <summary>The rows of one row group. A member that is null or an empty list is left out of the row's
    /// record.</summary>
    /// <exception cref="UnusableFileException">The file is damaged, a column that training does not need cannot be
    /// read, or a row holds no image or captions that are no text; column or row is named.</exception>
    public SftRow[] ReadGroup(int group) =>
        Guard(Path, $"row group {group} of {GroupRows.Count} is damaged", async () =>
    {
        await using var file = guard.Open(Path, group);
        var rows = (await Untyped(file, group)).Data;
        var first = GroupRows.Take(group).Sum(count => (long)count);
        return rows.Count != GroupRows[group]
            ? throw new FormatException($"it holds {rows.Count} rows where its footer says {GroupRows[group]}")
            : rows.Select((row, i) => Row(row, first + i)).ToArray();
    });

    private async Task<DeserializationResult<Dictionary<string, object>>> Untyped(Stream file, int group)
    {
        try
        {
            return await ParquetSerializer.DeserializeUntypedAsync(file, null, group);
        }
        catch (InvalidDataException e) when (FailedColumn().Match(e.Message) is { Success: true } found
            && !Columns.Contains(found.Groups[1].Value) && e.GetBaseException() is not OutOfMemoryException)
        {
            throw new UnusableFileException(Path, $"its column '{found.Groups[1].Value}', which the published sets do "
                + $"not have, cannot be read: {e.GetBaseException().Message.TrimEnd('.')}",
                "leave the column out where training does not need it, or write it again", e);
        }
    }

    // how the package names a column, and what lies below it
    [GeneratedRegex("^failed to read column '([^'/]+)")]
    private static partial Regex FailedColumn();

    /// <summary>All rows in their order; one row group is in memory at a time.</summary>
    public IEnumerable<SftRow> Rows() => Enumerable.Range(0, GroupRows.Count).SelectMany(ReadGroup);

    /// <summary>Writes a file as rows come, a row group at a time. It appears whole or not at all.</summary>
    /// <returns>Rows written.</returns>
    /// <exception cref="UnusableFileException">It cannot be written; one of that name stays as it was.</exception>
    public static long Write(string path, IEnumerable<SftRow> rows, int rowsPerGroup = 100)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rowsPerGroup, 1);
        try
        {
            long written = 0;
            AtomicFile.Write(path, file =>
            {
                var stored = rows.Select(row =>
                {
                    written++;
                    return Stored.Of(row);
                });
                var options = new ParquetOptions { RowGroupSize = rowsPerGroup };
                Task.Run(() => ParquetSerializer.SerializeAsync(stored, file, options)).GetAwaiter().GetResult();
            });
            return written;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the file cannot be written: {e.Message}",
                "choose another folder, or make room", e);
        }
    }

    private SftRow Row(IReadOnlyDictionary<string, object> row, long index)
    {
        var image = row.GetValueOrDefault("image") as IDictionary;
        var bytes =
            image is not null ? Bytes(image["bytes"]) : FromDataUrl(Json(row.GetValueOrDefault("image")) as JValue);
        if (bytes is not { Length: > 0 })
        {
            throw new UnusableFileException(Path, $"row {index} holds no image",
                "write the column 'image' as a struct with a member 'bytes', as bytes, or as a base64 data URL");
        }

        var record = new JObject(row.Where(pair => pair.Key != "image" && pair.Value is not null)
            .Select(pair => new JProperty(pair.Key, Json(pair.Value))));
        if (Columns.FirstOrDefault(column => record[column] is JValue { Value: byte[] }) is { } strange)
        {
            throw new UnusableFileException(Path, $"the {strange} of row {index} {NoText}", "write it in UTF-8");
        }

        if (record["augmented_prompts"] is JValue { Value: string text })
        {
            record["augmented_prompts"] = Prompts(text)
                ?? throw new UnusableFileException(Path,
                    $"the augmented_prompts of row {index} are a text, but no JSON object",
                "write them as a struct, or as the text of a JSON object");
        }

        return new(bytes, (string?)Json(image?["path"]), record);
    }

    private static JObject? Prompts(string text)
    {
        try
        {
            using var reader =
                new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None };
            return JToken.ReadFrom(reader) as JObject;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    // bytes that no writer called a text may be one; null where they are none
    private static string? Text(ReadOnlySpan<byte> bytes)
    {
        try
        {
            return Utf8.GetString(bytes);
        }
        catch (DecoderFallbackException)
        {
            return null;
        }
    }

    private static byte[]? Bytes(object? value) =>
        value switch { byte[] bytes => bytes, ReadOnlyMemory<byte> memory => memory.ToArray(), _ => null };

    // bytes that are no text are the image itself
    private static byte[]? FromDataUrl(JValue? url)
    {
        if (url?.Value is byte[] plain)
        {
            return plain;
        }

        var text = url?.Value as string ?? "";
        var buffer = new byte[text.Length];
        return Convert.TryFromBase64String(text[(text.IndexOf(',') + 1)..], buffer, out var length) ? buffer[..length]
            : null;
    }

    private static JToken Json(object? value) => value switch
    {
        null => JValue.CreateNull(),
        string text => text,
        ReadOnlyMemory<char> text => text.ToString(),
        IDictionary members =>
            new JObject(members.Keys.Cast<object>().Select(key => new JProperty(key.ToString()!, Json(members[key])))),
        _ when Bytes(value) is { } bytes => new JValue((object?)Text(bytes) ?? bytes),
        IEnumerable list => new JArray(list.Cast<object?>().Select(Json)),
        _ => new JValue(value),
    };

    private static T Guard<T>(string path, string what, Func<Task<T>> read)
    {
        try
        {
            return File.Exists(path) ? Task.Run(read).GetAwaiter().GetResult()
                : throw new UnusableFileException(path, "there is no such file",
                    "give a parquet file, or make one with 'reasongen caption'");
        }
        catch (Exception e) when (e is FileNotFoundException or UnauthorizedAccessException && FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
        catch (Exception e) when (e is NotSupportedException or NotImplementedException)
        {
            throw new UnusableFileException(path, e.Message.TrimEnd('.'), "", e);
        }
        catch (Exception e) when (e is not UnusableFileException && e.GetBaseException() is not OutOfMemoryException)
        {
            throw new UnusableFileException(path, $"{what}: {e.Message}".TrimEnd('.'),
                "download or write the file again", e);
        }
    }

    private sealed class Stored
    {
        [JsonPropertyName("image")]
        public StoredImage? Image { get; set; }

        [JsonPropertyName("brief_caption")]
        public string? Brief { get; set; }

        [JsonPropertyName("detailed_caption")]
        public string? Detailed { get; set; }

        [JsonPropertyName("augmented_prompts")]
        public Prompts? Augmented { get; set; }

        internal static Stored Of(SftRow row)
        {
            var prompts = row.Record["augmented_prompts"];
            List<string> List(string name) =>
                prompts?[name] is { Type: not JTokenType.Null } value ? [.. PromptAugmentation.Texts(value)] : [];
            return new()
            {
                Image = new() { Bytes = row.Image, Path = row.ImagePath },
                Brief = (string?)row.Record["brief_caption"], Detailed = (string?)row.Record["detailed_caption"],
                Augmented = new()
                {
                    Short = (string?)prompts?["short_caption"], Paraphrases = List("paraphrases"),
                    Varied = List("varied_captions"),
                    Tags = List("tags"), Objects = List("object_prompts"),
                },
            };
        }

        internal sealed class StoredImage
        {
            [JsonPropertyName("bytes")]
            public byte[]? Bytes { get; set; }

            [JsonPropertyName("path")]
            public string? Path { get; set; }
        }

        internal sealed class Prompts
        {
            [JsonPropertyName("short_caption")]
            public string? Short { get; set; }

            [JsonPropertyName("paraphrases")]
            public List<string>? Paraphrases { get; set; }

            [JsonPropertyName("varied_captions")]
            public List<string>? Varied { get; set; }

            [JsonPropertyName("tags")]
            public List<string>? Tags { get; set; }

            [JsonPropertyName("object_prompts")]
            public List<string>? Objects { get; set; }
        }
    }
}
