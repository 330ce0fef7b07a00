namespace ReasonGen.Host.Kernel;

/// <summary>What another side of a connection sent is not what the protocol allows, or is more than is taken from
/// it.</summary>
internal sealed class ZmtpException(string message) : Exception(message);

/// <summary>How much of messages that are not whole yet may lie in memory, of all connections together.</summary>
internal sealed class ReceptionBudget(long bytes)
{
    private long left = bytes;

    /// <summary>Takes of it; false where it does not hold so much.</summary>
    internal bool TryTake(long count)
    {
        if (Interlocked.Add(ref left, -count) >= 0)
        {
            return true;
        }

        Interlocked.Add(ref left, count);
        return false;
    }

    internal void GiveBack(long count) => Interlocked.Add(ref left, count);
}
