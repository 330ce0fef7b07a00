using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using ReasonGen.Native;
using TorchSharp;
using Xunit;

namespace ReasonGen.Tests.Native;

public sealed class ScalarLifetimeTests
{
    [Fact]
    public void A_number_that_was_collected_can_still_be_read()
    {
        _ = ComputeTarget.Default; // loads libtorch
        Assert.SkipUnless(ScalarLifetime.IsExtended, "TorchSharp's function is changed on Linux on x64 alone");
        nint[] handles = Make(20_000);
        for (var round = 0; round < 3; round++)
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
        }

        _ = Make(20_000); // would take their places
        Assert.All(handles.Select((handle, i) => (handle, i)), one =>
            Assert.Equal(one.i + 0.5, THSTorch_scalar_to_float64(one.handle)));
    }

    [MethodImpl(MethodImplOptions.NoInlining)]
    private static nint[] Make(int count) => [.. Enumerable.Range(0, count).Select(i => HandleOf(i + 0.5))];

    [UnsafeAccessor(UnsafeAccessorKind.Method, Name = "get_Handle")]
    private static extern nint HandleOf(Scalar number);

    [DllImport("LibTorchSharp")]
    private static extern double THSTorch_scalar_to_float64(nint scalar);
}
