using ReasonGen.Checkpoints;

namespace ReasonGen.Models;

/// <summary>Sizes of the image tokenizer.</summary>
public sealed record VqConfig
{
    /// <summary>Codes in the codebook (image_token_size). At least 2.</summary>
    public int CodebookSize { get; init; } = 16384;

    /// <summary>Width of one code (n_embed of gen_vision_config). At least 1.</summary>
    public int CodeWidth { get; init; } = 8;

    /// <summary>Channels between encoder and code (z_channels).</summary>
    public int LatentChannels { get; init; } = 256;

    /// <summary>Channels of the finest level (ch); a multiple of <see cref="Groups"/>.</summary>
    public int Channels { get; init; } = 128;

    /// <summary>Channels of each level, finest first, in units of <see cref="Channels"/> (ch_mult).</summary>
    public IReadOnlyList<int> Multipliers { get; init; } = [1, 1, 2, 2, 4];

    /// <summary>Residual blocks a level of the encoder; the decoder has one more.</summary>
    public int ResidualBlocks { get; init; } = 2;

    /// <summary>Groups of every GroupNorm.</summary>
    public int Groups { get; init; } = 32;

    /// <summary>Weight of the commitment loss (commit_loss_beta).</summary>
    public double Commitment { get; init; } = 0.25;

    /// <summary>Weight of the entropy loss that spreads the use of codes (entropy_loss_ratio); 0 as
    /// published.</summary>
    public double EntropyRatio { get; init; }

    /// <summary>Length of the files' buffer of recently used codes, which nothing reads. Default: 65536 as published,
    /// less for few codes.</summary>
    public int UsedCodes { get => field == 0 ? Math.Min(65536, 4 * CodebookSize) : field; init; }

    /// <summary>Pixels a side that one code stands for.</summary>
    public int PixelsPerCode => 1 << (Multipliers.Count - 1);

    /// <summary>VQ-16 as Janus-Pro has it: 16x16 pixels a code.</summary>
    public static VqConfig Vq16 { get; } = new();

    /// <summary>The miniature: 4x4 pixels a code.</summary>
    public static VqConfig Mini { get; } = new()
    {
        CodebookSize = 320, LatentChannels = 32, Channels = 8, Multipliers = [1, 4, 8], ResidualBlocks = 1, Groups = 8,
    };

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        SizeRange.Check(nameof(CodebookSize), CodebookSize, SizeRange.Vocabulary, 2);
        SizeRange.Check(nameof(CodeWidth), CodeWidth, SizeRange.Width);
        SizeRange.Check(nameof(LatentChannels), LatentChannels, SizeRange.Width);
        SizeRange.Check(nameof(Channels), Channels, SizeRange.Width);
        SizeRange.Check(nameof(ResidualBlocks), ResidualBlocks, SizeRange.Layers);
        SizeRange.Check(nameof(Groups), Groups, SizeRange.Width);
        SizeRange.Check("the number of levels", Multipliers.Count, 16);
        SizeRange.Check("the widest level", Multipliers.Max() * (double)Channels, SizeRange.Width);
        if (Channels % Groups != 0)
        {
            throw new ArgumentException(
                $"{nameof(Channels)} is {Channels}; it must be a multiple of the {Groups} groups");
        }
    }
}
