// Log-probability and entropy of each label under its head (verl: torch_functional.py logprobs_from_logits,
// entropy_from_logits):
//   ℓ = clamp(logits / temperature, −30, 30);  log π(y) = ℓ_y − lse(ℓ);  entropy = lse(ℓ) − Σ softmax(ℓ) ℓ, all in
//     fp32.
// The reference pads image logits with −1e9 up to the V text classes before it clamps, which lifts the P = max(0, V −
// C) padded classes to −30:
//   lse' = log(e^lse + P e^−30), and the padded classes take the share s = σ(log P − 30 − lse) of the probability.
// Logits are made in chunks; where there are several, a chunk's logits are not kept but made again for its gradient.
// Deviations: 1. The padded classes are added by this formula instead of being stored. 2. Each head runs only on the
// positions it decides.
using ReasonGen.Core;
using ReasonGen.Optimization;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Models;

/// <summary>Per-token log-probabilities and entropies, without ever holding all logits of a batch.</summary>
public static class TokenLogProbs
{
    /// <summary>Logits are clamped to plus or minus this in reinforcement learning (dp_actor.py).</summary>
    public const double Clamp = 30;

    internal const long LargestChunk = 1 << 24; // logits at a time

    /// <summary>Statistics of labels, given the hidden states that predict them.</summary>
    /// <param name="model">Gives the heads.</param>
    /// <param name="hidden">[B, T, D].</param>
    /// <param name="labels">[B, T] int64: text tokens or image codes.</param>
    /// <param name="labelIsImage">[B, T]: which head decides.</param>
    /// <param name="mask">[B, T]: labels that count; the others get zeros.</param>
    /// <param name="temperature">Divides the logits; above 0.</param>
    /// <param name="clamped">Whether logits are clamped, and padded classes lifted, as in the reference's RL.</param>
    /// <param name="entropyGradient">Whether gradients flow through the entropy.</param>
    /// <returns>Log-probabilities (at most 0) and entropies in nats, both [B, T] fp32.</returns>
    public static (Tensor LogProbs, Tensor Entropies) Compute(IImageTextModel model, Tensor hidden, Tensor labels,
        Tensor labelIsImage, Tensor mask,
        double temperature = 1, bool clamped = true, bool entropyGradient = true)
    {
        using var scope = NewDisposeScope();
        if (hidden.dim() != 3 || !hidden.shape[..2].SequenceEqual(labels.shape))
        {
            throw new ArgumentException(
                $"hidden states [{string.Join(", ", hidden.shape)}] and labels "
                + $"[{string.Join(", ", labels.shape)}] do not belong together");
        }

        var states = hidden.reshape(-1, hidden.shape[2]); // [B·T, D]
        var flat = labels.reshape(-1);
        Tensor logProbs = zeros(flat.shape, ScalarType.Float32, hidden.device), entropies = zeros_like(logProbs);
        // 1 where the text head decides a label that counts, 2 where the image head does; read at once, since each
        // search for places on the device would be a wait for it
        var heads =
            mask.to(ScalarType.Bool).mul(labelIsImage.to(ScalarType.Bool).to(ScalarType.Byte).add(Held.Of(1L)))
                .Values<byte>();
        foreach (var isImage in new[] { false, true })
        {
            var classes = isImage ? model.CodebookSize : model.VocabularySize;
            var padded = isImage && clamped ? Math.Max(0, model.VocabularySize - classes) : 0;
            long[] chosen = [.. heads.Index().Where(at => at.Item == (isImage ? 2 : 1)).Select(at => (long)at.Index)];
            if (chosen.Length == 0)
            {
                continue;
            }

            var places = tensor(chosen, device: hidden.device); // [n]
            Tensor[] chunks = [.. chosen.Chunk((int)Math.Max(1, LargestChunk / classes))
                .Select(some => tensor(some, device: hidden.device))];
            Tensor OfChunk(Tensor[] chunk)
            {
                using var pass = NewDisposeScope();
                var logits = isImage ? model.ImageLogits(chunk[0]) : model.TextLogits(chunk[0]);
                var (logProb, entropy) = OfLogits(logits, chunk[1], padded, temperature, clamped, entropyGradient);
                return stack([logProb, entropy]).MoveToOuterDisposeScope(); // [2, n]
            }

            var parts = cat(chunks.Select(at =>
            {
                Tensor[] chunk = [states.index_select(0, at), flat.index_select(0, at)];
                return chunks.Length == 1 ? OfChunk(chunk) : ActivationCheckpoint.Run(OfChunk, chunk);
            }).ToArray(), 1);
            logProbs = logProbs.index_copy(0, places, parts[0]);
            entropies = entropies.index_copy(0, places, parts[1]);
        }

        return (logProbs.view(labels.shape).MoveToOuterDisposeScope(), entropies.view(labels.shape)
            .MoveToOuterDisposeScope());
    }

    /// <summary>Statistics of labels [N] under logits [N, C] with so many padded classes besides; see
    /// <see cref="Compute"/>.</summary>
    public static (Tensor LogProbs, Tensor Entropies) OfLogits(Tensor logits, Tensor labels, long paddedClasses,
        double temperature = 1,
        bool clamped = true, bool entropyGradient = true)
    {
        using var scope = NewDisposeScope();
        var l = logits.to(ScalarType.Float32);
        l = temperature == 1 ? l : l.div(Held.Of(temperature));
        l = clamped ? l.clamp(Held.Of(-Clamp), Held.Of(Clamp)) : l;
        var lse = l.logsumexp(-1); // [N]
        // what part of the probability the padded classes take
        var share = paddedClasses > 0 ? lse.neg().add(Held.Of(Math.Log(paddedClasses) - Clamp)).sigmoid() : null;
        lse = paddedClasses > 0 ? lse.logaddexp(tensor((float)(Math.Log(paddedClasses) - Clamp), device: l.device))
            : lse;
        var logProbs = l.gather(1, labels.unsqueeze(1)).squeeze(1).sub(lse);
        using var free = entropyGradient ? null : no_grad();
        var expected = nn.functional.softmax(l, -1).mul(l).sum([-1L]);
        expected = share is null ? expected : expected.mul(share.neg().add(Held.Of(1L))).sub(share.mul(Held.Of(Clamp)));
        return (logProbs.MoveToOuterDisposeScope(), lse.sub(expected).MoveToOuterDisposeScope());
    }
}
