using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>
/// N rollouts, laid out as training reads them: prompt left-padded to P columns, then R response columns holding rationale,
/// begin-of-image, image codes, perhaps eos, and pads. The layout is that of ReasonGen-R1's hf_rollout.py.
/// </summary>
/// <param name="PromptColumns">P.</param>
/// <param name="Ids">[N, P+R] int64: text tokens, and image codes where <paramref name="ImageMask"/> is true.</param>
/// <param name="AttentionMask">[N, P+R] int64: prompt mask; response 1 through the first eos.</param>
/// <param name="PositionIds">[N, P+R] int64.</param>
/// <param name="ImageMask">[N, P+R] bool: true on image codes.</param>
/// <param name="ImageCodes">[N, I] int64.</param>
/// <param name="SampledLogProbs">[N, R] fp32: log-prob under the sampler (temperature and guidance as sampled) of each sampled response token, 0 on tokens that were forced or padded.</param>
public sealed record RolloutBatch(
    int PromptColumns, Tensor Ids, Tensor AttentionMask, Tensor PositionIds, Tensor ImageMask, Tensor ImageCodes, Tensor SampledLogProbs) : IDisposable
{
    /// <summary>N.</summary>
    public int Count => (int)Ids.shape[0];

    /// <summary>R.</summary>
    public int ResponseColumns => (int)Ids.shape[1] - PromptColumns;

    /// <summary>[N, R] int64: 1 on response tokens that count in the loss.</summary>
    public Tensor ResponseMask => AttentionMask.narrow(1, PromptColumns, ResponseColumns);

    public void Dispose()
    {
        foreach (var tensor in new[] { Ids, AttentionMask, PositionIds, ImageMask, ImageCodes, SampledLogProbs })
        {
            tensor.Dispose();
        }
    }
}
