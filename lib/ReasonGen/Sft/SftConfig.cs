using static ReasonGen.Core.SettingRange;

namespace ReasonGen.Sft;

/// <summary>Settings of supervised fine-tuning (and of base training, which differs in its data alone).</summary>
public sealed record SftConfig
{
    /// <summary>Optimizer steps; the learning rate reaches 0 at the end. At least 1.</summary>
    public required int TotalSteps { get; init; }

    /// <summary>Base learning rate. Default 1e-5 (janus_sft.sh); above 0.</summary>
    public double LearningRate { get; init; } = 1e-5;

    /// <summary>Share of the steps in which the learning rate rises. Default 0.05; in [0, 1). The first of them has
    /// rate 0, as in the reference.</summary>
    public double WarmupRatio { get; init; } = 0.05;

    /// <summary>AdamW's β₁. Default 0.9; in [0, 1).</summary>
    public double Beta1 { get; init; } = 0.9;

    /// <summary>AdamW's β₂. Default 0.95; in [0, 1).</summary>
    public double Beta2 { get; init; } = 0.95;

    /// <summary>AdamW's weight decay. Default 0.01; at least 0.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>Largest gradient norm. Default 1; above 0.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Weight of text tokens in the loss. Default 2 (janus_sft.sh); at least 0, and above 0 where
    /// <see cref="ImageScale"/> is 0.</summary>
    public double TextScale { get; init; } = 2;

    /// <summary>Weight of image tokens in the loss. Default 1; at least 0.</summary>
    public double ImageScale { get; init; } = 1;

    /// <summary>Weight of the begin-of-image token in the loss. Default 0 (janus_sft.sh), which still counts it in the
    /// denominator; at least 0.</summary>
    public double BeginOfImageScale { get; init; }

    /// <summary>Samples a forward pass. Default 4; at least 1.</summary>
    public int MicroBatchSamples { get; init; } = 4;

    /// <summary>Adds up the gradients of all micro-batches of a step, over all ranks, instead of averaging them.
    /// Default false. janus_sft.sh adds up on each of its 4 GPUs and averages over them: a quarter of this, so that
    /// <see cref="GradientClip"/> begins here at a quarter of the norm that it begins at there.</summary>
    public bool SumMicroBatches { get; init; }

    /// <summary>Keeps fp32 copies of narrower weights. Default true; with false weights and moments are bf16, as in the
    /// reference. Gradients of micro-batches are added up in fp32 with both, where the reference adds up in
    /// bf16.</summary>
    public bool KeepMasters { get; init; } = true;

    /// <summary>janus_sft.sh, for a number of steps, but for four things: the script adds up the gradients of the 8
    /// micro-batches of each of its 4 GPUs (its gradient is 8 times the mean, and a quarter of what
    /// <see cref="SumMicroBatches"/> gives), does so in bf16, has <see cref="KeepMasters"/> false, and crops its images
    /// at random, where those of a parquet set are cropped in the centre.</summary>
    public static SftConfig Paper(int totalSteps) => new() { TotalSteps = totalSteps, MicroBatchSamples = 4 };

    /// <summary>
    /// The miniature: one micro-batch a step and a larger learning rate. It must learn to end its rationale, which
    /// Janus-Pro could before, so the begin-of-image token is trained like text.
    /// </summary>
    public static SftConfig Mini(int totalSteps) =>
        new()
        {
            TotalSteps = totalSteps, LearningRate = 3e-3, Beta2 = 0.98, MicroBatchSamples = 64, BeginOfImageScale = 2,
        };

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, TotalSteps, TotalSteps >= 1, "at least 1");
        Require(this, LearningRate, LearningRate > 0, "above 0");
        Require(this, WarmupRatio, WarmupRatio is >= 0 and < 1, "in [0, 1)");
        Require(this, Beta1, Beta1 is >= 0 and < 1, "in [0, 1)");
        Require(this, Beta2, Beta2 is >= 0 and < 1, "in [0, 1)");
        Require(this, WeightDecay, WeightDecay >= 0, "at least 0");
        Require(this, GradientClip, GradientClip > 0, "above 0");
        Require(this, TextScale, TextScale >= 0, "at least 0");
        Require(this, ImageScale, ImageScale >= 0, "at least 0");
        Require(this, BeginOfImageScale, BeginOfImageScale >= 0, "at least 0");
        Require(this, TextScale, TextScale > 0 || ImageScale > 0,
            $"above 0 where {nameof(ImageScale)} is 0: nothing would be learnt");
        Require(this, MicroBatchSamples, MicroBatchSamples >= 1, "at least 1");
    }
}
