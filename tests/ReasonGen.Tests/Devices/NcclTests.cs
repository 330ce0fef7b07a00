using ReasonGen.Core;
using ReasonGen.Ranks;
using TorchSharp;
using Xunit;

namespace ReasonGen.Tests.Devices;

/// <summary>NCCL on the GPU that REASONGEN_DEVICE names, as far as one rank can tell.</summary>
public sealed class NcclTests
{
    [Fact]
    public void One_rank_meets_sums_and_sends()
    {
        Assert.SkipUnless(TestDevice.Device.type == DeviceType.CUDA, $"{ComputeTarget.Variable} names no GPU");
        var (nccl, words) = NcclStart.Try(0, 1, null, TestDevice.Device, mine => [mine], _ => { });
        using (nccl)
        {
            Assert.StartsWith("NCCL ", words);
        }
    }
}
