using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Files;

/// <summary>Json as it stands: a text that looks like a date stays that text, and a name that comes twice is a
/// mistake.</summary>
internal static class PlainJson
{
    /// <summary>How deep json may be nested where nothing else is said.</summary>
    internal const int Depth = 500;

    private static readonly JsonLoadSettings Settings =
        new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error };

    /// <exception cref="JsonException">It is no json, nested too deeply, or something follows it.</exception>
    internal static JToken Parse(string text, int depth = Depth)
    {
        using var reader =
            new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None, MaxDepth = depth };
        var token = JToken.Load(reader, Settings);
        return reader.Read() ? throw new JsonReaderException("there is more behind its end") : token;
    }
}
