using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>One group: a prompt, what was drawn for it, and what that was worth.</summary>
public sealed record Group(Prompt Prompt, string[] Rationales, RgbImage[] Images, float[] Rewards);

/// <summary>What one iteration trains on. P prompts, G rollouts each, N = P · G, R response columns.</summary>
/// <param name="Rollouts">N rollouts, those of one prompt side by side.</param>
/// <param name="Groups">The P groups, for people to look at.</param>
/// <param name="Rewards">[P, G].</param>
/// <param name="Advantages">[P, G].</param>
/// <param name="OldLogProbs">[N, R] of the policy that sampled; a trainer fills those of an iteration's first update in
/// when it trains on them.</param>
public sealed record GrpoBatch(
    RolloutBatch Rollouts, IReadOnlyList<Group> Groups, Tensor Rewards, Tensor Advantages, Tensor OldLogProbs)
    : IDisposable
{
    /// <summary>G.</summary>
    public int GroupSize => (int)Rewards.shape[1];

    /// <summary>Rollouts <paramref name="start"/> to <paramref name="start"/> + <paramref name="count"/> − 1 as one
    /// forward pass reads them.</summary>
    /// <param name="start">First rollout.</param>
    /// <param name="count">n, at least 1.</param>
    /// <param name="ignoredToken">An id that does not count in the loss; null counts all.</param>
    public MicroBatch Slice(int start, int count, long? ignoredToken = null)
    {
        var rollouts = Rollouts.Slice(start, count);
        var columns = rollouts.ResponseColumns;
        var mask = rollouts.ResponseMask;
        if (ignoredToken is { } ignored)
        {
            using Scalar token = ignored;
            mask = mask * rollouts.Ids.narrow(1, rollouts.PromptColumns, columns).ne(token).to(ScalarType.Int64);
        }

        var image = rollouts.ImageMask.narrow(1, rollouts.PromptColumns, columns).to(ScalarType.Int64);
        return new()
        {
            Rollouts = rollouts,
            Advantages = Advantages.view(-1).narrow(0, start, count).unsqueeze(1),
            OldLogProbs = OldLogProbs.narrow(0, start, count).narrow(1, 0, columns),
            Mask = mask,
            TextMask = mask * image.logical_not().to(ScalarType.Int64),
            ImageMask = mask * image,
        };
    }

    public void Dispose()
    {
        Rollouts.Dispose();
        Rewards.Dispose();
        Advantages.Dispose();
        OldLogProbs.Dispose();
    }
}

/// <summary>Some rollouts of a <see cref="GrpoBatch"/>, sharing its memory. n rollouts, R response columns.</summary>
public sealed record MicroBatch
{
    /// <summary>The n rollouts, columns behind the longest response left out.</summary>
    public required RolloutBatch Rollouts { get; init; }

    /// <summary>[n, 1].</summary>
    public required Tensor Advantages { get; init; }

    /// <summary>[n, R].</summary>
    public required Tensor OldLogProbs { get; init; }

    /// <summary>[n, R] int64: 1 on tokens that count.</summary>
    public required Tensor Mask { get; init; }

    /// <summary>[n, R] int64: the text tokens of <see cref="Mask"/>.</summary>
    public required Tensor TextMask { get; init; }

    /// <summary>[n, R] int64: the image tokens of <see cref="Mask"/>.</summary>
    public required Tensor ImageMask { get; init; }
}
