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
    public static T[] Run<T>(int parts, Func<int, T> work)
    {
        var threads = torch.get_num_threads();
        var results = new T[parts];
        if (parts == 1 || threads < parts)
        {
            for (var part = 0; part < parts; part++)
            {
                results[part] = work(part);
            }

            return results;
        }

        ExceptionDispatchInfo? failure = null;
        var workers = Enumerable.Range(0, parts).Select(part => new Thread(() =>
        {
            try
            {
                torch.set_num_threads(threads / parts);
                results[part] = work(part);
            }
            catch (Exception e)
            {
                failure = ExceptionDispatchInfo.Capture(e);
            }
        })).ToArray();
        Array.ForEach(workers, worker => worker.Start());
        Array.ForEach(workers, worker => worker.Join());
        torch.set_num_threads(threads); // the matrix library's count is the process's
        failure?.Throw();
        return results;
    }
}
