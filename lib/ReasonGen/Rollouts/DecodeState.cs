using ReasonGen.Kernels;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Sequences that grow side by side, one token a step: cache, mask and positions. N rows, P columns at
/// first.</summary>
internal sealed class DecodeState : IDisposable
{
    private readonly IImageTextModel model;
    private readonly KvCache? cache;
    private readonly DecodeMask mask;
    private Tensor position; // [N, 1], of the last column

    /// <param name="model">Reads the tokens.</param>
    /// <param name="embeddings">[N, P, D].</param>
    /// <param name="attentionMask">[N, P], 0 on pads; positions count its ones.</param>
    /// <param name="room">Most tokens to follow.</param>
    internal DecodeState(IImageTextModel model, Tensor embeddings, Tensor attentionMask, int room)
    {
        using var scope = NewDisposeScope();
        var (rows, columns) = ((int)attentionMask.shape[0], (int)attentionMask.shape[1]);
        this.model = model;
        cache = model.NewCache(rows, columns + room);
        mask = new DecodeMask(attentionMask, room, embeddings.dtype);
        var positions = attentionMask.cumsum(1).sub(1).clamp_min(0);
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
        position = before.add(1).DetachFromDisposeScope();
        Hidden = model.Hidden(embeddings, mask.Next(), position, cache).DetachFromDisposeScope();
        before.Dispose();
        hidden.Dispose();
    }

    public void Dispose()
    {
        cache?.Dispose();
        mask.Dispose();
        position.Dispose();
        Hidden.Dispose();
    }
}
