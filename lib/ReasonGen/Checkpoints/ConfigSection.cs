using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Checkpoints;

/// <summary>One object of a model's config.json, read with errors that say where they are. Null counts as absent.</summary>
internal sealed record ConfigSection(string Path, string Name, JObject Json)
{
    /// <exception cref="CheckpointException">There is no such file, or it holds no JSON object.</exception>
    internal static ConfigSection Read(string path)
    {
        try
        {
            return new(path, "", JObject.Parse(File.ReadAllText(path)));
        }
        catch (JsonException e)
        {
            throw new CheckpointException(path, $"it is no JSON object: {e.Message.TrimEnd('.')}", "download the file again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    /// <summary>An inner object; an empty one where it is absent.</summary>
    internal ConfigSection this[string key] => Get(key) switch
    {
        JObject inner => new(Path, $"{Name}{key}.", inner),
        null => new(Path, $"{Name}{key}.", []),
        var other => throw Wrong(key, other, "an object"),
    };

    internal bool Has(string key) => Get(key) is not null;

    internal int Integer(string key, int otherwise = 0) => Get(key) switch
    {
        null => otherwise,
        { } value when IsNumber(value) && (double)value is >= 0 and <= int.MaxValue and var number && number == Math.Floor(number) => (int)number,
        var value => throw Wrong(key, value, "a whole number of at least 0"),
    };

    internal double Number(string key, double otherwise) => Get(key) switch
    {
        null => otherwise,
        { } value when IsNumber(value) && (double)value > 0 => (double)value,
        var value => throw Wrong(key, value, "a number above 0"),
    };

    internal string Text(string key, string otherwise) => Get(key) switch
    {
        null => otherwise,
        { Type: JTokenType.String } text => (string)text!,
        var value => throw Wrong(key, value, "text"),
    };

    internal IReadOnlyList<int> Integers(string key, IReadOnlyList<int> otherwise) => Get(key) switch
    {
        null => otherwise,
        JArray list when list.All(item => item.Type == JTokenType.Integer && (double)item is > 0 and < 1000) => [.. list.Select(item => (int)item)],
        var value => throw Wrong(key, value, "a list of whole numbers above 0"),
    };

    /// <summary>Only one value is implemented; null stands for none at all.</summary>
    internal void Expect(string key, JToken? only)
    {
        if (Get(key) is { } value && (only is null
            || !(JToken.DeepEquals(value, only) || (IsNumber(value) && IsNumber(only) && (double)value == (double)only))))
        {
            throw Wrong(key, value, only is null ? "nothing" : $"{only.ToString(Formatting.None)}, the only value that is implemented");
        }
    }

    private static bool IsNumber(JToken value) => value.Type is JTokenType.Integer or JTokenType.Float;

    private JToken? Get(string key) => Json[key] is { Type: not JTokenType.Null } value ? value : null;

    private CheckpointException Wrong(string key, JToken value, string right) => new(Path,
        $"its '{Name}{key}' is {value.ToString(Formatting.None)} where there should be {right}",
        "check that the configuration is of this model, or download it again");
}
