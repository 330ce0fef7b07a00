using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Files;

/// <summary>Json as it stands: a text that looks like a date stays that text, and a name that comes twice is a
/// mistake.</summary>
internal static class PlainJson
{
    /// <summary>How deep json may be nested.</summary>
    internal const int Depth = 500;

    private static readonly JsonLoadSettings Settings =
        new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error };

    /// <exception cref="JsonException">It is no json, or something follows it.</exception>
    internal static JToken Parse(string text)
    {
        using var reader =
            new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None, MaxDepth = Depth };
        var token = JToken.Load(reader, Settings);
        return reader.Read() ? throw new JsonReaderException("there is more behind its end") : token;
    }
}
