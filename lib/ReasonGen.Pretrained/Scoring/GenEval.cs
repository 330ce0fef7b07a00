// GenEval's rules (djghosh13/geneval: evaluate_images.py), as pure functions.
//   per class: boxes by score, best first; above the threshold (compared in fp32); at most 16; then those that overlap
//   a better one by ≥ max_overlap
//   include:   the best `count` boxes; fewer fail.  colour: at least `count` of these.  position, only if all that
//   held:
//              o = c_a − c_b,  o' = max(|o| − 0.1 (s_a + s_b), 0) · sign(o) per axis,  (dx, dy) = o' / ‖o‖;
//              left of if dx < −½, right of if dx > ½, above if dy < −½, below if dy > ½, for every pair
//   exclude:   as many boxes as that, or more, fail
// Deviations: 1. Two relations are named in the order left of, right of, above, below; the reference's is that of a
// set. 2. Equal scores come in the
//   order of NumPy 1.23's unstable index sort, reversed (up to 16 boxes: the later box first); NumPy with wide vectors
//   orders them otherwise.
using System.Globalization;
using System.Text.Json;

namespace ReasonGen.Scoring;

/// <summary>Whether an image satisfies its prompt, and why not, a line a reason.</summary>
public readonly record struct GenEvalVerdict(bool Correct, string Reason);

/// <summary>Names the colour of each object; null where it has none of the colours.</summary>
/// <param name="objects">Boxes of one class, best first.</param>
/// <param name="className">Their class.</param>
public delegate IReadOnlyList<string?> ColorsOf(IReadOnlyList<Detection> objects, string className);

/// <summary>GenEval's rules.</summary>
public static class GenEval
{
    private static readonly string[] Relations = ["left of", "right of", "above", "below"];

    /// <summary>The boxes that count, best first, by class in the order of <paramref name="classes"/>; classes without
    /// any are left out.</summary>
    public static OrderedDictionary<string, IReadOnlyList<Detection>> Keep(
        IEnumerable<Detection> detections, string tag, GenEvalOptions options, IReadOnlyList<string>? classes = null)
    {
        var threshold = (float)(tag == "counting" ? options.CountingThreshold : options.Threshold);
        var byClass = detections.ToLookup(detection => detection.Class);
        var kept = new OrderedDictionary<string, IReadOnlyList<Detection>>();
        foreach (var name in classes ?? GenEvalOptions.CocoClasses)
        {
            var own = byClass[name].ToArray();
            var above = Order(own.Select(box => box.Score).ToArray()).Select(i => own[i])
                .Where(box => box.Score > threshold).ToList();
            above.RemoveRange(PythonNumber.SliceEnd(above.Count, options.MaxObjects),
                above.Count - PythonNumber.SliceEnd(above.Count, options.MaxObjects));
            var some = new List<Detection>();
            while (above.Count > 0)
            {
                var best = above[0];
                some.Add(best);
                above.RemoveAt(0);
                above.RemoveAll(box => options.MaxOverlap != 1 && !(Overlap(best, box) < options.MaxOverlap));
            }

            if (some.Count > 0)
            {
                kept[name] = some;
            }
        }

        return kept;
    }

