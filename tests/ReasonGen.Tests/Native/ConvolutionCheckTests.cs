using ReasonGen.Native;
using Xunit;

namespace ReasonGen.Tests.Native;

public sealed class ConvolutionCheckTests
{
    [Fact]
    public void Convolutions_on_this_machine_are_right() => Assert.InRange(ConvolutionCheck.Error(), 0, 1e-5);
}
