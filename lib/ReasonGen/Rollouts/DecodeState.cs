using ReasonGen.Kernels;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Sequences that grow side by side, one token a step: cache, mask and positions. N rows, P columns at
/// first.</summary>
internal sealed class DecodeState : IDisposable
{
    private static readonly Scalar Zero = 0, One = 1; // made at each call, one may be collected while libtorch reads it
    private readonly IImageTextModel model;
    private readonly KvCache? cache;
    private DecodeMask mask;
    private Tensor position; // [N, 1], of the last column

    /// <param name="model">Reads the tokens.</param>
    /// <param name="embeddings">[N, P, D].</param>
    /// <param name="attentionMask">[N, P], 0 on pads; positions count its ones.</param>
    /// <param name="cache">An empty one for these rows, which this disposes; null where the model keeps none.</param>
    /// <param name="room">Most tokens to follow.</param>
    internal DecodeState(IImageTextModel model, Tensor embeddings, Tensor attentionMask, KvCache? cache, int room)
    {
        using var scope = NewDisposeScope();
        var columns = (int)attentionMask.shape[1];
        (this.model, this.cache) = (model, cache);
        mask = new DecodeMask(attentionMask, room, embeddings.dtype);
        var positions = attentionMask.cumsum(1).sub(One).clamp_min(Zero);
        position = positions.narrow(1, columns - 1, 1).DetachFromDisposeScope();
        Hidden = model.Hidden(embeddings, mask.IsNeeded ? attentionMask : null, positions, cache)
            .narrow(1, columns - 1, 1).DetachFromDisposeScope();
    }

    /// <summary>[N, 1, D], the hidden state that decides what follows.</summary>
    internal Tensor Hidden { get; private set; }

    /// <summary>Reads one more token of each row, [N, 1, D].</summary>
    internal void Append(Tensor embeddings)
    {
        using var scope = NewDisposeScope();
        var (before, hidden) = (position, Hidden);
        position = before.add(One).DetachFromDisposeScope();
        Hidden = model.Hidden(embeddings, mask.Next(), position, cache).DetachFromDisposeScope();
        before.Dispose();
        hidden.Dispose();
    }

    /// <summary>Goes on from rationales, rows <paramref name="start"/> on of the layout, to one more token of each row
    /// without reading them again; false, and nothing has changed, where the cache is not made for that.</summary>
    internal bool GoOn(RolloutLayout layout, int start, Scalar token, int room)
    {
        using var scope = NewDisposeScope();
        if (cache?.BlockRows is null || layout.Seen(start, (int)position.shape[0], mask.Columns) is not { } seen)
        {
            return false;
        }

        mask.Dispose();
        position.Dispose();
        mask = new DecodeMask(seen, room + 1, Hidden.dtype);
        position = seen.sum([1L], keepdim: true).sub(One).DetachFromDisposeScope();
        Append(model.Embed(full_like(position, token)));
        return true;
    }

    public void Dispose()
    {
        cache?.Dispose();
        mask.Dispose();
        position.Dispose();
        Hidden.Dispose();
    }
}
