namespace ReasonGen.Studies;

/// <summary>How much of the paper's story is computed, and how much is read from recorded runs.</summary>
public sealed record StudyConfig
{
    /// <summary>Name of the preset, as given by <c>-p preset=</c>.</summary>
    public required string Name { get; init; }

    /// <summary>Seed of everything that is drawn. Default 1; any.</summary>
    public long Seed { get; init; } = 1;

    /// <summary>Whether the long stages are trained here (true), or read from the checkpoints and runs that ship (false).</summary>
    public bool FromScratch { get; init; }

    /// <summary>Optimizer steps of the image tokenizer. At least 1.</summary>
    public int TokenizerSteps { get; init; } = 1800;

    /// <summary>Optimizer steps of the base model. At least 1.</summary>
    public int BaseSteps { get; init; } = 1500;

    /// <summary>Optimizer steps of supervised fine-tuning. At least 1.</summary>
    public int SftSteps { get; init; } = 900;

    /// <summary>GRPO steps of each arm. At least 1; the entropy ablation wants 200 or more.</summary>
    public int RlSteps { get; init; } = 200;

    /// <summary>GRPO steps of each arm that a judge rewards. At least 1.</summary>
    public int JudgeRlSteps { get; init; } = 120;

    /// <summary>Optimizer steps of each miniature judge. At least 1.</summary>
    public int JudgeSteps { get; init; } = 1500;

    /// <summary>Pictures of policies that the judges are trained on. At least 3.</summary>
    public int JudgePictures { get; init; } = 6000;

    /// <summary>Held-out pictures of each policy that a judge is measured on. At least 1.</summary>
    public int JudgeTestPictures { get; init; } = 2000;

    /// <summary>Steps of the short run that each notebook makes besides. At least 1.</summary>
    public int LiveTrainingSteps { get; init; } = 40;

    /// <summary>GRPO steps of the short run that each notebook makes besides. At least 1.</summary>
    public int LiveRlSteps { get; init; } = 6;

    /// <summary>Benchmark prompts of each of the six tasks in recorded results. At least 1.</summary>
    public int BenchmarkPromptsPerTask { get; init; } = 200;

    /// <summary>Benchmark prompts of each task in a notebook's short run. At least 1.</summary>
    public int LivePromptsPerTask { get; init; } = 20;

    /// <summary>Shipped checkpoints, a few steps of each stage: seconds, for tests.</summary>
    public static StudyConfig Smoke { get; } = new() { Name = "smoke", LiveTrainingSteps = 3, LiveRlSteps = 1, LivePromptsPerTask = 2 };

    /// <summary>Shipped checkpoints and recorded runs, short live training in each notebook: minutes.</summary>
    public static StudyConfig Quick { get; } = new() { Name = "quick" };

    /// <summary>Everything from scratch: within the hour on two cores.</summary>
    public static StudyConfig Full { get; } = new() { Name = "full", FromScratch = true };

    /// <summary>A preset by name, with a seed.</summary>
    /// <exception cref="ArgumentException">There is no preset of that name.</exception>
    public static StudyConfig Preset(string name, long seed = 1) => name switch
    {
        "smoke" => Smoke with { Seed = seed },
        "quick" => Quick with { Seed = seed },
        "full" => Full with { Seed = seed },
        _ => throw new ArgumentException($"there is no preset '{name}'; choose smoke, quick or full", nameof(name)),
    };
}
