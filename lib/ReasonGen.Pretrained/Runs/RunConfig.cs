using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.TrainingData;
using static ReasonGen.Core.SettingRange;
using static TorchSharp.torch;

namespace ReasonGen.Runs;

/// <summary>When an unattended run saves, validates and draws.</summary>
public sealed record RunControl
{
    /// <summary>Iterations of GRPO; supervised fine-tuning has sft.totalSteps. Default 400 (janus_rl.sh); at least
    /// 1.</summary>
    public int Steps { get; init; } = 400;

    /// <summary>Seed of low-rank additions, of the drawn world, of validation and of sample images. Default
    /// 1.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Steps between two saved states, from which the run goes on. Default 25; at least 1.</summary>
    public int SaveEvery { get; init; } = 25;

    /// <summary>Steps between two checkpoints that other programs open. Default 100 (janus_rl.sh); 0 for none but the
    /// last.</summary>
    public int CheckpointEvery { get; init; } = 100;

    /// <summary>Checkpoints that are kept, besides the best and the last. Default 3; at least 1.</summary>
    public int Keep { get; init; } = 3;

    /// <summary>Steps between two validations, where there is data for them. Default 25 (janus_rl.sh); 0 for
    /// none.</summary>
    public int ValidateEvery { get; init; } = 25;

    /// <summary>Held-out samples of a validation, evenly spaced over the rows of all files, or prompts, drawn from all
    /// files; the same throughout a run, and all of them where there are fewer. Default 256 (janus_rl.sh); at least
    /// 1.</summary>
    public int ValidationSamples { get; init; } = 256;

    /// <summary>Steps between two sheets of sample images. Default 25; 0 for none.</summary>
    public int SampleEvery { get; init; } = 25;

    /// <summary>Images of each prompt of a sheet. Default 4; at least 1.</summary>
    public int SampleImages { get; init; } = 4;

    /// <summary>Prompts of the sheet; none takes the first four of the data.</summary>
    public IReadOnlyList<string> SamplePrompts { get; init; } = [];

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        foreach (var (name, value, least) in new[]
        {
            (nameof(Steps), Steps, 1), (nameof(SaveEvery), SaveEvery, 1),
                (nameof(CheckpointEvery), CheckpointEvery, 0), (nameof(Keep), Keep, 1),
            (nameof(ValidateEvery), ValidateEvery, 0), (nameof(ValidationSamples), ValidationSamples, 1),
            (nameof(SampleEvery), SampleEvery, 0), (nameof(SampleImages), SampleImages, 1),
        })
        {
            if (value < least)
            {
                throw new ArgumentException($"{nameof(RunControl)}.{name} is {value}; it must be at least {least}");
            }
        }
    }
}

/// <summary>Which entropy term the loss has.</summary>
public enum EntropyKind
{
    /// <summary>The paper's: two controllers hold the entropies of text and images at their targets.</summary>
    Adaptive,

    /// <summary>One weight throughout.</summary>
    Fixed,

    /// <summary>None.</summary>
    None,
}

/// <summary>The entropy term of GRPO.</summary>
public sealed record EntropyConfig
{
    /// <summary>Adaptive (the paper's), Fixed or None. Default Adaptive.</summary>
    public EntropyKind Kind { get; init; }

    /// <summary>α of the fixed term; positive penalises entropy. Default 0.002, the paper's entropy_coeff of
    /// −0.002.</summary>
    public double Alpha { get; init; } = 0.002;

    /// <summary>Controller of text entropy, where it is adaptive.</summary>
    public EntropyControllerConfig Text { get; init; } = new() { Target = 2 };

    /// <summary>Controller of image entropy, where it is adaptive.</summary>
    public EntropyControllerConfig Image { get; init; } = new() { Target = 7 };

    /// <summary>Pairs of controllers that take turns with the micro-batches, where it is adaptive: α moves the slower
    /// the more there are. Default 1; 8 in paper, janus-1b and janus-7b, for the paper's eight GPUs had a pair each; at
    /// least 1 and at most 65536.</summary>
    public int Pairs { get; init; } = 1;

    /// <summary>Of several GPUs each has one pair of its own, which sees its micro-batches alone, as in the paper.
    /// There they are of whole groups; here each is every N-th of N GPUs, so that one of 8 sees the same quarter of
    /// every second group. A run, also one of a single process, goes on with as many then. Default false: α does not
    /// depend on the number of GPUs, see <see cref="Pairs"/>.</summary>
    public bool PerRank { get; init; }

