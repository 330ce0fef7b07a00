// json.dumps and pandas' to_json, as results.jsonl is written. Two escapings lie over one another: Python's inside
// "metadata" and "details"
// (all outside space to ~ as \uxxxx), pandas' around everything (a slash as \/, DEL raw).
using System.Globalization;
using System.Text;
using System.Text.Json;

namespace ReasonGen.Scoring;

/// <summary>JSON as Python writes it.</summary>
public static class PythonJson
{
    /// <summary>A text; null is none.</summary>
    /// <exception cref="InvalidOperationException">It is something else, null included.</exception>
    internal static string Text(this JsonElement value) =>
        value.GetString() ?? throw new InvalidOperationException("null stands where a text belongs");

    /// <summary>Parses strictly, as json.load does.</summary>
    /// <exception cref="OfficialStopException">JSONDecodeError.</exception>
    public static JsonElement Parse(string text)
    {
        try
        {
            using var document = JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 512 });
            return document.RootElement.Clone() is var value
                && (!text.Contains("\\ud", StringComparison.OrdinalIgnoreCase) || IsText(value)) ? value
                : throw new OfficialStopException("UnicodeEncodeError",
                    "it holds half of a character (\\ud800 to \\udfff alone)");
        }
        catch (JsonException e)
        {
            throw new OfficialStopException("JSONDecodeError", e.Message.Split(" LineNumber")[0].TrimEnd('.'));
        }
    }

    private static bool IsText(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Array => value.EnumerateArray().All(IsText),
        JsonValueKind.Object =>
            value.EnumerateObject().All(member => IsText(() => member.Name) && IsText(member.Value)),
        JsonValueKind.String => IsText(() => value.GetString()),
        _ => true,
    };

    private static bool IsText(Func<string?> read)
    {
        try
        {
            return read() is not null;
        }
        catch (InvalidOperationException)
        {
            return false;
        }
    }

    /// <summary>json.dumps(value): keys in their order, the last of equal keys.</summary>
    public static string Dumps(JsonElement value)
    {
        var text = new StringBuilder();
        Write(text, value);
        return text.ToString();
    }

    /// <summary>A text in quotes as json.dumps writes it.</summary>
    public static string Quote(string text) => Escaped(text, slash: false, rawDelete: false);

    /// <summary>A text in quotes as pandas writes it.</summary>
    public static string PandasQuote(string text) => Escaped(text, slash: true, rawDelete: true);

    private static void Write(StringBuilder text, JsonElement value)
    {
        switch (value.ValueKind)
        {
            case JsonValueKind.Object:
                var members = new OrderedDictionary<string, JsonElement>();
                foreach (var member in value.EnumerateObject())
                {
                    members[member.Name] = member.Value;
                }

                Join(text, '{', '}', members, member =>
                {
                    text.Append(Quote(member.Key)).Append(": ");
                    Write(text, member.Value);
                });
                break;
            case JsonValueKind.Array:
                Join(text, '[', ']', value.EnumerateArray(), item => Write(text, item));
                break;
            case JsonValueKind.String:
                text.Append(Quote(value.GetString()!));
                break;
            case JsonValueKind.Number:
                var raw = value.GetRawText();
                text.Append(raw.AsSpan().IndexOfAny('.', 'e', 'E') < 0 ? raw == "-0" ? "0" : raw
                    : PythonNumber.Json(double.Parse(raw, NumberStyles.Float, CultureInfo.InvariantCulture)));
                break;
            default:
                text.Append(value.GetRawText());
                break;
        }
    }

    private static void Join<T>(StringBuilder text, char open, char close, IEnumerable<T> items, Action<T> write)
    {
        text.Append(open);
        foreach (var (i, item) in items.Index())
        {
            text.Append(i == 0 ? "" : ", ");
            write(item);
        }

        text.Append(close);
    }

    private static string Escaped(string value, bool slash, bool rawDelete)
    {
        var text = new StringBuilder("\"", value.Length + 2);
        foreach (var c in value)
        {
            _ = c switch
            {
                '"' => text.Append("\\\""),
                '\\' => text.Append("\\\\"),
                '/' when slash => text.Append("\\/"),
                '\b' => text.Append("\\b"),
                '\f' => text.Append("\\f"),
                '\n' => text.Append("\\n"),
                '\r' => text.Append("\\r"),
                '\t' => text.Append("\\t"),
                >= ' ' and <= '~' => text.Append(c),
                '\u007f' when rawDelete => text.Append(c),
                _ => text.Append("\\u").Append(((int)c).ToString("x4", CultureInfo.InvariantCulture)),
            };
        }

        return text.Append('"').ToString();
    }
}
