using System.Diagnostics;
using System.Globalization;
using System.Runtime.InteropServices;

namespace ReasonGen.Ranks;

/// <summary>
/// Ends this process, and by its launcher the others, where ranks have waited too long for one of them. Rank 0 knows
/// who has not come to a call; the others speak a little later, so that they speak only where rank 0 itself is the one.
/// </summary>
internal sealed class RankWatch
{
    /// <summary>Seconds a rank waits for the others.</summary>
    internal const string Variable = "REASONGEN_RANK_TIMEOUT";

    private const double UsualSeconds = 600, Grace = 2;
    private readonly double seconds;
    private readonly int rank, size;
    private volatile string? call;
    private volatile int missing;
    private long since;

    internal RankWatch(int rank, int size)
    {
        (this.rank, this.size) = (rank, size);
        var given = Environment.GetEnvironmentVariable(Variable);
        seconds = string.IsNullOrEmpty(given) ? UsualSeconds
            : double.TryParse(given, CultureInfo.InvariantCulture, out var number) && number is >= 1 and <= 1e6 ? number
            : throw new ArgumentException($"{Variable} is '{given}'; it must be a number of seconds of at least 1");
        new Thread(Watch) { IsBackground = true, Name = "rank watch" }.Start();
    }

    /// <summary>A rank that has not come to the present call; −1 where all have.</summary>
    internal int Missing { set => missing = value; }

    /// <summary>Makes a call that may wait for others.</summary>
    internal void Do(string what, Action work)
    {
        Interlocked.Exchange(ref since, Stopwatch.GetTimestamp());
        call = what;
        try
        {
            work();
        }
        finally
        {
            call = null;
        }
    }

    /// <summary>What to say of a call that did not end.</summary>
    internal static string Words(int rank, int size, int missing, string call, double seconds)
    {
        var (what, who) = missing < 0 ? ($"all ranks came to '{call}', and it has not ended", "the connection")
            : ($"rank {missing} has not come to '{call}', where rank {rank} waits,", $"rank {missing}");
        return string.Create(CultureInfo.InvariantCulture, $"Rank {rank} of {size}: {what} for {seconds:0.#} s: {who} ")
            + "hangs, or is slower than that. All ranks end; start the same command again, and it goes on from the "
            + $"last saved state. {Variable} sets how many seconds are waited.";
    }

    private void Watch()
    {
        while (true)
        {
            Thread.Sleep(TimeSpan.FromSeconds(0.25));
            if (call is { } now
                && Stopwatch.GetElapsedTime(Interlocked.Read(ref since)).TotalSeconds
                    > seconds + (rank == 0 ? 0 : Grace) && now == call)
            {
                Console.Error.WriteLine(Words(rank, size, rank == 0 ? missing : 0, now, seconds));
                Console.Error.Flush();
                ExitAtOnce(1);
            }
        }
    }

    // the calling thread is in the library and never comes back: no farewells
    private static void ExitAtOnce(int code)
    {
        if (OperatingSystem.IsWindows())
        {
            Environment.Exit(code);
        }

        Exit(code);
    }

    [DllImport("libc", EntryPoint = "_exit")]
    private static extern void Exit(int code);
}