    private const int MostPairs = 65536;

    /// <summary>The term itself.</summary>
    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public IEntropyStrategy Build()
    {
        Validate();
        return Kind switch
        {
            EntropyKind.None => new NoEntropyTerm(),
            EntropyKind.Fixed => new FixedEntropyTerm(Alpha),
            _ when Pairs > 1 && !PerRank => new EntropyPairs(Pairs, () => new(Text, Image)),
            _ => new AdaptiveEntropyTerm(Text, Image),
        };
    }

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        if (Kind != EntropyKind.Adaptive)
        {
            Require(this, Alpha, true, "a number");
            return;
        }

        Require(this, Pairs, Pairs is >= 1 and <= MostPairs, $"at least 1 and at most {MostPairs}");
        Text.Validate();
        Image.Validate();
        Require(this, Text.InitialAlpha, Math.Abs(Text.InitialAlpha) <= Text.Bound,
            $"within the bound, {Text.Bound}");
        Require(this, Image.InitialAlpha, Math.Abs(Image.InitialAlpha) <= Image.Bound,
            $"within the bound, {Image.Bound}");
    }
}

/// <summary>How a judge that is served elsewhere is called.</summary>
public sealed record ServedJudgeConfig
{
    /// <summary>Calls under way at once. Default 8; at least 1.</summary>
    public int Concurrent { get; init; } = 8;

    /// <summary>Longest answer in tokens, of a judge in a folder too. Default 1024 (fsdp_workers.py); at least
    /// 1.</summary>
    public int MaxTokens { get; init; } = 1024;

    /// <summary>Images that a judge in a folder looks at together. Default 8; at least 1.</summary>
    public int ImagesPerBatch { get; init; } = 8;

    /// <summary>Whether a call that failed for good leaves its group out instead of ending the run. Default
    /// false.</summary>
    public bool SkipFailed { get; init; }

    /// <summary>Times a question is asked before it counts as failed, with growing waits between. Default 4; at least
    /// 1.</summary>
    public int Tries { get; init; } = 4;

    /// <summary>Seconds a call may take. Default 120; above 0 and at most 1000000.</summary>
    public double Timeout { get; init; } = 120;

    /// <summary>Most seconds to wait when the server asks for it (Retry-After). Default 600; at least 0 and at most
    /// 1000000.</summary>
    public double LongestWait { get; init; } = 600;

    /// <summary>Seconds for which a server that has answered before and is away (no connection, or HTTP 502 to 504) is
    /// waited for, as while it is started again, whatever the tries. Default 600; at least 0 and at most
    /// 1000000.</summary>
    public double LongestOutage { get; init; } = 600;

    private const double MostSeconds = 1e6;

    /// <summary>How a served judge is called, by the names of these settings.</summary>
    internal ChatCallConfig Calls => new()
    {
        ConcurrentCalls = Concurrent, Tries = Tries, TimeOut = TimeSpan.FromSeconds(Timeout),
        LongestAskedWait = TimeSpan.FromSeconds(LongestWait), LongestOutage = TimeSpan.FromSeconds(LongestOutage),
        Names = new()
        {
            ConcurrentCalls = "judge.concurrent", Tries = "judge.tries", TimeOut = "judge.timeout",
            LongestAskedWait = "judge.longestWait", LongestOutage = "judge.longestOutage", CallsPerMinute = null,
        },
    };

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, Tries, Tries >= 1, "at least 1");
        Require(this, Timeout, Timeout is > 0 and <= MostSeconds, $"above 0 and at most {MostSeconds}");
        Require(this, LongestWait, LongestWait is >= 0 and <= MostSeconds, $"at least 0 and at most {MostSeconds}");
        Require(this, LongestOutage, LongestOutage is >= 0 and <= MostSeconds,
            $"at least 0 and at most {MostSeconds}");
        if (Concurrent < 1 || MaxTokens < 1 || ImagesPerBatch < 1)
        {
            throw new ArgumentException($"{nameof(Concurrent)}, {nameof(MaxTokens)} and {nameof(ImagesPerBatch)} of "
                + $"a judge must be at least 1: {this}");
        }
    }
}

/// <summary>Every setting of a run, as <c>reasongen train --help-settings</c> lists them.</summary>
public sealed record RunConfig
{
    /// <summary>Supervised fine-tuning.</summary>
    public required SftConfig Sft { get; init; }