    /// <summary>Holds the boxes of <see cref="Keep"/> against a line of metadata.</summary>
    /// <exception cref="OfficialStopException">The metadata lacks what the rules ask for.</exception>
    public static GenEvalVerdict Evaluate(
        JsonElement metadata, IReadOnlyDictionary<string, IReadOnlyList<Detection>> kept, ColorsOf colors,
            GenEvalOptions options)
    {
        var reasons = new List<string>();
        var groups = new List<IReadOnlyList<Detection>?>();
        foreach (var wanted in Clauses(metadata, "include"))
        {
            var name = Text(wanted, "class");
            var count = Count(wanted);
            var all = kept.GetValueOrDefault(name, []);
            var found = all.Take(PythonNumber.SliceEnd(all.Count, count)).ToArray();
            var before = reasons.Count;
            if (found.Length < count)
            {
                reasons.Add($"expected {name}>={count}, found {found.Length}");
            }
            else
            {
                if (wanted.TryGetProperty("color", out var color))
                {
                    Color(reasons, color.ToString(), name, count, colors(found, name));
                }

                if (reasons.Count == before && wanted.TryGetProperty("position", out var position))
                {
                    Position(reasons, name, found, position, groups, options);
                }
            }

            groups.Add(reasons.Count == before ? found : null);
        }

        foreach (var unwanted in Clauses(metadata, "exclude"))
        {
            var (name, count) = (Text(unwanted, "class"), Count(unwanted));
            var some = kept.GetValueOrDefault(name);
            if ((some?.Count ?? 0) >= count)
            {
                reasons.Add($"expected {name}<{count}, found "
                    + $"{some?.Count ?? throw new OfficialStopException("KeyError", $"'{name}': fewer "
                    + $"than {count} are wanted, and there is none")}");
            }
        }

