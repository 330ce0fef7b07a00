using ReasonGen.Scoring;

namespace ReasonGen.Host.Commands;

/// <summary>Whether the boxes of a file are of what prompts ask for: names in another spelling, numbers that are taken
/// for those of other classes, and detections of other images all score next to nothing in silence. Of files alone,
/// since a model is asked by name.</summary>
/// <param name="classes">Classes in the order of the detector; empty where it has none.</param>
internal sealed class AskedBoxes(IReadOnlyList<string> classes)
{
    // one image of fifty is less than a bad generator hits; and none often draws the neighbour of what is asked for
    private const int Many = 20, Hardly = 50, Often = 4, Far = 2;
    private readonly Dictionary<string, int> places = classes.Index().ToDictionary(one => one.Item, one => one.Index);
    private readonly int[] hits = new int[2 * Far + 1]; // by shift
    private readonly HashSet<string> asked = [];
    private readonly Dictionary<string, int> seen = [];
    private int images;

    /// <summary>Whether a box's label is the one that is asked for.</summary>
    internal Func<string, string, bool> Same { get; init; } = (label, name) => label == name;

    /// <summary>Counts an image.</summary>
    internal void Add(IReadOnlyCollection<string> names, IReadOnlyCollection<string> labels)
    {
        images += names.Count > 0 ? 1 : 0;
        asked.UnionWith(names);
        foreach (var label in labels)
        {
            seen[label] = seen.GetValueOrDefault(label) + 1;
        }

        for (var shift = -Far; shift <= Far; shift++)
        {
            hits[shift + Far] += names.Any(name => Neighbour(name, shift) is { } other
                && labels.Any(label => Same(label, other))) ? 1 : 0;
        }
    }

    /// <summary>Labels that no prompt asks for, and how many boxes have them, the most first.</summary>
    internal IReadOnlyList<(string Label, int Boxes)> Others => [.. seen
        .Where(pair => !asked.Any(name => Same(pair.Key, name))).OrderByDescending(pair => pair.Value)
        .ThenBy(pair => pair.Key, StringComparer.Ordinal).Select(pair => (pair.Key, pair.Value))];

    /// <summary>Raises the alarm where hardly any image holds what is asked for; of few images, or where it is not
    /// wanted, that is a problem among others.</summary>
    /// <exception cref="InvalidOperationException">The alarm.</exception>
    internal void Check(ScoreRun run, bool anyway)
    {
        var (own, best) = (hits[Far], Array.IndexOf(hits, hits.Max()));
        var shifted = hits[best] >= Many && Often * hits[best] >= images && 2 * own < hits[best];
        if (images == 0 || !shifted && own * Hardly >= images)
        {
            return;
        }

        var what = $"of {images} images only {own} hold a box of what their prompts ask for"
            + (shifted ? $", and {hits[best]} one of its neighbour in the list of classes, {best - Far:+0;-0} from it"
                : "");
        if (images < Many || anyway)
        {
            run.Problems.Add(what);
            return;
        }

        throw new InvalidOperationException($"ALARM: {what}. Such a score is that of wrong names, not of the images: "
            + "class names in another spelling, numbers that are taken for those of other classes, or detections of "
            + "other images. Look at a few detections; with --no-alarm it is scored all the same. Nothing was "
            + "written.");
    }

    private string? Neighbour(string name, int shift) => shift == 0 ? name
        : places.TryGetValue(name, out var at) ? classes.ElementAtOrDefault(at + shift) : null;
}
