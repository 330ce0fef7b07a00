using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace ReasonGen.Runs;

/// <summary>Settings as people read and write them: files in json or YAML, and their documentation.</summary>
public static class SettingsText
{
    private const int Depth = 64, MostNodes = 10_000;

    /// <summary>Reads a file of settings, as <see cref="Settings.ToJson"/> writes them, or a part of them; YAML where
    /// its name ends in .yaml or
    /// .yml.</summary>
    /// <exception cref="UnusableFileException">It cannot be read, or is no object of settings.</exception>
    public static JObject Read(string path)
    {
        var text = TextFile.Read(path);
        try
        {
            var yaml = Path.GetExtension(path).ToLowerInvariant() is ".yaml" or ".yml";
            return (yaml ? Yaml(text) : Json(text)) as JObject
                ?? throw new FormatException("it holds no object of settings, such as {\"grpo\": {\"learningRate\": "
                    + "1e-5}}");
        }
        catch (Exception e) when (e is JsonException or YamlException or FormatException)
        {
            throw new UnusableFileException(path, $"it is no file of settings: {e.Message.TrimEnd('.')}",
                "write json, or YAML in a file named .yaml; settings.json of a run is an example", e);
        }
    }

    /// <summary>Each setting with its value and what it means, from the records' own documentation, in lines of at most
    /// <paramref name="width"/>
    /// columns.</summary>
    public static string Help(Settings settings, int width = 100)
    {
        var text = new StringBuilder();
        var documents = new Dictionary<Assembly, XDocument?>();
        foreach (var group in settings.All.GroupBy(setting => setting.Path.Contains('.')
            ? setting.Path[..setting.Path.IndexOf('.')] : ""))
        {
            text.Append(text.Length == 0 ? "" : "\n");
            foreach (var setting in group)
            {
                text.Append(CultureInfo.InvariantCulture, $"{setting.Path} = {Written(setting.Value)}\n");
                var kind = Nullable.GetUnderlyingType(setting.Property.PropertyType) ?? setting.Property.PropertyType;
                foreach (var line in Wrap($"{Documentation(setting.Property, documents)} ({Settings.Meaning(kind)})",
                    width - 4))
                {
                    text.Append("    ").Append(line).Append('\n');
                }
            }
        }

        return text.ToString();
    }

    /// <summary>What the documentation of a property says; empty where it lies nowhere.</summary>
    internal static string Documentation(PropertyInfo property, Dictionary<Assembly, XDocument?> documents)
    {
        var assembly = property.DeclaringType!.Assembly;
        if (!documents.TryGetValue(assembly, out var document))
        {
            var path = Path.ChangeExtension(assembly.Location, ".xml");
            documents[assembly] = document = File.Exists(path) ? XDocument.Load(path) : null;
        }

        var name = $"P:{property.DeclaringType.FullName}.{property.Name}";
        var summary = document?.Root?.Element("members")?.Elements("member")
            .FirstOrDefault(member => (string?)member.Attribute("name") == name)
            ?.Element("summary");
        return summary is null ? "" : string.Join(' ', string.Concat(summary.Nodes().Select(Plain))
            .Split(default(char[]), StringSplitOptions.RemoveEmptyEntries));
    }

    // a reference to another member is its name
    private static string Plain(XNode node) => node switch
    {
        XText text => text.Value,
        XElement element when (string?)element.Attribute("cref") is { } cref => cref.Split('(')[0].Split('.', ':')[^1],
        XElement element => element.Value,
        _ => "",
    };

    private static string Written(object? value) => value switch
    {
        null => "null",
        bool flag => flag ? "true" : "false",
        IEnumerable list and not string => string.Join(",", list.Cast<object>()),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value.ToString()!,
    };

    private static IEnumerable<string> Wrap(string text, int width)
    {
        var line = "";
        foreach (var word in text.Trim().Split(' '))
        {
            if (line.Length > 0 && line.Length + 1 + word.Length > width)
            {
                yield return line;
                line = "";
            }

            line += line.Length == 0 ? word : $" {word}";
        }

        yield return line;
    }

    private static JToken Json(string text)
    {
        using var reader = new JsonTextReader(new StringReader(text)) { DateParseHandling = DateParseHandling.None,
            MaxDepth = Depth };
        var token = JToken.Load(reader,
            new JsonLoadSettings { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
        return reader.Read() ? throw new FormatException("there is more behind its end") : token;
    }

    private static JToken? Yaml(string text)
    {
        var stream = new YamlStream();
        stream.Load(new StringReader(text));
        var nodes = 0; // an alias may stand for as much as it likes
        return stream.Documents.Count == 1 ? Token(stream.Documents[0].RootNode, 0, ref nodes)
            : throw new FormatException($"it holds {stream.Documents.Count} documents of YAML, not one");
    }

    // a plain null or ~ is null; every other scalar keeps its text, which the setting's type reads
    private static JToken Token(YamlNode node, int depth, ref int nodes)
    {
        if (depth > Depth || ++nodes > MostNodes)
        {
            throw new FormatException("it is nested too deep, or holds more than any settings do");
        }

        switch (node)
        {
            case YamlMappingNode map:
                var json = new JObject();
                foreach (var (key, value) in map.Children)
                {
                    json.Add((key as YamlScalarNode)?.Value ?? throw new FormatException("a name in it is no text"),
                        Token(value, depth + 1, ref nodes));
                }

                return json;
            case YamlSequenceNode list:
                var items = new JArray();
                foreach (var item in list.Children)
                {
                    items.Add(Token(item, depth + 1, ref nodes));
                }

                return items;
            case YamlScalarNode scalar:
                return scalar is { Style: ScalarStyle.Plain, Value: null or "" or "null" or "~" } ? JValue.CreateNull()
                    : new JValue(scalar.Value);
            default:
                throw new FormatException("it refers to a node by an alias");
        }
    }
}
