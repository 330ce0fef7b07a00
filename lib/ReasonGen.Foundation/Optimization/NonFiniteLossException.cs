namespace ReasonGen.Optimization;

/// <summary>A loss or gradient became NaN or infinite; the weights are those of the update before.</summary>
public sealed class NonFiniteLossException(string what, long step, string batch, string? lastSaved) : Exception(
    $"{what} is not finite at step {step} ({batch}); the weights were not touched by it. "
    + (lastSaved is null ? "Nothing was saved in this run." : $"The last good state is {lastSaved}.")
    + " Lower the learning rate, or look at that batch.")
{
    /// <summary>The step, counted from 0.</summary>
    public long Step { get; } = step;
}
