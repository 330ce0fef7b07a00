// Folders in which the benchmarks' own scripts look for images (ReasonGen-R1:
// benchmark/generate_inference_{geneval,dpg}.py):
//   GenEval    {index, 5 digits}/metadata.jsonl, samples/{0000 …}.png, cots/{0000 …}.txt
//   DPG-Bench  generated_images/{name}.png, all images of a prompt as one square, row by row
// Deviations: 1. cots hold the rationale alone, without the prompt before it. 2. Surplus files are left alone. 3.
// Rationales of DPG-Bench are kept,
//   in cots/{name}. 4. Any number of processes share the work prompt by prompt. 5. What is there already is looked at,
//   not only for its name: an image
//   that is cut short is drawn again, one of another size, another prompt or other settings is refused.
using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Tokenizers;

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

/// <summary>Prompts and the folder that their images fill: resumable, and safe against several processes at
/// once.</summary>
public sealed class ImageSuite
{
    private const string SettingsFile = "generation.json", ClaimFolder = ".claims", PromptsSetting = "prompts_sha256";
    // which folders of version 0.3 lack
    private static readonly string[] NewSettings = [PromptsSetting, "weights_sha256"];
    private readonly HashSet<int> sound = [];

    private ImageSuite(string folder, int perPrompt, IEnumerable<SuiteItem> items) =>
        (Folder, PerPrompt, Items) = (folder, perPrompt, [.. items]);

    public string Folder { get; }

    /// <summary>Images drawn of each prompt.</summary>
    public int PerPrompt { get; }

    public IReadOnlyList<SuiteItem> Items { get; }

    /// <summary>Files of the prompts' folder that are no prompts.</summary>
    public IReadOnlyList<string> LeftOut { get; private init; } = [];

    /// <summary>Age at which the claim of a process on another host counts as left behind. Default 2 minutes.</summary>
    public TimeSpan ClaimExpiry { get; init; } = TimeSpan.FromMinutes(2);

    /// <summary>Pixels of each image that is drawn; null where it does not matter.</summary>
    public (int Width, int Height)? ImageSize { get; set; }

    /// <summary>Whether each image comes with a rationale, even an empty one. Default false.</summary>
    public bool WithRationales { get; set; }

    /// <summary>One prompt: {0000 …}.png and {0000 …}.txt in the folder itself.</summary>
    public static ImageSuite Single(string prompt, string folder, int perPrompt) =>
        new(folder, perPrompt,
            [new(0, "images", prompt, Numbered("", ".png", perPrompt), Numbered("", ".txt", perPrompt))]);

