using System.Runtime;
using ReasonGen.Core;
using Xunit;

namespace ReasonGen.Tests.Core;

/// <summary>Breaks calls off as a session does with a cell.</summary>
internal static class BreakOff
{
    private static readonly TimeSpan Long = TimeSpan.FromSeconds(20);

    /// <summary>Breaks a call off while others work for it, and sees that it does not end before they do.</summary>
    /// <param name="call">It gets what the others are to call: they stay in there.</param>
    /// <param name="told">Whether they stay until they are told that nobody wants their work any more.</param>
    internal static void AssertAwaitsOthers(Action<Action> call, bool told)
    {
        using CancellationTokenSource abort = new();
        using ManualResetEventSlim begun = new(), release = new();
        var (inside, left, insideAtEnd) = (0, 0, -1);
        Exception? thrown = null;
        void Stay()
        {
            Interlocked.Increment(ref inside);
            begun.Set();
            WaitHandle.WaitAny([told ? ParallelParts.Stopping.WaitHandle : release.WaitHandle], Long);
            Thread.Sleep(20);
            Interlocked.Decrement(ref inside);
            Interlocked.Increment(ref left);
        }

        var caller = new Thread(() =>
        {
            try
            {
#pragma warning disable SYSLIB0046 // what a session does to a cell
                ControlledExecution.Run(() => call(Stay), abort.Token);
#pragma warning restore SYSLIB0046
            }
            catch (Exception e)
            {
                (thrown, insideAtEnd) = (e, inside);
            }
        });
        caller.Start();
        Assert.True(begun.Wait(Long));
        var aborting = new Thread(abort.Cancel);
        aborting.Start();
        caller.Interrupt();
        Thread.Sleep(50);
        caller.Interrupt(); // while it waits for the others
        Thread.Sleep(50);
        release.Set();
        Assert.True(caller.Join(Long));
        Assert.True(aborting.Join(Long));
        Assert.True(thrown?.GetBaseException() is OperationCanceledException or ThreadInterruptedException
            or ThreadAbortException, $"{thrown}");
        Assert.Equal(0, insideAtEnd);
        Assert.True(left > 0);
    }
}
