// Which images GenEval's script scores (evaluate_images.py): folders whose name is digits, metadata.jsonl in each, and
// below samples every file whose
// name BEGINS with digits and ".png".
// Deviation: the script stops at the first folder that is damaged, and all is lost; here each is named and counted, and
// the others are scored.
using System.Text;
using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>One image to be scored.</summary>
/// <param name="FileName">Its path as the official script writes it.</param>
/// <param name="Path">Where it is.</param>
/// <param name="Metadata">What its prompt asks for.</param>
public sealed record GenEvalImage(string FileName, string Path, JsonElement Metadata)
{
    public string Tag => Metadata.GetProperty("tag").GetString()!;

    public string Prompt => Metadata.GetProperty("prompt").GetString()!;
}

/// <summary>A folder or image that cannot be scored.</summary>
/// <param name="Where">Its path.</param>
/// <param name="Cause">What is wrong.</param>
/// <param name="Official">The Python error at which the official script stops.</param>
public sealed record ScoringProblem(string Where, string Cause, string Official);

/// <summary>A folder in GenEval's layout.</summary>
public sealed record GenEvalFolder(IReadOnlyList<GenEvalImage> Images, IReadOnlyList<ScoringProblem> Problems)
{
    /// <summary>Looks through a folder.</summary>
    /// <param name="folder">The folder as it is to stand before file names.</param>
    /// <param name="list">Names in a folder, in the order of the results; by default sorted.</param>
    /// <exception cref="UnusableFileException">The folder is missing.</exception>
    public static GenEvalFolder Open(string folder, Func<string, IEnumerable<string>>? list = null)
    {
        list ??= path => Directory.GetFileSystemEntries(path).Select(entry => Path.GetFileName(entry))
            .Order(StringComparer.Ordinal);
        if (!Directory.Exists(folder))
        {
            throw new UnusableFileException(folder, "it is no folder",
                "give the folder that holds 00000, 00001, … as 'reasongen generate --prompts' fills it");
        }

        List<GenEvalImage> images = [];
        List<ScoringProblem> problems = [];
        foreach (var name in list(folder).Where(name => PythonNumber.IsDigits(name)
            && Directory.Exists(Path.Combine(folder, name))))
        {
            var own = (folder.EndsWith('/') ? folder : folder + "/") + name;
            try
            {
                var metadata = ReadMetadata(Path.Combine(folder, name, "metadata.jsonl"));
                var samples = Path.Combine(folder, name, "samples");
                if (!Directory.Exists(samples))
                {
                    throw new OfficialStopException("FileNotFoundError", "it has no folder samples");
                }

                images.AddRange(list(samples).Where(file => IsImage(file) && File.Exists(Path.Combine(samples, file)))
                    .Select(file => new GenEvalImage($"{own}/samples/{file}", Path.Combine(samples, file), metadata)));
            }
            catch (OfficialStopException stop)
            {
                problems.Add(new(own, stop.Cause, stop.Kind));
            }
        }

        return new(images, problems);
    }

    private static bool IsImage(string name) => PythonNumber.LeadingDigits(name) is > 0 and var digits
        && name.AsSpan(digits).StartsWith(".png", StringComparison.Ordinal);

    private static JsonElement ReadMetadata(string path)
    {
        if (!File.Exists(path))
        {
            throw new OfficialStopException("FileNotFoundError", "it has no metadata.jsonl");
        }

        string text;
        try
        {
            text = TextFile.Read(path);
        }
        catch (UnusableFileException e)
        {
            throw new OfficialStopException(e.InnerException is DecoderFallbackException ? "UnicodeDecodeError"
                : "OSError", $"metadata.jsonl cannot be read: {e.Message.TrimEnd('.')}");
        }

        var metadata = PythonJson.Parse(text);
        if (metadata.ValueKind != JsonValueKind.Object)
        {
            throw new OfficialStopException("TypeError", "metadata.jsonl is no JSON object");
        }

        foreach (var key in (string[])["tag", "prompt"])
        {
            _ = metadata.TryGetProperty(key, out var value) && value.ValueKind == JsonValueKind.String ? value
                : throw new OfficialStopException("KeyError", $"metadata.jsonl has no text \"{key}\"");
        }

        return metadata;
    }
}
