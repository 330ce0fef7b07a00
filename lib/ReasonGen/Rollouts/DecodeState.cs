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
    private Tensor mask; // [N, P + room]
    private Tensor position; // [N, 1], of the last column

    /// <param name="model">Reads the tokens.</param>
    /// <param name="embeddings">[N, P, D].</param>
    /// <param name="attentionMask">[N, P], 0 on pads; positions count its ones.</param>
    /// <param name="cache">An empty one for these rows, which this disposes; null where the model keeps none.</param>
    /// <param name="room">Most tokens to follow.</param>
    internal DecodeState(IImageTextModel model, Tensor embeddings, Tensor attentionMask, KvCache? cache, int room)
    {
        using var scope = NewDisposeScope();
        var rows = (int)attentionMask.shape[0];
        (this.model, this.cache, Columns) = (model, cache, (int)attentionMask.shape[1]);
        mask = cat([attentionMask, ones(rows, room, attentionMask.dtype, attentionMask.device)], 1)
            .DetachFromDisposeScope();
        var positions = attentionMask.cumsum(1).sub(1).clamp_min(0);
        position = positions.narrow(1, Columns - 1, 1).DetachFromDisposeScope();
        Hidden = model.Hidden(embeddings, attentionMask, positions, cache).narrow(1, Columns - 1, 1)
            .DetachFromDisposeScope();
    }

    /// <summary>[N, 1, D], the hidden state that decides what follows.</summary>
    internal Tensor Hidden { get; private set; }

    /// <summary>Reads one more token of each row, [N, 1, D].</summary>
    internal void Append(Tensor embeddings)
    {
        using var scope = NewDisposeScope();
        var (before, hidden) = (position, Hidden);
        position = before.add(1).DetachFromDisposeScope();
        Hidden = model.Hidden(embeddings, mask.narrow(1, 0, ++Columns), position, cache).DetachFromDisposeScope();
        before.Dispose();
        hidden.Dispose();
    }

    /// <summary>Columns read.</summary>
    internal int Columns { get; private set; }

    /// <summary>Goes on as if it had read no more than what <paramref name="seen"/>, [N, columns], marks: with one more
    /// token of each row, [N, 1, D], and room for others.</summary>
    internal void GoOn(Tensor seen, Tensor embeddings, int room)
    {
        using var scope = NewDisposeScope();
        mask.Dispose();
        position.Dispose();
        mask = cat([seen, ones(seen.shape[0], room + 1, seen.dtype)], 1).DetachFromDisposeScope();
        position = seen.sum([1L], keepdim: true).sub(1).DetachFromDisposeScope();
        Append(embeddings);
    }

    public void Dispose()
    {
        cache?.Dispose();
        mask.Dispose();
        position.Dispose();
        Hidden.Dispose();
    }
}
