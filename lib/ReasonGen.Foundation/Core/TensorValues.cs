using System.Runtime.InteropServices;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Tensors to plain arrays.</summary>
public static class TensorValues
{
    /// <summary>The elements, row by row, copied to the host; empty for an empty tensor.</summary>
    public static T[] Values<T>(this Tensor tensor) where T : unmanaged
    {
        using var scope = NewDisposeScope(); // holds what lies between, which may be collected while it is read
        var host = tensor.detach().cpu().contiguous();
        return host.numel() == 0 ? [] : MemoryMarshal.Cast<byte, T>(host.bytes).ToArray(); // data<T>() is slow
    }
}
