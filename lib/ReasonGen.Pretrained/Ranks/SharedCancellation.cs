namespace ReasonGen.Ranks;

/// <summary>
/// A wish to end that all ranks hear at the same moment. Each may be told to end at another one; were each to stop by
/// itself, the others would wait for it.
/// </summary>
/// <param name="ranks">The group.</param>
/// <param name="asked">Asks this rank to end.</param>
public sealed class SharedCancellation(IRankGroup ranks, CancellationToken asked) : IDisposable
{
    private readonly CancellationTokenSource agreed = new();

    /// <summary>Is cancelled on all ranks together, by <see cref="Look"/> alone; of one rank it is its own.</summary>
    public CancellationToken Token => ranks.Size == 1 ? asked : agreed.Token;

    /// <summary>Whether any rank has been asked to end; all ranks call it.</summary>
    public bool Look()
    {
        if (ranks.Any(asked.IsCancellationRequested || agreed.IsCancellationRequested, "whether to end")
            && ranks.Size > 1)
        {
            agreed.Cancel();
        }

        return Token.IsCancellationRequested;
    }

    public void Dispose() => agreed.Dispose();
}
