namespace ReasonGen.World;

/// <summary>A thing that a detector saw or a rationale planned.</summary>
/// <param name="Class">Name of the shape.</param>
/// <param name="Color">Name of the colour.</param>
/// <param name="X">Column of the centre, in pixels.</param>
/// <param name="Y">Row of the centre, in pixels.</param>
public sealed record Seen(string Class, string Color, double X, double Y);

/// <summary>Holds things against a prompt, as GenEval does, but strictly: nothing may be there that the prompt does not ask for.</summary>
public static class Checker
{
    /// <summary>Centres nearer than this on an axis stand in no relation along it, in pixels.</summary>
    private const double SameLine = 5;

    /// <returns>Whether the prompt is satisfied, and if not, why in a few words.</returns>
    public static (bool Correct, string Reason) Check(IReadOnlyList<Seen> things, Prompt prompt)
    {
        var wanted = prompt.Include.Sum(clause => clause.Count);
        if (things.Count != wanted)
        {
            return (false, $"{things.Count} shapes instead of {wanted}");
        }

        var matched = new List<Seen[]>();
        foreach (var clause in prompt.Include)
        {
            var matches = things.Where(thing => thing.Class == clause.Class && (clause.Color is null || thing.Color == clause.Color)).ToArray();
            if (matches.Length != clause.Count)
            {
                return (false, $"{matches.Length} x {clause.Color}{(clause.Color is null ? "" : " ")}{clause.Class} instead of {clause.Count}");
            }

            if (clause.Relation is { } relation && !matches.All(a => matched[clause.Target].All(b => Holds(a, relation, b))))
            {
                return (false, $"{clause.Class} is not {relation} {prompt.Include[clause.Target].Class}");
            }

            matched.Add(matches);
        }

        return (true, "");
    }

    private static bool Holds(Seen a, string relation, Seen b) => relation switch
    {
        "left of" => b.X - a.X > SameLine,
        "right of" => a.X - b.X > SameLine,
        "above" => b.Y - a.Y > SameLine,
        "below" => a.Y - b.Y > SameLine,
        _ => throw new ArgumentException($"unknown relation '{relation}'", nameof(relation)),
    };
}
