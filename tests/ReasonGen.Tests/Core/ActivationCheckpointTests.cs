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
}
