// Images as OpenAI's CLIP prepares them; prompts as they are, [CLS] first, 35 ids at most. A reward is of one image and
// one prompt; the rank among several images is that of their rewards.
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Blip;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Preference;

/// <summary>How much people would like an image for its prompt, by ImageReward.</summary>
public sealed class ImageRewardScorer : IReward, IDisposable
{
    private const int MostIds = 35, PairsPerBatch = 8;

    private ImageRewardScorer(string name, ImageRewardModel model, WordPiece tokenizer) =>
        (Name, Model, Tokenizer, Transform) = (name, model, tokenizer, new(model.Config.Vision.ImageSize,
            ClipImageRules.OpenAi));

    /// <summary>Says that the sizes and the layout are ImageReward's; whose weights they are no checksum
    /// tells.</summary>
    public string Name { get; }

    /// <summary>The model.</summary>
    public ImageRewardModel Model { get; }

    /// <summary>BERT's tokenizer with [DEC] and [ENC].</summary>
    public WordPiece Tokenizer { get; }

    /// <summary>Images to its pixels.</summary>
    public ClipTransform Transform { get; }

    /// <param name="path">ImageReward.pt, or the folder that holds it alone.</param>
    /// <param name="target">Device and type.</param>
    /// <param name="vocabulary">A vocab.txt; null for that beside the model, or else bert-base-uncased's.</param>
    /// <param name="heads">Heads of image and text where the file has other widths than the published one.</param>
    /// <exception cref="UnusableFileException">It is no ImageReward, or one of its files is damaged.</exception>
    public static ImageRewardScorer Load(string path, ComputeTarget target, string? vocabulary = null,
        (int Vision, int Text)? heads = null)
    {
        var (files, config) = Check(path, heads);
        var tokenizer = WordPiece.For(path, config.Text.Vocabulary, vocabulary, "[DEC]", "[ENC]");
        return new(NameOf(config), NamedWeights.Fill(files, new ImageRewardModel(config, target with { Device = META }),
            target.Device, ImageRewardModel.Names), tokenizer);
    }

    /// <summary>Looks at names and shapes of a file without reading its weights.</summary>
    /// <param name="path">As for <see cref="Load"/>.</param>
    /// <param name="heads">As there.</param>
    /// <exception cref="UnusableFileException">It is no ImageReward, or its sizes do not tell its heads.</exception>
    public static (CheckpointFiles Files, BlipConfig Config) Check(string path, (int Vision, int Text)? heads = null)
    {
        var files = CheckpointFiles.Open(path).Unwrapped();
        if (!Is(files))
        {
            throw new UnusableFileException(path, BlipFiles.LayoutOf(files) is null
                ? "it is no ImageReward: it lacks " + string.Join(" and ", Signs.Except(files.Entries.Select(entry =>
                    entry.Name)).Select(name => $"'{name}'"))
                : "it is a BLIP-VQA, which answers questions and knows no reward", "give the published ImageReward.pt");
        }

        return (files, Config(files, heads));
    }

    /// <summary>The reward of each image with its prompt, about 0 on average over the authors' data; not
    /// bounded.</summary>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        Score(requests.Select(request => (SourceImage)request.Image).ToArray(), requests.Select(request =>
            request.Prompt.Text).ToArray(), cancel);

    /// <summary>The reward of each image with the prompt of the same place.</summary>
    /// <exception cref="UnusableFileException">An image cannot be prepared.</exception>
    public float[] Score(IReadOnlyList<SourceImage> images, IReadOnlyList<string> prompts, CancellationToken cancel =
        default)
    {
        ImageTextPairs.Expect(images, prompts);
        return [.. images.Zip(prompts).Chunk(PairsPerBatch).SelectMany(part =>
        {
            cancel.ThrowIfCancellationRequested();
            using var scope = NewDisposeScope();
            var states = Model.EncodeImages(Transform.PixelValues([.. part.Select(pair => pair.First)]));
            var (ids, mask) = BertNames.Batch([.. part.Select(pair => Ids(pair.Second))], Tokenizer.Pad);
            return Model.Rewards(states, ids, mask).Values<float>();
        })];
    }

    /// <summary>The reward of one image with each of several prompts; the image is encoded once.</summary>
    public float[] Score(SourceImage image, IReadOnlyList<string> prompts, CancellationToken cancel = default)
    {
        using var scope = NewDisposeScope();
        var states = prompts.Count == 0 ? null! : Model.EncodeImages(Transform.PixelValues([image]));
        return [.. prompts.Chunk(4 * PairsPerBatch).SelectMany(part =>
        {
            cancel.ThrowIfCancellationRequested();
            using var inner = NewDisposeScope();
            var (ids, mask) = BertNames.Batch([.. part.Select(Ids)], Tokenizer.Pad);
            return Model.Rewards(states, ids, mask).Values<float>();
        })];
    }

    /// <summary>Ranks of images by their rewards, 1 for the best; equal ones in their order.</summary>
    public static int[] Ranks(IReadOnlyList<float> rewards)
    {
        var ranks = new int[rewards.Count];
        foreach (var (place, (_, image)) in rewards.Select((reward, i) => (reward, i)).OrderByDescending(pair =>
            pair.reward).Index())
        {
            ranks[image] = place + 1;
        }

        return ranks;
    }

    /// <summary>Ids of a prompt: [CLS], its pieces, [SEP].</summary>
    public int[] Ids(string prompt) => Tokenizer.Encode(prompt, MostIds);

    public void Dispose() => Model.Dispose();

    /// <summary>Whether a file has the names of an ImageReward.</summary>
    internal static bool Is(CheckpointFiles files) => !Signs.Except(files.Entries.Select(entry => entry.Name)).Any();

    /// <summary>What a file with the names of an ImageReward is; its names and shapes are compared.</summary>
    /// <exception cref="UnusableFileException">Some do not fit.</exception>
    internal static string Describe(CheckpointFiles files)
    {
        var known = BlipFiles.HasPublishedWidths(files, "blip.");
        var config = Config(files, known ? null : (1, 1)); // of the heads no shape speaks
        return known ? NameOf(config) : "an ImageReward of no published size, whose heads no file says";
    }

    private static readonly string[] Signs = ["mlp.layers.7.weight", "blip.visual_encoder.pos_embed",
        "blip.text_encoder.embeddings.word_embeddings.weight"];

    private static BlipConfig Config(CheckpointFiles files, (int Vision, int Text)? heads)
    {
        var config = new BlipConfig(BlipFiles.VisionFromShapes(files, "blip.", heads?.Vision),
            BlipFiles.TextFromShapes(files, "blip.", heads?.Text));
        BlipFiles.Expect(files.Path, config, files.Entries.Count);
        using var model = new ImageRewardModel(config, new(META, ScalarType.Float32));
        NamedWeights.Check(files, model, ImageRewardModel.Names);
        return config;
    }

    private static string NameOf(BlipConfig config) => config == BlipConfig.ImageReward
        ? "ImageReward (its sizes and layout; no checksum is known, other weights of these sizes look the same)"
        : $"ImageReward's rules by {config}";
}
