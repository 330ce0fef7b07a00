using System.Collections.Concurrent;
using System.Runtime;

namespace ReasonGen.Host.Engine;

/// <summary>
/// The thread on which cells run. Code that does not look at a token is broken off where it stands: at its next managed
/// instruction, or in its wait. What runs elsewhere after an <c>await</c>, and native code that does not return, cannot
/// be broken off; it is left to itself.
/// </summary>
internal sealed class CellThread
{
    private const int StackBytes = 16 << 20;
    private static int atWork;
    private readonly BlockingCollection<Action> queue = [];
    private readonly Thread thread;

    internal CellThread()
    {
        thread = new Thread(Loop, StackBytes) { IsBackground = true, Name = "cells" };
        thread.Start();
    }

    /// <summary>Whether a cell of this process is at work, one that was left behind too.</summary>
    internal static bool AnyAtWork => Volatile.Read(ref atWork) > 0;

    /// <summary>Whether work was broken off here; then the thread takes no more.</summary>
    internal bool Retired { get; private set; }

    /// <summary>Starts work on the thread; completed when it is done, or was broken off.</summary>
    /// <exception cref="OperationCanceledException">It was broken off.</exception>
    internal Task RunAsync(Func<Task> work, CancellationToken abort)
    {
        var done = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        var context = ExecutionContext.Capture()!;
        Interlocked.Increment(ref atWork);
        queue.Add(() => ExecutionContext.Run(context, _ => Run(work, done, abort), null), CancellationToken.None);
        return done.Task;
    }

    /// <summary>Wakes the thread from a wait, so that it can be broken off.</summary>
    internal void Wake()
    {
        Retired = true;
        queue.CompleteAdding();
        thread.Interrupt();
    }

    private static void Run(Func<Task> work, TaskCompletionSource done, CancellationToken abort)
    {
        try
        {
            Task? task = null;
// the one way to stop code that does not look at a token; what is broken off is the user's own cell
#pragma warning disable SYSLIB0046
            ControlledExecution.Run(() => task = work(), abort);
#pragma warning restore SYSLIB0046
            task!.ContinueWith(ended => Finish(ended, done), CancellationToken.None,
                TaskContinuationOptions.ExecuteSynchronously, TaskScheduler.Default);
        }
        catch (Exception e)
        {
            Interlocked.Decrement(ref atWork);
            done.TrySetException(e);
        }
    }

    private static void Finish(Task ended, TaskCompletionSource done)
    {
        Interlocked.Decrement(ref atWork);
        if (ended.IsCompletedSuccessfully)
        {
            done.TrySetResult();
        }
        else
        {
            done.TrySetException(ended.Exception?.InnerException ?? new OperationCanceledException());
        }
    }

    private void Loop()
    {
        try
        {
            foreach (var work in queue.GetConsumingEnumerable())
            {
                work();
            }
        }
        catch (ThreadInterruptedException)
        {
            // woken after the work had ended
        }
    }
}
