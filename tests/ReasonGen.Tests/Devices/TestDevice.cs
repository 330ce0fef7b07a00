using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Devices;

/// <summary>
/// Where tests compute that take a device: what REASONGEN_DEVICE names, in fp32; the CPU when it names nothing. "lazy"
/// is libtorch's own second device without a GPU: it computes on the processor, but its tensors are none of the CPU's,
/// and most operators refuse to mix the two, as they do on a GPU. What runs there mixes no devices.
/// </summary>
internal static class TestDevice
{
    internal const string Lazy = "lazy";
    private const DeviceType LazyType = (DeviceType)17; // c10::DeviceType::Lazy, which TorchSharp does not list

    internal static ComputeTarget Cpu { get; } = new(CPU, ScalarType.Float32);

    internal static ComputeTarget Target { get; } = Name == Lazy ? OpenLazy() : ComputeTarget.Default.Exact;

    internal static Device Device => Target.Device;

    internal static bool IsCpu => Target.IsCpu;

    private static string? Name => Environment.GetEnvironmentVariable(ComputeTarget.Variable);

    // in this process and in those that tests start, a GPU that nobody named is left alone
    [ModuleInitializer]
    internal static void Choose()
    {
        if (string.IsNullOrEmpty(Name))
        {
            Environment.SetEnvironmentVariable(ComputeTarget.Variable, "cpu");
        }
        else if (Name == Lazy)
        {
            ComputeTarget.Default = Target;
        }
    }

    /// <summary>A tensor where tests compute.</summary>
    internal static Tensor Here(this Tensor tensor) => tensor.to(Device);

    /// <summary>Fixtures where tests compute.</summary>
    internal static Dictionary<string, Tensor> Here(this Dictionary<string, Tensor> tensors) =>
        IsCpu ? tensors : tensors.ToDictionary(pair => pair.Key, pair => pair.Value.Here());

    /// <summary>
    /// Trains, as far as the device can: the backward passes of a clamp and of a convolution under a scalar loss are
    /// gaps of the lazy one itself, which are met after all tensors of the step were made. Null where it met one.
    /// </summary>
    internal static T? AsFarAsItGoes<T>(Func<T> train) where T : class
    {
        try
        {
            return train();
        }
        catch (ExternalException e) when (Name == Lazy && Gaps.Any(e.Message.Contains))
        {
            return null;
        }
    }

    /// <summary>
    /// Lets the lazy device compute what it has put off whenever a number is read of it, until it is disposed: it would
    /// compute all since the start anew otherwise. Not where its gaps may be met, since what it throws then would end
    /// the process, nor beside other threads.
    /// </summary>
    internal static unsafe IDisposable ComputeAtReads()
    {
        atReads = true;
        if (Name == Lazy && executor == 0)
        {
            var library = NativeLibrary.Load("libtorch_cpu.so");
            nint Export(string name) => NativeLibrary.GetExport(library, "_ZN5torch4lazy17LazyGraphExecutor" + name);
            executor = ((delegate* unmanaged<nint>)Export("3GetEv"))();
            sync = (delegate* unmanaged<nint, nint, nint, nint, byte, void>)Export("20SyncLiveTensorsGraphEPKNS0_"
                + "13BackendDeviceEN3c108ArrayRefINSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEEEEb");
            OperatorLog.Watch(&BeforeOperator);
        }

        return new AtReads();
    }

    private sealed class AtReads : IDisposable
    {
        public void Dispose() => atReads = false;
    }

    private static volatile bool atReads;
    private static nint executor;
    private static int syncing;
    private static unsafe delegate* unmanaged<nint, nint, nint, nint, byte, void> sync;

    [UnmanagedCallersOnly(CallConvs = [typeof(CallConvCdecl)])]
    private static unsafe nint BeforeOperator(nint result, nint function)
    {
        *(nint*)result = 0;
        var name = OperatorLog.Name(function);
        if (atReads && (name.SequenceEqual("aten::_to_copy"u8) || name.SequenceEqual("aten::_local_scalar_dense"u8)))
        {
            if (Interlocked.Exchange(ref syncing, 1) == 0) // what it computes begins with operators too
            {
                sync(executor, 0, 0, 0, 1); // all devices, no names, and wait
                syncing = 0;
            }
        }

        return result;
    }

    private static readonly string[] Gaps = ["aten::logical_and.out", "itensor_view_from_dense expects"];

    private static unsafe ComputeTarget OpenLazy()
    {
        _ = Cpu; // loads libtorch
        var start = NativeLibrary.GetExport(NativeLibrary.Load("libtorch_cpu.so"),
            "_ZN5torch4lazy22InitTorchScriptBackendEv");
        ((delegate* unmanaged<void>)start)();
        return new(new Device(LazyType, 0), ScalarType.Float32);
    }
}
