// score = cosine of image and text. T2I-CompBench's CLIPScore (CLIPScore_eval/CLIP_similarity.py) is that number as it
// is: no factor, no clamp.
// Deviation: fp32 throughout unless the target says otherwise; the reference computes in fp16 on a GPU, its published
// scores have steps of 2.4e-4.
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>A CLIP with the tokenizer and the transform that a scorer uses it with. E is the width of an
/// embedding.</summary>
public sealed class ClipScorer : IReward, IDisposable
{
    private const int ImagesPerBatch = 16, TextsPerBatch = 64;

    private readonly ClipModel model;
    private readonly ClipTokenizer tokenizer;
    private readonly ClipTransform transform;

    private ClipScorer(string purpose, ClipIdentity identity, ClipModel model, ClipTokenizer tokenizer,
        ClipTransform transform) =>
        (Name, Identity, this.model, this.tokenizer, this.transform) =
            ($"{purpose} by {identity.Name}", identity, model, tokenizer, transform);

    /// <summary>The score and the model behind it, "CLIPScore by CLIP ViT-B/32 (OpenAI)" for the official one
    /// alone.</summary>
    public string Name { get; }

    /// <summary>Which model it is.</summary>
    public ClipIdentity Identity { get; }

    /// <summary>The model.</summary>
    public ClipModel Model => model;

    /// <summary>Its tokenizer.</summary>
    public ClipTokenizer Tokenizer => tokenizer;

    /// <summary>Its transform.</summary>
    public ClipTransform Transform => transform;

    /// <summary>T2I-CompBench's score of non-spatial prompts: OpenAI's code and ViT-B/32.</summary>
    /// <param name="path">The weights.</param>
    /// <param name="target">Device and type.</param>
    /// <param name="anyModel">Takes a CLIP of other sizes too, which its name then says.</param>
    /// <exception cref="UnusableFileException">It is no CLIP, or not of the wanted sizes.</exception>
    public static ClipScorer ForClipScore(string path, ComputeTarget target, bool anyModel = false) =>
        Open(path, target, anyModel ? null : ClipConfig.VitB32, "CLIPScore", ClipTextRules.OpenAi);

    /// <summary>What GenEval asks for colours: open_clip's tokenizer and ViT-L/14.</summary>
    /// <inheritdoc cref="ForClipScore"/>
    public static ClipScorer ForColors(string path, ComputeTarget target, bool anyModel = false) =>
        Open(path, target, anyModel ? null : ClipConfig.VitL14, "GenEval's colours", ClipTextRules.OpenClip);

    /// <summary>Images → [B, E], fp32, of unit length.</summary>
    /// <exception cref="UnusableFileException">An image cannot be prepared.</exception>
    public Tensor EmbedImages(IReadOnlyList<SourceImage> images, CancellationToken cancel = default) =>
        Embed(images, ImagesPerBatch, part => model.EncodeImages(transform.PixelValues(part)), cancel);

    /// <summary>Texts → [B, E], fp32, of unit length.</summary>
    /// <exception cref="ArgumentException">A text is too long, and the rules refuse that.</exception>
    public Tensor EmbedTexts(IReadOnlyList<string> texts, CancellationToken cancel = default) =>
        Embed([.. texts.Select(text => tokenizer.EncodeForModel(text, model.Config.Text.Context))], TextsPerBatch,
            part => model.EncodeTexts(Padded(part, tokenizer.End)), cancel);

    /// <summary>Cosine of each image with its text, in −1…1; not a number where the rules refuse the text as too
    /// long.</summary>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        ImageTextPairs.WhereScorable(requests, request => tokenizer.Fits(request.Prompt.Text,
            model.Config.Text.Context), (images, texts) => Score(images, texts, cancel));

    /// <summary>Cosine of each image with the text of the same place, in −1…1.</summary>
    /// <exception cref="UnusableFileException">An image cannot be prepared.</exception>
    /// <exception cref="ArgumentException">A text is too long, and the rules refuse that; nothing was
    /// computed.</exception>
    public float[] Score(IReadOnlyList<SourceImage> images, IReadOnlyList<string> texts, CancellationToken cancel =
        default)
    {
        ImageTextPairs.Expect(images, texts);
        return ImageTextPairs.Cosines(texts, model.Device, some => EmbedTexts(some, cancel),
            () => EmbedImages(images, cancel));
    }

    public void Dispose() => model.Dispose();

    internal static ClipScorer Open(string path, ComputeTarget target, ClipConfig? wanted, string purpose,
        ClipTextRules rules,
        ClipImageRules images = ClipImageRules.OpenAi)
    {
        var files = ClipFiles.Open(path);
        if (wanted is not null)
        {
            files.Identity.Require(wanted, purpose, path);
        }

        var tokenizer = ClipTokenizer.For(files, rules);
        return new(purpose, files.Identity, files.Load(target), tokenizer,
            new(files.Config.Vision.ImageSize, images));
    }

    /// <summary>Ids of several texts, the shorter ones filled up behind their end.</summary>
    internal static Tensor Padded(IReadOnlyList<int[]> texts, int fill)
    {
        var length = texts.Max(ids => ids.Length);
        return tensor(texts.SelectMany(ids => ids.Concat(Enumerable.Repeat(fill, length - ids.Length))).Select(id =>
            (long)id).ToArray(),
            [texts.Count, length], device: CPU);
    }

    internal static Tensor Embed<T>(IReadOnlyList<T> items, int perBatch, Func<T[], Tensor> encode,
        CancellationToken cancel)
    {
        using var scope = NewDisposeScope();
        var parts = new List<Tensor>();
        foreach (var part in items.Chunk(perBatch))
        {
            cancel.ThrowIfCancellationRequested();
            using var inner = NewDisposeScope();
            var embedded = encode(part);
            parts.Add(embedded.div_(embedded.norm(1, keepdim: true)).MoveToOuterDisposeScope());
        }

        return cat(parts).MoveToOuterDisposeScope();
    }
}
