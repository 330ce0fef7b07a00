using System.Text.RegularExpressions;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Notebooks;

/// <summary>A notebook file (nbformat 4).</summary>
public sealed partial class NotebookFile
{
    private readonly JObject root;

    private NotebookFile(string path, JObject root) => (Path, this.root) = (path, root);

    public string Path { get; }

    /// <summary>The cells, as they stand in the file.</summary>
    public IEnumerable<JObject> Cells => root["cells"]!.Cast<JObject>();

    /// <summary>The first heading of the first text cell, or the file's name.</summary>
    public string Title => Cells.Where(cell => (string?)cell["cell_type"] == "markdown").Select(Source)
        .SelectMany(text => text.Split('\n')).FirstOrDefault(line => line.StartsWith("# "))?[2..].Trim() ?? System.IO.Path.GetFileNameWithoutExtension(Path);

    /// <exception cref="UsageException">The file is missing, or is no notebook.</exception>
    public static NotebookFile Read(string path)
    {
        try
        {
            var root = JObject.Parse(File.ReadAllText(path));
            return root["cells"] is JArray cells && cells.All(cell => cell is JObject o && o["cell_type"] is JValue && o["source"] is not null)
                ? new NotebookFile(path, root)
                : throw new UsageException($"{path} is not a notebook: it has no list of cells with type and source. Restore it from the repository.");
        }
        catch (JsonException e)
        {
            throw new UsageException($"{path} is damaged: {e.Message} Restore it from the repository.");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"{path} cannot be read: {e.Message}");
        }
    }

    /// <summary>Text of a cell, whether it is stored whole or in lines.</summary>
    public static string Source(JObject cell) => cell["source"] is JArray lines ? string.Concat(lines.Select(line => (string?)line)) : (string?)cell["source"] ?? "";

    /// <summary>Tag of the cell that <see cref="SetParameters"/> puts in.</summary>
    public const string Injected = "injected-parameters";

    /// <summary>Whether a cell carries a tag.</summary>
    public static bool HasTag(JObject cell, string tag) => cell["metadata"]?["tags"] is JArray tags && tags.Any(own => (string?)own == tag);

    /// <summary>Parameters of the cell tagged "parameters": name and default as written.</summary>
    public IReadOnlyDictionary<string, string> Parameters()
    {
        var cell = Cells.FirstOrDefault(cell => HasTag(cell, "parameters"));
        return cell is null ? new Dictionary<string, string>()
            : Assignment().Matches(Source(cell)).ToDictionary(match => match.Groups[1].Value, match => match.Groups[2].Value.Trim());
    }

    /// <summary>Puts a cell behind the parameters' that sets those given; others are left alone.</summary>
    /// <exception cref="UsageException">A value does not fit the parameter's type.</exception>
    public void SetParameters(IReadOnlyDictionary<string, string> values)
    {
        var own = Parameters();
        string[] lines = [.. values.Where(pair => own.ContainsKey(pair.Key)).Select(pair => $"{pair.Key} = {Literal(pair.Key, pair.Value, own[pair.Key])};")];
        if (lines.Length > 0)
        {
            var cell = Cells.First(cell => HasTag(cell, "parameters"));
            cell.AddAfterSelf(new JObject
            {
                ["cell_type"] = "code", ["execution_count"] = null, ["metadata"] = new JObject { ["tags"] = new JArray(Injected) },
                ["outputs"] = new JArray(), ["source"] = "// given on the command line\n" + string.Join('\n', lines),
            });
        }
    }

    /// <summary>Writes the notebook, whole or not at all.</summary>
    public void Write(string path)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!);
        File.WriteAllText(path + ".tmp", root.ToString(Formatting.Indented).Replace("\r\n", "\n") + "\n");
        File.Move(path + ".tmp", path, overwrite: true);
    }

    private static string Literal(string name, string value, string original)
    {
        if (original.StartsWith('"'))
        {
            return JsonConvert.ToString(value);
        }

        return bool.TryParse(value, out var flag) ? flag.ToString().ToLowerInvariant()
            : double.TryParse(value, System.Globalization.CultureInfo.InvariantCulture, out _) ? value
            : throw new UsageException($"the parameter {name} is a number or true/false (its default is {original}), not '{value}'");
    }

    [GeneratedRegex(@"^\s*(?:var|string|int|long|double|bool)\s+(\w+)\s*=\s*([^;]+);", RegexOptions.Multiline)]
    private static partial Regex Assignment();
}
