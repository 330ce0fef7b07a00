// GenEval's colours (evaluate_images.py with CLIP_benchmark's zero_shot_classifier): the crops, the texts and the
// choice are GenEvalColors'; here are the embeddings between them.
// Deviation: fp32 where the reference runs under autocast in fp16.
using ReasonGen.Judges.Images;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>The colour of one object, and the numbers behind it: 100 · cosine for each of <see
/// cref="GenEvalOptions.Colors"/>.</summary>
public sealed record ColorAnswer(string Color, IReadOnlyList<float> Logits);

/// <summary>Names the colour of objects by CLIP.</summary>
/// <param name="clip">ViT-L/14 of OpenAI for GenEval's own numbers.</param>
/// <param name="options">How objects are cut out; GenEval's defaults when null.</param>
public sealed class ColorClassifier(ClipScorer clip, GenEvalOptions? options = null) : IDisposable
{
    private readonly GenEvalOptions options = options ?? new();
    private readonly Dictionary<string, Tensor> classifiers = [];

    /// <summary>The model behind the answers.</summary>
    public ClipIdentity Model => clip.Identity;

    /// <summary>The 30 texts that a classifier is made of, colour by colour.</summary>
    public static string[] Texts(string className) =>
        [.. GenEvalOptions.Colors.SelectMany(color => GenEvalColors.Texts(color, className))];

    /// <summary>The colours of objects of one class in one image.</summary>
    /// <param name="image">The image, upright.</param>
    /// <param name="objects">Where they are.</param>
    /// <param name="className">The class, as the prompt's metadata names it.</param>
    /// <param name="cancel">Ends it between batches.</param>
    /// <exception cref="OfficialStopException">A mask or a box does not fit the image.</exception>
    public IReadOnlyList<ColorAnswer> Classify(RgbImage image, IReadOnlyList<Detection> objects, string className,
        CancellationToken cancel = default)
    {
        if (objects.Count == 0)
        {
            return [];
        }

        var crops = objects.Select(found => (SourceImage)GenEvalColors.Cut(image, found, options)).ToArray();
        using var scope = NewDisposeScope();
        using var free = no_grad();
        var logits = GenEvalColors.Logits(clip.EmbedImages(crops, cancel), Classifier(className)).cpu();
        return [.. GenEvalColors.Choose(logits).Zip(logits.Values<float>().Chunk(GenEvalOptions.Colors.Count),
            (color, row) => new ColorAnswer(color, row))];
    }

    /// <summary>[E, 10]: what an image's embedding is multiplied with. Kept for the next image.</summary>
    internal Tensor Classifier(string className)
    {
        if (!classifiers.TryGetValue(className, out var made))
        {
            using var scope = NewDisposeScope();
            using var free = no_grad();
            classifiers[className] = made = GenEvalColors.Classifier(clip.EmbedTexts(Texts(className)),
                GenEvalOptions.Colors.Count).DetachFromDisposeScope();
        }

        return made;
    }

    public void Dispose()
    {
        foreach (var made in classifiers.Values)
        {
            made.Dispose();
        }

        clip.Dispose();
    }
}
