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
using ReasonGen.Kernels;
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

        return Generate(promptIds, promptMask, new ExponentialNoise(Seeds.Mix(seed)), tokenDone);
    }

    internal RolloutBatch Generate(Tensor promptIds, Tensor promptMask, ExponentialNoise noise,
        Action<int>? tokenDone = null)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var layout = new RolloutLayout(promptIds, promptMask, special);
        var (rows, columns) = ((int)promptIds.shape[0], (int)promptIds.shape[1] + Math.Max(Config.MaxTextTokens, 1));
        using var cache = model.NewCache(rows, columns + (Guided ? 0 : Config.ImageTokens));
        using var blocks = new RowBlocks<DecodeState>(rows, cache?.BlockRows, noise, tokenDone);

        // rationale
        var thinks = Config.MaxTextTokens > 0;
        var nothing = zeros([rows, 0], device: CPU);
        var (text, textLogProbs) = thinks ? SampleText(promptIds, promptMask, blocks, cache)
            : (nothing.to(ScalarType.Int64), nothing);
        layout.CutAndMoveRight(text);

        // image
        if (Guided) // which reads all anew
        {
            blocks.Forget();
            cache?.Dispose();
        }

        using var pairs = Guided ? model.NewCache(2 * rows, columns + Config.ImageTokens) : null;
        var (codes, imageLogProbs) = SampleImage(layout, promptIds.device, blocks, Guided ? pairs : cache);
        var responseColumns = Config.MaxTextTokens + Config.ImageTokens + (thinks ? 0 : 1);
        return layout.MoveBack(codes, textLogProbs, imageLogProbs, responseColumns);
    }

    private bool Guided => Config.GuidanceScale != 1;

    private (Tensor Tokens, Tensor LogProbs) SampleText(
        Tensor promptIds, Tensor promptMask, RowBlocks<DecodeState> blocks, KvCache? cache)
    {
        using Scalar eos = special.Eos, beginOfImage = special.BeginOfImage;
        return blocks.Draw(model.VocabularySize, 0, block =>
        {
            var state = block.State = new DecodeState(model, model.Embed(block.Of(promptIds)), block.Of(promptMask),
                cache?.Rows(block.Start, block.Count), Config.MaxTextTokens);
            var ended = zeros(block.Count, 1, ScalarType.Bool, promptIds.device);
            while (true)
            {
                using var step = NewDisposeScope();
                var logits = model.TextLogits(state.Hidden).squeeze(1);  // [n, V]
                var next = Draw(logits, block);                          // [n, 1]
                ended = ended.logical_or(next.eq(eos)).logical_or(next.eq(beginOfImage)).MoveToOuterDisposeScope();
                if (block.Steps == Config.MaxTextTokens || ended.all().ToBoolean())
                {
                    return;
                }

                state.Append(model.Embed(next));
            }
        });
    }

    private (Tensor Codes, Tensor LogProbs) SampleImage(
        RolloutLayout layout, Device device, RowBlocks<DecodeState> blocks, KvCache? cache)
    {
        var (ids, mask) = layout.ImagePrefill(Guided, device);           // [N or 2N, M]
        using Scalar beginOfImage = special.BeginOfImage;
        return blocks.Draw(model.CodebookSize, Config.MaxTextTokens, block =>
        {
            var copies = Guided ? 2 : 1;
            if (Guided || block.State?.GoOn(layout, block.Start, beginOfImage, Config.ImageTokens) != true)
            {
                block.State = new DecodeState(model, model.Embed(block.Of(ids, copies)), block.Of(mask, copies),
                    cache?.Rows(copies * block.Start, copies * block.Count), Config.ImageTokens);
            }

            while (true)
            {
                using var step = NewDisposeScope();
                var logits = model.ImageLogits(block.State!.Hidden).squeeze(1); // [n or 2n, C]
                var next = Draw(Guided ? Guide(logits) : logits, block);
                if (block.Steps == Config.ImageTokens)
                {
                    return;
                }

                block.State.Append(model.EmbedImageCodes(Guided ? next.repeat_interleave(2, 0) : next));
            }
        });
    }

    // Each row c is followed by its unconditional row u: [2N, C] → u + w (c − u), [N, C].
    private Tensor Guide(Tensor logits)
    {
        var pairs = logits.view(logits.shape[0] / 2, 2, -1);
        return lerp(pairs.select(1, 1), pairs.select(1, 0), Config.GuidanceScale);
    }

    private Tensor Draw(Tensor logits, RowBlocks<DecodeState>.Block block)
    {
        var (next, logProb) = TokenSampler.Draw(logits, Config.Temperature, Config.Greedy, block.Noise);
        block.Add(next, logProb);
        return next;
    }
}
