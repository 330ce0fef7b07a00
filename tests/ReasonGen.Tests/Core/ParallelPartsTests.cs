using ReasonGen.Core;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Core;

/// <summary>Nobody works on for a caller that is gone, and nobody works on what it has disposed.</summary>
public sealed class ParallelPartsTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_caller_that_is_broken_off_tells_its_threads_and_waits_for_them(bool nested) =>
        BreakOff.AssertAwaitsOthers(stay => Both(() =>
        {
            if (nested)
            {
                Both(stay);
            }
            else
            {
                stay();
            }
        }), told: true);

    [Fact]
    public void A_caller_that_is_broken_off_waits_for_the_pool() => BreakOff.AssertAwaitsOthers(stay =>
    {
        using var elsewhere = new ManualResetEventSlim();
        var caller = Environment.CurrentManagedThreadId;
        ParallelParts.For(2, 2, _ =>
        {
            if (Environment.CurrentManagedThreadId == caller)
            {
                elsewhere.Wait(TimeSpan.FromSeconds(20));
                return;
            }

            elsewhere.Set();
            stay();
        });
    }, told: false);

    [Fact]
    public void Rows_of_a_draw_that_is_broken_off_end_at_their_next_token()
    {
        var after = 0;
        BreakOff.AssertAwaitsOthers(stay =>
        {
            var before = get_num_threads();
            set_num_threads(2);
            try
            {
                using var scope = NewDisposeScope();
                using var blocks = new RowBlocks<Tensor>(4, 2, new ExponentialNoise(1), null);
                blocks.Draw(3, 0, block =>
                {
                    stay();
                    block.Add(zeros(block.Count, 1), zeros(block.Count, 1));
                    Interlocked.Increment(ref after);
                });
            }
            finally
            {
                set_num_threads(before);
            }
        }, told: true);
        Assert.Equal(0, after);
    }

    [Fact]
    public void What_a_part_throws_reaches_the_caller_and_ends_the_others()
    {
        using var begun = new ManualResetEventSlim();
        var told = false;
        bool Part(int i)
        {
            if (i == 0)
            {
                begun.Wait(TimeSpan.FromSeconds(20));
                throw new InvalidOperationException("out of memory");
            }

            begun.Set();
            told = ParallelParts.Stopping.WaitHandle.WaitOne(TimeSpan.FromSeconds(20));
            ParallelParts.Stopping.ThrowIfCancellationRequested();
            return true;
        }

        Assert.Equal("out of memory",
            Assert.Throws<InvalidOperationException>(() => ParallelParts.Run(2, Part, 2)).Message);
        Assert.True(told);
        Assert.False(ParallelParts.Stopping.CanBeCanceled);
    }

    private static void Both(Action work) => ParallelParts.Run(2, _ =>
    {
        work();
        return true;
    }, 2);
}