    /// <summary>GenEval's layout for evaluation_metadata.jsonl, or for a text file with a prompt a line.</summary>
    /// <exception cref="UnusableFileException">The file is missing, empty or damaged.</exception>
    public static ImageSuite GenEval(string file, string folder, int perPrompt)
    {
        var lines = TextFile.Read(file).TrimEnd().Split('\n').Select(line => line.Trim()).ToArray();
        var json = lines.Any(line => line.StartsWith('{')) || Path.GetExtension(file) is ".jsonl" or ".json";
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
                Said(PythonText.Strip(TextFile.Read(file).Replace("A photo of", "")), file, "it"),
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

    /// <summary>Whether all images of a prompt are there, each of them whole, and what belongs to them.</summary>
    /// <exception cref="UnusableFileException">An image cannot be read, or is of another size and so was made by
    /// something else.</exception>
    public bool IsDone(SuiteItem item)
    {
        var done =
            sound.Contains(item.Index) || (item.Images.All(IsSound) && (!WithRationales || item.Rationales.All(IsThere))
            && (item.Extra is not { } extra || IsThere(extra.File)));
        if (done)
        {
            sound.Add(item.Index);
        }

        return done;
    }

    /// <summary>Prompts of which an image is not there, by the names of the files alone.</summary>
    public IEnumerable<SuiteItem> Missing => Items.Where(item => !item.Images.All(IsThere));

    /// <summary>Finds out, before a model is loaded, whether the folder can be filled.</summary>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public void CheckWritable()
    {
        if (File.Exists(Folder))
        {
            throw new UnusableFileException(Folder, "it is a file, where a folder for images is wanted",
                "choose another output folder");
        }

        FileLease.TryTake(Path.Combine(Folder, ClaimFolder), $".{Guid.NewGuid():N}", ClaimExpiry)?.Dispose();
    }

    /// <summary>Removes the claims of processes that ended.</summary>
    public void Tidy() => FileLease.Sweep(Path.Combine(Folder, ClaimFolder), ClaimExpiry);

    /// <summary>Records how the images are made, or checks that those already there were made in the same
    /// way.</summary>
    /// <param name="settings">All that decides what is drawn; the prompts themselves are added.</param>
    /// <param name="about">Revision, command and whatever else is worth keeping.</param>
    /// <exception cref="UnusableFileException">
    /// The folder cannot be written, was filled with other settings or for other prompts, or holds images of which
    /// nothing is known.
    /// </exception>
    public void Begin(JObject settings, JObject about)
    {
        var prompts = string.Concat(Items.Select(item => $"{item.Name}\0{item.Prompt}\0{item.Extra?.Text}\0"));
        settings[PromptsSetting] = Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(prompts)))[..16];
        using var alone = Alone();
        var anyThere = Items.Any(item => item.Images.Any(IsThere));
        var path = Path.Combine(Folder, SettingsFile);
        var found = File.Exists(path) ? ReadSettings(path) : null;
        if (found is null && anyThere)
        {
            throw new UnusableFileException(Folder,
                $"it holds images, but no {SettingsFile} that says how they were made",
                "choose another output folder, or move those images away");
        }

        string[] different = found is null ? [] : [.. settings.Properties()
            .Where(p =>
                Plain(p.Value) != Plain(found[p.Name]) && (found[p.Name] is not null || !NewSettings.Contains(p.Name)))
            .Select(p =>
                p.Name == PromptsSetting ? "the prompts are others"
                    : $"{p.Name} is {Plain(p.Value)} and was {Plain(found[p.Name])}")];
        // one is our own
        if (different.Length > 0 && (anyThere || FileLease.Sweep(Path.Combine(Folder, ClaimFolder), ClaimExpiry) > 1))
        {
            throw new UnusableFileException(Folder,
                $"its images were made with other settings: {string.Join("; ", different)}",
                "choose another output folder, or repeat those settings");
        }

        foreach (var (file, text) in Items.Select(item => item.Extra).OfType<(string, string)>())
        {
            if (File.Exists(Path.Combine(Folder, file)) && ReadText(Path.Combine(Folder, file)) is var there
                && there != text)
            {
                throw new UnusableFileException(Path.Combine(Folder, file),
                    $"it belongs to another prompt: {there.Trim()}",
                    "choose another output folder, or give the prompts that it was filled with");
            }
        }

