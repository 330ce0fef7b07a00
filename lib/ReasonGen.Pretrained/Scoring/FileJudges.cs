using System.Text.Json;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>
/// Boxes of any detector from a file of JSON lines, or those that an official results.jsonl kept.
/// A line: {"filename": "00000/samples/0000.png", "width": 384, "height": 384, "prompt": "…", "detector": "…",
/// "detections": [{"class": "dog", "box": [x1, y1, x2, y2], "score": 0.9, "color": "red"}]}; all but filename and
/// detections may be left out.
/// </summary>
public sealed class DetectionFile : IObjectJudge
{
    private readonly string path;
    private readonly Dictionary<string, Line> lines = [];
    private readonly Dictionary<string, Line?> byName = []; // by the last part of the path; null where several have it
    private readonly HashSet<int> used = [];
    private readonly bool results;

    private DetectionFile(string path, string name, bool official, bool results) =>
        (this.path, Name, Official, this.results) = (path, name, official, results);

    private sealed record Line(int Number, IReadOnlyList<Detection> Boxes, int? Width, int? Height, string? Prompt);

    /// <summary>Reads a file.</summary>
    /// <param name="path">JSON lines.</param>
    /// <param name="detector">Who found the boxes; null takes what the file says.</param>
    /// <exception cref="UnusableFileException">It is missing, or a line is of another kind.</exception>
    public static DetectionFile Read(string path, string? detector = null)
    {
        var number = 0;
        try
        {
            DetectionFile? file = null;
            foreach (var text in TextFile.Read(path).Split('\n'))
            {
                number++;
                if (text.Trim().Length == 0)
                {
                    continue;
                }

                using var document = JsonDocument.Parse(text);
                var json = document.RootElement;
                var results = json.TryGetProperty("details", out var details);
                file ??= new(path, detector ?? (json.TryGetProperty("detector", out var says) ? says.Text()
                    : results ? "the detector behind " + Path.GetFileName(path) : Path.GetFileName(path)),
                    detector == "official", results);
                var name = Tail(Need(json, "filename").Text());
                var boxes = results ? new GenEvalRow("", null, "", null, "", null, details.Text()).Boxes()
                    : [.. Need(json, "detections").EnumerateArray().Select(Box)];
                int? Size(string key) => json.TryGetProperty(key, out var size) ? size.GetInt32() : null;
                var line = file.lines[name] = file.lines.TryGetValue(name, out var earlier)
                    ? throw new FormatException($"'{name}' stands on line {earlier.Number} too")
                    : new(number, boxes, Size("width"), Size("height"), json.TryGetProperty("prompt", out var prompt)
                        ? prompt.GetString() : null);
                file.byName[Path.GetFileName(name)] = file.byName.ContainsKey(Path.GetFileName(name)) ? null : line;
            }

            return file ?? throw new UnusableFileException(path, "it holds no line",
                "give a file with a line of detections for each image");
        }
        catch (Exception e) when (e is JsonException or FormatException or InvalidOperationException
            or KeyNotFoundException or OfficialStopException or IndexOutOfRangeException)
        {
            throw new UnusableFileException(path,
                $"line {number} holds no detections: {e.Message.Split(" LineNumber")[0].TrimEnd('.')}",
                "write a JSON object a line: {\"filename\": …, \"detections\": [{\"class\": …, \"box\": [x1, y1, x2, "
                    + "y2], \"score\": …}]}", e);
        }
    }

    public string Name { get; }

    public string Identity => path;

    public bool Official { get; }

    public IReadOnlyList<string> Limits => results
        ? ["it holds the boxes that were kept, so thresholds below its own do nothing, and no colours"] : [];

    /// <summary>Lines of images that nobody asked about: the file is of a larger or of another set.</summary>
    public int Unused => lines.Count - used.Count;

    /// <summary>Classes that the rules do not know, and how many boxes have them.</summary>
    public IReadOnlyDictionary<string, int> UnknownClasses(IReadOnlyList<string> classes) =>
        Unknown(box => box.Class, classes);

    /// <summary>Colours that the rules do not know, and how many boxes have them.</summary>
    public IReadOnlyDictionary<string, int> UnknownColors(IReadOnlyList<string> colors) =>
        Unknown(box => box.Color, colors);

