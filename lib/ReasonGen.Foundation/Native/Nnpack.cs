using System.Runtime.InteropServices;

namespace ReasonGen.Native;

/// <summary>
/// Keeps libtorch from asking for NNPACK. It does so before it looks whether a convolution is one for it, and where
/// NNPACK does not know the processor each time prints "Could not initialize NNPACK! Reason: Unsupported hardware." on
/// standard error. On x64 nothing is lost and results keep their bits: NNPACK takes batches of sixteen images or more,
/// and those oneDNN has taken before.
/// </summary>
internal static class Nnpack
{
    // at::globalContext() and at::Context::setUserEnabledNNPACK(bool), for which TorchSharp has no call
    private const string Context = "_ZN2at13globalContextEv", Enable = "_ZN2at7Context20setUserEnabledNNPACKEb";

    /// <summary>Switches it off in the libtorch that is loaded; does nothing on other systems than Linux on x64, or
    /// where libtorch has no such functions.</summary>
    internal static unsafe void LeaveOut()
    {
        if (!OperatingSystem.IsLinux() || RuntimeInformation.ProcessArchitecture != Architecture.X64)
        {
            return;
        }

        foreach (var file in NativeRuntime.LoadedFiles())
        {
            if (NativeLibrary.TryLoad(file, out var library) // what is loaded already
                && NativeLibrary.TryGetExport(library, Context, out var context)
                && NativeLibrary.TryGetExport(library, Enable, out var enable))
            {
                ((delegate* unmanaged<nint, byte, void>)enable)(((delegate* unmanaged<nint>)context)(), 0);
            }
        }
    }
}
