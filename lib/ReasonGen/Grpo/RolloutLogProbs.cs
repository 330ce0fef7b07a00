// log π of whole rollouts (dp_actor.py _forward_micro_batch), for old log-probs and for updates.
// Deviation: no guidance, whatever the rollouts were drawn with; the reference's cfg_weight (1 in janus_rl.sh) guides
//   old log-probs and updates as it guides sampling.
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>Log-probabilities of rollouts under a policy, without guidance. N rollouts, R response
/// columns.</summary>
public static class RolloutLogProbs
{
    /// <summary>One forward pass over whole sequences.</summary>
    /// <param name="model">The policy.</param>
    /// <param name="rollouts">The N rollouts.</param>
    /// <param name="temperature">Divides the logits; above 0.</param>
    /// <param name="entropyGradient">Whether gradients flow through the entropy.</param>
    /// <returns>Log-probs and entropies, [N, R] fp32 each; 0 on tokens that do not count.</returns>
    public static (Tensor LogProbs, Tensor Entropies) Compute(
        IImageTextModel model, RolloutBatch rollouts, double temperature = 1, bool entropyGradient = true)
    {
        using var scope = NewDisposeScope();
        var columns = rollouts.ResponseColumns;
        var both = RowPieces.Run(model.TrainableParameters().Select(p => p.Parameter), rollouts.Count, (start, count) =>
        {
            var some = count == rollouts.Count ? rollouts : rollouts.Slice(start, count);
            int prompt = some.PromptColumns, response = some.ResponseColumns;
            var embeddings = model.Embed(some.Ids, some.ImageMask);                                  // [n, P + r, D]
            var hidden = model.Hidden(embeddings, some.AttentionMask, some.PositionIds);
            var predicting = hidden.narrow(1, prompt - 1, response);                                 // [n, r, D]
            var labels = some.Ids.narrow(1, prompt, response);
            var image = some.ImageMask.narrow(1, prompt, response);
            var (logProbs, entropies) = TokenLogProbs.Compute(
                model, predicting, labels, image, some.ResponseMask, temperature, clamped: true, entropyGradient);
            return nn.functional.pad(stack([logProbs, entropies], 1), [0, columns - response]);      // [n, 2, R]
        });
        return (both.select(1, 0).MoveToOuterDisposeScope(), both.select(1, 1).MoveToOuterDisposeScope());
    }

    /// <summary>Log-probs of the policy that sampled, or of a reference, without a graph, micro-batch by
    /// micro-batch.</summary>
    /// <param name="model">The policy, as it was while it sampled.</param>
    /// <param name="rollouts">The N rollouts.</param>
    /// <param name="temperature">As in <see cref="Compute"/>.</param>
    /// <param name="microBatch">Rollouts of one forward pass, at least 1.</param>
    /// <param name="ranks">Ranks that share the micro-batches out; null for one.</param>
    /// <param name="from">The first rollout; those before it get zeros.</param>
    /// <returns>[N, R] fp32, the whole of it on each rank.</returns>
    public static Tensor Old(IImageTextModel model, RolloutBatch rollouts, double temperature, int microBatch,
        IRankGroup? ranks = null, int from = 0)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var old = zeros(rollouts.Count, rollouts.ResponseColumns, ScalarType.Float32, rollouts.Ids.device);
        ranks ??= Alone.Group;
        for (var start = from + ranks.Rank * microBatch; start < rollouts.Count; start += ranks.Size * microBatch)
        {
            using var pass = NewDisposeScope();
            var micro = rollouts.Slice(start, Math.Min(microBatch, rollouts.Count - start));
            var (logProbs, _) = Compute(model, micro, temperature, entropyGradient: false);
            old.narrow(0, start, micro.Count).narrow(1, 0, micro.ResponseColumns).copy_(logProbs);
        }

        ranks.Sum(old, "log-probs of the policy that sampled");
        return old.MoveToOuterDisposeScope();
    }
}
