using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>
/// Boxes of any detector from a file of JSON lines, or those that an official results.jsonl kept.
/// A line: {"filename": "00000/samples/0000.png", "width": 384, "height": 384, "prompt": "…", "detector": "…",
/// "detections": [{"class": "dog", "box": [x1, y1, x2, y2], "score": 0.9, "color": "red"}]}; all but filename and
/// detections may be left out. Boxes are counted in pixels of the image.
/// </summary>
public sealed class DetectionFile : IObjectJudge
{
    // a box that ends before it is smaller than any detector's: such a file counts in shares of the sides
    private const float LeastEnd = 1.5f;

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
    /// <exception cref="UnusableFileException">It is missing, a line is of another kind, or its boxes are counted in
    /// shares of the image's sides.</exception>
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
                file ??= new(path, detector ?? (json.Member("detector") is { } says ? says.Text("detector")
                    : results ? "the detector behind " + Path.GetFileName(path) : Path.GetFileName(path)),
                    detector == "official", results);
                var name = Tail(json.Need("filename").Text("filename"));
                var boxes = results ? new GenEvalRow("", null, "", null, "", null, details.Text("details")).Boxes()
                    : [.. json.Need("detections").List("detections").Select(Box)];
                int? Size(string key) => json.Member(key)?.Whole(key);
                var line = file.lines[name] = file.lines.TryGetValue(name, out var earlier)
                    ? throw new FormatException($"'{name}' stands on line {earlier.Number} too")
                    : new(number, boxes, Size("width"), Size("height"), json.Member("prompt")?.Text("prompt"));
                file.byName[Path.GetFileName(name)] = file.byName.ContainsKey(Path.GetFileName(name)) ? null : line;
            }

            return file is null ? throw new UnusableFileException(path, "it holds no line",
                    "give a file with a line of detections for each image")
                : file.InShares ? throw new UnusableFileException(path, "none of its boxes reaches beyond 1.5: they "
                    + "are counted in shares of the image's sides, not in its pixels",
                    "multiply x by the image's width and y by its height")
                : file;
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

    private bool InShares => lines.Values.Any(line => line.Boxes.Count > 0)
        && lines.Values.All(line => line.Boxes.All(box => box.X2 <= LeastEnd && box.Y2 <= LeastEnd));

    // The last three parts of a GenEval path name an image wherever its folder lies.
    private static string Tail(string file) => string.Join('/', file.Replace('\\', '/')
        .Split('/', StringSplitOptions.RemoveEmptyEntries).TakeLast(3));

    private static Detection Box(JsonElement box)
    {
        var corners = box.Need("box");
        var v = corners.List("box").Select(x => x.ValueKind == JsonValueKind.Number ? x.GetSingle() : float.NaN)
            .ToArray();
        var score = box.TryGetProperty("score", out var said) ? (float)said.Number("score") : 1;
        if (v.Length != 4 || !v.All(float.IsFinite))
        {
            throw LineMembers.Strange(corners, "box", "a list of four finite numbers [x1, y1, x2, y2]");
        }

        if (v[2] < v[0] - 1 || v[3] < v[1] - 1) // less than a pixel is rounding
        {
            throw new FormatException($"the box {corners} ends before it begins: its numbers are two corners, "
                + "not a corner, width and height");
        }

        return score is not (>= 0 and <= 1.001f) // rounded
            ? throw new FormatException(FormattableString.Invariant($"the score {score} is none from 0 to 1")
                + (score is > 1 and <= 100 ? "; divide percent by 100" : ""))
            : new(box.Need("class").Text("class"), v[0], v[1], Math.Max(v[0], v[2]), Math.Max(v[1], v[3]),
                Math.Min(score, 1))
            {
                Color = box.Member("color")?.Text("color").Trim().ToLowerInvariant(),
            };
    }
}
