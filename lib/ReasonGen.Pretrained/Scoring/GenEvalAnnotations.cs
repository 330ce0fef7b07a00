// GenEval's human verdicts (annotations/*.csv). One person's yes: for each object the answered count (5 is five or
// more) is at least the wanted one and
// below what is excluded, the wanted colour is among the answered ones, and the wanted direction is one of the two
// answered. The question asked
// where object 1 is, seen from object 0. An image's verdict is that of more than half of its people.
using System.Globalization;
using System.Text.Json;
using ReasonGen.Checkpoints;

namespace ReasonGen.Scoring;

/// <summary>What people said of one image.</summary>
/// <param name="Image">Its name: prompt number and image number, "220_2".</param>
/// <param name="Tag">Task.</param>
/// <param name="Votes">People asked.</param>
/// <param name="Yes">Of these, who found it right.</param>
public sealed record HumanVerdict(string Image, string Tag, int Votes, int Yes)
{
    /// <summary>What it was to show.</summary>
    public string Prompt { get; init; } = "";

    /// <summary>More than half found it right.</summary>
    public bool Majority => Yes * 2 > Votes;

    /// <summary>All said the same.</summary>
    public bool Unanimous => Yes == 0 || Yes == Votes;

    /// <summary>Pairs of people who agree, and all pairs.</summary>
    public (int Agree, int All) Pairs => (Yes * (Yes - 1) / 2 + (Votes - Yes) * (Votes - Yes - 1) / 2,
        Votes * (Votes - 1) / 2);
}

/// <summary>A file of human verdicts.</summary>
/// <param name="Images">A verdict an image, in the file's order.</param>
/// <param name="Skipped">Images whose caption is none of GenEval's prompts.</param>
public sealed record GenEvalAnnotations(IReadOnlyList<HumanVerdict> Images, IReadOnlyList<string> Skipped)
{
    private static readonly Dictionary<string, string> Opposite = new() { ["left"] = "right", ["right"] = "left",
        ["above"] = "below", ["below"] = "above" };

    /// <summary>Reads a file.</summary>
    /// <param name="path">annotations_*.csv.</param>
    /// <param name="metadata">Metadata by prompt (evaluation_metadata.jsonl).</param>
    /// <exception cref="UnusableFileException">It is missing or of another kind.</exception>
    public static GenEvalAnnotations Read(string path, IReadOnlyDictionary<string, JsonElement> metadata)
    {
        CsvTable table;
        try
        {
            table = CsvTable.Parse(TextFile.Read(path));
        }
        catch (OfficialStopException stop)
        {
            throw new UnusableFileException(path, stop.Cause, "restore the published file", stop);
        }

        string[] needed = ["Input.index", "Input.caption", "Input.object_0_name", "Input.object_1_name",
            "Answer.task-count-0", "Answer.task-count-1",
            "Answer.task-color-0", "Answer.task-color-1", "Answer.task-position-x", "Answer.task-position-y"];
        var missing = needed.Where(name => !table.Header.Contains(name)).ToArray();
        if (missing.Length > 0)
        {
            throw new UnusableFileException(path, $"it has no column {string.Join(", ", missing)}",
                "give one of GenEval's annotations/*.csv");
        }

        var column =
            table.Header.Index().DistinctBy(pair => pair.Item).ToDictionary(pair => pair.Item, pair => pair.Index);
        List<HumanVerdict> images = [];
        List<string> skipped = [];
        foreach (var group in table.Rows.GroupBy(row => Cell(row, "Input.index")))
        {
            if (!metadata.TryGetValue(Cell(group.First(), "Input.caption"), out var wanted))
            {
                skipped.Add(group.Key);
                continue;
            }

            images.Add(new(group.Key, wanted.GetProperty("tag").GetString()!, group.Count(),
                group.Count(row => Says(row, wanted))) { Prompt = Cell(group.First(), "Input.caption") });
        }

        return new(images, skipped);

        string Cell((string[] Cells, int Line) row, string name) => column[name] < row.Cells.Length
            ? row.Cells[column[name]] : "";

        bool Says((string[] Cells, int Line) row, JsonElement wanted)
        {
            string[] names = [Cell(row, "Input.object_0_name"), Cell(row, "Input.object_1_name")];
            foreach (var clause in wanted.GetProperty("include").EnumerateArray())
            {
                var name = clause.GetProperty("class").GetString();
                var i = Array.IndexOf(names, name);
                var text = i < 0 ? "" : Cell(row, $"Answer.task-count-{i}");
                if (!double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number))
                {
                    throw new UnusableFileException(path,
                        $"line {row.Line}: no count is answered for '{name}', which its caption asks for",
                        "restore the published file");
                }

                var count = (int)number;
                if (count < clause.GetProperty("count").GetInt32()
                    || (wanted.TryGetProperty("exclude", out var exclude) && exclude.EnumerateArray()
                    .Any(e => e.GetProperty("class").GetString() == name && count >= e.GetProperty("count")
                        .GetInt32())))
                {
                    return false;
                }

                if (clause.TryGetProperty("color", out var color) && !Cell(row, $"Answer.task-color-{i}").Split('|')
                    .Contains(color.GetString()))
                {
                    return false;
                }

                if (clause.TryGetProperty("position", out var position))
                {
                    var word = position[0].Text().Split(' ')[0];
                    var asked = i == 1 ? word : Opposite[word];
                    if (asked != Cell(row, "Answer.task-position-x") && asked != Cell(row, "Answer.task-position-y"))
                    {
                        return false;
                    }
                }
            }

            return true;
        }
    }

    /// <summary>evaluation_metadata.jsonl by prompt.</summary>
    /// <exception cref="UnusableFileException">It is missing or damaged.</exception>
    public static IReadOnlyDictionary<string, JsonElement> ReadMetadata(string path)
    {
        var number = 0;
        try
        {
            var byPrompt = new Dictionary<string, JsonElement>();
            foreach (var line in TextFile.Read(path).Split('\n'))
            {
                number++;
                if (line.Trim().Length > 0)
                {
                    var metadata = PythonJson.Parse(line);
                    Expect(metadata);
                    byPrompt[Member(metadata, "prompt").Text()] = metadata;
                }
            }

            return byPrompt;
        }
        catch (Exception e) when (e is OfficialStopException or InvalidOperationException or FormatException)
        {
            throw new UnusableFileException(path, $"line {number} is none of GenEval's metadata: "
                + ((e as OfficialStopException)?.Cause ?? e.Message).TrimEnd('.'),
                "give evaluation_metadata.jsonl, a JSON object a line", e);
        }
    }

    // all that verdicts are made of, so that nothing is missing in their middle
    private static void Expect(JsonElement metadata)
    {
        _ = Member(metadata, "tag").Text();
        IEnumerable<JsonElement> clauses = Member(metadata, "include").EnumerateArray();
        foreach (var clause in metadata.TryGetProperty("exclude", out var exclude)
            ? clauses.Concat(exclude.EnumerateArray()) : clauses)
        {
            _ = (Member(clause, "class").Text(), Member(clause, "count").GetInt32());
            _ = clause.TryGetProperty("color", out var color) ? color.GetString() : null;
            if (clause.TryGetProperty("position", out var position) && (position.GetArrayLength() == 0
                || !Opposite.ContainsKey(position[0].Text().Split(' ')[0])))
            {
                throw new FormatException("a 'position' is none of left, right, above and below");
            }
        }
    }

    private static JsonElement Member(JsonElement of, string name) => of.TryGetProperty(name, out var value) ? value
        : throw new FormatException($"it has no '{name}', or one of its objects has none");
}
