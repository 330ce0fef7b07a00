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
    public void What_fails_on_another_thread_meanwhile_is_not_taken_for_what_a_part_throws()
    {
        using var scope = NewDisposeScope();
        var x = ones(2, 3);
        Tensor Failing(string message, Action before)
        {
            var (w, calls) = (ones(3).requires_grad_(), 0);
            return ActivationCheckpoint.Run(t =>
            {
                if (++calls == 1)
                {
                    return t[0].mul(w);
                }

                before();
                throw new InvalidOperationException(message);
            }, x).sum();
        }

        Exception? elsewhere = null;
        var other = Failing("of the other", () => { });
        var loss = Failing("out of memory", () =>
        {
            var thread = new Thread(() => elsewhere = Record.Exception(() => other.backward()));
            thread.Start();
            thread.Join();
        });
        Assert.Equal("out of memory",
            Assert.Throws<InvalidOperationException>(() => ActivationCheckpoint.Backward(loss)).Message);
        Assert.IsType<ExternalException>(elsewhere);
    }

    [Fact]
    public void A_caller_that_is_broken_off_waits_for_the_backward_pass_and_the_process_lives() =>
        BreakOff.AssertAwaitsOthers(stay =>
        {
            using var scope = NewDisposeScope();
            var w = ones(3).requires_grad_();
            var calls = 0;
            Tensor Part(Tensor[] t)
            {
                if (++calls == 2) // computed again
                {
                    stay();
                }

                return t[0].mul(w);
            }

            ActivationCheckpoint.Backward(ActivationCheckpoint.Run(Part, ones(2, 3)).sum());
        }, told: false);
}
