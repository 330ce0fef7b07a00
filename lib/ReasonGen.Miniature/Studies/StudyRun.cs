using Newtonsoft.Json.Linq;
using ReasonGen.Grpo;

namespace ReasonGen.Studies;

/// <summary>A part of the paper's study.</summary>
public enum StudyPart
{
    /// <summary>The stages and arms of the paper, and the control.</summary>
    Arms,

    /// <summary>The entropy arms under a judge that errs.</summary>
    Noise,

    /// <summary>The fixed coefficient from bonus to penalty, and the targets of the adaptive loss.</summary>
    Map,

    /// <summary>What might make entropy explode.</summary>
    Figure6,
}

/// <summary>A run of the study that stands on a foundation: all that sets it apart from the paper's method.</summary>
/// <param name="Name">A file name: "adaptive", "penalty-0.02", …</param>
/// <param name="Part">Why it is made.</param>
public sealed record StudyRun(string Name, StudyPart Part)
{
    /// <summary>Steps of SFT that the control takes for each of GRPO.</summary>
    public const int SftStepsPerRlStep = 10;

    /// <summary>Whether it is the control: no RL, but <see cref="SftStepsPerRlStep"/> more steps of SFT for each of
    /// its.</summary>
    public bool LongSft { get; init; }

    /// <summary>Whether RL starts from the base model, which never wrote a rationale and drew in one answer.</summary>
    public bool WithoutSft { get; init; }

    /// <summary>α of a fixed term: above 0 a penalty, below a bonus, 0 none. Null: the adaptive loss.</summary>
    public double? Alpha { get; init; }

    /// <summary>H* of text, in nats, of the adaptive loss. Default 0.25.</summary>
    public double TextTarget { get; init; } = Study.TextTarget;

    /// <summary>H* of images, in nats, of the adaptive loss. Default 1.5.</summary>
    public double ImageTarget { get; init; } = Study.ImageTarget;

    /// <summary>Times the learning rate of the other runs. Default 1.</summary>
    public double RateFactor { get; init; } = 1;

    /// <summary>The miniature judge whose verdict is the reward; null for the detector.</summary>
    public string? Judge { get; init; }

    /// <summary>Whether the detector's verdicts are flipped at random as often as that judge errs, in place of asking
    /// it. A judge that is fooled is not a judge that is random.</summary>
    public bool JudgeAsNoise { get; init; }

    /// <summary>Share of verdicts that are flipped at random. Default 0.</summary>
    public double Flips { get; init; }

    /// <summary>Times as many updates of a batch. Default 1.</summary>
    public int UpdatesFactor { get; init; } = 1;

    /// <summary>ε of the ratio clip; null as in the other runs.</summary>
    public double? ClipRange { get; init; }

    /// <summary>Times as many steps. Default 1.</summary>
    public int StepsFactor { get; init; } = 1;

    /// <summary>Near-equal copies of each image code that the model has; the run starts from foundations of its own
    /// with as many (<see cref="NearEqualCodes"/>). Default 1; at least 1, and 1 where a judge rewards.</summary>
    public int CodeCopies { get; init; } = 1;

    /// <summary>Tasks that prompts are drawn from; empty for all six.</summary>
    public IReadOnlyList<string> Tasks { get; init; } = [];

    /// <summary>The entropy term.</summary>
    public IEntropyStrategy Entropy() => Alpha switch
    {
        0 => new NoEntropyTerm(),
        { } alpha => new FixedEntropyTerm(alpha),
        null => Study.Adaptive(TextTarget, ImageTarget),
    };

    /// <summary>Steps in all, where a run of RL has so many.</summary>
    internal int Steps(StudyConfig config) => LongSft ? config.SftSteps + SftStepsPerRlStep * config.RlSteps
        : config.RlSteps * StepsFactor;

    /// <summary>Settings of GRPO but for the seed. A policy that is always right, or fools its judge every time, is a
    /// result: the run goes on to its end.</summary>
    internal GrpoConfig Grpo(StudyConfig config) => config.Grpo with
    {
        LearningRate = config.Grpo.LearningRate * RateFactor,
        PromptsPerUpdate = Math.Max(1, config.Grpo.PromptsPerUpdate / UpdatesFactor),
        ClipRange = ClipRange ?? config.Grpo.ClipRange,
        MaxEmptySteps = Steps(config) + 1,
    };

    /// <summary>All settings besides GRPO's, as they are recorded.</summary>
    internal JObject Settings(StudyConfig config)
    {
        var entropy = Entropy();
        return NearEqualCodes.AddTo(new()
        {
            ["steps"] = Steps(config), ["start"] = NearEqualCodes.Name(WithoutSft ? "base" : "sft", CodeCopies),
            ["entropy"] = new JObject { ["term"] = entropy.Name, ["settings"] = entropy.Settings },
            ["reward"] = new JObject
            {
                ["judge"] = Judge ?? "detector", ["errors_at_random"] = JudgeAsNoise, ["flips"] = Flips,
            },
            ["tasks"] = new JArray(Tasks),
        }, CodeCopies);
    }
}
