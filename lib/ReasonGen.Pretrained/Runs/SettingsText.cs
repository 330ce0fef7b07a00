using System.Collections;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Xml;
using System.Xml.Linq;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using YamlDotNet.Core;
using YamlDotNet.Core.Events;

namespace ReasonGen.Runs;

/// <summary>Settings as people read and write them: files in json or YAML, and their documentation.</summary>
public static class SettingsText
{
    private const int Depth = 64;

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
            var settings = (yaml ? Yaml(text) : PlainJson.Parse(text, Depth)) as JObject
                ?? throw new FormatException("it holds no object of settings, such as {\"grpo\": {\"learningRate\": "
                    + "1e-5}}");
            ExpectOnce(settings);
            return settings;
        }
        catch (Exception e)
            when (e is JsonException or YamlException or FormatException or InvalidOperationException) // YamlDotNet's
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

    // whatever its case, and whether by a full stop or in a group; a group that is one value has no others
    private static void ExpectOnce(JObject settings)
    {
        string[] paths = [.. Settings.Leaves(settings).Where(leaf => leaf.Text != Settings.Empty)
            .Select(leaf => leaf.Path)];
        var once = new HashSet<string>(StringComparer.OrdinalIgnoreCase);
        if ((paths.FirstOrDefault(path => !once.Add(path))
            ?? paths.FirstOrDefault(path => path.Contains('.') && once.Contains(path.Split('.', 2)[0]))) is { } twice)
        {
            throw new FormatException($"'{twice}' stands in it twice; another case, or full stops instead of groups, "
                + "make no other name");
        }
    }

    // event by event, since a file may nest as deep as it likes
    private static JToken Yaml(string text)
    {
        var parser = new Parser(new StringReader(text));
        parser.Consume<StreamStart>();
        if (!parser.TryConsume<DocumentStart>(out _))
        {
            throw new FormatException("it is empty");
        }

        var token = Token(parser, 0);
        parser.Consume<DocumentEnd>();
        return parser.Accept<StreamEnd>(out _) ? token
            : throw new FormatException("it holds several documents of YAML");
    }

    // a plain null or ~ is null; every other scalar keeps its text, which the setting's type reads
    private static JToken Token(Parser parser, int depth)
    {
        if (depth > Depth)
        {
            throw new FormatException($"it is nested deeper than {Depth} times");
        }

        if (parser.TryConsume<MappingStart>(out _))
        {
            var map = new JObject();
            while (!parser.TryConsume<MappingEnd>(out _))
            {
                var name = parser.TryConsume<Scalar>(out var key) ? key.Value
                    : throw new FormatException("a name in it is no text");
                if (!map.TryAdd(name, Token(parser, depth + 1)))
                {
                    throw new FormatException($"'{name}' stands in it twice");
                }
            }

            return map;
        }

        if (parser.TryConsume<SequenceStart>(out _))
        {
            var list = new JArray();
            while (!parser.TryConsume<SequenceEnd>(out _))
            {
                list.Add(Token(parser, depth + 1));
            }

            return list;
        }

        return !parser.TryConsume<Scalar>(out var scalar) ? throw new FormatException("it refers to a part by an alias")
            : scalar is { Style: ScalarStyle.Plain, Value: "" or "null" or "~" } ? JValue.CreateNull()
            : new JValue(scalar.Value);
    }
}
