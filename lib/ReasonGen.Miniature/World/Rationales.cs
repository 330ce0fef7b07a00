using ReasonGen.Rollouts;

namespace ReasonGen.World;

/// <summary>
/// The world's chain of thought: a frame, one phrase a shape with colour and place, a closing phrase about the mood.
/// Wordings vary, as those of the paper's captioner do, and use the words that its figure 7 counts.
/// </summary>
public static class Rationales
{
    private static readonly string[] Openings =
    [
        "the scene shows {0}", "a calm scene of {0}", "this natural scene has {0}", "a sense of order , {0}",
        "the picture captures {0}",
        "picture {0} in a natural scene", "within this image , {0}", "here the viewer finds {0}",
    ];

    private static readonly string[] Endings =
    [
        "soft light and a calm mood", "soft highlights , sleek mood", "highlighting the soft background",
        "emphasizing a natural sense",
        "calm moments , soft features", "a sleek background with highlights", "gentle contrast , balanced composition",
        "quiet tones and clear edges",
    ];

    /// <summary>Every word of prompts, captions and rationales.</summary>
    public static IReadOnlyList<string> Words { get; } =
    [
        .. WorldConfig.Colors, .. WorldConfig.Shapes, .. WorldConfig.Shapes.Select(Prompts.Plural),
        .. WorldConfig.Places,
        .. "a photo of and one two three four left right above below , : ; . it shape shapes".Split(' '),
        .. Openings.Concat(Endings)
            .SelectMany(text => text.Replace("{0}", "").Split(' ', StringSplitOptions.RemoveEmptyEntries))
            .Except(["a", "of", ",", "and"]).Distinct(),
    ];

    /// <summary>Words a scene: what is there, in the order of the prompt, and where.</summary>
    public static string Write(Scene scene, Random random)
    {
        var count = scene.Objects.Count == 1 ? "one shape" : $"{Prompts.Number(scene.Objects.Count)} shapes";
        var things = scene.Objects.Select(o =>
            $"{WorldConfig.Colors[o.Color]} {WorldConfig.Shapes[o.Shape]} {WorldConfig.Places[o.Cell]}");
        var opening = string.Format(Openings[random.Next(Openings.Length)], count);
        return $"{opening} : {string.Join(" , ", things)} ; {Endings[random.Next(Endings.Length)]} .";
    }

    /// <summary>
    /// What a rationale plans: the shapes between its colon and the next semicolon, full stop or end. Articles and "at"
    /// are read over, spaces round punctuation do not matter; null when a phrase lacks its colour, shape or place, or
    /// there is none.
    /// </summary>
    public static IReadOnlyList<Seen>? Parse(string rationale)
    {
        var start = rationale.IndexOf(':');
        if (start < 0)
        {
            return null;
        }

        var end = rationale.IndexOfAny([';', '.'], start);
        var plan = new List<Seen>();
        foreach (var phrase in rationale[(start + 1)..(end < 0 ? rationale.Length : end)].Split(','))
        {
            var words = phrase.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries)
                .Where(word => word is not ("a" or "an" or "and" or "at")).ToArray();
            if (words is not [var color, var shape, var place] || !WorldConfig.Colors.Contains(color)
                || !WorldConfig.Shapes.Contains(shape)
                || !WorldConfig.Places.Contains(place))
            {
                return null;
            }

            plan.Add(new SceneObject(0, 0, WorldConfig.Places.ToList().IndexOf(place)).ToSeen() with
            {
                Class = shape, Color = color,
            });
        }

        return plan;
    }

    /// <summary>Whether a rationale plans what the prompt asks for; false when it cannot be read.</summary>
    public static bool Satisfies(string rationale, Prompt prompt) =>
        Parse(rationale) is { } plan && Checker.Check(plan, prompt).Correct;

    /// <summary>Whether there is an image of a plan: the world has one shape a place at most. A prompt can be satisfied
    /// by a plan of which there is none, and no image follows that.</summary>
    public static bool CanBeDrawn(IReadOnlyList<Seen> plan) =>
        plan.DistinctBy(thing => thing.Cell).Count() == plan.Count;

    /// <summary>Whether an image shows just what was planned: the same shapes, colours and cells, one for
    /// one.</summary>
    public static bool Follows(IReadOnlyList<Seen> image, IReadOnlyList<Seen> plan) =>
        image.Select(Essence).Order().SequenceEqual(plan.Select(Essence).Order());

    private static (string, string, int) Essence(Seen thing) => (thing.Class, thing.Color, thing.Cell);
}
