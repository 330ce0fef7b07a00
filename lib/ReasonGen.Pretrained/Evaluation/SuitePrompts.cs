using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.TrainingData;

namespace ReasonGen.Evaluation;

/// <summary>One prompt of a suite.</summary>
/// <param name="Index">Its place, from 0.</param>
/// <param name="Name">Its name, for people.</param>
/// <param name="Prompt">What is drawn, without "a photo of".</param>
/// <param name="Images">Image files below the suite's folder.</param>
/// <param name="Rationales">Rationale files below the suite's folder, one an image drawn.</param>
/// <param name="Extra">A file that belongs to it, and its text; null for none.</param>
public sealed record SuiteItem(
    int Index, string Name, string Prompt, string[] Images, string[] Rationales,
    (string File, string Text)? Extra = null);

/// <summary>What became of one prompt.</summary>
/// <param name="Item">The prompt.</param>
/// <param name="Outcome">Its outcome.</param>
/// <param name="Seconds">Wall clock it took.</param>
public sealed record SuiteStep(SuiteItem Item, SuiteOutcome Outcome, double Seconds);

public enum SuiteOutcome
{
    /// <summary>Drawn now.</summary>
    Drawn,

    /// <summary>Was there already.</summary>
    Found,

    /// <summary>Another process is at it.</summary>
    Taken,
}

public sealed partial class ImageSuite
{
    /// <summary>One prompt: {0000 …}.png and {0000 …}.txt in the folder itself.</summary>
    public static ImageSuite Single(string prompt, string folder, int perPrompt) =>
        new(folder, perPrompt,
            [new(0, "images", prompt, Numbered("", ".png", perPrompt), Numbered("", ".txt", perPrompt))]);

    /// <summary>GenEval's layout for evaluation_metadata.jsonl, or for a text file with a prompt a line.</summary>
    /// <exception cref="UnusableFileException">The file is missing, empty or damaged.</exception>
    public static ImageSuite GenEval(string file, string folder, int perPrompt)
    {
        var (lines, json) = PromptLines.Read(file);
        return new(folder, perPrompt,
            Some(lines.Where(_ => lines.Any(line => line.Length > 0)), file, "holds no prompt").Select((line, index) =>
        {
            var metadata = json ? line : "{\"prompt\": " + JsonConvert.ToString(line) + "}";
            var name = $"{index:00000}";
            var prompt = PromptTemplate.Subject(json && line.Length > 0 ? PromptOf(line, file, index + 1) : line);
            return new SuiteItem(index, name, Said(prompt, file, $"line {index + 1}"),
                Numbered($"{name}/samples/", ".png", perPrompt), Numbered($"{name}/cots/", ".txt", perPrompt),
                ($"{name}/metadata.jsonl", metadata));
        }));
    }

    /// <summary>DPG-Bench's layout for a folder of text files, one a prompt.</summary>
    /// <exception cref="UnusableFileException">The folder is missing or holds no text file.</exception>
    /// <exception cref="ArgumentException">The images of a prompt do not form a square.</exception>
    public static ImageSuite Dpg(string prompts, string folder, int perPrompt)
    {
        if (ImageTensors.SquareSide(perPrompt) is null)
        {
            throw new ArgumentException(
                $"DPG-Bench puts the images of a prompt into a square, 4 of them as published; {perPrompt} form none");
        }

        var all = Directory.Exists(prompts)
            ? Directory.GetFileSystemEntries(prompts).Order(StringComparer.Ordinal).ToArray() : [];
        var files = all.Where(file => Path.GetExtension(file) == ".txt" && !Directory.Exists(file)).ToArray();
        var items = Some(files, prompts, "is no folder with a text file (*.txt) a prompt").Select((file, index) =>
        {
            var name = Path.GetFileNameWithoutExtension(file);
            var cots = name is "" or "." or ".." ? $"{index:00000}" : name; // "..txt" would name the folder itself
            return new SuiteItem(index, name,
                Said(PromptTemplate.Subject(TextFile.Read(file)), file, "it"),
                [$"generated_images/{name}.png"], Numbered($"cots/{cots}/", ".txt", perPrompt));
        }).ToArray();
        if (items.GroupBy(item => item.Name, StringComparer.OrdinalIgnoreCase)
            .FirstOrDefault(same => same.Count() > 1) is { } twice
            && IgnoresCase(folder))
        {
            throw new UnusableFileException(prompts,
                $"{string.Join(" and ", twice.Select(item => item.Name + ".txt"))} differ in case alone, and their "
                + $"images would be one file in {folder}",
                "rename one, or choose an output folder that tells them apart");
        }

        return new(folder, perPrompt, items)
        {
            LeftOut = [.. all.Except(files).Select(file => Path.GetFileName(file))],
        };
    }

    private static string[] Numbered(string prefix, string extension, int count) =>
        [.. Enumerable.Range(0, count).Select(i => $"{prefix}{i:0000}{extension}")];

    private static IEnumerable<T> Some<T>(IEnumerable<T> items, string path, string otherwise) => items.Any() ? items
        : throw new UnusableFileException(path, $"it {otherwise}",
            "give GenEval's evaluation_metadata.jsonl, a text file with a prompt a line, or DPG-Bench's folder of "
            + "prompts");

    private static string Said(string prompt, string file, string where) => !string.IsNullOrWhiteSpace(prompt) ? prompt
        : throw new UnusableFileException(file, $"{where} holds no prompt", "write a prompt there, or take it out");

    private static string PromptOf(string line, string file, int number)
    {
        try
        {
            return PromptLines.Object(line)["prompt"] is JValue { Value: string prompt } ? prompt
                : throw new JsonException("it has no text \"prompt\"");
        }
        catch (JsonException e)
        {
            throw new UnusableFileException(file, $"line {number} is no prompt of GenEval: {e.Message.TrimEnd('.')}",
                "write a JSON object with \"prompt\" on every line, or plain text on every line", e);
        }
    }

    private static bool IgnoresCase(string folder)
    {
        for (var path = Path.GetFullPath(folder); path is not null; path = Path.GetDirectoryName(path))
        {
            if (Directory.Exists(path) && Path.GetFileName(path) is var name
                && name.ToUpperInvariant() != name.ToLowerInvariant())
            {
                var other = name.Any(char.IsLower) ? name.ToUpperInvariant() : name.ToLowerInvariant();
                return Directory.Exists(Path.Combine(Path.GetDirectoryName(path)!, other));
            }
        }

        return OperatingSystem.IsWindows() || OperatingSystem.IsMacOS();
    }
}
