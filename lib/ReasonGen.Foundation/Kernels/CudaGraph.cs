// CUDA graphs, which TorchSharp does not wrap: the class of libtorch_cuda itself (at::cuda::CUDAGraph, libtorch 2.8 and
// later), by its exported names. A name that is not there leaves graphs out. What it throws would end the process, so
// what would make it throw is asked for beforehand, of CUDA's own C interface.
using System.Runtime.InteropServices;
using ReasonGen.Native;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Kernels that are started all at once: recorded while work is done without being done, and run as often as
/// one likes.</summary>
internal sealed unsafe class CudaGraph : IDisposable
{
    private const int ObjectBytes = 4096, ThreadLocal = 1, Active = 1; // the class has a few hundred bytes
    private static readonly Lazy<Calls?> Found = new(Calls.Find);
    private static readonly Dictionary<sbyte, Place> Places = []; // of each GPU
    private readonly Calls calls;
    private void* graph;

    private CudaGraph(Calls calls)
    {
        this.calls = calls;
        graph = NativeMemory.AllocZeroed(ObjectBytes);
        calls.Construct(graph, 0);
    }

    /// <summary>Leaves graphs out where it is 0, and has them with libtorch 2.12, too, where it is 1.</summary>
    internal const string Variable = "REASONGEN_CUDA_GRAPHS";

    // From 2.12 on the end of one graph takes the work space of all others of its stream (pytorch issue 193402).
    private static readonly Version Unsound = new(2, 12);

    /// <summary>Held while a graph is recorded: the GPU's own generator refuses to draw meanwhile, on any
    /// thread.</summary>
    internal static Lock Recording { get; } = new();

    /// <summary>Whether this libtorch has them, and nobody has left them out.</summary>
    internal static bool IsPossible => Environment.GetEnvironmentVariable(Variable) switch
    {
        "0" => false,
        "1" => Found.Value is not null,
        _ => !(NativeRuntime.LibTorchVersion >= Unsound) && Found.Value is not null,
    };

    /// <summary>Recordings that came to nothing, in this process: what they were for is slower than it could
    /// be.</summary>
    internal static int Refused { get; private set; }

    /// <summary>
    /// Does work once, and then once more without doing it, to record it. What it makes on the way lies where that of
    /// all other graphs of this GPU lies: whoever runs one reads what came of it before the next one runs.
    /// </summary>
    /// <param name="work">On tensors that stay where they are, on the current GPU, without reading a number of
    /// one.</param>
    /// <returns>Null where CUDA cannot record it, or its memory is full.</returns>
    internal static CudaGraph? Record(Action work)
    {
        lock (Recording)
        {
            var made = Found.Value is { } calls ? Try(calls, work) : null;
            Refused += made is null ? 1 : 0;
            return made;
        }
    }

    /// <summary>Starts the kernels, behind those that were started before.</summary>
    internal void Run() => calls.Replay(graph);

    public void Dispose()
    {
        lock (Recording) // to wait for the GPU would break what another thread records
        {
            if (graph is not null)
            {
                cuda.synchronize(); // it may be running
                Destroy();
            }
        }
    }

    private static CudaGraph? Try(Calls calls, Action work)
    {
        cuda.synchronize(); // what the other stream is to read
        var before = calls.CurrentStream(-1);
        if (!Places.TryGetValue(before.Device, out var place))
        {
            Places.Add(before.Device, place = new(calls.StreamFromPool(0, -1), calls.NewPool()));
        }

        if (place.IsBroken)
        {
            return null;
        }

        calls.SetStream(place.Stream);
        try
        {
            place.Keeper ??= Keep(calls, place);
            work(); // loads kernels and makes work space, which cannot be recorded
            cuda.synchronize();
            return place.Keeper is null ? null : Recorded(calls, work, place);
        }
        catch (ExternalException)
        {
            return null; // memory that the other stream has is not to be had for this one
        }
        finally
        {
            calls.SetStream(before);
        }
    }

    // The memory of a pool without a graph is lost to all others until the GPU is full, and cannot be had again while
    // one is recorded; so one graph stays, and the pool with it.
    private static CudaGraph? Keep(Calls calls, Place place)
    {
        using var number = zeros([1], device: new Device(DeviceType.CUDA, place.Stream.Device));
        cuda.synchronize();
        return Recorded(calls, () => number.zero_(), place);
    }

    private static CudaGraph? Recorded(Calls calls, Action work, Place place)
    {
        var made = new CudaGraph(calls);
        calls.Begin(made.graph, place.Pool, ThreadLocal);
        var whole = false;
        try
        {
            work();
            whole = true;
        }
        catch (ExternalException)
        {
            // no memory for it, or nothing that can be recorded
        }
        finally
        {
            made.End(place, whole);
        }

        return made.graph is null ? null : made;
    }

