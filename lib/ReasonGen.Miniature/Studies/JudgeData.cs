using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.World;
using ReasonGen.WorldData;

namespace ReasonGen.Studies;

/// <summary>
/// What the miniature judges are trained on: images that policies drew, blurred and half right as they are, and clean
/// ones; held against their own prompt, one that describes them, or one that almost does. What is there, and the
/// verdict, is the exact detector's word on the very image.
/// </summary>
/// <param name="drawn">Images of policies with the prompts they were drawn for.</param>
/// <param name="clean">Samples of the world.</param>
/// <param name="seed">Of all choices.</param>
public sealed class JudgeData(IReadOnlyList<(Prompt Prompt, RgbImage Image)> drawn, WorldStream clean, long seed)
{
    private const double CleanShare = 0.15, OwnPrompt = 0.5, Describing = 0.25;
    private const int MostNamed = 5;
    private readonly IReadOnlyList<Seen>[] seen =
        drawn.AsParallel().AsOrdered().Select(item => Detector.Detect(item.Image)).ToArray();

    /// <summary>Words of questions and answers.</summary>
    public static IReadOnlyList<string> Words { get; } = [.. Rationales.Words, "blob", "nothing", @"\boxed{0}",
        @"\boxed{1}"];

    /// <summary>Sample number <paramref name="index"/>.</summary>
    public JudgeSample this[long index]
    {
        get
        {
            var random = Seeds.Random(seed, 0x7D, index);
            var (own, image, things) =
                random.NextDouble() < CleanShare || drawn.Count == 0 ? Clean(index) : Drawn(random.Next(drawn.Count));
            var kind = random.NextDouble();
            var prompt = kind < OwnPrompt ? own : Describe(things, random) ?? own;
            prompt = kind < OwnPrompt + Describing ? prompt : Alter(prompt, random);
            return new(prompt.Text, image, Answer(things, Checker.Check(things, prompt).Correct));
        }
    }

    /// <summary>The answer a judge should give: what is there, cell by cell, and the verdict.</summary>
    public static string Answer(IReadOnlyList<Seen> things, bool correct)
    {
        var named =
            things.OrderBy(thing => thing.Cell).ThenBy(thing => thing.Y).ThenBy(thing => thing.X).Take(MostNamed)
            .Select(thing => $"{thing.Color} {thing.Class} {WorldConfig.Places[thing.Cell]}");
        return $"{(things.Count == 0 ? "nothing" : string.Join(" , ", named))} ; \\boxed{{{(correct ? 1 : 0)}}}";
    }

    /// <summary>A prompt that asks for just what is there; null when the world has none.</summary>
    internal static Prompt? Describe(IReadOnlyList<Seen> things, Random random)
    {
        var (first, second) = (things.ElementAtOrDefault(0), things.ElementAtOrDefault(1));
        var exact = random.Next(2) == 0;
        return things.Any(thing => thing.Class == "blob") ? null : things.Count switch
        {
            1 => Plain(exact ? "colors" : "single_object", new Clause(first!.Class, 1, exact ? first.Color : null)),
            <= 4 and > 1 when things.All(thing => thing.Class == first!.Class) =>
                Plain("counting", new Clause(first!.Class, things.Count)),
            2 when random.Next(2) == 0 => Relation(first!, second!, random),
            2 => Plain(exact ? "color_attr" : "two_object", new(first!.Class, 1, exact ? first.Color : null),
                new(second!.Class, 1, exact ? second.Color : null)),
            _ => null,
        };
    }

    private static Prompt Relation(Seen a, Seen b, Random random)
    {
        var across = Math.Abs(a.X - b.X) > WorldConfig.CellSize / 2
            && (random.Next(2) == 0 || Math.Abs(a.Y - b.Y) < WorldConfig.CellSize / 2);
        return Plain("position", new Clause(a.Class),
            new Clause(b.Class, 1, null, across ? b.X < a.X ? "left of" : "right of" : b.Y < a.Y ? "above" : "below"));
    }

    /// <summary>The prompt with one thing changed: a shape, a colour, a count or the relation.</summary>
    internal static Prompt Alter(Prompt prompt, Random random)
    {
        var clauses = prompt.Include.ToArray();
        var at = random.Next(clauses.Length);
        var clause = clauses[at];
        string Other(IEnumerable<string> names, params string?[] than) =>
            random.GetItems(names.Where(name => !than.Contains(name)).ToArray(), 1)[0];
        var changes = new List<Func<Clause>>
        {
            () => clause with { Class = Other(WorldConfig.Shapes, [.. clauses.Select(c => c.Class)]) },
        };
        if (clause.Color is not null)
        {
            changes.Add(() => clause with { Color = Other(WorldConfig.Colors, [.. clauses.Select(c => c.Color)]) });
        }

        if (clause.Count > 1)
        {
            changes.Add(() =>
                clause with { Count = clause.Count == 2 ? 3 : clause.Count == 4 ? 3 : random.Next(2) * 2 + 2 });
        }

        if (clause.Relation is not null)
        {
            changes.Add(() =>
                clause with { Relation = Other(["left of", "right of", "above", "below"], clause.Relation) });
        }

        clauses[at] = changes[random.Next(changes.Count)]();
        return Plain(prompt.Task, clauses);
    }

    private static Prompt Plain(string task, params Clause[] include) =>
        new(Prompts.Word(include, CaptionStyle.Plain), task, include);

    private (Prompt, RgbImage, IReadOnlyList<Seen>) Drawn(int index) =>
        (drawn[index].Prompt, drawn[index].Image, seen[index]);

    private (Prompt, RgbImage, IReadOnlyList<Seen>) Clean(long index)
    {
        var sample = clean[index];
        var image = sample.Image(clean.Config);
        return (sample.Prompt, image, Detector.Detect(image));
    }
}
