using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using TorchSharp;
using static ReasonGen.Core.SettingRange;
using static TorchSharp.torch;

namespace ReasonGen.WorldData;

/// <summary>Settings of the miniature's training sequences.</summary>
public sealed record WorldBatchConfig
{
    private const int MostSamples = 4096; // their images are encoded together

    /// <summary>Samples a step. Default 32; at least 1 and at most 4096.</summary>
    public int SamplesPerStep { get; init; } = 32;

    /// <summary>Share of samples whose text is blanked. Default 0.1 (janus_sft.sh); in [0, 1].</summary>
    public double PromptDropout { get; init; } = 0.1;

    /// <summary>Share of samples worded in tags or object-centred, half each; the rest is plain. Default 0.4; in [0,
    /// 1].</summary>
    public double StyleMixing { get; init; } = 0.4;

    /// <summary>Share of base samples that are text only: prompt and rationale, no image. Default 0.15; in [0,
    /// 1].</summary>
    public double TextOnly { get; init; } = 0.15;

    /// <summary>Share of base images whose caption is a dense one, the rationale's text in the user's turn. Default
    /// 0.25; in [0, 1].</summary>
    public double DenseCaptions { get; init; } = 0.25;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, SamplesPerStep, SamplesPerStep is >= 1 and <= MostSamples,
            $"at least 1 and at most {MostSamples}");
        Require(this, PromptDropout, PromptDropout is >= 0 and <= 1, "in [0, 1]");
        Require(this, StyleMixing, StyleMixing is >= 0 and <= 1, "in [0, 1]");
        Require(this, TextOnly, TextOnly is >= 0 and <= 1, "in [0, 1]");
        Require(this, DenseCaptions, DenseCaptions is >= 0 and <= 1, "in [0, 1]");
    }
}

/// <summary>Turns samples of the drawn world into training batches: a pure function of the step.</summary>
public sealed class WorldBatches
{
    private readonly WorldStream stream;
    private readonly VqTokenizer imageTokenizer;
    private readonly ITokenizer tokenizer;
    private readonly PromptTemplate template;
    private readonly WorldBatchConfig config;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public WorldBatches(WorldStream stream, VqTokenizer imageTokenizer, ITokenizer tokenizer, PromptTemplate template,
        WorldBatchConfig config)
    {
        config.Validate();
        (this.stream, this.imageTokenizer, this.tokenizer) = (stream, imageTokenizer, tokenizer);
        (this.template, this.config) = (template, config);
    }

    /// <summary>Base training: short or dense caption → image, and some prompt → rationale; never rationale and image
    /// in one answer.</summary>
    public SftBatch Base(long step) =>
        Build(step, random => random.NextDouble() < config.TextOnly ? (true, false, false)
        : (false, true, random.NextDouble() < config.DenseCaptions));

    /// <summary>Supervised fine-tuning: prompt → rationale → image.</summary>
    public SftBatch Rationale(long step) => Build(step, _ => (true, true, false));

    /// <summary>Image codes of samples, [N, I].</summary>
    public Tensor Codes(IReadOnlyList<WorldSample> samples)
    {
        using var scope = NewDisposeScope();
        var images = ImageTensors.ToTensor(samples.Select(sample => sample.Image(stream.Config)).ToArray(),
            imageTokenizer.Device);
        return imageTokenizer.Encode(images).cpu().MoveToOuterDisposeScope();
    }

    private SftBatch Build(long step, Func<Random, (bool Text, bool Image, bool Dense)> kind)
    {
        using var scope = NewDisposeScope();
        var samples = stream.Take(step * config.SamplesPerStep, config.SamplesPerStep);
        var codes = Codes(samples);
        long[] flat = codes.Values<long>();
        var images = (int)codes.shape[1];
        var sequences = samples.Select((sample, i) =>
        {
            var random = Seeds.Random(sample.RenderSeed, 0x5F);
            var (text, image, dense) = kind(random);
            var mixed = random.NextDouble() < config.StyleMixing;
            var style =
                !mixed ? CaptionStyle.Plain : random.Next(2) == 0 ? CaptionStyle.Tags : CaptionStyle.ObjectCentred;
            return new SftSample(tokenizer.Encode(template.Fill(dense ? sample.Rationale : sample.Caption(style))),
                text ? tokenizer.Encode(sample.Rationale) : [],
                image ? flat[(i * images)..((i + 1) * images)] : null,
                image && random.NextDouble() < config.PromptDropout);
        }).ToArray();
        var batch = SftBatch.Build(sequences, tokenizer.Special, device: imageTokenizer.Device);
        foreach (var tensor in new[] { batch.Ids, batch.AttentionMask, batch.PositionIds, batch.LossMask,
            batch.ImageMask })
        {
            tensor.DetachFromDisposeScope();
        }

        return batch;
    }
}