    /// <summary>Training samples of a parquet set.</summary>
    public SftRowBatchConfig Data { get; init; } = new();

    /// <summary>Reinforcement learning.</summary>
    public required GrpoConfig Grpo { get; init; }

    /// <summary>How rollouts are drawn. The number of image tokens is always the model's own.</summary>
    public RolloutConfig Rollout { get; init; } = RolloutConfig.Paper with { RowsAtATime = 16 };

    /// <summary>Most tokens of a prompt in GRPO, template included; longer prompts are left out. Default 156
    /// (janus_rl.sh); at least 1.</summary>
    public int PromptTokens { get; init; } = 156;

    /// <summary>The entropy term of GRPO.</summary>
    public EntropyConfig Entropy { get; init; } = new();

    /// <summary>How judges are asked.</summary>
    public ServedJudgeConfig Judge { get; init; } = new();

    /// <summary>Low-rank additions; null trains all weights.</summary>
    public LoraConfig? Lora { get; init; }

    /// <summary>Whether decoder layers are computed again in the backward pass, which saves memory. Default
    /// true.</summary>
    public bool CheckpointActivations { get; init; } = true;

    /// <summary>Saving, validation, samples.</summary>
    public RunControl Run { get; init; } = new();

    /// <summary>Names of the presets.</summary>
    public static IReadOnlyList<string> Presets { get; } = ["paper", "janus-1b", "janus-7b", "mini"];

    /// <summary>
    /// Settings by name: paper (janus_sft.sh and janus_rl.sh, all weights), janus-1b and janus-7b (each for one GPU,
    /// see <see cref="TrainingSetup"/>),
    /// mini (the miniature, and models of its size).
    /// </summary>
    /// <exception cref="ArgumentException">There is none of that name.</exception>
    public static RunConfig Preset(string name) => name switch
    {
        "mini" => new()
        {
            Sft = SftConfig.Mini(900), Grpo = GrpoConfig.Mini, Rollout = RolloutConfig.Mini, CheckpointActivations =
                false,
            Data = new() { SamplesPerStep = 32, MaxTokens = 256 },
            Entropy = new()
            {
                Alpha = 0.02, Text = new() { Target = 0.25, LearningRate = 5e-4, Bound = 0.01 },
                Image = new() { Target = 1.5, LearningRate = 5e-4, Bound = 0.01 },
            },
            Run = new() { Steps = 200, CheckpointEvery = 50, ValidateEvery = 20, SampleEvery = 20, SaveEvery = 20 },
        },
        "paper" => Of(TrainingSetup.Janus1B),
        "janus-1b" or "janus-7b" => Of(TrainingSetup.Preset(name)),
        _ => throw new ArgumentException($"there is no preset '{name}'; choose {string.Join(", ", Presets)}"),
    };

    /// <summary>The settings that decide about memory, for <see cref="MemoryPlan"/> and to prepare a model.</summary>
    public TrainingSetup Setup(string name, JanusConfig model, ScalarType type) => new()
    {
        Name = name, Model = model, DType = type, Lora = Lora, CheckpointActivations = CheckpointActivations,
            SequenceTokens = Data.MaxTokens,
        PromptTokens = PromptTokens, Sft = Sft, Grpo = Grpo, Rollout = Rollout with { ImageTokens = model.ImageTokens },
    };

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Sft.Validate();
        Data.Validate();
        Grpo.Validate();
        Rollout.Validate();
        Judge.Validate();
        Lora?.Validate();
        Run.Validate();
        Entropy.Validate();
        if (PromptTokens < 1 || Grpo.Temperature != Rollout.Temperature)
        {
            throw new ArgumentException(PromptTokens < 1
                ? $"{nameof(PromptTokens)} is {PromptTokens}; it must be at least 1"
                : $"rollouts are drawn at rollout.temperature {Rollout.Temperature} and their log-probs taken at "
                    + $"grpo.temperature {Grpo.Temperature}: "
                + "give both the same");
        }
    }

    private const int PapersGpus = 8;

    private static RunConfig Of(TrainingSetup setup) => new()
    {
        Sft = setup.Sft, Grpo = setup.Grpo with { PromptsPerRefill = PapersGpus }, Rollout = setup.Rollout,
        Lora = setup.Lora, CheckpointActivations = setup.CheckpointActivations,
        PromptTokens = setup.PromptTokens, Data = new() { MaxTokens = setup.SequenceTokens },
        Entropy = new() { Pairs = PapersGpus },
    };
}
