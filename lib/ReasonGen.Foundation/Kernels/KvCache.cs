using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>Keys (after RoPE) and values of every layer, preallocated: [B, key-value heads, tokens, head width]
/// each.</summary>
public sealed class KvCache : IDisposable
{
    private readonly (Tensor Keys, Tensor Values)[] layers;
    private readonly bool isWhole = true;
    private FusedCache? fused;
    private Func<Tensor, Tensor?, Tensor?, KvCache?, Tensor>? pass;
    private GraphedPass? graphed;
    private Tensor? column; // where a graph stores

    public KvCache(int layerCount, int rows, int heads, int tokens, int headWidth, Device device, ScalarType type)
    {
        tokens = DeviceKernels.RoundUp(tokens, device.type);
        Weights = DeviceKernels.PayFor(device.type) ? new() : null;
        layers = Enumerable.Range(0, layerCount).Select(_ => (
            zeros(rows, heads, tokens, headWidth, type, device).DetachFromDisposeScope(),
            zeros(rows, heads, tokens, headWidth, type, device).DetachFromDisposeScope())).ToArray();
        Capacity = tokens;
    }

    private KvCache(KvCache all, int start, int count)
    {
        Tensor Some(Tensor tensor) => tensor.narrow(0, start, count).DetachFromDisposeScope();
        layers = Array.ConvertAll(all.layers, layer => (Some(layer.Keys), Some(layer.Values)));
        (Capacity, Length, fused) = (all.Capacity, all.Length, all.fused?.Rows(layers, start, count));
        (Weights, isWhole, pass) = (all.Weights, false, all.pass);
    }

    /// <summary>Tokens the cache can hold.</summary>
    public int Capacity { get; }

    /// <summary>Weights as sampling wants them, which live as long; null on a CPU.</summary>
    internal SamplingWeights? Weights { get; }

    /// <summary>Rows to decode together, where a pass in blocks is faster; null where it is not.</summary>
    internal int? BlockRows => fused is null ? null : FusedCache.BlockRows;

    /// <summary>Takes a faster pass where it can, with the weights of now; null takes the model's own.</summary>
    /// <param name="decoder">On a CPU.</param>
    /// <param name="pass">The model's own, which a GPU is told but once; null has it told each time.</param>
    internal KvCache With(FusedDecoder? decoder, Func<Tensor, Tensor?, Tensor?, KvCache?, Tensor>? pass = null)
    {
        fused = decoder is null ? null : new(decoder, layers);
        this.pass = pass;
        return this;
    }

    /// <summary>The part of some rows, sharing memory; disposing it leaves the whole.</summary>
    internal KvCache Rows(int start, int count) => new(this, start, count);

    /// <summary>The model's hidden states of new tokens by the faster pass; null where it cannot be.</summary>
    internal Tensor? Hidden(Tensor embeddings, Tensor? attentionMask, Tensor? positionIds)
    {
        var at = EnsureCapacity(embeddings.shape[1]);
        var hidden = fused?.Hidden(embeddings, attentionMask, positionIds, at)
            ?? (graphed ??= pass is null ? null : GraphedPass.For(embeddings.device, Graphed, Capacity))
                ?.Hidden(embeddings, attentionMask, positionIds, at);
        Advance(hidden is null ? 0 : (int)embeddings.shape[1]);
        return hidden;
    }

    /// <summary>Whether a pass of now is one of a <see cref="GraphedPass"/>.</summary>
    internal bool IsInGraph => column is not null;

    /// <summary>Tokens held by every layer.</summary>
    public int Length { get; private set; }

    /// <summary>What one layer holds: [B, heads, tokens so far, head width] each, sharing memory.</summary>
    internal (Tensor Keys, Tensor Values) Layer(int layer) =>
        (layers[layer].Keys.narrow(2, 0, Length), layers[layer].Values.narrow(2, 0, Length));

    /// <summary>All that one layer can hold: [B, heads, capacity, head width] each.</summary>
    internal (Tensor Keys, Tensor Values) Whole(int layer) => layers[layer];

    /// <summary>Stores the keys and values of new tokens in one layer and gives all of that layer's so far.</summary>
    /// <param name="layer">Layer index.</param>
    /// <param name="keys">[B, heads, T, head width].</param>
    /// <param name="values">[B, heads, T, head width].</param>
    /// <param name="seen">How many are given, some of them not yet there and masked; null gives those that are.</param>
    internal (Tensor Keys, Tensor Values) Extend(int layer, Tensor keys, Tensor values, long? seen = null)
    {
        var added = keys.shape[2];
        var at = EnsureCapacity(added);
        var (allKeys, allValues) = layers[layer];
        if (column is not null)
        {
            allKeys.index_copy_(2, column, keys);
            allValues.index_copy_(2, column, values);
        }
        else
        {
            allKeys.narrow(2, at, added).copy_(keys);
            allValues.narrow(2, at, added).copy_(values);
        }

        return (allKeys.narrow(2, 0, seen ?? at + added), allValues.narrow(2, 0, seen ?? at + added));
    }

    /// <summary>Where the next <paramref name="added"/> tokens are stored.</summary>
    /// <exception cref="InvalidOperationException">They do not fit.</exception>
    internal int EnsureCapacity(long added) => Length + added <= Capacity ? Length
        : throw new InvalidOperationException(
            $"the KV cache holds {Capacity} tokens; {Length} are stored and {added} more do not fit");

    /// <summary>Counts tokens that every layer has stored.</summary>
    internal void Advance(int tokens) => Length += column is null ? tokens : 0;

    // what a graph is made of: nothing in it may depend on how many tokens there are
    private Tensor Graphed(Tensor embeddings, Tensor mask, Tensor positions, Tensor at)
    {
        column = at;
        try
        {
            return pass!(embeddings, mask, positions, this);
        }
        finally
        {
            column = null;
        }
    }

    /// <summary>Forgets the newest tokens: at most <paramref name="length"/> are kept.</summary>
    internal void Truncate(int length)
    {
        Length = Math.Min(Length, length);
        fused?.Truncate(length);
    }

    public void Dispose()
    {
        if (isWhole)
        {
            Weights?.Dispose();
        }

        fused?.Dispose();
        graphed?.Dispose();
        foreach (var (keys, values) in layers)
        {
            keys.Dispose();
            values.Dispose();
        }
    }
}
