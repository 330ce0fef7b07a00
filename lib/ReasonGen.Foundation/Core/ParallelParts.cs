using System.Runtime.ExceptionServices;
using TorchSharp;

namespace ReasonGen.Core;

/// <summary>
/// Independent work on several threads, each with its share of libtorch's own. Decoding a small model gains little from
/// a second thread inside an operator, and nearly twice from a second thread beside it.
/// </summary>
public static class ParallelParts
{
    /// <summary>Cancelled where this thread's part is wanted no more, since another one failed or the caller was broken
    /// off. A part that takes long looks at it; on other threads it is never cancelled.</summary>
    [field: ThreadStatic]
    internal static CancellationToken Stopping { get; private set; }

    /// <summary>Calls <paramref name="work"/> with 0, 1, … on threads of their own, and gives the results in that
    /// order.</summary>
    /// <param name="parts">How many calls, at least 1. With fewer libtorch threads than parts they run one after the
    /// other.</param>
    /// <param name="work">Must detach the tensors of its result from dispose scopes, which belong to a thread.</param>
    public static T[] Run<T>(int parts, Func<int, T> work) =>
        Run(parts, work, torch.get_num_threads() < parts ? 1 : parts);

    /// <summary>The same on so many threads, each of which takes the next part when it has done one.</summary>
    /// <param name="parts">How many calls, at least 1.</param>
    /// <param name="work">As above.</param>
    /// <param name="workers">Threads, at least 1; with one the calls are made on the caller's.</param>
    /// <remarks>What a part throws is thrown here, the first where there are several. A caller that is broken off waits
    /// for the threads, since they work on what is its own; see <see cref="Stopping"/>.</remarks>
    public static T[] Run<T>(int parts, Func<int, T> work, int workers)
    {
        var (threads, results, next) = (torch.get_num_threads(), new T[parts], -1);
        workers = Math.Min(workers, parts);
        if (workers == 1)
        {
            for (var part = 0; part < parts; part++)
            {
                Stopping.ThrowIfCancellationRequested();
                results[part] = work(part);
            }

            return results;
        }

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Stopping);
        ExceptionDispatchInfo? failure = null;
        var running = Enumerable.Range(0, workers).Select(_ => new Thread(() =>
        {
            Stopping = stop.Token;
            try
            {
                torch.set_num_threads(Math.Max(threads / workers, 1));
                for (int part; !stop.IsCancellationRequested && (part = Interlocked.Increment(ref next)) < parts;)
                {
                    results[part] = work(part);
                }
            }
            catch (Exception e)
            {
                Interlocked.CompareExchange(ref failure, ExceptionDispatchInfo.Capture(e), null);
                stop.Cancel();
            }
        })).ToArray();
        try
        {
            Array.ForEach(running, worker => worker.Start());
            Array.ForEach(running, worker => worker.Join());
        }
        finally // nothing is broken off in here
        {
            stop.Cancel();
            while (Array.Exists(running, worker => worker.IsAlive))
            {
                Thread.Yield(); // a wait could be interrupted
            }

            torch.set_num_threads(threads); // the matrix library's count is the process's
        }

        failure?.Throw();
        Stopping.ThrowIfCancellationRequested(); // parts may not have been begun
        return results;
    }

    /// <summary>Calls <paramref name="work"/> with 0, 1, … on this thread and on threads of the pool. A caller that is
    /// broken off waits for the calls on others, and none begins any more: they work on its own memory.</summary>
    /// <param name="parts">How many calls.</param>
    /// <param name="threads">Most threads, at least 1.</param>
    /// <param name="work">A short piece of work.</param>
    internal static void For(int parts, int threads, Action<int> work)
    {
        var (caller, elsewhere, over) = (Environment.CurrentManagedThreadId, 0, 0);
        try
        {
            Parallel.For(0, parts, new() { MaxDegreeOfParallelism = threads }, part =>
            {
                if (Environment.CurrentManagedThreadId == caller)
                {
                    work(part); // it ends with its caller
                    return;
                }

                Interlocked.Increment(ref elsewhere);
                try
                {
                    if (Volatile.Read(ref over) == 0)
                    {
                        work(part);
                    }
                }
                finally
                {
                    Interlocked.Decrement(ref elsewhere);
                }
            });
        }
        finally
        {
            Interlocked.Exchange(ref over, 1);
            while (Volatile.Read(ref elsewhere) > 0)
            {
                Thread.Yield();
            }
        }
    }
}
