using System.Runtime.CompilerServices;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Kernels;

/// <summary>A <see cref="FusedDecoder"/> at work on some rows: their KV cache, and the keys a second time as it reads
/// them, of each layer [B, heads, tokens / 16, K, 16].</summary>
internal sealed unsafe class FusedCache : IDisposable
{
    /// <summary>Tokens whose keys lie together.</summary>
    internal const int Tile = 16;

    /// <summary>Rows that are best decoded together: what they have stored should stay near their processor.</summary>
    internal const int BlockRows = 24;

    private readonly FusedDecoder decoder;
    private readonly (Tensor Keys, Tensor Values)[] caches;
    private readonly Tensor[] turned;
    private readonly int headWidth;
    private int filled;

    /// <param name="decoder">Does the work.</param>
    /// <param name="caches">Of each layer, [B, heads, capacity, K]; they stay the caller's.</param>
    internal FusedCache(FusedDecoder decoder, (Tensor Keys, Tensor Values)[] caches)
    {
        (this.decoder, this.caches, headWidth) = (decoder, caches, (int)caches[0].Keys.shape[3]);
        turned = Array.ConvertAll(caches, cache => zeros(cache.Keys.shape[0], cache.Keys.shape[1],
            (cache.Keys.shape[2] + Tile - 1) / Tile, Tile * headWidth, ScalarType.Float32, CPU)
            .DetachFromDisposeScope());
    }

    private FusedCache(FusedCache all, (Tensor Keys, Tensor Values)[] caches, int start, int count)
    {
        (decoder, this.caches, headWidth, filled) = (all.decoder, caches, all.headWidth, all.filled);
        turned = Array.ConvertAll(all.turned, keys => keys.narrow(0, start, count).DetachFromDisposeScope());
    }

    /// <summary>The part of some rows, sharing memory.</summary>
    /// <param name="some">The caches of these rows.</param>
    /// <param name="start">The first of them.</param>
    /// <param name="count">How many.</param>
    internal FusedCache Rows((Tensor Keys, Tensor Values)[] some, int start, int count) =>
        new(this, some, start, count);

    /// <summary>Hidden states of new tokens after the last norm, their keys and values stored.</summary>
    /// <param name="x">[B, T, D] embeddings.</param>
    /// <param name="mask">[B, at + T], not 0 where a key may be seen; null sees all.</param>
    /// <param name="positions">[B, T]; null counts from <paramref name="at"/>.</param>
    /// <param name="at">Tokens in the caches.</param>
    /// <returns>[B, T, D]; null where tokens of this kind are left to others, who store them in the caches
    /// alone.</returns>
    internal Tensor? Hidden(Tensor x, Tensor? mask, Tensor? positions, int at)
    {
        if (!decoder.CanHandle(x, mask, positions, at + x.shape[1]))
        {
            return null;
        }

        Fill(at);
        filled = at + (int)x.shape[1];
        var addresses = Array.ConvertAll(caches,
            cache => (Bf16Kernels.Address(cache.Keys), Bf16Kernels.Address(cache.Values)));
        return decoder.Forward(x, mask, positions, at, (int)caches[0].Keys.shape[2], addresses,
            Array.ConvertAll(turned, Bf16Kernels.Address));
    }

    /// <summary>Forgets the newest tokens: at most <paramref name="length"/> are kept.</summary>
    internal void Truncate(int length) => filled = Math.Min(filled, length);

    // takes over what others have stored in the caches
    private void Fill(int length)
    {
        for (var layer = 0; layer < turned.Length && filled < length; layer++)
        {
            long capacity = caches[layer].Keys.shape[2], room = turned[layer].shape[2] * Tile;
            var from = (float*)Bf16Kernels.Address(caches[layer].Keys);
            var to = (float*)Bf16Kernels.Address(turned[layer]);
            for (var head = 0L; head < turned[layer].shape[0] * turned[layer].shape[1]; head++)
            {
                for (var token = filled; token < length; token++)
                {
                    Put(from + (head * capacity + token) * headWidth, to + head * room * headWidth, token, headWidth);
                }
            }
        }
    }

    /// <summary>Stores one key of one head.</summary>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Put(float* key, float* head, int token, int width)
    {
        head += (long)(token / Tile) * Tile * width + token % Tile;
        for (var k = 0; k < width; k++)
        {
            head[k * Tile] = key[k];
        }
    }

    public void Dispose() => Array.ForEach(turned, keys => keys.Dispose());
}
