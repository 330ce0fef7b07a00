// Two-phase generation (modeling_vlm.py text_img_generate, hf_rollout.py):
//   1. text ~ softmax(lm_head(h) / T) until every row has drawn eos or begin_of_image, or the budget is used up;
//   2. each row is cut after its first begin_of_image (an eos becomes one; a row without gets one in place of its last
//     token) and moved to the right edge; image codes ~ softmax((u + w (c − u)) / T), u from a row that keeps only bos
//     and begin_of_image;
//   3. each row moves back, so that the prompt stands in its old columns; a row that moved gets an eos behind its
//     image.
// Deviations: 1. The temperature of the configuration is used (the reference drops it; 1 is the default of both). 2. A
// pad token that the policy samples in the first row does not end the run. 3. Log-probs of sampled tokens are kept;
// forced tokens get 0.
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Samples rationale and image for a batch of prompts. N rows, P prompt columns, L text steps, I image
/// tokens.</summary>
public sealed class RolloutSampler
{
    private readonly IImageTextModel model;
    private readonly SpecialTokens special;

    public RolloutSampler(IImageTextModel model, SpecialTokens special, RolloutConfig config)
    {
        config.Validate();
        (this.model, this.special, Config) = (model, special, config);
    }

    public RolloutConfig Config { get; }

    /// <summary>Generates one rollout a row.</summary>
    /// <param name="promptIds">[N, P] int64, left-padded, each row beginning with bos.</param>
    /// <param name="promptMask">[N, P] int64, 0 on pads.</param>
    /// <param name="seed">The same seed gives the same rollouts.</param>
    /// <param name="tokenDone">Told after each token how many of MaxTextTokens + ImageTokens are done.</param>
    public RolloutBatch Generate(Tensor promptIds, Tensor promptMask, long seed, Action<int>? tokenDone = null)
    {
        if (promptIds.dim() != 2 || !promptIds.shape.SequenceEqual(promptMask.shape))
        {
            throw new ArgumentException($"prompts [{string.Join(", ", promptIds.shape)}] and mask "
                + $"[{string.Join(", ", promptMask.shape)}] must both be [N, P]");
        }

        using var generator = Seeds.Torch(seed);
        return Generate(promptIds, promptMask, generator, tokenDone);
    }

    internal RolloutBatch Generate(Tensor promptIds, Tensor promptMask, Generator generator,
        Action<int>? tokenDone = null)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var layout = new RolloutLayout(promptIds, promptMask, special);

        // rationale
        var thinks = Config.MaxTextTokens > 0;
        var nothing = zeros([promptIds.shape[0], 0], device: CPU);
        var (text, textLogProbs) = thinks ? SampleText(promptIds, promptMask, generator, tokenDone)
            : (nothing.to(ScalarType.Int64), nothing);
        layout.CutAndMoveRight(text);

        // image
        var (codes, imageLogProbs) = SampleImage(layout, promptIds.device, generator, tokenDone);
        var responseColumns = Config.MaxTextTokens + Config.ImageTokens + (thinks ? 0 : 1);
        return layout.MoveBack(codes, textLogProbs, imageLogProbs, responseColumns);
    }

    private (Tensor Tokens, Tensor LogProbs) SampleText(
        Tensor promptIds, Tensor promptMask, Generator generator, Action<int>? tokenDone)
    {
        using var scope = NewDisposeScope();
        using var state = new DecodeState(model, model.Embed(promptIds), promptMask, Config.MaxTextTokens);
        using Scalar eos = special.Eos, beginOfImage = special.BeginOfImage;
        var ended = zeros(promptIds.shape[0], 1, ScalarType.Bool, promptIds.device);
        List<Tensor> tokens = [], logProbs = [];
        while (true)
        {
            using var step = NewDisposeScope();
            var logits = model.TextLogits(state.Hidden).squeeze(1);   // [N, V]
            var (next, logProb) = Draw(logits, generator);            // [N, 1]
            tokens.Add(next.MoveToOuterDisposeScope());
            logProbs.Add(logProb.MoveToOuterDisposeScope());
            tokenDone?.Invoke(tokens.Count);
            ended.logical_or_(next.eq(eos)).logical_or_(next.eq(beginOfImage));
            if (tokens.Count == Config.MaxTextTokens || ended.all().ToBoolean())
            {
                break;
            }

            state.Append(model.Embed(next));
        }

        return (cat(tokens, 1).MoveToOuterDisposeScope(), cat(logProbs, 1).MoveToOuterDisposeScope()); // [N, L]
    }

    private (Tensor Codes, Tensor LogProbs) SampleImage(
        RolloutLayout layout, Device device, Generator generator, Action<int>? tokenDone)
    {
        using var scope = NewDisposeScope();
        var guided = Config.GuidanceScale != 1;
        var (ids, mask) = layout.ImagePrefill(guided, device);        // [N or 2N, M]
        using var state = new DecodeState(model, model.Embed(ids), mask, Config.ImageTokens);
        List<Tensor> codes = [], logProbs = [];
        while (true)
        {
            using var step = NewDisposeScope();
            var logits = model.ImageLogits(state.Hidden).squeeze(1);  // [N or 2N, C]
            var (next, logProb) = Draw(guided ? Guide(logits) : logits, generator);
            codes.Add(next.MoveToOuterDisposeScope());
            logProbs.Add(logProb.MoveToOuterDisposeScope());
            tokenDone?.Invoke(Config.MaxTextTokens + codes.Count);
            if (codes.Count == Config.ImageTokens)
            {
                break;
            }

            state.Append(model.EmbedImageCodes(guided ? next.repeat_interleave(2, 0) : next));
        }

        return (cat(codes, 1).MoveToOuterDisposeScope(), cat(logProbs, 1).MoveToOuterDisposeScope()); // [N, I]
    }

    // Each row c is followed by its unconditional row u: [2N, C] → u + w (c − u), [N, C].
    private Tensor Guide(Tensor logits)
    {
        var pairs = logits.view(logits.shape[0] / 2, 2, -1);
        return lerp(pairs.select(1, 1), pairs.select(1, 0), Config.GuidanceScale);
    }

    private (Tensor Ids, Tensor LogProbs) Draw(Tensor logits, Generator generator) =>
        TokenSampler.Draw(logits, Config.Temperature, Config.Greedy, generator);
}
