using ReasonGen.Judges.Bert;

namespace ReasonGen.Judges.Blip;

/// <summary>Sizes of BLIP's image encoder, a ViT.</summary>
/// <param name="ImageSize">Pixels a side of what it reads; a multiple of <paramref name="PatchSize"/>.</param>
/// <param name="PatchSize">Pixels a side of a patch.</param>
/// <param name="Width">Width of a token.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Heads">Heads; they divide the width.</param>
/// <param name="MlpWidth">Width inside a block's feed-forward layer.</param>
/// <param name="StoredGrid">Patches a side that the file has positions for; other grids get theirs by bicubic
/// interpolation, as BLIP's loader does it.</param>
public sealed record BlipVisionConfig(int ImageSize, int PatchSize, int Width, int Layers, int Heads, int MlpWidth,
    int StoredGrid)
{
    /// <summary>ε of its norms: 1e-6 in the original, 1e-5 in transformers' configurations.</summary>
    public double Epsilon { get; init; } = 1e-6;

    /// <summary>ViT-B/16 at 480 pixels: BLIP-VQA.</summary>
    public static BlipVisionConfig Base480 { get; } = new(480, 16, 768, 12, 12, 3072, 30);

    /// <summary>ViT-L/16 at 224 pixels: ImageReward.</summary>
    public static BlipVisionConfig Large224 { get; } = new(224, 16, 1024, 24, 16, 4096, 14);

    /// <summary>Patches a side.</summary>
    public int Grid => ImageSize / PatchSize;

    /// <summary>What the encoder is, in a part of a line.</summary>
    public override string ToString() => $"images of {ImageSize} pixels in patches of {PatchSize}, {Layers} blocks of "
        + $"width {Width} and {Heads} heads";

    internal string? Contradiction() =>
        new[] { ImageSize, PatchSize, Width, Layers, Heads, MlpWidth, StoredGrid }.Any(size => size < 1)
            ? "one of its sizes is 0"
        : ImageSize % PatchSize != 0 ? $"images of {ImageSize} pixels are no whole number of patches of {PatchSize}"
        : Width % Heads != 0 ? $"{Heads} heads do not divide the width {Width} of its images" : null;
}

/// <summary>A BLIP: an image encoder, and text that looks at it.</summary>
/// <param name="Vision">The image encoder.</param>
/// <param name="Text">The text encoder; the decoder, where there is one, has the same sizes.</param>
public sealed record BlipConfig(BlipVisionConfig Vision, BertConfig Text)
{
    /// <summary>BLIP-VQA of T2I-CompBench.</summary>
    public static BlipConfig Vqa { get; } = new(BlipVisionConfig.Base480, BertConfig.Blip);

    /// <summary>The BLIP inside ImageReward.</summary>
    public static BlipConfig ImageReward { get; } = new(BlipVisionConfig.Large224, BertConfig.Blip);

    /// <summary>What the model is, in one line.</summary>
    public override string ToString() => $"a BLIP: {Vision}; text of {Text}";
}
