using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Scoring;

namespace ReasonGen.TrainingData;

/// <summary>Lines of a file of prompts, and which of the two kinds they are of: plain text, or json objects as in
/// GenEval's metadata. One rule for drawing and for training.</summary>
internal static class PromptLines
{
    private static readonly string[] Tables = [".csv", ".tsv", ".parquet", ".xlsx"];

    /// <summary>Reads a file.</summary>
    /// <returns>Its lines up to the last that says anything, without blanks and byte order marks around them (a file of
    /// several that were joined has marks in its middle), and whether they are json: one begins with a brace, or the
    /// file is named so.</returns>
    /// <exception cref="UnusableFileException">It cannot be read, is a table, or one json array.</exception>
    internal static (string[] Lines, bool Json) Read(string path)
    {
        const string remedy = "write a prompt a line (.txt), or a json object with \"prompt\" a line (.jsonl)";
        var kind = Path.GetExtension(path).ToLowerInvariant();
        if (Tables.Contains(kind))
        {
            throw new UnusableFileException(path,
                $"it is a table ({kind}), and which column holds prompts is not known", remedy);
        }

        var text = TextFile.Read(path).TrimEnd();
        var all = text.TrimStart();
        if (all.StartsWith('[') && all.EndsWith(']') && all[1..].TrimStart() is ['{' or '"' or ']', ..])
        {
            throw new UnusableFileException(path, "it is one json array", remedy);
        }

        string[] lines = [.. text.Split('\n').Select(line => line.Trim().Trim('\uFEFF').Trim())];
        return (lines, kind is ".jsonl" or ".json" || lines.Any(line => line.StartsWith('{')));
    }

    /// <summary>The object of a json line.</summary>
    /// <exception cref="JsonException">It is none, a name comes twice, or a text holds half of a character, which
    /// would be drawn as another.</exception>
    internal static JObject Object(string line)
    {
        try
        {
            // Newtonsoft puts U+FFFD in the place of half a character
            _ = line.Contains("\\ud", StringComparison.OrdinalIgnoreCase) ? PythonJson.Parse(line) : default;
        }
        catch (OfficialStopException stop)
        {
            throw new JsonException(stop.Cause, stop);
        }

        return PlainJson.Parse(line) as JObject ?? throw new JsonException("it is no object");
    }
}
