// How long a run takes on a GPU, before it is rented. P weights of the model, R rows, b bytes a second, f operations a
// second, each times the share of it that is reached; l the start of a kernel.
//   a sampled token   max( (2 P + R · cached bytes) / b,  2 P R / f,  launches · l )
//   training          6 P a token (4 P with a LoRA, whose weights alone want a gradient), and 2 P more with checkpoints
//   GRPO besides      old log-probs: 2 P a token, but for the first update's, which come with it; the judge: prompts by
//                     f, answers as sampled tokens; both once a round of rollouts
// A step of GRPO has one round where the rewards of enough groups differ. Where groups are filtered, a second round
// replaces the others, "in most cases" as the reference says (ray_trainer.py); it is told apart, of the most prompts
// that a refill has. Further rounds are not counted.
// The shares are what such loops reach on an H100 or are aimed at, not what was measured here; give your own.
using ReasonGen.Grpo;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Qwen;

namespace ReasonGen.Setups;

/// <summary>What a GPU does in a second.</summary>
/// <param name="Name">As people say it.</param>
/// <param name="Bandwidth">Bytes of memory read.</param>
/// <param name="Flops">Operations in bf16, dense.</param>
/// <param name="Bytes">Of memory, as its maker says; a driver may tell more or less.</param>
public sealed record GpuSpeed(string Name, double Bandwidth, double Flops, double Bytes)
{
    /// <summary>Figures of the makers.</summary>
    public static IReadOnlyList<GpuSpeed> Known { get; } =
    [
        new("h100", 3.35e12, 989e12, 80e9), new("h200", 4.8e12, 989e12, 141e9), new("a100", 2.04e12, 312e12, 80e9),
        new("l40s", 0.86e12, 362e12, 48e9), new("rtx4090", 1.01e12, 165e12, 24e9),
    ];

    /// <summary>Share of the bandwidth that sampling reaches. Default 0.5; in (0, 1].</summary>
    public double SamplingShare { get; init; } = 0.5;

    /// <summary>Share of the operations that training reaches. Default 0.4; in (0, 1].</summary>
    public double TrainingShare { get; init; } = 0.4;
}

/// <summary>The time of a step and of a run.</summary>
/// <param name="TokensPerSecond">Sampled, all rows together; 0 in fine-tuning.</param>
/// <param name="Parts">Seconds of a step by what they are spent on.</param>
/// <param name="Steps">Of the run.</param>
public sealed record RunEstimate(double TokensPerSecond, IReadOnlyList<(string What, double Seconds)> Parts, int Steps)
{
    private const double Launch = 5e-6, LaunchesOfLayer = 18;
    private const int SamplesOfSft = 128, JudgePrompt = 800, JudgeAnswer = 300;

    /// <summary>Seconds of one step, with one round of rollouts.</summary>
    public double StepSeconds => Parts.Sum(part => part.Seconds);

    /// <summary>Hours of the run, with one round of rollouts a step.</summary>
    public double Hours => StepSeconds * Steps / 3600;

    /// <summary>Seconds of a second round of rollouts, of the most prompts that a refill has; 0 where there is
    /// none.</summary>
    public double RefillSeconds { get; init; }

    /// <summary>Hours of the run, with a second round in each step.</summary>
    public double HoursWithRefill => Hours + RefillSeconds * Steps / 3600;

    /// <summary>Estimates a run.</summary>
    /// <param name="setup">Model and settings.</param>
    /// <param name="stage">The stage.</param>
    /// <param name="judge">The judge, on the same GPU or on one like it; null for a reward that takes no time.</param>
    /// <param name="gpu">What the GPU does.</param>
    /// <param name="steps">Steps of the run, at least 1.</param>
    public static RunEstimate Of(TrainingSetup setup, TrainingStage stage, QwenConfig? judge, GpuSpeed gpu, int steps)
    {
        setup.Validate();
        var language = setup.Model.Language;
        double weights = Weights(language), flops = gpu.Flops * gpu.TrainingShare;
        double train = (setup.Lora is null ? 6 : 4) + (setup.CheckpointActivations ? 2 : 0);
        if (stage == TrainingStage.Sft)
        {
            return new(0, [("training", (double)SamplesOfSft * setup.SequenceTokens * train * weights / flops)], steps);
        }

        double response = setup.Rollout.MaxTextTokens + setup.Model.ImageTokens;
        double sequence = setup.PromptTokens + response;
        double rollouts = (double)setup.Grpo.PromptsPerRound * setup.Grpo.RolloutsPerPrompt;
        var rows = Math.Min(setup.Rollout.RowsAtATime, rollouts);
        var token = Token(language, rows * (setup.Rollout.GuidanceScale == 1 ? 1 : 2), sequence / 2, gpu);
        double Sampling(double count) => Math.Ceiling(count / rows) * response * token;
        double Judging(QwenConfig judge, double count)
        {
            var (images, answers) = (JudgeConfig.OnGpu.ImagesPerBatch, judge.Language);
            return count * JudgePrompt * 2 * Weights(answers) / flops
                + Math.Ceiling(count / images) * JudgeAnswer * Token(answers, images, JudgePrompt, gpu);
        }

        var trained = (double)setup.Grpo.PromptsPerStep * setup.Grpo.RolloutsPerPrompt * sequence;
        var later = 1 - setup.Grpo.PromptsPerUpdate / (double)setup.Grpo.PromptsPerStep; // than the first update
        List<(string, double)> parts =
        [
            ("sampling", Sampling(rollouts)), ("old log-probs", later * trained * 2 * weights / flops),
            ("training", trained * train * weights / flops),
        ];
        if (judge is not null)
        {
            parts.Add(("judging", Judging(judge, rollouts)));
        }

        var refill = setup.Grpo is not { FilterGroups: true, MaxRounds: > 1 } grpo ? 0 : grpo.RolloutsPerPrompt
            * (double)GroupFilter.RefillPrompts(grpo.PromptsPerStep, grpo.PromptsPerRound, grpo.PromptsPerRefill);
        return new(rows / token, parts, steps)
        {
            RefillSeconds = Sampling(refill) + (judge is null ? 0 : Judging(judge, refill)),
        };
    }

    private static double Token(LlamaConfig language, double rows, double cached, GpuSpeed gpu)
    {
        var (weights, keys) = (Weights(language),
            2.0 * language.Layers * language.KeyValueHeads * language.HeadWidth * cached);
        return new[]
        {
            2 * (weights + rows * keys) / (gpu.Bandwidth * gpu.SamplingShare),
            2 * weights * rows / (gpu.Flops * gpu.TrainingShare), LaunchesOfLayer * language.Layers * Launch,
        }.Max();
    }

    // of the layers and one head
    private static double Weights(LlamaConfig language) => language.VocabularySize * (double)language.Width
        + language.Layers * (2.0 * language.Width * (language.Width + language.KeyValueHeads * language.HeadWidth)
            + 3.0 * language.Width * language.MlpWidth);
}
