using static ReasonGen.Core.SettingRange;

namespace ReasonGen.Grpo;

/// <summary>Settings of GRPO. Defaults are those of janus_rl.sh.</summary>
public sealed record GrpoConfig
{
    private const int MostRollouts = 1 << 20; // of a round, a step, a pass: what is counted of them fits 32 bits

    /// <summary>Groups an iteration trains on. Default 32; at least 1, a multiple of
    /// <see cref="PromptsPerUpdate"/>, and at most 1048576 rollouts.</summary>
    public int PromptsPerStep { get; init; } = 32;

    /// <summary>G, rollouts of one prompt. Default 8; at least 2 and at most 1048576.</summary>
    public int RolloutsPerPrompt { get; init; } = 8;

    /// <summary>Groups of one optimizer step. Default 16, hence two updates an iteration; at least 1.</summary>
    public int PromptsPerUpdate { get; init; } = 16;

    /// <summary>Rollouts of one forward pass. Default 2; at least 1 and at most 1048576.</summary>
    public int MicroBatchRollouts { get; init; } = 2;

    /// <summary>Prompts rolled out in the first round. Default: as many as <see cref="PromptsPerStep"/>; at least 1,
    /// and at most 1048576 rollouts.</summary>
    public int PromptsPerRound { get => field == 0 ? PromptsPerStep : field; init; }

    /// <summary>Fewest prompts of a refill round, over all ranks. Default 1; 8 in paper, janus-1b and janus-7b, for the
    /// reference takes the number of its GPUs; at least 1.</summary>
    public int PromptsPerRefill { get; init; } = 1;

    /// <summary>Whether groups whose rewards are all equal are dropped and replaced. Default true
    /// (filter_groups).</summary>
    public bool FilterGroups { get; init; } = true;

    /// <summary>Rounds of rollouts before an iteration goes on with fewer groups, or fails. Default 8; at least
    /// 1.</summary>
    public int MaxRounds { get; init; } = 8;

    /// <summary>Whether too few groups after the last round end the run, as in the reference. Default false: train on
    /// those there are.</summary>
    public bool FailOnTooFewGroups { get; init; }

    /// <summary>Iterations in a row without any group of differing rewards before the run ends. Default 3; at least
    /// 1.</summary>
    public int MaxEmptySteps { get; init; } = 3;

    /// <summary>Learning rate. Default 5e-6; above 0.</summary>
    public double LearningRate { get; init; } = 5e-6;

    /// <summary>Iterations in which the learning rate rises. Default 0. The first iteration has rate 0 in any case, as
    /// in the reference.</summary>
    public int WarmupSteps { get; init; }

    /// <summary>AdamW's weight decay. Default 0.01; at least 0.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <summary>ε of the ratio clip. Default 0.2; above 0.</summary>
    public double ClipRange { get; init; } = 0.2;

    /// <summary>Largest gradient norm. Default 1; above 0.</summary>
    public double GradientClip { get; init; } = 1;

    /// <summary>Weight of the divergence from a reference model. Default 0 (janus_rl.sh); at least 0.</summary>
    public double KlWeight { get; init; }

    /// <summary>Temperature of the log-probs, which should be that of the rollouts. Default 1; above 0.</summary>
    public double Temperature { get; init; } = 1;

    /// <summary>Leaves begin-of-image out of the loss (ignore_img_start); by its id, so an image code of the same
    /// number goes with it. Default false.</summary>
    public bool IgnoreBeginOfImage { get; init; }

    /// <summary>Seed of the rollouts. Default 1.</summary>
    public long Seed { get; init; } = 1;

    // what says only when to give up: a run that did may go on with others
    internal static readonly string[] WhenToGiveUp = [nameof(FailOnTooFewGroups), nameof(MaxEmptySteps)];

    /// <summary>janus_rl.sh.</summary>
    public static GrpoConfig Paper { get; } = new() { FailOnTooFewGroups = true };

    /// <summary>The miniature: 16 groups of 8, two updates, a larger learning rate.</summary>
    public static GrpoConfig Mini { get; } = new()
    {
        PromptsPerStep = 16, PromptsPerUpdate = 8, MicroBatchRollouts = 64, PromptsPerRound = 20, MaxRounds = 2,
        LearningRate = 5e-4, WarmupSteps = 5, WeightDecay = 0,
    };

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        Require(this, PromptsPerStep, PromptsPerStep >= 1, "at least 1");
        Require(this, PromptsPerUpdate, PromptsPerUpdate >= 1, "at least 1");
        Require(this, PromptsPerStep, PromptsPerStep % PromptsPerUpdate == 0,
            $"a multiple of {nameof(PromptsPerUpdate)}, {PromptsPerUpdate}");
        Require(this, PromptsPerRound, PromptsPerRound >= 1, "at least 1");
        Require(this, PromptsPerRefill, PromptsPerRefill >= 1, "at least 1");
        Require(this, RolloutsPerPrompt, RolloutsPerPrompt is >= 2 and <= MostRollouts,
            $"at least 2, for rewards to differ, and at most {MostRollouts}");
        var most = MostRollouts / RolloutsPerPrompt;
        var bound = $"at most {most}, for {MostRollouts} rollouts of {RolloutsPerPrompt} a prompt";
        Require(this, PromptsPerStep, PromptsPerStep <= most, bound);
        Require(this, PromptsPerRound, PromptsPerRound <= most, bound);
        Require(this, MicroBatchRollouts, MicroBatchRollouts is >= 1 and <= MostRollouts,
            $"at least 1 and at most {MostRollouts}");
        Require(this, MaxRounds, MaxRounds >= 1, "at least 1");
        Require(this, MaxEmptySteps, MaxEmptySteps >= 1, "at least 1");
        Require(this, LearningRate, LearningRate > 0, "above 0");
        Require(this, WarmupSteps, WarmupSteps >= 0, "at least 0");
        Require(this, WeightDecay, WeightDecay >= 0, "at least 0");
        Require(this, ClipRange, ClipRange > 0, "above 0");
        Require(this, GradientClip, GradientClip > 0, "above 0");
        Require(this, KlWeight, KlWeight >= 0, "at least 0");
        Require(this, Temperature, Temperature > 0, "above 0");
    }
}
