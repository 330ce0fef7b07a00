// Folders in which the benchmarks' own scripts look for images (ReasonGen-R1:
// benchmark/generate_inference_{geneval,dpg}.py):
//   GenEval    {index, 5 digits}/metadata.jsonl, samples/{0000 …}.png, cots/{0000 …}.txt
//   DPG-Bench  generated_images/{name}.png, all images of a prompt as one square, row by row
// Deviations: 1. cots hold the rationale alone, without the prompt before it. 2. Surplus files are left alone. 3.
// Rationales of DPG-Bench are kept, in cots/{name}. 4. Any number of processes share the work prompt by prompt. 5. What
// is there already is looked at, not only for its name: an image that is cut short is drawn again, one of another size,
// another prompt or other settings is refused.
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Imaging;

namespace ReasonGen.Evaluation;

/// <summary>Prompts and the folder that their images fill: resumable, and safe against several processes at
/// once.</summary>
public sealed partial class ImageSuite
{
    /// <summary>File in the folder that tells how its images were made.</summary>
    public const string SettingsFile = "generation.json";

    private const string ClaimFolder = ".claims", PromptsSetting = "prompts_sha256";
    // which folders of earlier versions lack
    private static readonly string[] NewSettings = [PromptsSetting, "weights_sha256", PromptCount];
    private readonly HashSet<int> sound = [];

    private ImageSuite(string folder, int perPrompt, IEnumerable<SuiteItem> items) =>
        (Folder, PerPrompt, Items) = (folder, perPrompt, [.. items]);

    /// <summary>Setting that tells how many prompts there are, drawn or not.</summary>
    public const string PromptCount = "prompt_count";

    /// <summary>Setting that tells device and type, such as <c>cuda:1 BFloat16</c>; kept without the number, so that
    /// several GPUs may fill one folder.</summary>
    public const string Target = "target";

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
        settings[PromptCount] = Items.Count;
        Unnumber(settings);
        using var alone = Alone();
        var anyThere = Items.Any(item => item.Images.Any(IsThere));
        var path = Path.Combine(Folder, SettingsFile);
        var found = File.Exists(path) ? ReadSettings(path) : null;
        Unnumber(found);
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

    private FileLease Alone() =>
        FileLease.TryTake(Path.Combine(Folder, ClaimFolder), "settings", ClaimExpiry, TimeSpan.FromSeconds(30))
        ?? throw new UnusableFileException(Folder, "another process has been at its settings for half a minute",
            "end that one, or wait for it");

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

    // which of several GPUs it was decides nothing; earlier versions kept its number
    private static void Unnumber(JObject? settings)
    {
        if (settings?.Property(Target) is { } target)
        {
            target.Value = Regex.Replace(target.Value.ToString(), @":\d+", "");
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
