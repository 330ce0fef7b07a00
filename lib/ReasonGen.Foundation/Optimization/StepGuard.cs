namespace ReasonGen.Optimization;

/// <summary>
/// Makes saving a trainer safe at any moment and from any thread: a save waits for the step at hand, and is refused
/// after a step that was broken off while it changed weights, since those are of no step then.
/// </summary>
internal sealed class StepGuard
{
    private readonly Lock gate = new();
    private bool torn;

    /// <summary>Held during a step.</summary>
    internal Lock.Scope Step() => gate.EnterScope();

    /// <summary>From here on the step changes what is saved.</summary>
    internal void Changing() => torn = true;

    /// <summary>Weights and counters belong together: at the end of a step, or after a state was read.</summary>
    internal void Whole() => torn = false;

    /// <summary>Held while a state is written.</summary>
    /// <exception cref="InvalidOperationException">A step was broken off half-way.</exception>
    internal Lock.Scope Save()
    {
        var scope = gate.EnterScope();
        if (torn)
        {
            scope.Dispose();
            throw new InvalidOperationException(
                "The last step was broken off while it changed the weights, which are of no step now, so that they "
                + "are not saved. Resume from the state that was saved last.");
        }

        return scope;
    }

    /// <summary>Saves after a step that did not come to its end. Most of those changed nothing; of one that was broken
    /// off half-way the state before stays.</summary>
    /// <param name="save">Writes a state, under <see cref="Save"/>.</param>
    internal static void SaveWhole(Action save)
    {
        try
        {
            save();
        }
        catch (InvalidOperationException)
        {
            // what broke the step off is told, and not this
        }
    }
}
