using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Where tensors live and in which type a model computes: decided once, here, and handed down.</summary>
/// <param name="Device">The device of weights and activations.</param>
/// <param name="DType">The type of weights and activations; losses, norms and softmax stay in fp32 whatever it
/// is.</param>
public sealed record ComputeTarget(Device Device, ScalarType DType)
{
    /// <summary>The GPU in bf16 where libtorch finds one, else the CPU in fp32.</summary>
    public static ComputeTarget Default { get; } = Detect();

    private static ComputeTarget Detect()
    {
        NativeRuntime.EnsureLoaded();
        return cuda.is_available() ? new(CUDA, ScalarType.BFloat16) : new(CPU, ScalarType.Float32);
    }

    public override string ToString() => $"{Device} {DType}";
}
