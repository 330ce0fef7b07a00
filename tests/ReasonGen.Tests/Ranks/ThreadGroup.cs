using System.Diagnostics;
using System.Runtime.ExceptionServices;
using ReasonGen.Ranks;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Ranks;

/// <summary>Ranks that are threads of one process: what does not depend on a launcher is tested with them.</summary>
internal sealed class ThreadGroup : IRankGroup
{
    private readonly Meeting meeting;

    private ThreadGroup(int rank, Meeting meeting) => (Rank, this.meeting) = (rank, meeting);

    public int Rank { get; }

    public int Size => meeting.Given.Length;

    /// <summary>Calls so far.</summary>
    internal long Calls => meeting.Barrier.CurrentPhaseNumber / 2;

    /// <summary>Waits until ranks make a call, as those do that wait for one who is at work and says so.</summary>
    internal void ExpectHeard()
    {
        var (calls, watch) = (Calls, Stopwatch.StartNew());
        while (Calls == calls)
        {
            Assert.True(watch.Elapsed < TimeSpan.FromMinutes(1), "the others wait for one who is silent");
            Thread.Sleep(50);
        }
    }

    /// <summary>Runs the work of each rank; an error of one ends all, and is thrown.</summary>
    internal static T[] Run<T>(int ranks, Func<IRankGroup, T> work)
    {
        if (ranks == 1)
        {
            return [work(Alone.Group)];
        }

        using var meeting = new Meeting(ranks);
        var (results, failure) = (new T[ranks], (ExceptionDispatchInfo?)null);
        var threads = Enumerable.Range(0, ranks).Select(rank => new Thread(() =>
        {
            try
            {
                results[rank] = work(new ThreadGroup(rank, meeting));
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref failure, ExceptionDispatchInfo.Capture(e), null);
                meeting.Broken.Cancel();
            }
        })).ToArray();
        Array.ForEach(threads, thread => thread.Start());
        Array.ForEach(threads, thread => thread.Join());
        failure?.Throw();
        return results;
    }

    public void Sum(Tensor tensor, string what)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var all = Exchange((what, tensor.detach().clone().DetachFromDisposeScope()));
        tensor.copy_(all.Select(one => one.Item2).Aggregate((sum, one) => sum + one));
    }

    public void Broadcast(Tensor tensor, int from, string what)
    {
        using var free = no_grad();
        tensor.copy_(Exchange((what, tensor.detach().clone().DetachFromDisposeScope()))[from].Item2);
    }

    public byte[][] Gather(ReadOnlySpan<byte> mine, string what) =>
        [.. Exchange((what, mine.ToArray())).Select(one => one.Item2)];

    private (string, T)[] Exchange<T>((string What, T Value) mine)
    {
        meeting.Given[Rank] = mine;
        meeting.Barrier.SignalAndWait(meeting.Broken.Token);
        (string What, T Value)[] all = [.. meeting.Given.Select(one => ((string, T))one!)];
        meeting.Barrier.SignalAndWait(meeting.Broken.Token);
        return all.All(one => one.What == mine.What) ? all
            : throw new InvalidOperationException(
                $"ranks have parted: {string.Join(", ", all.Select(one => one.What))}");
    }

    private sealed class Meeting(int ranks) : IDisposable
    {
        internal object?[] Given { get; } = new object?[ranks];

        internal Barrier Barrier { get; } = new(ranks);

        internal CancellationTokenSource Broken { get; } = new();

        public void Dispose()
        {
            Barrier.Dispose();
            Broken.Dispose();
        }
    }
}
