using ReasonGen.Rollouts;

namespace ReasonGen.World;

/// <summary>One shape of a scene.</summary>
/// <param name="Shape">Index into <see cref="WorldConfig.Shapes"/>.</param>
/// <param name="Color">Index into <see cref="WorldConfig.Colors"/>.</param>
/// <param name="Cell">0 top left, 1 top right, 2 bottom left, 3 bottom right.</param>
/// <param name="X">Pixels right of the cell's centre.</param>
/// <param name="Y">Pixels below the cell's centre.</param>
public readonly record struct SceneObject(int Shape, int Color, int Cell, int X = 0, int Y = 0)
{
    /// <summary>Pixel column of the centre.</summary>
    public int CenterX => Cell % 2 * WorldConfig.CellSize + WorldConfig.CellSize / 2 + X;

    /// <summary>Pixel row of the centre.</summary>
    public int CenterY => Cell / 2 * WorldConfig.CellSize + WorldConfig.CellSize / 2 + Y;

    /// <summary>The same as a thing seen or planned.</summary>
    public Seen ToSeen() => new(WorldConfig.Shapes[Shape], WorldConfig.Colors[Color], CenterX, CenterY);
}

/// <summary>What an image shows: one to four shapes, at most one a cell, in the order in which a prompt names
/// them.</summary>
public sealed record Scene(IReadOnlyList<SceneObject> Objects)
{
    /// <summary>A scene that satisfies a prompt of the world; all that the prompt leaves open is uniform.</summary>
    /// <exception cref="ArgumentException">The prompt asks for what the world does not have, or for what no scene can
    /// show.</exception>
    public static Scene For(Prompt prompt, Random random)
    {
        var wanted =
            prompt.Include.SelectMany((clause, index) => Enumerable.Repeat((clause, index), clause.Count)).ToArray();
        if (wanted.Length is 0 or > 4)
        {
            throw new ArgumentException($"'{prompt.Text}' asks for {wanted.Length} shapes; a scene has one to four");
        }

        // Rejection keeps the places uniform among those that satisfy the prompt; the world's own prompts need two
        // tries on average.
        for (var tries = 0; tries < 1000; tries++)
        {
            var cells = Enumerable.Range(0, 4).ToArray();
            random.Shuffle(cells);
            var objects = wanted.Select((item, i) => new SceneObject(
                Index(WorldConfig.Shapes, item.clause.Class),
                item.clause.Color is { } color ? Index(WorldConfig.Colors, color)
                    : random.Next(WorldConfig.Colors.Count),
                cells[i],
                random.Next(-WorldConfig.Jitter, WorldConfig.Jitter + 1),
                random.Next(-WorldConfig.Jitter, WorldConfig.Jitter + 1))).ToArray();
            if (Checker.Check(objects.Select(o => o.ToSeen()).ToArray(), prompt).Correct)
            {
                return new Scene(objects);
            }
        }

        throw new ArgumentException($"no scene satisfies '{prompt.Text}'");
    }

    /// <summary>
    /// How evenly things are spread over the four cells: the entropy of the cells of all things, in nats, from 0
    /// (always the same cell) to ln 4 = 1.386 (uniform); 0 when there are none. A policy that has narrowed to one row
    /// is at ln 2 or below, which no score shows.
    /// </summary>
    public static double LayoutEntropy(IEnumerable<IReadOnlyList<Seen>> images)
    {
        var counts = new double[4];
        foreach (var thing in images.SelectMany(things => things))
        {
            counts[thing.Cell]++;
        }

        var total = Math.Max(counts.Sum(), 1);
        return -counts.Where(n => n > 0).Sum(n => n / total * Math.Log(n / total)) + 0.0;
    }

    /// <summary>A scene as text: which shapes in which colours are in which cells, in an order of their own.</summary>
    public static string Essence(IReadOnlyList<Seen> things) =>
        string.Join(';',
            things.Select(thing => $"{thing.Class} {thing.Color} {thing.Cell}").Order(StringComparer.Ordinal));

    private static int Index(IReadOnlyList<string> names, string name)
    {
        var index = names.ToList().IndexOf(name);
        return index >= 0 ? index
            : throw new ArgumentException($"the world has no '{name}'; it has {string.Join(", ", names)}");
    }
}
