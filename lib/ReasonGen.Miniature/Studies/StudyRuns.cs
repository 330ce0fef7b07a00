using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <content>Runs of the paper's study, which stand on this study's foundations.</content>
public sealed partial class Study
{
    private const int ProbedRollouts = 16;

    private readonly Dictionary<string, StudyRun> runs = [];

    /// <summary>Gives the command that makes a stage again, where it is not the ordinary one.</summary>
    internal Func<string, string>? CommandOf { get; init; }

    /// <summary>A run of the paper's study: read when it is there, else trained, measured and recorded.</summary>
    public StageResult Run(StudyRun run)
    {
        Register(run);
        var copies = run.CodeCopies;
        return run.LongSft ? Supervised(run.Name, () => Base(copies).Model, run.Steps(Config), "sft")
            : Stage(run.Name, () => (run.WithoutSft ? Base(copies) : Sft(copies)).Model,
                (model, record) => Reinforce(run, model, record));
    }

    /// <summary>The record of a run that is there; null where it is not finished. Nothing stands on the model of a run
    /// of the table, which may be gone, or be on the machine that made it.</summary>
    /// <exception cref="Checkpoints.UnusableFileException">It is damaged, or was made with other settings.</exception>
    internal RunRecord? Recorded(PaperItem item)
    {
        if (item.Run is { } run)
        {
            Register(run);
        }

        return (item.Run is null ? IsThere(item.Stage) : File.Exists(RecordPath(item.Stage))) ? Record(item.Stage)
            : null;
    }

    private void Register(StudyRun run) => runs[run.Name] = run;

    private void Reinforce(StudyRun run, Janus model, RunRecord record)
    {
        var config = run.Grpo(Config) with { Seed = GrpoSettings.Seed };
        RolloutCollector? collector = null;
        var reward = new ObservedReward(run is { Judge: { } asked, JudgeAsNoise: false } ? Judge(asked).Judge : null,
            ErrorsOf(run), config.RolloutsPerPrompt, () => Seeds.Random(Config.Seed, 23, collector!.NextPrompt));
        collector = new(Policy(model), reward, i => PromptOf(run, 22, i), config);
        using var trainer = new GrpoTrainer(model, collector, run.Entropy(), Tokenizer.Special.BeginOfImage);
        RunSteps(run.Name, record, run.Steps(Config), () => (int)trainer.StepCount, trainer.Save, trainer.Resume,
            Config.RlStepsPerSave, () =>
        {
            var step = trainer.Step(Cancel);
            var watch = System.Diagnostics.Stopwatch.StartNew();
            var seen = reward.Take();
            var probe = Probe(model, run, step.Step);
            step = Measured(step, () => probe);
            record.Add(("step", step.Step), ("reward", step.Reward), ("groups", step.Groups),
                ("zero_variance", step.ZeroVarianceFraction), ("rounds", step.Rounds),
                ("text_entropy", step.TextEntropy), ("image_entropy", step.ImageEntropy),
                ("deciding_entropy", probe.Deciding), ("ground_entropy", probe.Ground),
                ("text_alpha", step.TextAlpha), ("image_alpha", step.ImageAlpha), ("clip_fraction", step.ClipFraction),
                ("kl", step.ApproxKl), ("gradient_norm", step.GradientNorm),
                ("rationale_tokens", step.RationaleTokens), ("judged", seen.Judged), ("detector", seen.Right),
                ("fooled", seen.Fooled), ("missed", seen.Missed), ("plan", seen.Plan), ("follows", seen.Follows),
                ("scenes", seen.Scenes), ("seconds", step.Seconds + watch.Elapsed.TotalSeconds));
        });
    }

    private EntropyProbe Probe(Janus model, StudyRun? run, long step) => EntropyProbe.Of(model, Policy(model),
        [.. Enumerable.Range(0, ProbedRollouts).Select(i => PromptOf(run, 24, step * ProbedRollouts + i))],
        Seeds.Mix(Config.Seed, 25, step));

    // Where no group was trained on, the trainer saw no entropy: a probe does. α and length are 0 in a record then.
    private static GrpoStep Measured(GrpoStep step, Func<EntropyProbe> probe)
    {
        if (step.Groups > 0)
        {
            return step;
        }

        var (text, image, _, _) = probe();
        return step with
        {
            TextEntropy = text, ImageEntropy = image, TextAlpha = 0, ImageAlpha = 0, RationaleTokens = 0,
        };
    }

    private Prompt PromptOf(StudyRun? run, long purpose, long i) =>
        Prompts.Draw(Seeds.Random(Config.Seed, purpose, i),
            run is not { Tasks.Count: > 0 } ? null : run.Tasks[(int)(i % run.Tasks.Count)]);

    private JudgeErrors ErrorsOf(StudyRun run) => run is { JudgeAsNoise: true, Judge: { } judge }
        ? JudgeErrors.Of(JudgeQuality.Of(Record(judge), "sft")) : new(run.Flips, run.Flips);

    private JObject SettingsOf(StudyRun run)
    {
        if (run.LongSft)
        {
            return SettingsOfSft(run.Steps(Config), run.CodeCopies);
        }

        var settings = run.Settings(Config);
        settings["grpo"] = JObject.FromObject(run.Grpo(Config) with { Seed = GrpoSettings.Seed });
        return settings;
    }
}
