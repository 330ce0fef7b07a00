using System.Globalization;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>The score of one image.</summary>
/// <param name="Task">Task or category.</param>
/// <param name="Prompt">Its prompt.</param>
/// <param name="Image">Its path, relative to the folder that was scored.</param>
/// <param name="Score">0 to 1; null where it was not scored.</param>
/// <param name="Reason">Why it is not right, or why it was not scored.</param>
public sealed record ImageScore(string Task, string Prompt, string Image, double? Score, string Reason);

/// <summary>All that a scoring says: label first, then numbers with intervals, and whatever was left out.</summary>
public sealed record ScoreReport
{
    /// <summary>File that holds it beside the other results.</summary>
    public const string FileName = "score.json";

    /// <summary>"GenEval", "GenEval 2", "DPG-Bench", "T2I-CompBench color".</summary>
    public required string Benchmark { get; init; }

    /// <summary>What the numbers may be called.</summary>
    public required string Label { get; init; }

    /// <summary>Whose detections or answers they are.</summary>
    public required string Judge { get; init; }

    /// <summary>Tells the judge from others of its name: content of a file, weights of a model, address of an endpoint;
    /// null in files of earlier versions.</summary>
    public string? JudgeIdentity { get; init; }

    /// <summary>Full path of the file that the judgement was read from; null where a model looked.</summary>
    public string? JudgeFile { get; init; }

    /// <summary>Whether it was read from a results.jsonl, which tells neither detector nor options, nor how many images
    /// there ought to be.</summary>
    [JsonIgnore]
    public bool IsResults { get; init; }

    /// <summary>Options of the rules that are not the benchmark's own, as they stand in the label; empty where all
    /// are.</summary>
    public string Options { get; init; } = "";

    /// <summary>What else decides the numbers: images a file, content of files that were given; null where nothing
    /// does, and in files of earlier versions.</summary>
    public string? Inputs { get; init; }

    /// <summary>Folders that were read, the images' first, seen from that of the scores; null in files of earlier
    /// versions.</summary>
    public string? Folders { get; init; }

    /// <summary>What the judge lacks beside the official one.</summary>
    public IReadOnlyList<string> Limits { get; init; } = [];

    /// <summary>A score an image.</summary>
    public required IReadOnlyList<ImageScore> Images { get; init; }

    /// <summary>The same images by category, where the benchmark counts these too: no part of the whole.</summary>
    public IReadOnlyList<ImageScore> Categories { get; init; } = [];

    /// <summary>Images that ought to be there and are not.</summary>
    public int Missing { get; init; }

    /// <summary>Images that are black all over: scored as the official scripts score them, and named.</summary>
    public int Black { get; init; }

    /// <summary>Whether every image that was asked for has a score.</summary>
    [JsonIgnore]
    public bool Complete => Missing == 0 && Unscored == 0 && Images.Count > 0;

    /// <summary>What could not be scored or is strange, a sentence each.</summary>
    public IReadOnlyList<string> Problems { get; init; } = [];

    /// <summary>Worth knowing, but nothing is missing.</summary>
    public IReadOnlyList<string> Notes { get; init; } = [];

    /// <summary>Factor for people: 100 where the benchmark counts in percent.</summary>
    public double Scale { get; init; } = 100;

    /// <summary>Scored images by task and prompt, in the order in which they first appear.</summary>
    [JsonIgnore]
    public IReadOnlyList<TaskScores> Tasks => Grouped(Images);

    private static IReadOnlyList<TaskScores> Grouped(IReadOnlyList<ImageScore> images) =>
        [.. images.Where(image => image.Score is not null).GroupBy(image => image.Task).Select(task =>
        new TaskScores(task.Key, [.. task.GroupBy(image => image.Prompt)
            .Select(prompt => new PromptScores(prompt.Key, [.. prompt.Select(image => image.Score!.Value)]))]))];

    /// <summary>Mean of the tasks' means, with its interval.</summary>
    [JsonIgnore]
    public Interval Overall => Intervals.Of(Tasks);

    /// <summary>Images without a score.</summary>
    [JsonIgnore]
    public int Unscored => Images.Count(image => image.Score is null);