    private Dictionary<string, int> Unknown(Func<Detection, string?> name, IReadOnlyList<string> known) =>
        lines.Values.SelectMany(line => line.Boxes).Select(name).OfType<string>().Where(said => !known.Contains(said))
            .CountBy(said => said).ToDictionary();

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel) => Of(file, image.Width, image.Height, null);

    /// <summary>The boxes of an image whose size and prompt are known.</summary>
    /// <exception cref="OfficialStopException">There is no line for it, or the line is of another image.</exception>
    public IReadOnlyList<Detection> Of(string file, int width, int height, string? prompt)
    {
        var name = Tail(file);
        if ((lines.GetValueOrDefault(name) ?? (name.Contains('/') ? null : byName.GetValueOrDefault(name)))
            is not { } line)
        {
            throw new OfficialStopException("none", $"{Path.GetFileName(path)} has no line for it");
        }

        used.Add(line.Number);
        return (line.Width ?? width, line.Height ?? height) != (width, height)
            ? throw new OfficialStopException("none",
                $"line {line.Number} of {Path.GetFileName(path)} says {line.Width}x{line.Height} pixels, the image "
                    + $"has {width}x{height}")
            : line.Prompt is { } other && prompt is not null && other != prompt
            ? throw new OfficialStopException("none",
                $"line {line.Number} of {Path.GetFileName(path)} is of another prompt: '{other}'") : line.Boxes;
    }

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className,
        CancellationToken cancel) =>
        objects.All(o => o.Color is not null) ? [.. objects.Select(o => o.Color)]
            : throw new OfficialStopException("none",
                $"{Path.GetFileName(path)} tells no colour of its boxes of {className}");

    // The last three parts of a GenEval path name an image wherever its folder lies.
    private static string Tail(string file) => string.Join('/', file.Replace('\\', '/')
        .Split('/', StringSplitOptions.RemoveEmptyEntries).TakeLast(3));

    internal static JsonElement Need(JsonElement json, string name) => json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty(name, out var value) ? value
        : throw new FormatException($"it has no \"{name}\"");

    private static Detection Box(JsonElement box)
    {
        var v = Need(box, "box").EnumerateArray().Select(x => x.GetSingle()).ToArray();
        var score = box.TryGetProperty("score", out var said) ? said.GetSingle() : 1;
        if (v.Length != 4 || !v.All(float.IsFinite))
        {
            throw new FormatException("a box has four finite numbers");
        }

        if (v[2] < v[0] - 1 || v[3] < v[1] - 1) // less than a pixel is rounding
        {
            throw new FormatException($"the box {Need(box, "box")} ends before it begins: its numbers are two corners, "
                + "not a corner, width and height");
        }

        return score is not (>= 0 and <= 1.001f) // rounded
            ? throw new FormatException(FormattableString.Invariant($"the score {score} is none from 0 to 1")
                + (score is > 1 and <= 100 ? "; divide percent by 100" : ""))
            : new(Need(box, "class").Text(), v[0], v[1], Math.Max(v[0], v[2]), Math.Max(v[1], v[3]), Math.Min(score, 1))
            {
                Color = box.TryGetProperty("color", out var color) ? color.GetString()?.Trim().ToLowerInvariant()
                    : null,
            };
    }
}

/// <summary>An answer to a yes-or-no question.</summary>
/// <param name="Text">As the rules compare it.</param>
/// <param name="Yes">Probability of yes.</param>
public sealed record YesAnswer(string Text, double Yes);

/// <summary>Where answers come from: a judge that looks, or a file.</summary>
public interface IAnswerSource
{
    IScoringJudge Judge { get; }

    /// <summary>An answer a question; null where there is none, or it is neither yes nor no.</summary>
    /// <param name="file">File name of the image.</param>
    /// <param name="crop">Number of the crop, 0 for a whole image.</param>
    /// <param name="image">Gives the image.</param>
    /// <param name="questions">Questions.</param>
    /// <param name="cancel">Ends it.</param>
    IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel);
}

/// <summary>Answers of a judge: yes where its probability is above one half.</summary>
public sealed class JudgeAnswers(IQuestionJudge judge) : IAnswerSource
{
    public IScoringJudge Judge => judge;

    public IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel) =>
        [.. judge.Ask(image(), file, [.. questions.Select(JudgeQuestion.OfYesNo)], cancel)
            .Select(reply => reply.Yes is { } yes
                ? new YesAnswer(reply.WordCounts ? reply.Word : yes > 0.5 ? "yes" : "no", yes) : null)];
}

/// <summary>
/// Answers from a file: JSON lines {"image": …, "crop": 0, "question": …, "answer": "yes", "p_yes": 0.9}, or the detail
/// file of DPG-Bench's script. One of answer and p_yes may be left out.
/// </summary>
public sealed partial class AnswerFile : IAnswerSource, IScoringJudge
{
    /// <summary>The question that stands for an image's CLIP score, a cosine.</summary>
    internal const string Clip = "clip";

