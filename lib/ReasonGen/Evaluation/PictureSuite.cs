// Folders in which the benchmarks' own scripts look for pictures (ReasonGen-R1: benchmark/generate_inference_{geneval,dpg}.py):
//   GenEval    {index, 5 digits}/metadata.jsonl, samples/{0000 …}.png, cots/{0000 …}.txt
//   DPG-Bench  generated_images/{name}.png, all pictures of a prompt as one square, row by row
// Deviations: 1. cots hold the rationale alone, without the prompt before it. 2. Surplus files are left alone. 3. Rationales of DPG-Bench are kept,
//   in cots/{name}. 4. Any number of processes share the work prompt by prompt.
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Text;

namespace ReasonGen.Evaluation;

/// <summary>One prompt of a suite.</summary>
/// <param name="Index">Its place, from 0.</param>
/// <param name="Name">Its name among the claims.</param>
/// <param name="Prompt">What is drawn, without "a photo of".</param>
/// <param name="Pictures">Picture files below the suite's folder.</param>
/// <param name="Rationales">Rationale files below the suite's folder, one a picture drawn.</param>
/// <param name="Extra">A file that belongs to it, and its text; null for none.</param>
public sealed record SuiteItem(
    int Index, string Name, string Prompt, string[] Pictures, string[] Rationales, (string File, string Text)? Extra = null);

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

/// <summary>Prompts and the folder that their pictures fill: resumable, and safe against several processes at once.</summary>
public sealed class PictureSuite
{
    private const string SettingsFile = "generation.json", ClaimFolder = ".claims";

    private PictureSuite(string folder, int perPrompt, IEnumerable<SuiteItem> items) => (Folder, PerPrompt, Items) = (folder, perPrompt, [.. items]);

    public string Folder { get; }

    /// <summary>Pictures drawn of each prompt.</summary>
    public int PerPrompt { get; }

    public IReadOnlyList<SuiteItem> Items { get; }

    /// <summary>Age at which another process's claim counts as left behind. Default 10 minutes.</summary>
    public TimeSpan ClaimExpiry { get; init; } = TimeSpan.FromMinutes(10);

    /// <summary>One prompt: {0000 …}.png and {0000 …}.txt in the folder itself.</summary>
    public static PictureSuite Single(string prompt, string folder, int perPrompt) =>
        new(folder, perPrompt, [new(0, "pictures", prompt, Numbered("", ".png", perPrompt), Numbered("", ".txt", perPrompt))]);

    /// <summary>GenEval's layout for evaluation_metadata.jsonl, or for a text file with a prompt a line.</summary>
    /// <exception cref="CheckpointException">The file is missing, empty or damaged.</exception>
    public static PictureSuite GenEval(string file, string folder, int perPrompt)
    {
        var lines = ReadText(file).Split('\n').Select(line => line.Trim()).ToArray();
        var json = lines.Any(line => line.StartsWith('{')) || Path.GetExtension(file) is ".jsonl" or ".json";
        return new(folder, perPrompt, Some(lines.Index().Where(line => line.Item.Length > 0), file, "holds no prompt").Select((line, index) =>
        {
            var metadata = json ? line.Item : "{\"prompt\": " + JsonConvert.ToString(line.Item) + "}";
            var name = $"{index:00000}";
            return new SuiteItem(index, name, PromptTemplate.Subject(PromptOf(metadata, file, line.Index + 1)),
                Numbered($"{name}/samples/", ".png", perPrompt), Numbered($"{name}/cots/", ".txt", perPrompt), ($"{name}/metadata.jsonl", metadata));
        }));
    }

    /// <summary>DPG-Bench's layout for a folder of text files, one a prompt.</summary>
    /// <exception cref="CheckpointException">The folder is missing or holds no text file.</exception>
    /// <exception cref="ArgumentException">The pictures of a prompt do not form a square.</exception>
    public static PictureSuite Dpg(string prompts, string folder, int perPrompt)
    {
        if (Pictures.SquareSide(perPrompt) is null)
        {
            throw new ArgumentException($"DPG-Bench puts the pictures of a prompt into a square, 4 of them as published; {perPrompt} form none");
        }

        var files = Directory.Exists(prompts) ? Directory.GetFiles(prompts, "*.txt").Order(StringComparer.Ordinal) : Enumerable.Empty<string>();
        return new(folder, perPrompt, Some(files, prompts, "is no folder with a text file (*.txt) a prompt").Select((file, index) =>
        {
            var name = Path.GetFileNameWithoutExtension(file);
            return new SuiteItem(index, name, PythonText.Strip(ReadText(file).Replace("A photo of", "")),
                [$"generated_images/{name}.png"], Numbered($"cots/{name}/", ".txt", perPrompt));
        }));
    }

    /// <summary>Whether all pictures of a prompt are there.</summary>
    public bool IsDone(SuiteItem item) => item.Pictures.All(file => File.Exists(Path.Combine(Folder, file)));

    /// <summary>Finds out, before a model is loaded, whether the folder can be filled.</summary>
    /// <exception cref="CheckpointException">The folder cannot be written.</exception>
    public void CheckWritable() => WorkClaim.TryTake(Path.Combine(Folder, ClaimFolder), $".{Guid.NewGuid():N}", ClaimExpiry)?.Dispose();

