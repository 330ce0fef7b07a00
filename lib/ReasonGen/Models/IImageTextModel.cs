using ReasonGen.Kernels;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>
/// What trainers and rollouts need of a model that reads text and draws image tokens: one hidden state, two heads over
/// it. Shape letters: B batch, T tokens, D width, V text vocabulary, C codebook size.
/// </summary>
public interface IImageTextModel
{
    /// <summary>V.</summary>
    int VocabularySize { get; }

    /// <summary>C.</summary>
    int CodebookSize { get; }

    /// <summary>Tokens of the longest sequence that the model was made for.</summary>
    int Positions => int.MaxValue;

    /// <summary>Where its weights live, and batches must lie.</summary>
    Device Device => TrainableParameters().First().Parameter.device;

    /// <summary>Weights that training may change, by checkpoint name, in checkpoint order.</summary>
    IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> TrainableParameters();

    /// <summary>Input embeddings. Where <paramref name="imageMask"/> is true the id is an image code, elsewhere (or
    /// when null) a text token.</summary>
    /// <param name="ids">[B, T] int64.</param>
    /// <param name="imageMask">[B, T] bool, or null when all are text.</param>
    /// <returns>[B, T, D].</returns>
    Tensor Embed(Tensor ids, Tensor? imageMask = null);

    /// <summary>Input embeddings of image codes alone: [B, I] → [B, I, D].</summary>
    Tensor EmbedImageCodes(Tensor codes);

    /// <summary>Hidden states after the final norm.</summary>
    /// <param name="embeddings">[B, T, D].</param>
    /// <param name="attentionMask">[B, cached + T], 1 where a key may be attended; null when all may.</param>
    /// <param name="positionIds">[B, T] int64; null counts on from the cache's length (0 without a cache).</param>
    /// <param name="cache">Keys and values so far; extended by T. Null for a pass over whole sequences.</param>
    /// <returns>[B, T, D].</returns>
    Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null, KvCache? cache = null);

    /// <summary>[…, D] → [..., V] logits over text tokens.</summary>
    Tensor TextLogits(Tensor hidden);

    /// <summary>[…, D] → [..., C] logits over image codes.</summary>
    Tensor ImageLogits(Tensor hidden);

    /// <summary>An empty cache for <paramref name="rows"/> sequences of up to <paramref name="tokens"/> tokens; null
    /// where the model keeps none.</summary>
    KvCache? NewCache(int rows, int tokens);

    /// <summary>Images of image codes [B, I]: [B, 3, H, W] in [-1, 1] nominally. On a CPU it may be called from several
    /// threads at once.</summary>
    Tensor DecodeImage(Tensor codes);
}
