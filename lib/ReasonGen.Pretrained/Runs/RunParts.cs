using Newtonsoft.Json.Linq;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Ranks;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;
using static TorchSharp.torch;

namespace ReasonGen.Runs;

/// <summary>All that a run is put together from. What wraps a part, to share its work between processes for example,
/// takes its place here.</summary>
public sealed record RunParts
{
    /// <summary>The stage.</summary>
    public required TrainingStage Stage { get; init; }

    /// <summary>Every setting.</summary>
    public required RunConfig Config { get; init; }

    /// <summary>What is trained: the model, or low-rank additions to it.</summary>
    public required IImageTextModel Policy { get; init; }

    /// <summary>Ids of the structure tokens.</summary>
    public required SpecialTokens Special { get; init; }

    /// <summary>Rollouts of the policy: what GRPO learns from, and the sample images of both stages.</summary>
    public required IRolloutSource Source { get; init; }

    /// <summary>Writes the policy as a folder that other programs open.</summary>
    public required Action<string> Export { get; init; }

    /// <summary>What a training.json says besides: data, model, reward.</summary>
    public required JObject Provenance { get; init; }

    /// <summary>Prompts of the sample sheets.</summary>
    public IReadOnlyList<Prompt> SamplePrompts { get; init; } = [];

    /// <summary>SFT: the batch of a step, a pure function.</summary>
    public Func<long, SftBatch>? Batches { get; init; }

    /// <summary>SFT: held-out batches by number, up to the samples that a validation takes; null for none.</summary>
    public Func<long, SftBatch>? HeldOut { get; init; }

    /// <summary>SFT: samples of a held-out batch.</summary>
    public int HeldOutSamples { get; init; } = 1;

    /// <summary>SFT: held-out samples; null where there is no end of them.</summary>
    public long? HeldOutCount { get; init; }

    /// <summary>GRPO: prompt number i of the run, a pure function.</summary>
    public Func<long, Prompt>? PromptAt { get; init; }

    /// <summary>GRPO: scores images.</summary>
    public IReward? Reward { get; init; }

    /// <summary>GRPO: the entropy term.</summary>
    public IEntropyStrategy Entropy { get; init; } = new NoEntropyTerm();

    /// <summary>GRPO: a frozen model for the KL term; null without one.</summary>
    public IImageTextModel? Reference { get; init; }

    /// <summary>GRPO: held-out prompts; none for no validation.</summary>
    public IReadOnlyList<Prompt> HeldOutPrompts { get; init; } = [];

    /// <summary>Told what is worth a sentence; null for nobody.</summary>
    public Action<string>? Tell { get; init; }

    /// <summary>The processes that train together; the first alone writes.</summary>
    public IRankGroup Ranks { get; init; } = Alone.Group;

    /// <summary>Where each looks whether one of them has been asked to end; null for one process.</summary>
    public SharedCancellation? End { get; init; }

    /// <summary>The optimizer's state is shared out where it is large: that of additions stays whole.</summary>
    internal bool ShardOptimizer => Ranks.Size > 1 && Policy is not Lora;

    /// <summary>The same work, shared by several processes: rollouts, rewards, and entropies in one order.</summary>
    /// <param name="ranks">The group; of one nothing changes.</param>
    /// <param name="end">How they agree to end.</param>
    /// <param name="device">Of the policy's weights.</param>
    public RunParts SharedBy(IRankGroup ranks, SharedCancellation end, Device device)
    {
        var entropy = Config.Entropy.PerRank ? new PerRankEntropy(Entropy, ranks, Tell)
            : ranks.Size == 1 ? Entropy : new RankOrderEntropy(Entropy, ranks);
        return ranks.Size == 1 ? this with { Entropy = entropy } : this with
        {
            Ranks = ranks, End = end, Source = new SharedRollouts((PolicySampler)Source, ranks, end, device),
            Reward = Reward is null ? null : new SharedReward(Reward, ranks, end), Entropy = entropy,
        };
    }
}

/// <summary>A trainer of either stage, as a run steps it.</summary>
/// <param name="Total">Steps of the whole run.</param>
/// <param name="Done">Steps done so far.</param>
/// <param name="Step">Does one, and tells what is to be recorded of it.</param>
/// <param name="Save">Writes the state.</param>
/// <param name="Resume">Goes on from a state.</param>
/// <param name="Trainer">To be disposed of in the end.</param>
internal sealed record RunTrainer(long Total, Func<long> Done, Func<CancellationToken,
    IEnumerable<(string Name, double Value)>> Step,
    Action<string> Save, Action<string> Resume, IDisposable Trainer)
{
    /// <summary>The one place where trainers are built.</summary>
    internal static RunTrainer Of(RunParts parts) => parts.Stage == TrainingStage.Sft ? Sft(parts) : Grpo(parts);

    private static RunTrainer Sft(RunParts parts)
    {
        var trainer = new SftTrainer(parts.Policy, parts.Batches!, parts.Special.BeginOfImage, parts.Config.Sft,
            parts.Ranks, parts.ShardOptimizer);
        return new(parts.Config.Sft.TotalSteps, () => trainer.StepCount, _ =>
        {
            var step = trainer.Step();
            return
            [
                ("loss", step.Loss), ("text_loss", step.TextLoss), ("image_loss", step.ImageLoss),
                    ("gradient_norm", step.GradientNorm),
                ("learning_rate", step.LearningRate), ("tokens", step.Tokens), ("seconds", step.Seconds),
            ];
        }, trainer.Save, trainer.Resume, trainer);
    }

    private static RunTrainer Grpo(RunParts parts)
    {
        var collector = new RolloutCollector(parts.Source, parts.Reward!, parts.PromptAt!, parts.Config.Grpo);
        var trainer = new GrpoTrainer(parts.Policy, collector, parts.Entropy, parts.Special.BeginOfImage,
            parts.Reference, parts.Ranks, parts.ShardOptimizer);
        return new(parts.Config.Run.Steps, () => trainer.StepCount, cancel =>
        {
            var step = trainer.Step(cancel);
            return
            [
                ("reward", step.Reward),
                    .. step.RewardParts.Select(part => ($"reward: {part.Key.Replace(',', ';')}", part.Value)),
                ("groups", step.Groups), ("skipped_groups", step.SkippedGroups),
                    ("zero_variance", step.ZeroVarianceFraction), ("rounds", step.Rounds),
                ("text_entropy", step.TextEntropy), ("image_entropy", step.ImageEntropy),
                    ("text_alpha", step.TextAlpha),
                ("image_alpha", step.ImageAlpha), ("clip_fraction", step.ClipFraction), ("kl", step.ApproxKl),
                    .. parts.Config.Grpo.KlWeight > 0 ? new[] { ("kl_reference", step.KlReference) } : [],
                    ("gradient_norm", step.GradientNorm),
                ("rationale_tokens", step.RationaleTokens), ("sampling_seconds", step.SamplingSeconds),
                    ("reward_seconds", step.RewardSeconds),
                ("training_seconds", step.TrainingSeconds), ("seconds", step.Seconds),
            ];
        }, trainer.Save, trainer.Resume, trainer);
    }
}
