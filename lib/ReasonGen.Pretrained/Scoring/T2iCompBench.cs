// T2I-CompBench without positions (Karine-Huang/T2I-CompBench: BLIP_vqa.py, numeracy_eval.py, 3_in_1.py).
//   attributes: "{noun chunk}?" for each of the first 8 chunks;  score = fp32 product of p(yes), rounded to 4 digits; 
//   mean of the rounded scores
//   numeracy:   boxes of a class that overlap by more than 0.9, or lie within one another by that, are one;
//               each object that the prompt counts: ½ / n for being there, ½ / n for its exact number;
//               words are spaCy's
//   3-in-1:     mean of attribute and position, or of attribute and action, or of all three, by the list that holds the
//   prompt
// Deviation: in 3-in-1 scores are matched by name; the reference goes by place, so that one missing image shifts all
// the others.
using System.Globalization;

namespace ReasonGen.Scoring;

/// <summary>Scores of attributes, numbers and complex prompts.</summary>
public static class T2iCompBench
{
    private static readonly HashSet<string> NoObjects = ["top", "the side", "the left", "the right"];
    private static readonly string[] Numbers = ["a", "an", "one", "two", "three", "four", "five", "six", "seven",
        "eight"];
    private static readonly Dictionary<string, string> Labels = new()
    {
        ["boy"] = "person", ["girl"] = "person", ["man"] = "person", ["woman"] = "person", ["ship"] = "boat",
            ["telivision"] = "tv", ["goldfish"] = "fish",
        ["painting"] = "picture",
    };

    /// <summary>How the official detector calls what a prompt counts: a man is a person.</summary>
    public static string LabelOf(string name) => Labels.GetValueOrDefault(name, name);

    /// <summary>The prompt of a file: its name before the first underscore.</summary>
    public static string PromptOf(string file) => file.Split('_')[0];

    /// <summary>The number of a file "{prompt}_{number}.png"; null where it has none.</summary>
    public static int? NumberOf(string file) => Path.GetFileNameWithoutExtension(file)
        .Split('_') is { Length: > 1 } parts
        && int.TryParse(parts[^1], NumberStyles.None, CultureInfo.InvariantCulture, out var number) ? number : null;

    /// <summary>The questions about a prompt's noun chunks, at most <paramref name="count"/>.</summary>
    public static IReadOnlyList<string> Questions(IReadOnlyList<string> nounChunks, int count = 8) =>
        [.. nounChunks.Where(chunk => !NoObjects.Contains(chunk)).Take(count).Select(chunk => chunk + "?")];

    /// <summary>A question as BLIP reads it: lower case, without some marks, at most 50 words.</summary>
    public static string Cleaned(string question)
    {
        var plain = string.Concat(question.ToLowerInvariant()
            .Select(c => ".!\"()*#:;~".Contains(c) ? "" : c.ToString())).TrimEnd(' ');
        var words = plain.Split(' ');
        return words.Length > 50 ? string.Join(' ', words[..50]) : plain;
    }

    /// <summary>Product of the probabilities of yes in single precision, as text with 4 digits; 1.0000 without
    /// questions.</summary>
    public static string AttributeScore(IEnumerable<double> yes) =>
        PythonNumber.Fixed(yes.Aggregate(1f, (product, p) => product * (float)p), 4);

    /// <summary>Whether two boxes of a class are one.</summary>
    public static bool Duplicate(Detection a, Detection b)
    {
        static double Area(double x1, double y1, double x2, double y2) => (x2 - x1 + 1) * (y2 - y1 + 1);
        var both = Math.Max(0, (double)Math.Min(a.X2, b.X2) - Math.Max(a.X1, b.X1) + 1) * Math.Max(0,
            (double)Math.Min(a.Y2, b.Y2) - Math.Max(a.Y1, b.Y1) + 1);
        double one = Area(a.X1, a.Y1, a.X2, a.Y2), other = Area(b.X1, b.Y1, b.X2, b.Y2);
        return both / (one + other - both) > 0.9 || both / one > 0.9 || both / other > 0.9;
    }