        if (found is null || different.Length > 0)
        {
            Write(SettingsFile,
                Encoding.UTF8.GetBytes(new JObject { ["settings"] = settings, ["about"] = about }.ToString()));
        }
    }

    /// <summary>Draws what is missing, prompt by prompt.</summary>
    /// <param name="draw">Makes the images and rationales of a prompt; the claim it is given wants to be touched
    /// often.</param>
    /// <param name="items">Some of the prompts; all of them when null.</param>
    public IEnumerable<SuiteStep> Fill(
        Func<SuiteItem, FileLease, (IReadOnlyList<RgbImage> Images, IReadOnlyList<string> Rationales)> draw,
        IReadOnlyList<SuiteItem>? items = null)
    {
        foreach (var item in items ?? Items)
        {
            var watch = System.Diagnostics.Stopwatch.StartNew();
            yield return new(item, IsDone(item) ? SuiteOutcome.Found : Draw(item, draw), watch.Elapsed.TotalSeconds);
        }
    }

    private SuiteOutcome Draw(SuiteItem item,
        Func<SuiteItem, FileLease, (IReadOnlyList<RgbImage> Images, IReadOnlyList<string> Rationales)> draw)
    {
        using var claim = FileLease.TryTake(Path.Combine(Folder, ClaimFolder), $"{item.Index:00000}", ClaimExpiry);
        if (claim is null || IsDone(item)) // finished by another process just before it was claimed
        {
            return claim is null ? SuiteOutcome.Taken : SuiteOutcome.Found;
        }

        var (images, rationales) = draw(item, claim);
        if (images.Count != PerPrompt || rationales.Count > item.Rationales.Length)
        {
            throw new InvalidOperationException(
                $"{images.Count} images were drawn of '{item.Name}'; {PerPrompt} were asked for");
        }

        if (item.Extra is { } extra)
        {
            Write(extra.File, Encoding.UTF8.GetBytes(extra.Text));
        }

        foreach (var (i, rationale) in rationales.Index().Where(r => WithRationales || r.Item.Length > 0))
        {
            Write(item.Rationales[i], Encoding.UTF8.GetBytes(rationale));
        }

        // images last: they are what makes a prompt done
        foreach (var (file, image) in item.Images.Zip(item.Images.Length == images.Count ? images
            : [ImageTensors.Grid(images)]))
        {
            Write(file, Png.Encode(image));
        }

        return SuiteOutcome.Drawn;
    }

    private FileLease Alone()
    {
        for (var until = DateTime.UtcNow.AddSeconds(30); ; Thread.Sleep(50))
        {
            if (FileLease.TryTake(Path.Combine(Folder, ClaimFolder), "settings", ClaimExpiry) is { } claim)
            {
                return claim;
            }

            if (DateTime.UtcNow > until)
            {
                throw new UnusableFileException(Folder, "another process has been at its settings for half a minute",
                    "end that one, or wait for it");
            }
        }
    }

    private bool IsThere(string file) => File.Exists(Path.Combine(Folder, file));

    private bool IsSound(string file)
    {
        var path = Path.Combine(Folder, file);
        try
        {
            if (!File.Exists(path) || Png.Measure(File.ReadAllBytes(path)) is not { } size)
            {
                return false; // cut short, or never there
            }

            var grid = Items[0].Images.Length == PerPrompt ? 1 : ImageTensors.SquareSide(PerPrompt)!.Value;
            return ImageSize is not var (width, height) || (width * grid, height * grid) == size ? true
                : throw new UnusableFileException(path,
                    $"it is there already, with {size.Width}x{size.Height} pixels; this model draws "
                    + $"{width * grid}x{height * grid}", "choose another output folder, or move it away");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"it is there already and cannot be read: {e.Message.TrimEnd('.')}",
                "choose another output folder, or move it away", e);
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

    // A file appears whole or not at all.
    private void Write(string file, byte[] bytes)
    {
        var path = Path.Combine(Folder, file);
        try
        {
            AtomicFile.Write(path, bytes);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"it could not be written: {e.Message.TrimEnd('.')}", 
                "free space or choose a folder that can be written; what was written before is intact", e);
        }
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
            using var reader =
                new JsonTextReader(new StringReader(line)) { DateParseHandling = DateParseHandling.None };
            var json =
                JObject.Load(reader, new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
            return reader.Read() ? throw new JsonException("something follows the object")
                : json["prompt"] is JValue { Value: string prompt } ? prompt
                    : throw new JsonException("it has no text \"prompt\"");
        }
        catch (JsonException e)
        {
            throw new UnusableFileException(file, $"line {number} is no prompt of GenEval: {e.Message.TrimEnd('.')}",
                "write a JSON object with \"prompt\" on every line, or plain text on every line", e);
        }
    }

    private static string Plain(JToken? value) => value?.ToString(Formatting.None) ?? "not set";

    private static JObject ReadSettings(string path)
    {
        try
        {
            return JObject.Parse(ReadText(path))["settings"] as JObject
                ?? throw new JsonException("it has no settings");
        }
        catch (JsonException e)
        {
            throw new UnusableFileException(path, "it does not hold the settings of earlier images",
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
            throw new UnusableFileException(path, $"it cannot be read: {e.Message.TrimEnd('.')}", "check the path", e);
        }
    }
}