    /// <summary>For people: label, a line a task, the whole, and what is missing.</summary>
    public string Text()
    {
        var text = new StringBuilder($"{Label}\n\n");
        string Line(string name, Interval score, string rest) => string.Create(CultureInfo.InvariantCulture,
            $"{name,-24} {score.Value * Scale,7:0.00}  ({score.Ends(Scale)})  {rest}\n");
        foreach (var task in Tasks)
        {
            text.Append(Line(task.Task, Intervals.Of([task]),
                $"{task.Prompts.Sum(prompt => prompt.Scores.Count)} images, {task.Prompts.Count} prompts"));
        }

        text.Append(Tasks.Count == 0 ? "No image was scored.\n"
            : Line("overall", Overall,
            "mean of the tasks; in brackets 95 %, by drawing prompts again within each task"));
        foreach (var task in Images.GroupBy(image => image.Task)
            .Where(task => Tasks.Count > 0 && task.All(image => image.Score is null)))
        {
            text.Append($"{task.Key,-24}       –  none of its {task.Count()} images was scored: the overall is "
                + $"without it\n");
        }

        foreach (var category in Grouped(Categories))
        {
            text.Append(Line("  " + category.Task, Intervals.Of([category]),
                $"{category.Prompts.Sum(prompt => prompt.Scores.Count)} answers"));
        }

        if (Limits.Count > 0)
        {
            text.Append($"\nBeside the official judge: {string.Join("; ", Limits)}.\n");
        }

        foreach (var note in Notes)
        {
            text.Append($"Note: {note}.\n");
        }

        const int shown = 10;
        foreach (var problem in Problems.Take(shown))
        {
            text.Append($"NOT SCORED OR STRANGE: {problem}.\n");
        }

        return text.Append(Problems.Count > shown ? $"… and {Problems.Count - shown} more; all are in {FileName}.\n"
            : "")
            .Append(Unscored > 0 ? $"{Unscored} of {Images.Count} images were not scored; no number counts them.\n"
                : "")
            .Append(Black > 0 ? $"{Black} images are black all over; as in the official scripts they are scored like "
                + "any other.\n" : "")
            .Append(Missing > 0 ? $"{Missing} images are missing.\n" : "").ToString();
    }

    /// <summary>For scripts: label, judge, numbers with intervals, and what is missing.</summary>
    public object Summary() => new
    {
        Benchmark, Label, Judge, Limits, images = Images.Count, Unscored, Missing, Black, overall = Numbers(Overall),
        tasks = Tasks.ToDictionary(task => task.Task, task => Numbers(Intervals.Of([task]))),
        categories = Grouped(Categories).ToDictionary(task => task.Task, task => Numbers(Intervals.Of([task]))),
            Problems, Notes,
    };

    private static object Numbers(Interval score) => new { score.Value, score.Low, score.High };

    /// <summary>Writes score.json into a folder.</summary>
    public void Write(string folder)
    {
        var json = JObject.FromObject(this);
        var overall = JObject.FromObject(Overall);
        foreach (var end in overall.Properties().Where(end => end.Value is JValue { Value: double.NaN }).ToArray())
        {
            end.Value = JValue.CreateNull(); // json knows no NaN
        }

        json["Overall"] = overall;
        ScoreFiles.Write(Path.Combine(folder, FileName), json.ToString());
    }

    /// <summary>Reads score.json, the folder that holds it, or a GenEval results.jsonl, whatever its name is.</summary>
    /// <exception cref="UnusableFileException">There is no such file, a pipe that lies in a folder or one of another
    /// kind, or an image has two scores or one that cannot be.</exception>
    public static ScoreReport Read(string path)
    {
        path = Directory.Exists(path) ? Path.Combine(path, FileName) : path;
        var report = path.EndsWith(".jsonl", StringComparison.Ordinal)
            ? OfResults(GenEvalResults.Read(path), path) : OfReport(path);
        var (least, most) = report.Benchmark switch
        {
            "GenEval 2" => (0, 6), // six forms of an answer, each of which may be the same token
            "T2I-CompBench non-spatial" or "T2I-CompBench complex" => (-1, 1), // cosines
            _ => (0, 1),
        };
        const double rounding = 1e-6;
        return report.Images.Concat(report.Categories).FirstOrDefault(image => image.Score is { } score
            && !(score >= least - rounding && score <= most + rounding)) is { Score: { } strange } of
            ? throw new UnusableFileException(path, FormattableString.Invariant(
                $"the score of '{of.Image}' is {strange}, none from {least} to {most}"), "score its images again")
            : report;
    }

