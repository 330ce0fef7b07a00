// Two-phase generation (modeling_vlm.py text_img_generate, hf_rollout.py):
//   1. text ~ softmax(lm_head(h) / T) until every row has drawn eos or begin_of_image, or the budget is used up;
//   2. each row is cut after its first begin_of_image (an eos becomes one; a row without gets one in place of its last token) and moved to the
//      right edge; image codes ~ softmax((u + w (c − u)) / T), u from a row that keeps only bos and begin_of_image;
//   3. each row moves back, so that the prompt stands in its old columns; a row that moved gets an eos behind its picture.
// Deviations: 1. The temperature of the configuration is used (the reference drops it; 1 is the default of both). 2. A pad token that the
//   policy samples in the first row does not end the run. 3. Log-probs of sampled tokens are kept; forced tokens get 0.
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Text;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Rollouts;

/// <summary>Samples rationale and picture for a batch of prompts. N rows, P prompt columns, L text steps, I image tokens.</summary>
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
    /// <param name="tokenDone">Told after each token how many of TextBudget + ImageTokens are done.</param>
    public RolloutBatch Generate(Tensor promptIds, Tensor promptMask, long seed, Action<int>? tokenDone = null)
    {
        if (promptIds.dim() != 2 || !promptIds.shape.SequenceEqual(promptMask.shape))
        {
            throw new ArgumentException($"prompts [{string.Join(", ", promptIds.shape)}] and mask [{string.Join(", ", promptMask.shape)}] must both be [N, P]");
        }

        using var free = no_grad();
        using var scope = NewDisposeScope();
        using var generator = Seeds.Torch(seed);
        var layout = new RolloutLayout(promptIds, promptMask, special);
        var (text, textLogProbs) = Config.TextBudget == 0 ? (zeros([promptIds.shape[0], 0], ScalarType.Int64), zeros([promptIds.shape[0], 0]))
            : SampleText(promptIds, promptMask, generator, tokenDone);
        layout.CutAndMoveRight(text);
        var (codes, imageLogProbs) = SampleImage(layout, promptIds.device, generator, tokenDone);
        return layout.MoveBack(codes, textLogProbs, imageLogProbs, Config.TextBudget + Config.ImageTokens + (Config.TextBudget == 0 ? 1 : 0));
    }

    private (Tensor Tokens, Tensor LogProbs) SampleText(Tensor promptIds, Tensor promptMask, Generator generator, Action<int>? tokenDone)
    {
        using var scope = NewDisposeScope();
        int rows = (int)promptIds.shape[0], columns = (int)promptIds.shape[1];
        using var cache = model.NewCache(rows, columns + Config.TextBudget);
        var mask = cat([promptMask, ones(rows, Config.TextBudget, promptMask.dtype, promptMask.device)], 1);
        var positions = promptMask.cumsum(1).sub(1).clamp_min(0);
        var hidden = model.Hidden(model.Embed(promptIds), promptMask, positions, cache).narrow(1, columns - 1, 1);
        var position = positions.narrow(1, columns - 1, 1);
        var ended = zeros(rows, 1, ScalarType.Bool, promptIds.device);
        List<Tensor> tokens = [], logProbs = [];
        while (true)
        {
            var (next, logProb) = Draw(model.TextLogits(hidden).squeeze(1), generator);
            tokens.Add(next);
            logProbs.Add(logProb);
            tokenDone?.Invoke(tokens.Count);
            ended = ended.logical_or(next.eq(special.Eos)).logical_or(next.eq(special.BeginOfImage));
            if (tokens.Count == Config.TextBudget || ended.all().ToBoolean())
            {
                return (cat(tokens, 1).MoveToOuterDisposeScope(), cat(logProbs, 1).MoveToOuterDisposeScope()); // [N, L]
            }

            using var step = NewDisposeScope();
            position = position.add(1).MoveToOuterDisposeScope();
            hidden = model.Hidden(model.Embed(next), mask.narrow(1, 0, columns + tokens.Count), position, cache).MoveToOuterDisposeScope();
        }
    }

    private (Tensor Codes, Tensor LogProbs) SampleImage(RolloutLayout layout, Device device, Generator generator, Action<int>? tokenDone)
    {
        using var scope = NewDisposeScope();
        var guided = Config.GuidanceScale != 1;
        var (ids, mask) = layout.ImagePrefill(guided, device); // [N or 2N, M]
        int rows = (int)ids.shape[0], columns = (int)ids.shape[1];
        using var cache = model.NewCache(rows, columns + Config.ImageTokens);
        var fullMask = cat([mask, ones(rows, Config.ImageTokens, mask.dtype, device)], 1);
        var positions = mask.cumsum(1).sub(1).clamp_min(0);
        var hidden = model.Hidden(model.Embed(ids), mask, positions, cache).narrow(1, columns - 1, 1);
        var position = positions.narrow(1, columns - 1, 1);
        List<Tensor> codes = [], logProbs = [];
        while (true)
        {
            var logits = model.ImageLogits(hidden).squeeze(1); // [N or 2N, C]
            if (guided)
            {
                var pairs = logits.view(rows / 2, 2, -1);
                logits = lerp(pairs.select(1, 1), pairs.select(1, 0), Config.GuidanceScale);
            }

            var (next, logProb) = Draw(logits, generator);
            codes.Add(next);
            logProbs.Add(logProb);
            tokenDone?.Invoke(Config.TextBudget + codes.Count);
            if (codes.Count == Config.ImageTokens)
            {
                return (cat(codes, 1).MoveToOuterDisposeScope(), cat(logProbs, 1).MoveToOuterDisposeScope()); // [N, I]
            }

            using var step = NewDisposeScope();
            position = position.add(1).MoveToOuterDisposeScope();
            var fed = guided ? next.repeat_interleave(2, 0) : next;
            hidden = model.Hidden(model.EmbedImageCodes(fed), fullMask.narrow(1, 0, columns + codes.Count), position, cache).MoveToOuterDisposeScope();
        }
    }

    // [N, C] logits → drawn ids [N, 1] and their log-probs [N, 1]. As torch.multinomial draws: argmax of p over exponential noise.
    private (Tensor Ids, Tensor LogProbs) Draw(Tensor logits, Generator generator)
    {
        using var scope = NewDisposeScope();
        var probabilities = nn.functional.softmax(logits.to(ScalarType.Float32).div(Config.Temperature), -1);
        var ids = Config.Greedy ? probabilities.argmax(-1, keepdim: true)
            : probabilities.div(empty(probabilities.shape, ScalarType.Float32, CPU).exponential_(1, generator).to(probabilities.device)).argmax(-1, keepdim: true);
        return (ids.MoveToOuterDisposeScope(), probabilities.gather(1, ids).log().MoveToOuterDisposeScope());
    }
}
