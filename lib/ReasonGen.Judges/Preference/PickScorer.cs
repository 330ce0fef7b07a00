// PickScore (yuvalkirstain/PickScore, README): exp(logit_scale) · cosine in a CLIP ViT-H/14 of Hugging Face's layout;
// between several images of one
// prompt, softmax of that. Flow-GRPO's and UniRL's reward is the score over 26, not clamped.
// Images by CLIPImageProcessor (the slow one, default up to transformers 4), text by the fast tokenizer: neither ftfy
// nor HTML entities.
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Preference;

/// <summary>Which image people would pick for a prompt, by PickScore.</summary>
public sealed class PickScorer : IReward, IDisposable
{
    /// <summary>What the reward is divided by, so that it lies near 0…1.</summary>
    public const float RewardScale = 26;

    private readonly ClipScorer clip;
    private readonly float scale;

    private PickScorer(string name, ClipScorer clip) => (Name, this.clip, scale) =
        (name, clip, (float)clip.Model.LogitScale);

    /// <summary>Says that the sizes and the layout are PickScore's; whose weights they are no checksum tells.</summary>
    public string Name { get; }

    /// <summary>The model with its tokenizer and transform.</summary>
    public ClipScorer Clip => clip;

    /// <param name="folder">The folder of PickScore_v1.</param>
    /// <param name="target">Device and type.</param>
    /// <param name="anyModel">Takes a CLIP of other sizes too, which the name then says.</param>
    /// <exception cref="UnusableFileException">It is no CLIP in Hugging Face's layout, or of other sizes.</exception>
    public static PickScorer Load(string folder, ComputeTarget target, bool anyModel = false)
    {
        var files = ClipFiles.Open(folder);
        if (files.Layout != ClipLayout.HuggingFace)
        {
            throw new UnusableFileException(folder,
                $"it is a CLIP in the layout {files.Layout}; PickScore was published in Hugging Face's",
                "give its folder");
        }

        var clip = ClipScorer.Open(folder, target, anyModel ? null : ClipConfig.VitH14, "PickScore",
            ClipTextRules.HuggingFace, ClipImageRules.HuggingFace);
        return new(files.Config == ClipConfig.VitH14
            ? "PickScore (sizes and layout of PickScore_v1; no checksum is known, other weights of a ViT-H/14 look "
                + "the same)"
            : $"PickScore's rules by {files.Config}", clip);
    }

    /// <summary>The reward, exp(logit_scale) · cosine / 26; not a number for an image that the processor
    /// refuses.</summary>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        ImageTextPairs.WhereScorable(requests, request => request.Image.Height is not (1 or 3), (images, prompts) =>
            Array.ConvertAll(Score(images, prompts, cancel), score => score / RewardScale));

    /// <summary>exp(logit_scale) · cosine of each image with the prompt of the same place.</summary>
    /// <exception cref="UnusableFileException">An image cannot be prepared.</exception>
    public float[] Score(IReadOnlyList<SourceImage> images, IReadOnlyList<string> prompts, CancellationToken cancel =
        default) =>
        Array.ConvertAll(clip.Score(images, prompts, cancel), cosine => cosine * scale);

    /// <summary>How likely each of several images is to be picked for one prompt; they add up to 1.</summary>
    /// <exception cref="UnusableFileException">An image cannot be prepared.</exception>
    public float[] Probabilities(IReadOnlyList<SourceImage> images, string prompt, CancellationToken cancel = default)
    {
        var scores = Score(images, [.. images.Select(_ => prompt)], cancel);
        var weights = Array.ConvertAll(scores, score => Math.Exp(score - scores.Max()));
        return Array.ConvertAll(weights, weight => (float)(weight / weights.Sum()));
    }

    public void Dispose() => clip.Dispose();
}