    private void End(Place place, bool whole)
    {
        var stream = place.Stream;
        var raw = calls.RawStream(&stream);
        int state;
        if (calls.IsRecording(raw, &state) == 0 && state == Active && whole)
        {
            calls.End(graph);
            return;
        }

        // What is half made would throw where libtorch ends it. So CUDA ends it, and libtorch an empty one in its
        // place, which gives pool and generator back.
        nint broken = 0;
        if (calls.EndRaw(raw, &broken) == 0 && broken != 0)
        {
            _ = calls.DestroyRaw(broken);
        }

        _ = calls.ClearError();
        if (calls.BeginRaw(raw, ThreadLocal) == 0)
        {
            calls.End(graph);
            Destroy();
        }
        else
        {
            _ = calls.ClearError();
            graph = null;
            place.IsBroken = true;
        }
    }

    private void Destroy()
    {
        calls.Destroy(graph);
        NativeMemory.Free(graph);
        graph = null;
    }

    // CUDA's libraries keep work space for each stream
    private sealed record Place(Stream Stream, MemoryPool Pool)
    {
        internal CudaGraph? Keeper { get; set; }

        internal bool IsBroken { get; set; } // nothing can be recorded any more
    }

    /// <summary>at::cuda::MempoolId_t.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private readonly struct MemoryPool
    {
        private readonly ulong capture, number;
    }

    [StructLayout(LayoutKind.Sequential)]
    private readonly struct Stream // c10::cuda::CUDAStream
    {
        private readonly sbyte deviceType;
        internal readonly sbyte Device;
        private readonly long id;
    }

    private sealed class Calls
    {
        internal delegate* unmanaged<void*, byte, void> Construct;
        internal delegate* unmanaged<void*, void> Destroy, End, Replay;
        internal delegate* unmanaged<void*, MemoryPool, int, void> Begin;
        internal delegate* unmanaged<MemoryPool> NewPool;
        internal delegate* unmanaged<sbyte, Stream> CurrentStream;
        internal delegate* unmanaged<byte, sbyte, Stream> StreamFromPool;
        internal delegate* unmanaged<Stream, void> SetStream;
        internal delegate* unmanaged<Stream*, nint> RawStream;
        internal delegate* unmanaged<nint, int*, int> IsRecording;
        internal delegate* unmanaged<nint, int, int> BeginRaw;
        internal delegate* unmanaged<nint, nint*, int> EndRaw;
        internal delegate* unmanaged<nint, int> DestroyRaw;
        internal delegate* unmanaged<int> ClearError;

        internal static Calls? Find()
        {
            if (!cuda.is_available() || !NativeLibrary.TryLoad("libtorch_cuda.so", out var library))
            {
                return null;
            }

            var missing = false;
            nint Of(string name) // those of libc10_cuda and the runtime are found through it
            {
                missing |= !NativeLibrary.TryGetExport(library, name, out var address);
                return address;
            }

            const string graph = "_ZN2at4cuda9CUDAGraph";
            var calls = new Calls
            {
                Construct = (delegate* unmanaged<void*, byte, void>)Of(graph + "C1Eb"),
                Destroy = (delegate* unmanaged<void*, void>)Of(graph + "D1Ev"),
                Begin = (delegate* unmanaged<void*, MemoryPool, int, void>)Of(graph
                    + "13capture_beginESt4pairIyyE21cudaStreamCaptureMode"),
                End = (delegate* unmanaged<void*, void>)Of(graph + "11capture_endEv"),
                Replay = (delegate* unmanaged<void*, void>)Of(graph + "6replayEv"),
                NewPool = (delegate* unmanaged<MemoryPool>)Of("_ZN2at4cuda17graph_pool_handleEv"),
                CurrentStream =
                    (delegate* unmanaged<sbyte, Stream>)Of("_ZN3c104cuda20getCurrentCUDAStreamEa"),
                StreamFromPool =
                    (delegate* unmanaged<byte, sbyte, Stream>)Of("_ZN3c104cuda17getStreamFromPoolEba"),
                SetStream = (delegate* unmanaged<Stream, void>)Of(
                    "_ZN3c104cuda20setCurrentCUDAStreamENS0_10CUDAStreamE"),
                RawStream = (delegate* unmanaged<Stream*, nint>)Of("_ZNK3c104cuda10CUDAStream6streamEv"),
                IsRecording = (delegate* unmanaged<nint, int*, int>)Of("cudaStreamIsCapturing"),
                BeginRaw = (delegate* unmanaged<nint, int, int>)Of("cudaStreamBeginCapture"),
                EndRaw = (delegate* unmanaged<nint, nint*, int>)Of("cudaStreamEndCapture"),
                DestroyRaw = (delegate* unmanaged<nint, int>)Of("cudaGraphDestroy"),
                ClearError = (delegate* unmanaged<int>)Of("cudaGetLastError"),
            };
            return missing ? null : calls;
        }
    }
}