    private readonly Dictionary<(string Image, int Crop, string Question), YesAnswer> answers = [];
    private readonly string path;

    private AnswerFile(string path, string? judge) => (this.path, Name) = (path, judge ?? Path.GetFileName(path));

    public IScoringJudge Judge => this;

    public string Name { get; }

    public string Identity => path;

    public bool Official => Name == "official";

    public IReadOnlyList<string> Limits => [];

    /// <summary>Reads a file.</summary>
    /// <exception cref="UnusableFileException">It is missing, or a line is of another kind.</exception>
    public static AnswerFile Read(string path, string? judge = null)
    {
        var (file, number) = (new AnswerFile(path, judge), 0);
        var from = new Dictionary<(string, int, string), int>(); // lines
        void Add((string, int, string) of, YesAnswer answer)
        {
            if (file.answers.TryGetValue(of, out var earlier) && !earlier.Equals(answer))
            {
                throw new FormatException($"line {from[of]} answers the same question about the same image otherwise");
            }

            (file.answers[of], from[of]) = (answer, number);
        }

        try
        {
            foreach (var text in TextFile.Read(path).Split('\n'))
            {
                number++;
                if (text.Trim().Length == 0)
                {
                    continue;
                }

                if (DetailLine().Match(text) is { Success: true } detail)
                {
                    // the corner tells the crop: left or top beyond 0
                    var crop = (detail.Groups["left"].Value == "0" ? 0 : 1)
                        + (detail.Groups["top"].Value == "0" ? 0 : 2);
                    var said = detail.Groups["answer"].Value;
                    Add((Path.GetFileName(detail.Groups["image"].Value), crop, detail.Groups["question"].Value),
                        new(said, said == "yes" ? 1 : 0));
                    continue;
                }

                using var document = JsonDocument.Parse(text);
                var json = document.RootElement;
                var question = DetectionFile.Need(json, "question").Text();
                double? yes = json.TryGetProperty("p_yes", out var p) || json.TryGetProperty("probability", out p)
                    ? Probability(p.GetDouble(), least: question == Clip ? -1 : 0) : null;
                var word = json.TryGetProperty("answer", out var words) ? Plain(words.Text()) : yes is not null ? null
                    : throw new FormatException("it has neither \"answer\" nor \"p_yes\"");
                if ((word, yes) is ("no", > 0.5)) // "yes" below: other words may have the rest
                {
                    throw new FormatException(FormattableString.Invariant(
                        $"its answer is {word}, but its probability of yes is {yes}"));
                }

                var answer = word is "yes" or "no" || yes is null ? word! : yes > 0.5 ? "yes" : "no";
                Add((Path.GetFileName(DetectionFile.Need(json, "image").Text()),
                    json.TryGetProperty("crop", out var c) ? c.GetInt32() : 0, question),
                    new(answer, yes ?? (answer == "yes" ? 1 : answer == "no" ? 0 : double.NaN)));
            }

            return file.answers.Count > 0 ? file : throw new UnusableFileException(path, "it holds no answer",
                "give a file with an answer a line");
        }
        catch (Exception e) when (e is JsonException or FormatException or KeyNotFoundException
            or InvalidOperationException)
        {
            throw new UnusableFileException(path,
                $"line {number} is no answer: {e.Message.Split(" LineNumber")[0].TrimEnd('.')}",
                "write a JSON object a line: {\"image\": …, \"crop\": 0, \"question\": …, \"answer\": \"yes\"}", e);
        }
    }

    public IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel) =>
        [.. questions.Select(question => answers.GetValueOrDefault((Path.GetFileName(file), crop, question))
            is { } answer && !double.IsNaN(answer.Yes) ? answer : null)];

    private static double Probability(double value, double least) => value >= least && value <= 1 ? value
        : throw new FormatException(FormattableString.Invariant($"{value} is no probability from {least} to 1"));

    // "Yes." and "no, there is none" are answers; "maybe" and "nothing" are none.
    private static string Plain(string answer) => FirstWord().Match(answer) is { Success: true } first
        ? first.Groups[1].Value.ToLowerInvariant() : answer;

    [GeneratedRegex(@"^\s*(yes|no)\b", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex FirstWord();

    [GeneratedRegex(@"^(?<image>.+?), \((?<left>\d+), (?<top>\d+), \d+, \d+\), (?<question>.*), (?<answer>[^,]*)$")]
    private static partial Regex DetailLine();
}
