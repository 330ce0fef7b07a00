using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>
/// N rollouts, laid out as training reads them: prompt left-padded to P columns, then R response columns holding
/// rationale, begin-of-image, image codes, perhaps eos, and pads. The layout is that of ReasonGen-R1's hf_rollout.py.
/// </summary>
/// <param name="PromptColumns">P.</param>
/// <param name="Ids">[N, P+R] int64: text tokens, and image codes where <paramref name="ImageMask"/> is true.</param>
/// <param name="AttentionMask">[N, P+R] int64: prompt mask; response 1 through the first eos.</param>
/// <param name="PositionIds">[N, P+R] int64.</param>
/// <param name="ImageMask">[N, P+R] bool: true on image codes.</param>
/// <param name="ImageCodes">[N, I] int64.</param>
/// <param name="SampledLogProbs">[N, R] fp32: log-prob under the sampler (temperature and guidance as sampled) of each
/// sampled response token, 0 on tokens that were forced or padded.</param>
public sealed record RolloutBatch(
    int PromptColumns, Tensor Ids, Tensor AttentionMask, Tensor PositionIds, Tensor ImageMask, Tensor ImageCodes,
    Tensor SampledLogProbs) : IDisposable
{
    private long[]? lengths; // of the responses

    /// <summary>N.</summary>
    public int Count => (int)Ids.shape[0];

    /// <summary>R.</summary>
    public int ResponseColumns => (int)Ids.shape[1] - PromptColumns;

    /// <summary>[N, R] int64: 1 on response tokens that count in the loss.</summary>
    public Tensor ResponseMask => AttentionMask.narrow(1, PromptColumns, ResponseColumns);

    /// <summary>Scalar, int64: text tokens of all responses, whatever counts in the loss.</summary>
    public Tensor TextTokens =>
        (ResponseMask * ImageMask.narrow(1, PromptColumns, ResponseColumns).logical_not().to(ScalarType.Int64)).sum();

    /// <summary>Chosen rows of several batches, in order, as one batch of its own; shorter prompts are padded on the
    /// left.</summary>
    public static RolloutBatch Join(IReadOnlyList<(RolloutBatch Batch, long[] Rows)> parts)
    {
        using var scope = NewDisposeScope();
        var columns = parts.Max(part => part.Batch.PromptColumns);
        Tensor Collect(Func<RolloutBatch, Tensor> of, bool hasPrompt)
        {
            var chosen = parts.Select(part =>
            {
                var values = of(part.Batch).index_select(0, tensor(part.Rows, device: part.Batch.Ids.device));
                return hasPrompt ? nn.functional.pad(values, [columns - part.Batch.PromptColumns, 0]) : values;
            });
            return cat(chosen.ToArray()).DetachFromDisposeScope();
        }

        return new(columns, Collect(b => b.Ids, true), Collect(b => b.AttentionMask, true),
            Collect(b => b.PositionIds, true),
            Collect(b => b.ImageMask, true), Collect(b => b.ImageCodes, false), Collect(b => b.SampledLogProbs, false));
    }

    /// <summary>Some of the rollouts, sharing memory, with the columns behind the longest response left out.</summary>
    public RolloutBatch Slice(int start, int count)
    {
        lengths ??= ResponseMask.sum([1L]).Values<long>(); // once for all slices: each read waits for the device
        var longest = (int)lengths.Skip(start).Take(count).Max();
        Tensor Cut(Tensor tensor, int columns) => tensor.narrow(0, start, count).narrow(1, 0, columns);
        return new(PromptColumns, Cut(Ids, PromptColumns + longest), Cut(AttentionMask, PromptColumns + longest),
            Cut(PositionIds, PromptColumns + longest),
            Cut(ImageMask, PromptColumns + longest), ImageCodes.narrow(0, start, count), Cut(SampledLogProbs, longest));
    }

    public void Dispose()
    {
        foreach (var tensor in new[] { Ids, AttentionMask, PositionIds, ImageMask, ImageCodes, SampledLogProbs })
        {
            tensor.Dispose();
        }
    }
}