    private static ScoreReport OfResults(GenEvalResults results, string path)
    {
        return results.TextCorrect ? throw new UnusableFileException(path,
                "\"correct\" is a text in it, where true or false belongs", "give results.jsonl as the scorer wrote it")
            : new()
            {
                Benchmark = "GenEval",
                Label = $"GenEval's rules, detector not known: read from {Path.GetFileName(path)}",
                Judge = Path.GetFileName(path), IsResults = true,
                Images = [.. Once(results.Rows, row => row.FileName, path)
                    .Where(row => row.Tag is not null && row.Metadata is not null)
                    .Select(row => new ImageScore(row.Tag!, row.Prompt.Length > 0 ? row.Prompt : row.Metadata!,
                        Relative(row.FileName), row.Correct, row.Reason))],
            };
    }

    // what stands there again counts once; rows without a name are not known to be the same
    private static IEnumerable<T> Once<T>(IEnumerable<T> rows, Func<T, string> name, string path) =>
        rows.GroupBy(name).SelectMany(same =>
        {
            T[] apart = same.Key.Length == 0 ? [.. same] : [.. same.Distinct()];
            return same.Key.Length == 0 || apart.Length == 1 ? apart : throw new UnusableFileException(path,
                $"it has {apart.Length} lines of '{same.Key}' that differ", "keep one of them, or compare the files "
                + "one by one");
        });

    private static ScoreReport OfReport(string path)
    {
        var text = "";
        try
        {
            text = ScoreFiles.Read(path);
            var report = JsonConvert.DeserializeObject<ScoreReport>(text)
                ?? throw new JsonException("it is empty");
            return report.IsWhole ? report with { Images = [.. Once(report.Images, image => image.Image, path)] }
                : throw new JsonException("a text or a list in it is null");
        }
        catch (JsonException) when (Lines(text) is { } results)
        {
            return OfResults(results, path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw new UnusableFileException(path, $"it holds no scores: {e.Message.Split(". Path")[0].TrimEnd('.')}",
                "give a folder that 'reasongen score' wrote, its score.json, or a results.jsonl", e);
        }
    }

    // a results.jsonl under another name
    private static GenEvalResults? Lines(string text)
    {
        try
        {
            var results = GenEvalResults.Parse(text);
            return results.Rows.Count > 0 && results.Rows.All(row => row.FileName.Length > 0) ? results : null;
        }
        catch (UnusableFileException)
        {
            return null;
        }
    }

    // json says null where the members are never null
    private bool IsWhole =>
        Benchmark is not null && Label is not null && Judge is not null && Options is not null
        && Limits?.Contains(null!) == false && Problems?.Contains(null!) == false && Notes?.Contains(null!) == false
        && Sound(Images) && Sound(Categories);

    private static bool Sound(IReadOnlyList<ImageScore>? images) =>
        images is not null && images.All(image => image is { Task: not null, Prompt: not null, Image: not null });

    private static string Relative(string file) => string.Join('/', file.Split('/')[^Math.Min(3, file.Split('/').Length)
        ..]);
}

/// <summary>Files of results.</summary>
public static class ScoreFiles
{
    /// <summary>The text of a file, or what a shell's &lt;(…) gives.</summary>
    /// <exception cref="UnusableFileException">It is a pipe that lies in a folder.</exception>
    internal static string Read(string path) =>
        FileKinds.IsNamedPipe(path) ? throw FileKinds.Pipe(path) : File.ReadAllText(path);

    /// <summary>Writes a file whole or not at all.</summary>
    /// <exception cref="UnusableFileException">It cannot be written.</exception>
    public static void Write(string path, string text)
    {
        try
        {
            AtomicFile.Write(path, text);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"it could not be written: {e.Message.TrimEnd('.')}",
                "free space or give another --out; what was written before is intact", e);
        }
    }
}
