using ReasonGen.Grpo;

namespace ReasonGen.Studies;

/// <summary>How much of the paper's story is computed, and how much is read from recorded runs.</summary>
public sealed record StudyConfig
{
    /// <summary>Name of the preset, as given by <c>-p preset=</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Seed of everything that is drawn. Default 1; any.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Whether the long stages are trained here (true), or read from the checkpoints and runs that ship
    /// (false).</summary>
    public bool FromScratch { get; init; }

    /// <summary>Optimizer steps of the image tokenizer. At least 1.</summary>
    public int TokenizerSteps { get; init; } = 1800;

    /// <summary>Optimizer steps of the base model. At least 1.</summary>
    public int BaseSteps { get; init; } = 1500;

    /// <summary>Optimizer steps of supervised fine-tuning. At least 1.</summary>
    public int SftSteps { get; init; } = 900;

    /// <summary>GRPO steps of each arm. At least 1.</summary>
    public int RlSteps { get; init; } = 200;

    /// <summary>GRPO steps of each arm that a judge rewards. At least 1.</summary>
    public int JudgeRlSteps { get; init; } = 120;

    /// <summary>Optimizer steps of each miniature judge. At least 1.</summary>
    public int JudgeSteps { get; init; } = 1500;

    /// <summary>Images of policies that the judges are trained on. At least 3.</summary>
    public int JudgeImages { get; init; } = 6000;

    /// <summary>Held-out images of each policy that a judge is measured on. At least 1.</summary>
    public int JudgeTestImages { get; init; } = 2000;

    /// <summary>Steps of the short run that each notebook makes besides. At least 1.</summary>
    public int LiveTrainingSteps { get; init; } = 40;

    /// <summary>GRPO steps of the short run that each notebook makes besides. At least 1.</summary>
    public int LiveRlSteps { get; init; } = 6;

    /// <summary>Benchmark prompts of each of the six tasks in recorded results. At least 1.</summary>
    public int BenchmarkPromptsPerTask { get; init; } = 200;

    /// <summary>Held-out scenes that the image tokenizer is measured on, of each look. At least 1.</summary>
    public int RoundTripScenes { get; init; } = 3000;

    /// <summary>Steps between two saved states of a stage before RL, and of a judge. At least 1.</summary>
    public int StepsPerSave { get; init; } = 200;

    /// <summary>Steps between two saved states of an arm. At least 1.</summary>
    public int RlStepsPerSave { get; init; } = 20;

    /// <summary>Settings of GRPO but for the seed.</summary>
    public GrpoConfig Grpo { get; init; } = GrpoConfig.Mini;

    /// <summary>Benchmark prompts of each task in a notebook's short run. At least 1.</summary>
    public int LivePromptsPerTask { get; init; } = 20;

    /// <summary>Shipped checkpoints, a few steps of each stage: seconds, for tests.</summary>
    public static StudyConfig Smoke { get; } =
        new() { Name = "smoke", LiveTrainingSteps = 3, LiveRlSteps = 1, LivePromptsPerTask = 2 };

    /// <summary>Shipped checkpoints and recorded runs, short live training in each notebook: minutes.</summary>
    public static StudyConfig Quick { get; } = new() { Name = "quick" };

    /// <summary>Everything from scratch: an hour or two on two cores.</summary>
    public static StudyConfig Full { get; } = new() { Name = "full", FromScratch = true };

    /// <summary>Everything from scratch, but a few steps of each stage: seconds, to see that a command works. Its
    /// models are of no worth.</summary>
    public static StudyConfig Trial { get; } = Full with
    {
        Name = "trial", TokenizerSteps = 12, BaseSteps = 8, SftSteps = 8, RlSteps = 4, JudgeRlSteps = 2, JudgeSteps = 4,
        JudgeImages = 12,
        JudgeTestImages = 12, BenchmarkPromptsPerTask = 1, RoundTripScenes = 50, StepsPerSave = 2, RlStepsPerSave = 1,
        Grpo = GrpoConfig.Mini with
        {
            PromptsPerStep = 2, PromptsPerUpdate = 1, PromptsPerRound = 3, RolloutsPerPrompt = 4,
            MicroBatchRollouts = 4, MaxEmptySteps = 10,
        },
    };

    /// <summary>A preset by name, with a seed.</summary>
    /// <exception cref="ArgumentException">There is no preset of that name.</exception>
    public static StudyConfig Preset(string name, long seed = 1) => name switch
    {
        "smoke" => Smoke with { Seed = seed },
        "quick" => Quick with { Seed = seed },
        "full" => Full with { Seed = seed },
        _ => throw new ArgumentException($"there is no preset '{name}'; choose smoke, quick or full", nameof(name)),
    };

    /// <exception cref="ArgumentException">A number is out of range.</exception>
    public void Validate()
    {
        foreach (var (name, value, least) in new[]
        {
            (nameof(TokenizerSteps), TokenizerSteps, 1), (nameof(BaseSteps), BaseSteps, 1),
            (nameof(SftSteps), SftSteps, 1), (nameof(RlSteps), RlSteps, 1),
            (nameof(JudgeRlSteps), JudgeRlSteps, 1), (nameof(JudgeSteps), JudgeSteps, 1),
            (nameof(JudgeImages), JudgeImages, 3),
            (nameof(JudgeTestImages), JudgeTestImages, 1), (nameof(LiveTrainingSteps), LiveTrainingSteps, 1),
            (nameof(LiveRlSteps), LiveRlSteps, 1),
            (nameof(BenchmarkPromptsPerTask), BenchmarkPromptsPerTask, 1),
            (nameof(LivePromptsPerTask), LivePromptsPerTask, 1),
            (nameof(RoundTripScenes), RoundTripScenes, 1), (nameof(StepsPerSave), StepsPerSave, 1),
            (nameof(RlStepsPerSave), RlStepsPerSave, 1),
        })
        {
            if (value < least)
            {
                throw new ArgumentException($"{nameof(StudyConfig)}.{name} is {value}; it must be at least {least}");
            }
        }

        Grpo.Validate();
    }
}
