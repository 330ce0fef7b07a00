using ReasonGen.Checkpoints;

namespace ReasonGen.Models;

/// <summary>Sizes of the understanding path's SigLIP tower.</summary>
public sealed record VisionConfig
{
    /// <summary>The tower's name in a configuration file; nothing is looked up by it.</summary>
    public string Name { get; init; } = "siglip_large_patch16_384";

    /// <summary>Pixels a side of the image.</summary>
    public int ImageSize { get; init; } = 384;

    /// <summary>Pixels a side of a patch.</summary>
    public int PatchSize { get; init; } = 16;

    /// <summary>Width of the tower.</summary>
    public int Width { get; init; } = 1024;

    /// <summary>Layers of the tower.</summary>
    public int Layers { get; init; } = 24;

    /// <summary>Attention heads of the tower.</summary>
    public int Heads { get; init; } = 16;

    /// <summary>Width of the MLP, in units of <see cref="Width"/>.</summary>
    public int MlpRatio { get; init; } = 4;

    /// <summary>Patches of an image.</summary>
    public int Patches => (ImageSize / PatchSize) * (ImageSize / PatchSize);

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        SizeRange.Check(nameof(ImageSize), ImageSize, SizeRange.ImageSize);
        SizeRange.Check(nameof(PatchSize), PatchSize, ImageSize);
        SizeRange.Check(nameof(Width), Width, SizeRange.Width);
        SizeRange.Check(nameof(Layers), Layers, SizeRange.Layers);
        SizeRange.Check(nameof(Heads), Heads, SizeRange.Heads);
        SizeRange.Check(nameof(MlpRatio), MlpRatio, SizeRange.MlpWidth / Width);
        if (Width % Heads != 0)
        {
            throw new ArgumentException($"a vision tower needs a width that its heads divide: {this}");
        }
    }
}

/// <summary>Ids of a Janus' special tokens, as its tokenizer.json has them.</summary>
/// <param name="Bos">Begins every sequence.</param>
/// <param name="Eos">Ends an answer.</param>
/// <param name="Pad">Fills rows on the left.</param>
/// <param name="BeginOfImage">After it come image tokens.</param>
/// <param name="ImagePlaceholder">Stands for one patch of an image that is looked at.</param>
public sealed record JanusTokenIds(int Bos, int Eos, int Pad, int BeginOfImage, int ImagePlaceholder);

/// <summary>Sizes of a Janus: the miniature and the published ones differ in nothing else.</summary>
public sealed record JanusConfig
{
    public required LlamaConfig Language { get; init; }

    /// <summary>The image tokenizer.</summary>
    public required VqConfig ImageTokenizer { get; init; }

    /// <summary>The understanding path; null leaves it out.</summary>
    public VisionConfig? Vision { get; init; }

    /// <summary>Image tokens of one image. A count, not a cap.</summary>
    public required int ImageTokens { get; init; }

    /// <summary>Ids of special tokens, where a configuration file names them; the tokenizer decides.</summary>
    public JanusTokenIds? TokenIds { get; init; }

    /// <summary>Janus-Pro-1B.</summary>
    public static JanusConfig Pro1B { get; } = new()
    {
        Language = new() { VocabularySize = 102400, Width = 2048, MlpWidth = 5632, Layers = 24, Heads = 16 },
        ImageTokenizer = VqConfig.Vq16, Vision = new(), ImageTokens = 576,
    };

    /// <summary>Janus-Pro-7B.</summary>
    public static JanusConfig Pro7B { get; } = new()
    {
        Language = new() { VocabularySize = 102400, Width = 4096, MlpWidth = 11008, Layers = 30, Heads = 32 },
        ImageTokenizer = VqConfig.Vq16, Vision = new(), ImageTokens = 576,
    };

    /// <summary>The miniature: half a million trained weights beside the image tokenizer's, for 32x32 images of 64
    /// tokens.</summary>
    public static JanusConfig Mini(int vocabularySize) => new()
    {
        Language = new()
        {
            VocabularySize = vocabularySize, Width = 96, MlpWidth = 256, Layers = 4, Heads = 6, RopeTheta = 100,
        },
        ImageTokenizer = VqConfig.Mini, ImageTokens = 64,
    };

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        Language.Validate();
        ImageTokenizer.Validate();
        Vision?.Validate();
        SizeRange.Check(nameof(ImageTokens), ImageTokens, SizeRange.Tokens);
    }
}
