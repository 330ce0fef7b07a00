using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Setups;

/// <summary>How a model of real size is trained: all weights with fp32 masters or low-rank additions, what is kept for
/// the backward pass, and the settings of both stages.</summary>
public sealed record TrainingSetup
{
    /// <summary>As given to <c>reasongen plan --model</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Sizes of the model.</summary>
    public required JanusConfig Model { get; init; }

    /// <summary>Type of weights, gradients and activations. Default bf16; masters and moments are fp32.</summary>
    public ScalarType DType { get; init; } = ScalarType.BFloat16;

    /// <summary>Low-rank additions; null trains all weights.</summary>
    public LoraConfig? Lora { get; init; }

    /// <summary>Whether decoder layers are computed again in the backward pass. Default true.</summary>
    public bool CheckpointActivations { get; init; } = true;

    /// <summary>Tokens of a training sequence in SFT. Default 1280 (janus_sft.sh); at least 2.</summary>
    public int SequenceTokens { get; init; } = 1280;

    /// <summary>Most tokens of a prompt in GRPO. Default 156 (janus_rl.sh); at least 1.</summary>
    public int PromptTokens { get; init; } = 156;

    /// <summary>Settings of supervised fine-tuning.</summary>
    public required SftConfig Sft { get; init; }

    /// <summary>Settings of GRPO.</summary>
    public required GrpoConfig Grpo { get; init; }

    /// <summary>How rollouts are sampled.</summary>
    public RolloutConfig Rollout { get; init; } = RolloutConfig.Paper with { RowsAtATime = 16 };

    /// <summary>Janus-Pro-1B, all weights: fits one 80 GB GPU.</summary>
    public static TrainingSetup Janus1B { get; } = new()
    {
        Name = "janus-1b", Model = JanusConfig.Pro1B, Sft = SftConfig.Paper(PaperSteps), Grpo = GrpoConfig.Paper,
    };

    /// <summary>Janus-Pro-7B by low-rank additions, with ten times the paper's learning rates, as they need: fits one
    /// 80 GB GPU, judge included.</summary>
    public static TrainingSetup Janus7B { get; } = new()
    {
        Name = "janus-7b", Model = JanusConfig.Pro7B, Lora = new(),
        Sft = SftConfig.Paper(PaperSteps) with { LearningRate = 1e-4 },
        Grpo = GrpoConfig.Paper with { LearningRate = 5e-5 },
    };

    /// <summary>Times the learning rate of all weights, for low-rank additions.</summary>
    public const double LoraRate = 10;

    // of 128 samples, 229,120 in all: an epoch of the published set, whose name says 230k, but for a few at its end
    private const int PaperSteps = 1790;

    /// <summary>A setup by name.</summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static TrainingSetup Preset(string name) => name switch
    {
        "janus-1b" => Janus1B,
        "janus-7b" => Janus7B,
        _ => throw new ArgumentException($"there is no model '{name}' to plan for; choose janus-1b or janus-7b"),
    };

    /// <summary>The same setup with another rank of additions; 0 trains all weights. Learning rates go with
    /// it.</summary>
    public TrainingSetup WithLora(int rank)
    {
        var factor = (rank > 0 ? LoraRate : 1) / (Lora is null ? 1 : LoraRate);
        return this with
        {
            Lora = rank > 0 ? (Lora ?? new()) with { Rank = rank, Alpha = 2.0 * rank } : null,
            Sft = Sft with { LearningRate = Sft.LearningRate * factor },
            Grpo = Grpo with { LearningRate = Grpo.LearningRate * factor },
        };
    }

    /// <summary>The same setup with another micro-batch in both stages.</summary>
    public TrainingSetup WithMicroBatch(int rows) => this with
    {
        Sft = Sft with { MicroBatchSamples = rows }, Grpo = Grpo with { MicroBatchRollouts = rows },
    };

    /// <summary>The same setup with as many rollouts sampled together as a GPU has room for, up to all of a round: a
    /// step of 64 rows costs hardly more than one of 16.</summary>
    /// <param name="bytes">Of the GPU; null leaves all as it is.</param>
    /// <param name="judge">A judge on the same GPU.</param>
    /// <param name="ranks">Processes that share a round; none is to be left without rows.</param>
    public TrainingSetup WithRows(double? bytes, QwenConfig? judge = null, int ranks = 1) =>
        WithRows(bytes, judge is null ? [] : [PlannedJudge.Of("judge", judge, DType)], ranks);

    /// <summary>The same beside any number of judges.</summary>
    /// <param name="bytes">Of the GPU; null leaves all as it is.</param>
    /// <param name="judges">Judges on the same GPU.</param>
    /// <param name="ranks">Processes that share a round; none is to be left without rows.</param>
    public TrainingSetup WithRows(double? bytes, IReadOnlyList<PlannedJudge> judges, int ranks = 1)
    {
        var all = Grpo.PromptsPerRound * Grpo.RolloutsPerPrompt / ranks;
        TrainingSetup With(int rows) => this with { Rollout = Rollout with { RowsAtATime = rows } };
        return bytes is not { } there ? this : new[] { 128, 64, 32 }.Where(rows => rows <= all).Select(With)
            .FirstOrDefault(setup => MemoryPlan.Of(setup, TrainingStage.Grpo, judges).Fits(there)) ?? this;
    }

    private const long LargeModel = 100_000_000; // weights

    /// <summary>Makes a model ready: what comes back goes to trainers and samplers in its place. Dispose it before the
    /// model if it is a
    /// <see cref="Models.Lora"/>.</summary>
    public IImageTextModel Prepare(Janus model, long seed = 1)
    {
        Validate();
        if (model.Target.Device.type == DeviceType.CPU
            && model.TrainableParameters().Sum(p => p.Parameter.numel()) > LargeModel)
        {
            AllocatorSettings.ReturnLargeBlocks();
        }

        model.CheckpointActivations = CheckpointActivations;
        return Lora is null ? model : new Lora(model, Lora, seed);
    }

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Model.Validate();
        Lora?.Validate();
        Sft.Validate();
        Grpo.Validate();
        Rollout.Validate();
        if (SequenceTokens < 2 || PromptTokens < 1)
        {
            throw new ArgumentException(
                $"{nameof(SequenceTokens)} is {SequenceTokens} and {nameof(PromptTokens)} {PromptTokens}; "
                + "they must be at least 2 and 1");
        }
    }
}
