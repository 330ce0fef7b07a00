// The weighted loss (img_rl_fsdp_sft_trainer.py):  L = Σ_t s(t) m_t ce_t / (Σ_t m_t + 1e-8), sums over the whole
// micro-batch.
//   ce_t = −log π(y_t) with y_t = ids[t+1];  m = loss mask;  s = text, image or begin-of-image scale by the class of
//     y_t.
//   The begin-of-image token counts in the denominator whatever its scale. With a reference model: + w Σ m kl_t / (Σ m
//     + 1e-8), kl low-variance.
// Deviation: the reference's −1e9 padding of image logits has weight e^-1e9 = 0 here, so it is left out.
// Kept: the means that are watched, not trained on, are over tokens whose loss is above 0; one that is certain does not
//   count.
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Sft;

/// <summary>Loss of one micro-batch and its parts.</summary>
/// <param name="Total">The scalar to differentiate.</param>
/// <param name="Watched">[4] fp32 without a graph, where the model is: total, and the three below.</param>
public readonly record struct SftLossParts(Tensor Total, Tensor Watched)
{
    internal const int Numbers = 4; // that are watched

    /// <summary>Mean cross-entropy of text tokens whose loss is above 0, unscaled, in nats.</summary>
    public double Text => Watched[1].ToDouble();

    /// <summary>Mean cross-entropy of image tokens whose loss is above 0, unscaled, in nats.</summary>
    public double Image => Watched[2].ToDouble();

    /// <summary>The scaled divergence from the reference model; 0 without one.</summary>
    public double Kl => Watched[3].ToDouble();
}

/// <summary>The weighted next-token loss over text and image tokens.</summary>
public static class SftLoss
{
    /// <summary>Loss of a micro-batch.</summary>
    /// <param name="model">The model in training.</param>
    /// <param name="batch">[B, T] sequences.</param>
    /// <param name="beginOfImage">Id of the begin-of-image token.</param>
    /// <param name="textScale">Weight of text tokens.</param>
    /// <param name="imageScale">Weight of image tokens.</param>
    /// <param name="beginOfImageScale">Weight of the begin-of-image token.</param>
    /// <param name="reference">A frozen model to stay near to, or null.</param>
    /// <param name="klWeight">Weight of the divergence from it.</param>
    public static SftLossParts Compute(IImageTextModel model, SftBatch batch, long beginOfImage, double textScale,
        double imageScale,
        double beginOfImageScale, IImageTextModel? reference = null, double klWeight = 0.001)
    {
        using var scope = NewDisposeScope();
        var count = batch.Ids.shape[1] - 1;
        var labels = batch.Ids.narrow(1, 1, count);
        Tensor image = batch.ImageMask.narrow(1, 1, count).to(ScalarType.Bool),
            mask = batch.LossMask.narrow(1, 0, count).to(ScalarType.Float32);
        using Scalar beginOfImageToken = beginOfImage;
        var begin = labels.eq(beginOfImageToken).logical_and(image.logical_not());
        var logProbs = LogProbs(model, batch, labels, image, mask);
        var scales = full_like(mask, textScale).masked_fill(image, imageScale).masked_fill(begin, beginOfImageScale);
        var tokens = mask.sum().add(MaskedMean.Epsilon);
        var total = logProbs.neg().mul(mask).mul(scales).sum().div(tokens);
        var divergence = zeros_like(tokens);
        if (reference is not null)
        {
            Tensor frozen;
            using (no_grad())
            {
                frozen = LogProbs(reference, batch, labels, image, mask);
            }

            divergence = Kl.K3(logProbs, frozen).mul(mask).sum().div(tokens).mul(klWeight);
            total = total.add(divergence);
        }

        using var free = no_grad();
        var lost = logProbs.detach().neg().mul(mask);
        Tensor Mean(Tensor chosen) =>
            lost.mul(chosen).sum().div(lost.gt(0).logical_and(chosen).sum().add(MaskedMean.Epsilon));
        var watched = stack([total, Mean(image.logical_or(begin).logical_not()), Mean(image), divergence]);
        return new(total.MoveToOuterDisposeScope(), watched.MoveToOuterDisposeScope());
    }

    private static Tensor LogProbs(IImageTextModel model, SftBatch batch, Tensor labels, Tensor image, Tensor mask) =>
        RowPieces.Run(model.TrainableParameters().Select(p => p.Parameter), batch.Count, (start, count) =>
        {
            Tensor Of(Tensor rows) => rows.narrow(0, start, count);
            var some = batch.Slice(start, count);
            var hidden = model.Hidden(model.Embed(some.Ids, some.ImageMask), some.AttentionMask, some.PositionIds);
            return TokenLogProbs.Compute(model, hidden.narrow(1, 0, labels.shape[1]), Of(labels), Of(image), Of(mask),
                clamped: false, entropyGradient: false).LogProbs;
        });
}