        return new(reasons.Count == 0, string.Join('\n', reasons));
    }

    /// <summary>Where <paramref name="a"/> is, seen from <paramref name="b"/>; in the order left of, right of, above,
    /// below.</summary>
    public static IReadOnlyList<string> RelativePosition(Detection a, Detection b, double threshold)
    {
        static float Size(float from, float to) => Math.Abs(to - from);
        float x = (a.X1 + a.X2) / 2 - (b.X1 + b.X2) / 2, y = (a.Y1 + a.Y2) / 2 - (b.Y1 + b.Y2) / 2;
        float Shrunk(float offset, float sizes) => Math.Max(Math.Abs(offset) - (float)threshold * sizes,
            0) * (offset > 0 ? 1 : offset < 0 ? -1 : 0);
        var dx = Shrunk(x, Size(a.X1, a.X2) + Size(b.X1, b.X2));
        var dy = Shrunk(y, Size(a.Y1, a.Y2) + Size(b.Y1, b.Y2));
        if (Math.Abs(dx) < 1e-3f && Math.Abs(dy) < 1e-3f)
        {
            return [];
        }

        var length = MathF.Sqrt(x * x + y * y);
        (dx, dy) = (dx / length, dy / length);
        bool[] holds = [dx < -0.5f, dx > 0.5f, dy < -0.5f, dy > 0.5f];
        return [.. Relations.Where((_, i) => holds[i])];
    }

    /// <summary>Intersection over union with widths counted +1, as pixels are; 0 for boxes without area.</summary>
    public static double Overlap(Detection a, Detection b)
    {
        // fp32 differences; the +1 makes them double, as in the reference's NumPy
        static double Area(float x1, float y1, float x2, float y2) =>
            Math.Max((double)(x2 - x1) + 1, 0) * Math.Max((double)(y2 - y1) + 1, 0);
        var both = Area(Math.Max(a.X1, b.X1), Math.Max(a.Y1, b.Y1), Math.Min(a.X2, b.X2), Math.Min(a.Y2, b.Y2));
        var union = Area(a.X1, a.Y1, a.X2, a.Y2) + Area(b.X1, b.Y1, b.X2, b.Y2) - both;
        return union == 0 ? 0 : both / union;
    }

    /// <summary>Indices of scores, the highest first; equal ones as NumPy 1.23 leaves them.</summary>
    public static int[] Order(IReadOnlyList<float> scores)
    {
        var order = Enumerable.Range(0, scores.Count).ToArray();
        var open = new Stack<(int Low, int High)>([(0, order.Length - 1)]);
        bool Less(int i, int j) => scores[i] < scores[j] || (float.IsNaN(scores[j])
            && !float.IsNaN(scores[i])); // NaN last
        void Swap(int i, int j) => (order[i], order[j]) = (order[j], order[i]);
        while (open.TryPop(out var range))
        {
            var (low, high) = range;
            while (high - low > 15)
            {
                var middle = low + (high - low) / 2;
                foreach (var (i, j) in ((int, int)[])[(low, middle), (middle, high), (low, middle)])
                {
                    if (Less(order[j], order[i]))
                    {
                        Swap(i, j);
                    }
                }

                var pivot = order[middle];
                var (up, down) = (low, high - 1);
                Swap(middle, down);
                while (true)
                {
                    while (Less(order[++up], pivot))
                    {
                    }

                    while (Less(pivot, order[--down]))
                    {
                    }

                    if (up >= down)
                    {
                        break;
                    }

                    Swap(up, down);
                }

                Swap(up, high - 1);
                open.Push((up + 1, high)); // the ranges are apart, so their order does not matter
                high = up - 1;
            }

            if (low < high)
            {
                order.AsSpan(low, high - low + 1).ToArray().Order(Comparer<int>.Create((i, j) => Less(i, j) ? -1
                    : Less(j, i) ? 1 : 0)).ToArray()
                    .CopyTo(order, low);
            }
        }

        Array.Reverse(order);
        return order;
    }

    private static void Color(List<string> reasons, string color, string name, int count, IReadOnlyList<string?> colors)
    {
        int Of(string wanted) => colors.Count(c => c == wanted);
        if (Of(color) < count)
        {
            var others = GenEvalOptions.Colors.Where(c => colors.Contains(c)).Select(c => $"{Of(c)} {c}");
            reasons.Add(
                $"expected {color} {name}>={count}, found {Of(color)} {color}; and {string.Join(", ", others)}");
        }
    }

    private static void Position(List<string> reasons, string name, IReadOnlyList<Detection> found,
        JsonElement position,
        List<IReadOnlyList<Detection>?> groups, GenEvalOptions options)
    {
        if (position.ValueKind != JsonValueKind.Array || position.GetArrayLength() != 2
            || position[1].ValueKind != JsonValueKind.Number || !position[1].TryGetInt32(out var target))
        {
            throw new OfficialStopException("ValueError",
                $"the position of '{name}' is {position}, not a relation and the number of a clause");
        }

        var relation = position[0].ToString();
        var index = target < 0 ? groups.Count + target : target;
        if (index < 0 || index >= groups.Count)
        {
            throw new OfficialStopException("IndexError",
                $"'{name}' is to be {relation} clause {target}, and there are {groups.Count} before it");
        }

        if (groups[index] is not { } targets)
        {
            reasons.Add($"no target for {name} to be {relation}");
            return;
        }

        foreach (var (a, b) in found.SelectMany(a => targets.Select(b => (a, b))))
        {
            var relations = RelativePosition(a, b, options.PositionThreshold);
            if (!relations.Contains(relation))
            {
                reasons.Add($"expected {name} {relation} target, found {string.Join(" and ", relations)} target");
                return;
            }
        }
    }

    private static IEnumerable<JsonElement> Clauses(JsonElement metadata, string name) =>
        !metadata.TryGetProperty(name, out var list) ? []
        : list.ValueKind == JsonValueKind.Array ? list.EnumerateArray()
        : throw new OfficialStopException("TypeError",
            $"\"{name}\" of the metadata is {list.ValueKind.ToString().ToLowerInvariant()}, not a list");

    private static string Text(JsonElement clause, string name) =>
        clause.ValueKind != JsonValueKind.Object ? throw new OfficialStopException("TypeError",
            $"a clause of the metadata is no object: {clause}")
        : clause.TryGetProperty(name, out var value) ? value.ToString()
            : throw new OfficialStopException("KeyError", $"'{name}' is missing in a clause of the metadata");

    private static int Count(JsonElement clause) => int.TryParse(Text(clause, "count"), NumberStyles.AllowLeadingSign,
        CultureInfo.InvariantCulture, out var count)
        ? count : throw new OfficialStopException("TypeError",
            $"\"count\" of the metadata is {Text(clause, "count")}, not a whole number");
}
