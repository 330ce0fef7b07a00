// results.jsonl of GenEval (evaluate_images.py, pandas 1.5), and its summary (summary_scores.py), text by text.
using System.Globalization;
using System.Text;
using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>One row of results.jsonl.</summary>
/// <param name="FileName">Path of the image, below the folder that was scored.</param>
/// <param name="Tag">Task; null where the row has none.</param>
/// <param name="Prompt">Prompt.</param>
/// <param name="Correct">1 or 0; a share where something else wrote it; null where the image could not be scored, which
/// means leave out.</param>
/// <param name="Reason">Why it is wrong, a line a reason.</param>
/// <param name="Metadata">The prompt's metadata as Python writes it; null where the row has none.</param>
/// <param name="Details">Kept boxes by class as Python writes them.</param>
public sealed record GenEvalRow(string FileName, string? Tag, string Prompt, double? Correct, string Reason,
    string? Metadata, string Details)
{
    /// <summary>The row of a scored image.</summary>
    public static GenEvalRow Of(string fileName, JsonElement metadata, GenEvalVerdict? verdict, string? unscored,
        IReadOnlyDictionary<string, IReadOnlyList<Detection>> kept) =>
        new(fileName, metadata.GetProperty("tag").GetString(), metadata.GetProperty("prompt").GetString()!,
            verdict is { } known ? known.Correct ? 1 : 0 : null, verdict?.Reason ?? $"not scored: {unscored}",
                PythonJson.Dumps(metadata), DetailsOf(kept));

    /// <summary>Kept boxes as Python writes them: single precision widened to double.</summary>
    public static string DetailsOf(IReadOnlyDictionary<string, IReadOnlyList<Detection>> kept)
    {
        static string Box(Detection box) =>
            "[" + string.Join(", ",
                ((float[])[box.X1, box.Y1, box.X2, box.Y2, box.Score]).Select(v => PythonNumber.Json(v))) + "]";
        return "{" + string.Join(", ",
            kept.Select(pair => $"{PythonJson.Quote(pair.Key)}: [{string.Join(", ", pair.Value.Select(Box))}]")) + "}";
    }

    /// <summary>Kept boxes read back: enough for every rule but colours.</summary>
    public IReadOnlyList<Detection> Boxes() => [.. PythonJson.Parse(Details.Replace("NaN", "null")).EnumerateObject()
        .SelectMany(member => member.Value.EnumerateArray()
        .Select(box => box.EnumerateArray().Select(v => v.ValueKind == JsonValueKind.Null ? float.NaN
            : (float)v.GetDouble()).ToArray())
        .Select(v => new Detection(member.Name, v[0], v[1], v[2], v[3], v[4])))];

    /// <summary>The line as the official script writes it, without its end.</summary>
    public string Line()
    {
        static string Text(string? value) => value is null ? "null" : PythonJson.PandasQuote(value);
        var correct = Correct switch { null => "null", 0 => "false", 1 => "true", { } share =>
            PythonNumber.Json(share) };
        return $"{{\"filename\":{Text(FileName)},\"tag\":{Text(Tag)},\"prompt\":{Text(Prompt)},\"correct\":"
            + $"{correct},\"reason\":{Text(Reason)},\"metadata\":{Text(Metadata)},\"details\":{Text(Details)}}}";
    }
}

/// <summary>Scores of one task.</summary>
/// <param name="Tag">The task.</param>
/// <param name="Correct">Sum of what is correct.</param>
/// <param name="Images">Rows, those that were not scored too.</param>
/// <param name="Score">Mean over the scored rows; NaN without any.</param>
public sealed record GenEvalTask(string Tag, double Correct, int Images, double Score);

/// <summary>A results.jsonl, its rows and its summary.</summary>
public sealed class GenEvalResults
{
    private readonly bool hasMetadata, hasCorrect, hasTag, textCorrect, objectMetadata;

    /// <summary>Results from rows.</summary>
    public GenEvalResults(IReadOnlyList<GenEvalRow> rows) =>
        (Rows, hasMetadata, hasCorrect, hasTag) = (rows, rows.Count > 0, rows.Count > 0, rows.Count > 0);

    private GenEvalResults(IReadOnlyList<JsonElement> rows)
    {
        bool Has(string name) => rows.Any(row => row.TryGetProperty(name, out _));
        (hasMetadata, hasCorrect, hasTag) = (Has("metadata"), Has("correct"), Has("tag"));
        static JsonElement? Of(JsonElement row, string name) => row.TryGetProperty(name, out var value)
            && value.ValueKind != JsonValueKind.Null ? value : null;
        objectMetadata = rows.Any(row => Of(row, "metadata") is { ValueKind: JsonValueKind.Object
            or JsonValueKind.Array });
        // a column of numbers written as text is read as numbers
        textCorrect = rows.Any(row => Of(row, "correct") is { ValueKind: not (JsonValueKind.Number or JsonValueKind.True
            or JsonValueKind.False) } value && !IsNumber(value.ToString()));
        var tags = rows.Select(row => Of(row, "tag")?.ToString()).ToArray();
        var numeric = tags.Any(tag => tag is not null) && tags.All(tag => tag is null || IsNumber(tag));
        var whole = numeric && tags.All(tag => tag is not null && PythonNumber.Float(tag) % 1 == 0);
        Rows = [.. rows.Select((row, i) => new GenEvalRow(Of(row, "filename")?.ToString() ?? "",
            tags[i] is not { } tag ? null : !numeric ? tag : whole ? $"{PythonNumber.Float(tag):0}"
                : PythonNumber.Repr(PythonNumber.Float(tag)),
            Of(row, "prompt")?.ToString() ?? "", Of(row, "correct") is not { } correct ? null : correct.ValueKind switch
            {
                JsonValueKind.True => 1, JsonValueKind.False => 0, _ => IsNumber(correct.ToString())
                    ? PythonNumber.Float(correct.ToString()) : null,
            }, Of(row, "reason")?.ToString() ?? "", Of(row, "metadata")?.ToString(), Of(row, "details")?.ToString()
                ?? "{}"))];
    }

