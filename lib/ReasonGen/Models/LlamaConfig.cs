using ReasonGen.Checkpoints;

namespace ReasonGen.Models;

/// <summary>Sizes of a Llama decoder.</summary>
public sealed record LlamaConfig
{
    /// <summary>Rows of the token embedding and of the text head. At least 1.</summary>
    public required int VocabularySize { get; init; }

    /// <summary>Width D of the hidden state (hidden_size): heads times head width.</summary>
    public required int Width { get; init; }

    /// <summary>Width of the gated MLP (intermediate_size). At least 1.</summary>
    public required int MlpWidth { get; init; }

    /// <summary>Decoder layers. At least 1.</summary>
    public required int Layers { get; init; }

    /// <summary>Query heads H. At least 1, divides <see cref="Width"/>; the head width must be even, for
    /// RoPE.</summary>
    public required int Heads { get; init; }

    /// <summary>Key and value heads; divides <see cref="Heads"/>. Default: as many as query heads.</summary>
    public int KeyValueHeads { get => field == 0 ? Heads : field; init; }

    /// <summary>Base of the rotary angles (rope_theta). Default 10000.</summary>
    public double RopeTheta { get; init; } = 10000;

    /// <summary>
    /// How many of the K/2 rotary frequencies follow time, row and column (mrope_section), in this order; null gives
    /// all of them one position.
    /// </summary>
    public IReadOnlyList<int>? RopeSections { get; init; }

    /// <summary>Whether queries, keys and values have a bias, as in Qwen2. Default false, as in Llama.</summary>
    public bool AttentionBias { get; init; }

    /// <summary>Added under the root of RMSNorm. Default 1e-6.</summary>
    public double RmsNormEpsilon { get; init; } = 1e-6;

    /// <summary>Longest sequence the weights were made for (max_position_embeddings). Default 16384. The model itself
    /// is not limited by it; rollouts, pipeline and chat refuse what would not fit.</summary>
    public int Positions { get; init; } = 16384;

    /// <summary>K, the width of one head.</summary>
    public int HeadWidth => Width / Heads;

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        SizeRange.Check(nameof(VocabularySize), VocabularySize, SizeRange.Vocabulary);
        SizeRange.Check(nameof(Width), Width, SizeRange.Width);
        SizeRange.Check(nameof(MlpWidth), MlpWidth, SizeRange.MlpWidth);
        SizeRange.Check(nameof(Layers), Layers, SizeRange.Layers);
        SizeRange.Check(nameof(Heads), Heads, SizeRange.Heads);
        SizeRange.Check(nameof(KeyValueHeads), KeyValueHeads, SizeRange.Heads);
        SizeRange.Check(nameof(RopeTheta), RopeTheta, 1e12, 1e-3);
        SizeRange.Check(nameof(RmsNormEpsilon), RmsNormEpsilon, 1, 0);
        if (Width % Heads != 0 || HeadWidth % 2 != 0)
        {
            throw new ArgumentException(
                $"{nameof(Width)} is {Width} with {Heads} heads; it must be a multiple of the heads, with an even "
                + $"head width");
        }

        if (Heads % KeyValueHeads != 0)
        {
            throw new ArgumentException(
                $"{nameof(KeyValueHeads)} is {KeyValueHeads}; it must divide the {Heads} heads");
        }

        if (RopeSections is not null && (RopeSections.Count != 3 || RopeSections.Sum() != HeadWidth / 2))
        {
            throw new ArgumentException(
                $"{nameof(RopeSections)} is [{string.Join(", ", RopeSections)}]; it must be three counts with "
                + $"sum {HeadWidth / 2}");
        }
    }
}