    /// <summary>Records how the pictures are made, or checks that those already there were made in the same way.</summary>
    /// <param name="settings">All that decides what is drawn.</param>
    /// <param name="about">Revision, command and whatever else is worth keeping.</param>
    /// <exception cref="CheckpointException">The folder cannot be written, or was filled with other settings.</exception>
    public void Begin(JObject settings, JObject about)
    {
        var bytes = Encoding.UTF8.GetBytes(new JObject { ["settings"] = settings, ["about"] = about }.ToString());
        Write(SettingsFile, bytes, overwrite: false);
        var found = ReadSettings(Path.Combine(Folder, SettingsFile));
        string[] different = [.. settings.Properties().Where(p => Plain(p.Value) != Plain(found[p.Name]))
            .Select(p => $"{p.Name} is {Plain(p.Value)} and was {Plain(found[p.Name])}")];
        if (different.Length > 0 && !Items.Any(IsDone) && Directory.GetFiles(Path.Combine(Folder, ClaimFolder)).Length == 0)
        {
            Write(SettingsFile, bytes); // nothing was drawn with them
        }
        else if (different.Length > 0)
        {
            throw new CheckpointException(Folder, $"its pictures were made with other settings: {string.Join("; ", different)}",
                "choose another output folder, or repeat those settings");
        }
    }

    /// <summary>Draws what is missing, prompt by prompt.</summary>
    /// <param name="draw">Makes the pictures and rationales of a prompt; the claim it is given wants to be touched often.</param>
    public IEnumerable<SuiteStep> Fill(Func<SuiteItem, WorkClaim, (IReadOnlyList<Picture> Pictures, IReadOnlyList<string> Rationales)> draw)
    {
        foreach (var item in Items)
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            yield return new(item, IsDone(item) ? SuiteOutcome.Found : Draw(item, draw), watch.Elapsed.TotalSeconds);
        }
    }

    private SuiteOutcome Draw(SuiteItem item, Func<SuiteItem, WorkClaim, (IReadOnlyList<Picture> Pictures, IReadOnlyList<string> Rationales)> draw)
    {
        using var claim = WorkClaim.TryTake(Path.Combine(Folder, ClaimFolder), item.Name, ClaimExpiry);
        if (claim is null || IsDone(item)) // finished by another process just before it was claimed
        {
            return claim is null ? SuiteOutcome.Taken : SuiteOutcome.Found;
        }

        var (pictures, rationales) = draw(item, claim);
        if (item.Extra is { } extra)
        {
            Write(extra.File, Encoding.UTF8.GetBytes(extra.Text));
        }

        foreach (var (i, rationale) in rationales.Index().Where(r => r.Item.Length > 0))
        {
            Write(item.Rationales[i], Encoding.UTF8.GetBytes(rationale));
        }

        // pictures last: they are what makes a prompt done
        foreach (var (file, picture) in item.Pictures.Zip(item.Pictures.Length == pictures.Count ? pictures : [Core.Pictures.Grid(pictures)]))
        {
            Write(file, Png.Encode(picture));
        }

        return SuiteOutcome.Drawn;
    }

    // A file appears whole or not at all.
    private void Write(string file, byte[] bytes, bool overwrite = true)
    {
        var path = Path.Combine(Folder, file);
        var temporary = Path.Combine(Path.GetDirectoryName(path)!, $".{Path.GetFileName(path)}.{Guid.NewGuid():N}.tmp");
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(temporary, bytes);
            File.Move(temporary, path, overwrite);
        }
        catch (IOException) when (!overwrite && File.Exists(path))
        {
            File.Delete(temporary);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, $"it could not be written: {e.Message.TrimEnd('.')}", 
                "free space or choose a folder that can be written; what was written before is intact", e);
        }
    }

    private static string[] Numbered(string prefix, string extension, int count) =>
        [.. Enumerable.Range(0, count).Select(i => $"{prefix}{i:0000}{extension}")];

    private static IEnumerable<T> Some<T>(IEnumerable<T> items, string path, string otherwise) => items.Any() ? items
        : throw new CheckpointException(path, $"it {otherwise}",
            "give GenEval's evaluation_metadata.jsonl, a text file with a prompt a line, or DPG-Bench's folder of prompts");

    private static string PromptOf(string line, string file, int number)
    {
        try
        {
            return (string?)JObject.Parse(line)["prompt"] is { Length: > 0 } prompt ? prompt : throw new JsonException("it has no text \"prompt\"");
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            throw new CheckpointException(file, $"line {number} is no prompt of GenEval: {e.Message.TrimEnd('.')}",
                "write a JSON object with \"prompt\" on every line, or plain text on every line", e);
        }
    }

    private static string Plain(JToken? value) => value?.ToString(Formatting.None) ?? "not set";

    private static JObject ReadSettings(string path)
    {
        try
        {
            return JObject.Parse(ReadText(path))["settings"] as JObject ?? throw new JsonException("it has no settings");
        }
        catch (JsonException e)
        {
            throw new CheckpointException(path, "it does not hold the settings of earlier pictures",
                "choose another output folder, or remove the file", e);
        }
    }

    private static string ReadText(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(path, $"it cannot be read: {e.Message.TrimEnd('.')}", "check the path", e);
        }
    }
}
