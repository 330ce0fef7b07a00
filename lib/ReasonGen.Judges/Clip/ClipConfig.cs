using ReasonGen.Judges.Layers;

namespace ReasonGen.Judges.Clip;

/// <summary>Sizes of the tower that reads images.</summary>
/// <param name="ImageSize">Pixels a side; a multiple of <paramref name="PatchSize"/>.</param>
/// <param name="PatchSize">Pixels a side of a patch.</param>
/// <param name="Width">Width of a token.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Heads">Heads; they divide the width.</param>
/// <param name="MlpWidth">Width inside a block's feed-forward layer.</param>
public sealed record ClipVisionConfig(int ImageSize, int PatchSize, int Width, int Layers, int Heads, int MlpWidth)
{
    /// <summary>Patches of an image.</summary>
    public int Patches => ImageSize / PatchSize * (ImageSize / PatchSize);
}

/// <summary>Sizes of the tower that reads text.</summary>
/// <param name="Context">Most tokens of a text, its first and last included; 77 in every published model.</param>
/// <param name="Vocabulary">Token ids.</param>
/// <param name="Width">Width of a token.</param>
/// <param name="Layers">Blocks.</param>
/// <param name="Heads">Heads; they divide the width.</param>
/// <param name="MlpWidth">Width inside a block's feed-forward layer.</param>
public sealed record ClipTextConfig(int Context, int Vocabulary, int Width, int Layers, int Heads, int MlpWidth);

/// <summary>A CLIP: two towers into one space.</summary>
/// <param name="Embedding">Width of that space.</param>
/// <param name="Vision">The tower of images.</param>
/// <param name="Text">The tower of text.</param>
/// <param name="Activation">QuickGELU for everything that OpenAI trained, GELU for LAION's models.</param>
public sealed record ClipConfig(int Embedding, ClipVisionConfig Vision, ClipTextConfig Text, Activation Activation)
{
    /// <summary>OpenAI's ViT-B/32: T2I-CompBench's CLIPScore.</summary>
    public static ClipConfig VitB32 { get; } =
        new(512, new(224, 32, 768, 12, 12, 3072), new(77, 49408, 512, 12, 8, 2048), Activation.QuickGelu);

    /// <summary>OpenAI's ViT-L/14: GenEval's colours.</summary>
    public static ClipConfig VitL14 { get; } =
        new(768, new(224, 14, 1024, 24, 16, 4096), new(77, 49408, 768, 12, 12, 3072), Activation.QuickGelu);

    /// <summary>LAION's ViT-H/14, from which HPSv2 and PickScore were trained.</summary>
    public static ClipConfig VitH14 { get; } =
        new(1024, new(224, 14, 1280, 32, 16, 5120), new(77, 49408, 1024, 24, 16, 4096), Activation.Gelu);

    /// <summary>"ViT-L/14" for the sizes of a published model, null for any other.</summary>
    public string? Architecture => new[] { (VitB32, "ViT-B/32"), (VitL14, "ViT-L/14"), (VitH14, "ViT-H/14") }
        .Where(known => known.Item1 with { Activation = Activation } == this).Select(known => known.Item2)
            .FirstOrDefault();

    /// <summary>What the model is, in one line.</summary>
    public override string ToString() =>
        $"{Architecture ?? "a CLIP of no published size"} with {Activation.Name()}: images of {Vision.ImageSize} "
        + $"pixels in patches of {Vision.PatchSize}, {Vision.Layers} blocks of "
        + $"width {Vision.Width} and {Vision.Heads} heads; text of {Text.Context} tokens, {Text.Layers} blocks of "
        + $"width {Text.Width} and {Text.Heads} heads; {Embedding} numbers an embedding";

    /// <summary>What cannot be a CLIP about these sizes; null where they can.</summary>
    internal string? Contradiction()
    {
        int[] sizes = [Embedding, Vision.ImageSize, Vision.PatchSize, Vision.Width, Vision.Layers, Vision.Heads,
            Vision.MlpWidth,
            Text.Context, Text.Vocabulary, Text.Width, Text.Layers, Text.Heads, Text.MlpWidth];
        return sizes.Any(size => size < 1) ? "one of its sizes is 0"
            : Vision.ImageSize % Vision.PatchSize != 0
                ? $"images of {Vision.ImageSize} pixels are no whole number of patches of {Vision.PatchSize}"
            : Vision.Width % Vision.Heads != 0
                ? $"{Vision.Heads} heads do not divide the image tower's width {Vision.Width}"
            : Text.Width % Text.Heads != 0 ? $"{Text.Heads} heads do not divide the text tower's width {Text.Width}"
                : null;
    }
}
