using System.CommandLine;
using System.Diagnostics;
using System.Security.Cryptography;
using System.Text;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Files;
using ReasonGen.Imaging;
using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>One run of a scoring command: where things are, cost, progress, shared work, and what is written at the
/// end.</summary>
internal sealed class ScoreRun
{
    private static readonly string[] Endings = [".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"];
    private static readonly TimeSpan ClaimExpiry = TimeSpan.FromMinutes(10), Pause = TimeSpan.FromSeconds(1);
    private readonly ParseResult parsed;
    private readonly ScoreOptions options;
    private readonly CancellationToken cancel;
    private int black;
    private AnswerCache? kept;

    internal ScoreRun(ScoreOptions options, ParseResult parsed, string benchmark, CancellationToken cancel)
    {
        (this.options, this.parsed, this.cancel) = (options, parsed, cancel);
        options.Expect(parsed);
        Folder = parsed.GetValue(options.Folder)!;
        Output = parsed.GetValue(options.Output) ?? $"{Named(Folder)}-scores/{benchmark}";
        if (!Directory.Exists(Folder))
        {
            throw new UnusableFileException(Folder, "it is no folder",
                "give the folder of images that 'reasongen generate' filled");
        }
    }

    // "." and ".." have no name of their own
    private static string Named(string folder) => folder.TrimEnd('/', Path.DirectorySeparatorChar) is var typed
        && Path.GetFileName(typed) is not ("" or "." or "..") ? typed
        : Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder));

    // generation.json lies beside DPG-Bench's images
    private string Settings => Path.Combine(Folder, ImageSuite.SettingsFile) is var own && (File.Exists(own)
        || Path.GetFileName(Named(Folder)) != "generated_images") ? own
        : Path.Combine(Path.GetFullPath(Folder), "..", ImageSuite.SettingsFile);

    private bool IsServed => ChatEndpoint.IsAddress(parsed.GetValue(options.Judge)!);

    internal string Folder { get; }

    internal string Output { get; }

    internal List<string> Problems { get; } = [];

    internal List<string> Notes { get; } = [];

    /// <summary>Image files of a folder in order; other entries are counted and named.</summary>
    internal string[] ImageFiles(string folder)
    {
        var entries = Directory.GetFileSystemEntries(folder).Order(StringComparer.Ordinal).ToArray();
        var images = entries.Where(entry => File.Exists(entry)
            && Endings.Contains(Path.GetExtension(entry).ToLowerInvariant())).ToArray();
        var others = entries.Except(images).Select(entry => Path.GetFileName(entry)).ToArray();
        if (others.Length > 0)
        {
            Notes.Add($"{others.Length} entries of {folder} are no image files and are passed over: "
                + Few(others));
        }

        return images.Length > 0 ? images : throw new UnusableFileException(folder, "it holds no image",
            "draw some first: reasongen generate --prompts …");
    }

    /// <summary>The first five names of many.</summary>
    internal static string Few(IReadOnlyCollection<string> names) =>
        string.Join(", ", names.Take(5)) + (names.Count > 5 ? ", …" : "");

    /// <summary>That there is nothing to write.</summary>
    /// <param name="images">How many were given.</param>
    /// <param name="first">Why the first was not scored.</param>
    /// <param name="hint">A sentence more.</param>
    internal static UsageException NoneScored(int images, string first, string hint = "") =>
        new($"none of the {images} images could be scored; the first: {first.TrimEnd('.')}.{hint} Nothing was "
            + "written.");

    /// <summary>Where a judge's answers are kept.</summary>
    internal AnswerCache Keep(IScoringJudge judge) => kept = new(Path.Combine(Output, "answers"), judge);

    /// <summary>A number of the settings in generation.json; null where it does not say.</summary>
    internal int? Made(string what, string setting) =>
        SideFile.Count(Settings, what, Notes, "settings", setting);

    /// <summary>The judge that the scored model was trained on, where it is known.</summary>
    internal string? TrainingReward()
    {
        if (parsed.GetValue(options.Reward) is { } given)
        {
            return given;
        }

        const string What = "what the scored model was trained on";
        var model = SideFile.Text(Settings, What, Notes, "about", "model");
        return model is null ? null : SideFile.Text(Path.Combine(model, Safetensors.Training), What, Notes, "reward");
    }

    /// <summary>Tells the cost; false where that is all.</summary>
    /// <param name="what">Benchmark.</param>
    /// <param name="images">Images.</param>
    /// <param name="questions">Questions about all of them; 0 where boxes are asked for.</param>
    /// <param name="readings">Images or crops that the judge reads; each is read once for all its questions.</param>
    /// <param name="officialWork">Operations of the official judge on an image.</param>
    /// <param name="look">What the judge is for, where it has not been looked at yet.</param>
    /// <exception cref="UnusableFileException">The judge cannot be used.</exception>
    internal bool Announce(string what, int images, long questions, long? readings = null, double officialWork = 0,
        JudgeTask? look = null)
    {
        var judge = parsed.GetValue(options.Judge)!;
        var (json, dry) = (parsed.GetValue(options.Json), parsed.GetValue(options.DryRun));
        if (dry && look is { } task)
        {
            ScoreJudges.Look(options, parsed, task); // a run does so when it opens the judge
        }

        var text = $"{what}: {images} images{(questions > 0 ? $", {questions} questions" : "")}, judge {judge}, "
            + $"results into {Output}.{ScoreCost.Of(judge, images, questions, readings ?? images, officialWork)}";
        (json ? Console.Error : Console.Out).WriteLine(Terminal.Line(text));
        if (json && dry)
        {
            var time = ScoreCost.Seconds(judge, images, questions, readings ?? images, officialWork);
            CommandLine.PrintJson(new { benchmark = what, images, questions, judge, Output,
                calls = ScoreCost.Calls(judge, images, questions), secondsOnH100 = time?.Gpu,
                secondsHere = time?.Cores, Problems, Notes });
        }

        return !dry;
    }

    /// <summary>Works through images, which several processes may share: each is claimed by its name; what another is
    /// at is waited for.</summary>
    /// <param name="items">What is to be done; finished items are quick, since answers are kept.</param>
    /// <param name="name">Names an item.</param>
    /// <param name="shared">Whether the work is long enough to be shared.</param>
    /// <param name="work">Does one.</param>
    internal void Each<T>(IReadOnlyList<T> items, Func<T, string> name, bool shared, Action<T> work)
    {
        var (watch, done) = (Stopwatch.StartNew(), 0);
        var open = new Queue<T>(items);
        var refused = 0; // in a row
        while (open.TryDequeue(out var item))
        {
            cancel.ThrowIfCancellationRequested();
            using var claim = shared ? FileLease.TryTake(Path.Combine(Output, ".claims"),
                Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(name(item))))[..24], ClaimExpiry)
                : null;
            if (shared && claim is null)
            {
                open.Enqueue(item);
                if (++refused >= open.Count)
                {
                    cancel.WaitHandle.WaitOne(Pause); // all that is left is with other processes
                    refused = 0;
                }

                continue;
            }

            refused = 0;
            work(item);
            done++;
            if (shared || done % 100 == 0)
            {
                var left = watch.Elapsed / done * (items.Count - done);
                Terminal.Passing($"{done}/{items.Count} {Terminal.Line(name(item))}, about "
                    + $"{(int)left.TotalHours}:{left:mm\\:ss} left");
            }
        }

        Terminal.Passing("");
    }

    /// <summary>Reads an image; names it where it is black.</summary>
    /// <exception cref="OfficialStopException">It is no image, or a damaged one.</exception>
    internal ScoredImage Read(string path, string name, bool upright)
    {
        var image = ScoredImage.Decode(Bytes(path), upright)
            ?? throw new OfficialStopException("UnidentifiedImageError", "it is no image, or a damaged one");
        if (IsBlack(image.Pixels))
        {
            black++;
            Problems.Add($"{name} is black all over; it is scored as it is");
        }

        return image;
    }

    /// <summary>Whether nothing is to be seen, as failed drawings and safety filters leave it: the official scripts
    /// score that like anything else, and so does this kit, but not in silence.</summary>
    internal static bool IsBlack(RgbImage image) => image.Rgb.AsSpan().IndexOfAnyExcept((byte)0) < 0;

    /// <summary>Size of an image without reading it whole; a suspiciously small file is read.</summary>
    internal (int Width, int Height) Measure(string path, string name)
    {
        var head = Bytes(path, 1 << 16);
        head = head is [(byte)'R', (byte)'I', ..] ? Bytes(path) : head; // a WebP tells at its end how it lies
        var length = new FileInfo(path).Length;
        if (ImageFile.Measure(head) is not { } size || length * 40 < (long)size.Width * size.Height || length < 4096)
        {
            var image = Read(path, name, upright: true).Pixels;
            return (image.Width, image.Height);
        }

        return (size.Width, size.Height);
    }

    // The first bytes of a file, or all.
    private static byte[] Bytes(string path, int most = int.MaxValue)
    {
        try
        {
            using var file = File.OpenRead(FileKinds.NoPipe(path));
            var bytes = new byte[Math.Min(file.Length, most)];
            file.ReadExactly(bytes);
            return bytes;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new OfficialStopException("OSError", $"it cannot be read: {e.Message.TrimEnd('.')}");
        }
    }

    /// <summary>A file among <see cref="ScoreReport.Inputs"/>, by its content.</summary>
    internal static string Input(string what, string path) => $"{what} {AnswerCache.KeyOf(path)[..12]}";

    /// <summary>Writes score.json and the contact sheet, prints, and gives the exit code.</summary>
    internal int Finish(ScoreReport report, IScoringJudge judge, string imageFolder,
        Dictionary<string, string>? files = null, params IEnumerable<string> otherFolders)
    {
        string FromHere(string folder) => Path.TrimEndingDirectorySeparator(
            Path.GetRelativePath(Path.GetFullPath(Output), Path.GetFullPath(folder))).Replace('\\', '/');
        // of a served model its name alone is known
        if (kept is { Counts: { Found: > 0 } counts } && IsServed)
        {
            Notes.Add($"{counts.Found} of {counts.Found + counts.Asked} answers were kept from before and not asked "
                + $"for again; where another model answers to the name {report.Judge} now, give another --out");
        }

        report = Identified(report, judge) with
        {
            Folders = string.Join("; ", otherFolders.Prepend(imageFolder).Select(FromHere)),
        };
        EarlierScores.SetAside(Output, report, Notes);
        report = report with
        {
            Problems = [.. report.Problems, .. Problems], Notes = [.. report.Notes, .. Notes], Black = black,
        };
        files ??= [];
        var text = Terminal.Plain(report.Text());
        files.TryAdd("summary.txt", text); // official files have no room for the label
        foreach (var (file, content) in files)
        {
            ScoreFiles.Write(Path.Combine(Output, file), content);
        }

        report.Write(Output);
        ScoreFiles.Write(Path.Combine(Output, "sheet.html"), ContactSheet.Html(report, FromHere(imageFolder)));
        if (parsed.GetValue(options.Json))
        {
            CommandLine.PrintJson(report.Summary());
        }
        else
        {
            Console.WriteLine();
            Console.Write(text);
            Console.WriteLine(Terminal.Plain($"\nEvery verdict with its image: {Path.Combine(Output, "sheet.html")}"));
        }

        return report.Complete ? CommandLine.Done : CommandLine.Failed;
    }

    // a file is read once more for it
    private ScoreReport Identified(ScoreReport report, IScoringJudge judge) => judge is AnswerFile or DetectionFile
        ? report with
        {
            JudgeIdentity = AnswerCache.KeyOf(judge.Identity),
            JudgeFile = Path.GetFullPath(judge.Identity),
        }
        : report with { JudgeIdentity = judge.Identity };

    /// <summary>Says that an interrupted run goes on.</summary>
    internal int Interrupted()
    {
        Console.Error.WriteLine(Terminal.Line($"Interrupted. What was answered is in {Output}; the same command goes "
            + "on from there."));
        return CommandLine.Interrupted;
    }
}
