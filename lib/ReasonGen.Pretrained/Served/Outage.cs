namespace ReasonGen.Served;

/// <summary>How long an endpoint that has answered before is away, by all questions that it was asked; safe for several
/// threads. One that has not is not waited for: its address may be wrong.</summary>
/// <param name="longest">How long it is waited for.</param>
internal sealed class Outage(TimeSpan longest)
{
    private static readonly TimeSpan Told = TimeSpan.FromMinutes(1);
    private readonly Lock gate = new();
    private bool answered;
    private DateTime? since;
    private DateTime told;

    /// <summary>It was asked, and is away.</summary>
    /// <param name="now">The time.</param>
    /// <param name="why">What was met.</param>
    /// <returns>Whether it is waited for, and what there is to tell, at most once a minute.</returns>
    internal (bool Waits, string? Word) Lasts(DateTime now, string why)
    {
        lock (gate)
        {
            var left = answered ? longest - (now - (since ??= now)) : TimeSpan.Zero;
            if (left <= TimeSpan.Zero || now - told < Told)
            {
                return (left > TimeSpan.Zero, null);
            }

            told = now;
            return (true, $"it is away ({why}), and asked again for up to {Text(left)}");
        }
    }

    /// <summary>It is there.</summary>
    /// <param name="now">The time.</param>
    /// <param name="usable">Whether it answered as it should; one that only refuses may be at a wrong address.</param>
    /// <returns>What there is to tell; null where it was not away, or nobody heard of that.</returns>
    internal string? Ends(DateTime now, bool usable = true)
    {
        lock (gate)
        {
            var word = since is { } start && told >= start ? $"it answers again, after {Text(now - start)}" : null;
            (answered, since) = (answered || usable, null);
            return word;
        }
    }

    private static string Text(TimeSpan time) => time < Told ? $"{Math.Ceiling(time.TotalSeconds):0} s"
        : $"{time.TotalMinutes:0} min";
}
