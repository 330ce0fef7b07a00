using ReasonGen.Ranks;

namespace ReasonGen.Host.Commands;

/// <summary>
/// A command that several ranks may do together. They meet before it and part after it; where one fails, it says so for
/// all, and all end.
/// </summary>
internal static class RankedCommand
{
    /// <param name="cancel">Asks this process to end.</param>
    /// <param name="work">The command; gives its exit code. It hears of the end by what its ranks agree on.</param>
    internal static int Run(CancellationToken cancel, Func<IRankGroup, int> work)
    {
        IRankGroup? ranks = null;
        try
        {
            ranks = RankGroup.Start();
            if (ranks.Rank > 0)
            {
                Console.SetOut(TextWriter.Null); // the first speaks for all
            }

            var code = work(ranks);
            RankGroup.End(ranks);
            return code;
        }
        catch (OperationCanceledException) when (ranks is { Size: > 1 })
        {
            try
            {
                RankGroup.End(ranks); // mostly agreed upon: all come
            }
            catch (RankGroupException)
            {
                return RankGroup.Fail(ranks, "Interrupted.", CommandLine.Interrupted);
            }

            throw;
        }
        catch (Exception e) when (ranks is null or { Size: > 1 })
        {
            var (code, words) = Failure.Explain(e);
            return RankGroup.Fail(ranks, words, code, cancel);
        }
    }
}
