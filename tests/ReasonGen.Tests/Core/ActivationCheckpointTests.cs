using System.Runtime;
using System.Runtime.InteropServices;
using ReasonGen.Optimization;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Core;

public sealed class ActivationCheckpointTests
{
    [Fact]
    public void What_a_part_throws_when_it_is_computed_again_ends_the_backward_pass_and_not_the_process()
    {
        using var scope = NewDisposeScope();
        var (x, w) = (ones(2, 3), ones(3).requires_grad_());
        var calls = 0;
        Tensor Part(Tensor[] t) =>
            ++calls % 2 == 1 ? t[0].mul(w).mul(t[1]) : throw new InvalidOperationException("out of memory");
        Tensor Loss() => ActivationCheckpoint.Run(Part, ActivationCheckpoint.Run(t => t[0].mul(w), x), ones(3)).sum();
        Assert.Equal("out of memory",
            Assert.Throws<InvalidOperationException>(() => ActivationCheckpoint.Backward(Loss())).Message);
        Assert.Throws<ExternalException>(() => Loss().backward()); // loud without the helper, too

        calls = 0;
        ActivationCheckpoint.Backward(ActivationCheckpoint.Run(t => t[0].mul(w), x).sum());
        Assert.Equal([2f, 2f, 2f], w.grad!.data<float>().ToArray());
    }

    [Fact]
    public void A_caller_that_is_broken_off_waits_for_the_backward_pass_and_the_process_lives()
    {
        using CancellationTokenSource abort = new();
        using ManualResetEventSlim begun = new(), brokenOff = new();
        var (ended, endedBefore) = (false, false);
        Exception? thrown = null;
        var caller = new Thread(() =>
        {
            using var scope = NewDisposeScope();
            var w = ones(3).requires_grad_();
            var calls = 0;
            Tensor Part(Tensor[] t)
            {
                if (++calls == 2) // computed again
                {
                    begun.Set();
                    brokenOff.Wait(TimeSpan.FromSeconds(20));
                    ended = true;
                }

                return t[0].mul(w);
            }

            try
            {
#pragma warning disable SYSLIB0046 // what a session does to a cell
                ControlledExecution.Run(() =>
                    ActivationCheckpoint.Backward(ActivationCheckpoint.Run(Part, ones(2, 3)).sum()), abort.Token);
#pragma warning restore SYSLIB0046
            }
            catch (Exception e)
            {
                (thrown, endedBefore) = (e, ended);
            }
        });
        caller.Start();
        Assert.True(begun.Wait(TimeSpan.FromSeconds(20)));
        var aborting = new Thread(abort.Cancel);
        aborting.Start();
        caller.Interrupt();
        Thread.Sleep(50);
        caller.Interrupt(); // while it waits for the pass
        Thread.Sleep(50);
        brokenOff.Set();
        Assert.True(caller.Join(TimeSpan.FromSeconds(20)));
        Assert.True(aborting.Join(TimeSpan.FromSeconds(20)));
        Assert.True(thrown is OperationCanceledException or ThreadInterruptedException, $"{thrown}");
        Assert.True(endedBefore);
    }
}
