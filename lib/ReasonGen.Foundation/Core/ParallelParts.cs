using System.Runtime.ExceptionServices;
using TorchSharp;

namespace ReasonGen.Core;

/// <summary>
/// Independent work on several threads, each with its share of libtorch's own. Decoding a small model gains little from
/// a second thread inside an operator, and nearly twice from a second thread beside it.
/// </summary>
public static class ParallelParts
{
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
    public static T[] Run<T>(int parts, Func<int, T> work, int workers)
    {
        var (threads, results, next) = (torch.get_num_threads(), new T[parts], -1);
        workers = Math.Min(workers, parts);
        if (workers == 1)
        {
            for (var part = 0; part < parts; part++)
            {
                results[part] = work(part);
            }

            return results;
        }

        ExceptionDispatchInfo? failure = null;
        var running = Enumerable.Range(0, workers).Select(_ => new Thread(() =>
        {
            try
            {
                torch.set_num_threads(Math.Max(threads / workers, 1));
                for (int part; failure is null && (part = Interlocked.Increment(ref next)) < parts;)
                {
                    results[part] = work(part);
                }
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        })).ToArray();
        Array.ForEach(running, worker => worker.Start());
        Array.ForEach(running, worker => worker.Join());
        torch.set_num_threads(threads); // the matrix library's count is the process's
        failure?.Throw();
        return results;
    }
}
