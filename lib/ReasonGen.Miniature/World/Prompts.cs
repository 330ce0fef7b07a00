using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.Studies;

namespace ReasonGen.World;

/// <summary>The three styles in which the paper's captioner wrote brief prompts (section 3.1).</summary>
public enum CaptionStyle
{
    /// <summary>GenEval's wording: "a photo of a red circle".</summary>
    Plain,

    /// <summary>"red circle , blue square".</summary>
    Tags,

    /// <summary>"shapes : a red circle and a blue square".</summary>
    ObjectCentred,
}

/// <summary>Prompts in the six tasks of GenEval, about shapes.</summary>
public static class Prompts
{
    private static readonly string[] Numbers = ["zero", "one", "two", "three", "four"];
    private static readonly string[] Relations = ["left of", "right of", "above", "below"];

    /// <summary>GenEval's tags, in its order.</summary>
    public static IReadOnlyList<string> Tasks { get; } = ["single_object", "two_object", "counting", "colors",
        "position", "color_attr"];

    /// <summary>Draws what a prompt of a task asks for (of a random task when null) and words it plainly.</summary>
    /// <exception cref="ArgumentException">There is no such task.</exception>
    public static Prompt Draw(Random random, string? task = null)
    {
        task ??= Tasks[random.Next(Tasks.Count)];
        var shapes = WorldConfig.Shapes.ToArray();
        var colors = WorldConfig.Colors.ToArray();
        random.Shuffle(shapes);
        random.Shuffle(colors);
        Clause[] include = task switch
        {
            "single_object" => [new(shapes[0])],
            "two_object" => [new(shapes[0]), new(shapes[1])],
            "counting" => [new(shapes[0], random.Next(2, 5))],
            "colors" => [new(shapes[0], 1, colors[0])],
            "position" => [new(shapes[0]), new(shapes[1], 1, null, Relations[random.Next(Relations.Length)])],
            "color_attr" => [new(shapes[0], 1, colors[0]), new(shapes[1], 1, colors[1])],
            _ => throw new ArgumentException($"there is no task '{task}'; there are {string.Join(", ", Tasks)}",
                nameof(task)),
        };
        return new Prompt(Word(include, CaptionStyle.Plain), task, include);
    }

    /// <summary>The benchmark: as many prompts of each task, always the same for a seed.</summary>
    public static IReadOnlyList<Prompt> Benchmark(int perTask, long seed = 0) =>
        Tasks.SelectMany((task, t) =>
            Enumerable.Range(0, perTask).Select(i => Draw(Core.Seeds.Random(seed, 1, t, i), task))).ToArray();

    /// <summary>The words for what is asked, in one of the paper's caption styles.</summary>
    /// <exception cref="ArgumentException">The world has no words for it: nothing, more than four of a class, or a
    /// relation other than that of a second thing to a first, one of each.</exception>
    public static string Word(IReadOnlyList<Clause> include, CaptionStyle style)
    {
        if (include.Count == 0 || include.Any(clause => clause.Count < 1 || clause.Count >= Numbers.Length)
            || (include.Any(clause => clause.Relation is not null)
                && include is not [{ Count: 1, Relation: null }, { Count: 1, Target: 0 }]))
        {
            throw new ArgumentException("there are no words for that: ask for one to four of each class, and for a "
                + "relation of a second thing to a first only where there is one of each", nameof(include));
        }

        if (include is [var target, { Relation: { } relation } placed])
        {
            // GenEval's order: the placed object first, then the one it is placed by.
            return style switch
            {
                CaptionStyle.Plain => $"a photo of a {Name(placed)} {relation} a {Name(target)}",
                CaptionStyle.Tags => $"{Name(target)} , {Name(placed)} {relation}",
                _ => $"shapes : a {Name(target)} and a {Name(placed)} {relation} it",
            };
        }

        return style switch
        {
            CaptionStyle.Plain => "a photo of " + string.Join(" and ", include.Select(Article)),
            CaptionStyle.Tags =>
                string.Join(" , ", include.Select(c => c.Count == 1 ? Name(c) : $"{Numbers[c.Count]} {Name(c)}")),
            _ => "shapes : " + string.Join(" and ", include.Select(Article)),
        };
    }

    /// <summary>"circle", "circles", "crosses".</summary>
    internal static string Plural(string shape) => shape.EndsWith('s') ? shape + "es" : shape + "s";

    internal static string Number(int count) => Numbers[count];

    private static string Name(Clause clause) => clause.Color is null ? clause.Class : $"{clause.Color} {clause.Class}";

    private static string Article(Clause clause) =>
        clause.Count == 1 ? "a " + Name(clause) : $"{Numbers[clause.Count]} {Plural(Name(clause))}";
}
