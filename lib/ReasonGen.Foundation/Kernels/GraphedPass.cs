using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>
/// A model's pass over one token of each row with a KV cache, as one CUDA graph: on a GPU the start of its hundreds of
/// kernels costs more than what they do. A graph reads and writes at fixed places, so what changes from token to token
/// is copied to such places, the cache is written at a column whose number lies on the device, and attention reads keys
/// up to a rounded length behind a mask: another graph is recorded every 64 tokens.
/// </summary>
/// <param name="pass">[N, 1, D] embeddings, [N, 1, 1, S] added mask, [N, 1] positions and [1] column → [N, 1, D]. Doing
/// it twice changes nothing.</param>
/// <param name="capacity">Tokens of the cache.</param>
/// <param name="record">Makes a graph of work; null where it cannot.</param>
internal sealed class GraphedPass(Func<Tensor, Tensor, Tensor, Tensor, Tensor> pass, int capacity,
    Func<Action, (Action Run, Action Free)?> record) : IDisposable
{
    private static readonly Scalar Unseen = float.NegativeInfinity;
    private static readonly Lock Running = new(); // one is read before another works in the same memory
    private (Action Run, Action Free)? graph;
    private Tensor? embeddings, mask, positions, column, output;
    private int keys, last = -2;
    private bool failed;

    /// <summary>Lets this thread's CPU do what a GPU does, its graphs being the work itself.</summary>
    [ThreadStatic]
    internal static bool OnCpuToo;

    /// <summary>For a model on a device; null where graphs are not to be had.</summary>
    internal static GraphedPass? For(Device device, Func<Tensor, Tensor, Tensor, Tensor, Tensor> pass, int capacity)
    {
        if (OnCpuToo)
        {
            return new(pass, capacity, work => (work, () => { }));
        }

        // a recording is of the thread's current GPU, which is the first for all that the kit does
        return device.type != DeviceType.CUDA || device.index > 0 || !CudaGraph.IsPossible ? null
            : new(pass, capacity, work => CudaGraph.Record(work) is { } made ? (made.Run, made.Dispose) : null);
    }

    /// <summary>Hidden states of one more token of each row; null where it is left to the model itself.</summary>
    /// <param name="x">[N, 1, D].</param>
    /// <param name="visible">[N, 1, 1, S or more], added; null sees all.</param>
    /// <param name="at">[N, 1].</param>
    /// <param name="cached">Tokens in the cache, where this one is stored.</param>
    internal Tensor? Hidden(Tensor x, Tensor? visible, Tensor? at, int cached)
    {
        if (failed || x.shape[1] != 1 || at?.dim() != 2 || is_grad_enabled()
            || visible is not (null or { dtype: not ScalarType.Bool }) || visible?.dim() is not (null or 4))
        {
            return null;
        }

        using var scope = NewDisposeScope();
        var needed = DeviceKernels.RoundUp(cached + 1, x.device_type);
        Place(x, visible, at, cached, needed);
        lock (Running)
        {
            if (needed != keys)
            {
                Record(needed);
            }

            if (graph is not { } recorded)
            {
                return null;
            }

            recorded.Run();
            return output!.clone().MoveToOuterDisposeScope();
        }
    }

    public void Dispose()
    {
        graph?.Free();
        foreach (var tensor in new[] { embeddings, mask, positions, column, output })
        {
            tensor?.Dispose();
        }
    }

    private void Place(Tensor x, Tensor? visible, Tensor at, int cached, int needed)
    {
        if (embeddings is null)
        {
            embeddings = empty_like(x).DetachFromDisposeScope();
            positions = empty_like(at).DetachFromDisposeScope();
            column = zeros([1], ScalarType.Int64, x.device).DetachFromDisposeScope();
            mask = full([x.shape[0], 1, 1, capacity], float.NegativeInfinity, x.dtype, x.device)
                .DetachFromDisposeScope();
        }

        embeddings.copy_(x);
        positions!.copy_(at);
        column!.fill_(cached);
        if (visible is not null)
        {
            mask!.narrow(3, 0, needed).copy_(visible.narrow(3, 0, needed));
        }
        else if (cached == last + 1)
        {
            mask!.narrow(3, cached, 1).zero_();
        }
        else
        {
            mask!.fill_(Unseen).narrow(3, 0, cached + 1).zero_();
        }

        last = cached;
    }

    private void Record(int needed)
    {
        var old = graph;
        (graph, keys, failed) = (null, needed, true); // whatever happens
        try
        {
            graph = record(() =>
            {
                using var scope = NewDisposeScope();
                output?.Dispose();
                output = pass(embeddings!, mask!.narrow(3, 0, needed), positions!, column!).DetachFromDisposeScope();
            });
            failed = graph is null;
        }
        finally
        {
            old?.Free();
        }
    }
}
