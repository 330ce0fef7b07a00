namespace ReasonGen.Models;

/// <summary>Sizes of the understanding path's SigLIP tower.</summary>
public sealed record VisionConfig
{
    /// <summary>The tower's name in a configuration file; nothing is looked up by it.</summary>
    public string Name { get; init; } = "siglip_large_patch16_384";

    /// <summary>Pixels a side of the picture.</summary>
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

    /// <summary>Patches of a picture.</summary>
    public int Patches => (ImageSize / PatchSize) * (ImageSize / PatchSize);

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        if (PatchSize < 1 || ImageSize < PatchSize || Layers < 1 || Heads < 1 || Width < 1 || MlpRatio < 1 || Width % Heads != 0)
        {
            throw new ArgumentException($"a vision tower needs every size at least 1, a picture of at least one patch, and a width that its heads divide: {this}");
        }
    }
}

/// <summary>Ids of a Janus' special tokens, as its tokenizer.json has them.</summary>
/// <param name="Bos">Begins every sequence.</param>
/// <param name="Eos">Ends an answer.</param>
/// <param name="Pad">Fills rows on the left.</param>
/// <param name="BeginOfImage">After it come image tokens.</param>
/// <param name="ImagePlaceholder">Stands for one patch of a picture that is looked at.</param>
public sealed record JanusTokenIds(int Bos, int Eos, int Pad, int BeginOfImage, int ImagePlaceholder);

/// <summary>Sizes of a Janus: the miniature and the published ones differ in nothing else.</summary>
public sealed record JanusConfig
{
    public required LlamaConfig Language { get; init; }

    /// <summary>The image tokenizer.</summary>
    public required VqConfig ImageTokenizer { get; init; }

    /// <summary>The understanding path; null leaves it out.</summary>
    public VisionConfig? Vision { get; init; }

    /// <summary>Image tokens of one picture. A count, not a cap.</summary>
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

    /// <summary>The miniature: half a million weights for 32x32 pictures of 64 tokens.</summary>
    public static JanusConfig Mini(int vocabularySize) => new()
    {
        Language = new() { VocabularySize = vocabularySize, Width = 96, MlpWidth = 256, Layers = 4, Heads = 6, RopeTheta = 100 },
        ImageTokenizer = VqConfig.Mini, ImageTokens = 64,
    };

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        Language.Validate();
        ImageTokenizer.Validate();
        Vision?.Validate();
        if (ImageTokens < 1)
        {
            throw new ArgumentException($"{nameof(ImageTokens)} is {ImageTokens}; it must be at least 1");
        }
    }
}