    public IReadOnlyList<GenEvalRow> Rows { get; }

    /// <summary>Whether a "correct" is a text, and none of a number.</summary>
    internal bool TextCorrect => textCorrect;

    /// <summary>Rows whose image was not scored.</summary>
    public int Unscored => Rows.Count(row => row.Correct is null);

    /// <summary>Prompts: rows of equal metadata text are one.</summary>
    public IReadOnlyList<IGrouping<string, GenEvalRow>> Prompts =>
        [.. Rows.Where(row => row.Metadata is not null).GroupBy(row => row.Metadata!)];

    /// <summary>Tasks in the order in which they first appear.</summary>
    public IReadOnlyList<GenEvalTask> Tasks => [.. Rows.Where(row => row.Tag is not null).GroupBy(row => row.Tag!)
        .Select(task =>
        new GenEvalTask(task.Key, PythonNumber.Sum(Known(task)), task.Count(), PythonNumber.Mean(Known(task))))];

    /// <summary>Unweighted mean of the tasks; NaN where a task has no scored row.</summary>
    public double Overall => PythonNumber.Mean(Tasks.Select(task => task.Score));

    /// <summary>Reads a file.</summary>
    /// <exception cref="UnusableFileException">It is missing, a pipe that lies in a folder, or a line is no JSON
    /// object.</exception>
    public static GenEvalResults Read(string path)
    {
        try
        {
            return Parse(ScoreFiles.Read(path), path);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"the results cannot be read: {e.Message.TrimEnd('.')}",
                "check the path", e);
        }
    }

    /// <summary>Reads the text of a file; empty lines are passed over.</summary>
    /// <param name="text">JSON lines.</param>
    /// <param name="path">Where they come from, for messages.</param>
    /// <exception cref="UnusableFileException">A line is no JSON object.</exception>
    public static GenEvalResults Parse(string text, string path = "results.jsonl")
    {
        var rows = new List<JsonElement>();
        foreach (var (i, line) in text.Split('\n').Index())
        {
            if (line.Trim(' ', '\t', '\r').Length == 0)
            {
                continue;
            }

            try
            {
                var row = PythonJson.Parse(line);
                rows.Add(row.ValueKind == JsonValueKind.Object ? row
                    : throw new OfficialStopException("none", "it is no object"));
            }
            catch (OfficialStopException e)
            {
                throw new UnusableFileException(path,
                    $"line {i + 1} is no row of results: {e.Cause.Split(" Path")[0].TrimEnd('.')}",
                    "give results.jsonl as the scorer wrote it", e);
            }
        }

        return new(rows);
    }

    /// <summary>The file's text: a line a row, or one empty line without any.</summary>
    public string Text() => Rows.Count == 0 ? "\n" : string.Concat(Rows.Select(row => row.Line() + "\n"));

    /// <summary>The text that summary_scores.py prints.</summary>
    /// <exception cref="OfficialStopException">The official script stops on such rows; <see cref="Summary(out
    /// OfficialStopException?)"/> gives what it printed before.</exception>
    public string Summary()
    {
        var text = Summary(out var stop);
        return stop is null ? text : throw stop;
    }

    /// <summary>The text that summary_scores.py prints, and what stops it; null where nothing does.</summary>
    public string Summary(out OfficialStopException? stop)
    {
        var text = new StringBuilder($"Summary\n=======\nTotal images: {Rows.Count}\n");
        stop = !hasMetadata ? new("KeyError", "no row has \"metadata\"") : objectMetadata
            ? new("TypeError", "\"metadata\" holds objects where text is expected") : null;
        if (stop is not null)
        {
            return text.ToString();
        }

        text.Append($"Total prompts: {Prompts.Count}\n");
        stop = !hasCorrect ? new("KeyError", "no row has \"correct\"") : textCorrect
            ? new("TypeError", "\"correct\" holds text") : null;
        if (stop is not null)
        {
            return text.ToString();
        }

        var right = Prompts.Count(prompt => prompt.Any(row => row.Correct is { } correct && correct != 0));
        text.Append($"% correct images: {PythonNumber.Percent(PythonNumber.Mean(Known(Rows)))}\n");
        text.Append($"% correct prompts: "
            + $"{PythonNumber.Percent(Prompts.Count == 0 ? double.NaN : right / (double)Prompts.Count)}\n\nTask "
            + $"breakdown\n==============\n");
        if (!hasTag)
        {
            stop = new("KeyError", "no row has \"tag\"");
            return text.ToString();
        }

        // a column with a null, or with a fraction, holds floating-point numbers
        var fractions = Rows.Any(row => row.Correct is not { } correct || correct % 1 != 0);
        foreach (var task in Tasks)
        {
            var sum = fractions ? PythonNumber.Repr(task.Correct)
                : task.Correct.ToString("0", CultureInfo.InvariantCulture);
            var width = task.Tag.EnumerateRunes().Count();
            text.Append($"{task.Tag}{new string(' ', Math.Max(0, 16 - width))} = {PythonNumber.Percent(task.Score)} "
                + $"({sum} / {task.Images})\n");
        }

        return text.Append($"\nOverall score (avg. over tasks): {PythonNumber.Fixed(Overall, 5)}\n").ToString();
    }

    private static double[] Known(IEnumerable<GenEvalRow> rows) =>
        [.. rows.Where(row => row.Correct is not null).Select(row => row.Correct!.Value)];

    private static bool IsNumber(string text) => double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture,
        out _);
}
