using ReasonGen.Rollouts;

namespace ReasonGen.World;

/// <summary>A thing that a detector saw or a rationale planned.</summary>
/// <param name="Class">Name of the shape.</param>
/// <param name="Color">Name of the colour.</param>
/// <param name="X">Column of the centre, in pixels.</param>
/// <param name="Y">Row of the centre, in pixels.</param>
/// <param name="Area">Pixels it covers; 0 when planned.</param>
/// <param name="Score">Overlap with the outline of its class, 0 to 1; 1 when planned.</param>
public sealed record Seen(string Class, string Color, double X, double Y, int Area = 0, double Score = 1)
{
    /// <summary>The cell of the centre: an index into <see cref="WorldConfig.Places"/>.</summary>
    public int Cell => (X < WorldConfig.CellSize ? 0 : 1) + (Y < WorldConfig.CellSize ? 0 : 2);
}

/// <summary>
/// Holds things against a prompt, as GenEval does, but strictly: counts are exact, and nothing may be there that the
/// prompt does not ask for, whatever its class. Serves images (what was seen) and rationales (what was planned) alike.
/// </summary>
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
            return (false, $"{things.Count} {(things.Count == 1 ? "shape" : "shapes")} instead of {wanted}");
        }

        var matched = new List<Seen[]>();
        foreach (var clause in prompt.Include)
        {
            var matches = things
                .Where(o => o.Class == clause.Class && (clause.Color is null || o.Color == clause.Color)).ToArray();
            if (matches.Length != clause.Count)
            {
                return (false,
                    $"{matches.Length} x {$"{clause.Color} {clause.Class}".Trim()} instead of {clause.Count}");
            }

            if (clause.Relation is not null && (clause.Target < 0 || clause.Target >= matched.Count))
            {
                throw new ArgumentException(
                    $"clause {matched.Count} refers to clause {clause.Target}, not an earlier one", nameof(prompt));
            }

            if (clause.Relation is { } relation
                && !matches.All(a => matched[clause.Target].All(b => Holds(a, relation, b))))
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