    /// <summary>What a prompt counts: object and number.</summary>
    /// <param name="prompt">Prompt.</param>
    /// <param name="objects">Singular and plural of each known object (new_objects.txt).</param>
    public static IReadOnlyList<(string Object, int Count)> Counted(string prompt,
        IReadOnlyList<(string Singular, string Plural)> objects)
    {
        var words = SpacyWords.Of(prompt);
        var counted = new List<(string, int)>();
        for (var i = 0; i + 1 < words.Count; i++)
        {
            var at = Array.IndexOf(Numbers, words[i]);
            if (at < 0)
            {
                continue;
            }

            var number = Math.Max(1, at - 1); // a, an, one, two, …
            var two = i + 2 < words.Count ? $"{words[i + 1]} {words[i + 2]}" : "";
            // of two words: a plural after more than one is its singular; anything else counts once, as it stands
            if (objects.Any(o => o.Singular == two || o.Plural == two))
            {
                counted.Add(number > 1 && objects.FirstOrDefault(o => o.Plural == two) is { Singular: { } name }
                    ? (name, number) : (two, 1));
            }
            else if (number == 1 && objects.Any(o => o.Singular == words[i + 1]))
            {
                counted.Add((words[i + 1], 1));
            }
            else if (objects.Any(o => o.Singular == words[i + 1] || o.Plural == words[i + 1]))
            {
                counted.Add(objects.FirstOrDefault(o => o.Plural == words[i + 1]) is { Singular: { } name }
                    ? (name, number)
                    : throw new OfficialStopException("ValueError",
                        $"'{words[i]} {words[i + 1]}' in '{prompt}' is no plural of the list"));
            }
        }

        return counted;
    }

    /// <summary>Score of an image for a prompt that counts.</summary>
    /// <exception cref="OfficialStopException">ZeroDivisionError: the prompt counts nothing that the list
    /// knows.</exception>
    public static double Numeracy(string prompt, IReadOnlyList<Detection> detections,
        IReadOnlyList<(string Singular, string Plural)> objects)
    {
        var kept = new List<Detection>();
        foreach (var detection in detections)
        {
            if (!kept.Any(other => other.Class == detection.Class && Duplicate(detection, other)))
            {
                kept.Add(detection);
            }
        }

        var labels = kept.Select(detection => detection.Class).ToArray();
        var counted = Counted(prompt, objects);
        var (score, weight) = (0.0, counted.Count > 0 ? 1.0 / counted.Count
            : throw new OfficialStopException("ZeroDivisionError",
                $"nothing of the object list is counted in '{prompt}'"));
        foreach (var (name, count) in counted)
        {
            var label = LabelOf(name);
            if (!labels.Contains(label))
            {
                labels = [.. labels.Select(other => other.Contains(label) ? label : other)];
            }

            if (labels.Contains(label))
            {
                score += 0.5 * weight;
                score += labels.Count(other => other == label) == count ? 0.5 * weight : 0;
            }
        }

        return score;
    }

    /// <summary>The score of a complex prompt's image.</summary>
    /// <param name="prompt">Prompt; compared in lower case, up to its first full stop.</param>
    /// <param name="spatial">Prompts of complex_val_spatial.txt, looked up first.</param>
    /// <param name="action">Prompts of complex_val_action.txt.</param>
    /// <param name="attributeScore">By questions.</param>
    /// <param name="spatialScore">By boxes.</param>
    /// <param name="actionScore">By CLIP.</param>
    public static double ThreeInOne(string prompt, IEnumerable<string> spatial, IEnumerable<string> action,
        double attributeScore, double spatialScore, double actionScore)
    {
        static string Plain(string text) => text.Split('.')[0].ToLowerInvariant();
        bool In(IEnumerable<string> list) => list.Any(other => Plain(other) == Plain(prompt));
        return In(spatial) ? (spatialScore + attributeScore) * 0.5 : In(action) ? (actionScore + attributeScore) * 0.5
            : (attributeScore + spatialScore + actionScore) / 3;
    }

    /// <summary>Singular and plural of each line "dog - dogs" (new_objects.txt).</summary>
    public static IReadOnlyList<(string Singular, string Plural)> ReadObjects(IEnumerable<string> lines) =>
        [.. lines.Where(line => line.Trim().Length > 0).Select(line => line.Split(" - ") is [var one, var many, ..]
            ? (one.Trim().ToLowerInvariant(), many.Trim().ToLowerInvariant())
                : throw new FormatException($"'{line}' is no line of singular - plural"))];
}
