using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Sft;
using ReasonGen.World;
using ReasonGen.WorldData;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <content>The stages: each is read when it is there, else trained, measured and recorded; an interrupted or killed
/// one goes on where it was saved.</content>
public sealed partial class Study
{
    /// <summary>The image tokenizer.</summary>
    public StageResult ImageTokenizer()
    {
        var model = NewModel();
        return new(model, Record("tokenizer"));
    }

    /// <summary>The base model: prompt → image, and some prompt → rationale.</summary>
    /// <param name="codeCopies">Near-equal copies of each image code; at least 1.</param>
    public StageResult Base(int codeCopies = 1) => Supervised(NearEqualCodes.Name("base", codeCopies),
        () => NewModel(codeCopies), Config.BaseSteps, "base");

    /// <summary>The base model after supervised fine-tuning on prompt → rationale → image.</summary>
    /// <param name="codeCopies">Near-equal copies of each image code; at least 1.</param>
    public StageResult Sft(int codeCopies = 1) => Supervised(NearEqualCodes.Name("sft", codeCopies),
        () => Base(codeCopies).Model, Config.SftSteps, "sft");

    /// <summary>An arm of reinforcement learning, by name; see <see cref="Arms"/>.</summary>
    public StageResult Rl(string arm)
    {
        if (!Arms.Contains(arm) && !JudgeArms.Contains(arm))
        {
            throw NoArm(arm);
        }

        var steps = JudgeArms.Contains(arm) ? Config.JudgeRlSteps : Config.RlSteps;
        return Stage(arm, () => (arm == "rl-without-sft" ? Base() : Sft()).Model, (model, record) =>
        {
            var audit = JudgeArms.Contains(arm) ? new AuditedReward(Judge(arm["rl-".Length..]).Judge) : null;
            using var trainer = GrpoTrainer(model, Entropy(arm), audit, GrpoOf(arm));
            RunSteps(arm, record, steps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume,
                Config.RlStepsPerSave, () =>
            {
                var step = trainer.Step(Cancel);
                step = Measured(step, () => Probe(model, null, step.Step));
                (string, double)[] believed = audit?.Take() is var (judged, right, fooled) ? [("judged", judged),
                    ("detector", right), ("fooled", fooled)] : [];
                record.Add([("step", step.Step), ("reward", step.Reward), ("groups", step.Groups),
                    ("zero_variance", step.ZeroVarianceFraction), ("rounds", step.Rounds),
                    ("text_entropy", step.TextEntropy), ("image_entropy", step.ImageEntropy),
                    ("text_alpha", step.TextAlpha), ("image_alpha", step.ImageAlpha),
                    ("clip_fraction", step.ClipFraction), ("kl", step.ApproxKl), ("gradient_norm", step.GradientNorm),
                    ("rationale_tokens", step.RationaleTokens),
                    .. believed, ("seconds", step.Seconds)]);
            });
        });
    }

    /// <summary>Benchmark of a stage at temperature 1, at 0.5 and greedy, and how much the rollouts of a prompt differ,
    /// as it is recorded.</summary>
    public JObject Measure(Janus model, bool rationale, int promptsPerTask)
    {
        var watch = System.Diagnostics.Stopwatch.StartNew();
        var results = new JObject();
        foreach (var (name, temperature) in new[] { ("t1", 1.0), ("t0.5", 0.5), ("greedy", 0.0) })
        {
            results[name] =
                Benchmark.Run(Policy(model, rationale, temperature), promptsPerTask, cancel: Cancel).ToJson();
        }

        var (scenes, images) = Benchmark.Distinct(Policy(model, rationale), Math.Min(GroupsPerTask, promptsPerTask),
            Config.Grpo.RolloutsPerPrompt);
        (results["distinct_scenes"], results["distinct_images"]) =
            (BenchmarkResult.Rounded(scenes), BenchmarkResult.Rounded(images));
        results["prompts_per_task"] = promptsPerTask;
        results["measured_seconds"] = Math.Round(watch.Elapsed.TotalSeconds, 2);
        return results;
    }

    private StageResult Supervised(string stage, Func<Janus> start, int steps, string data) =>
        Stage(stage, start, (model, record) =>
        {
            using var trainer = SftTrainer(model, data, steps);
            RunSteps(stage, record, steps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume,
                Config.StepsPerSave, () =>
            {
                var step = trainer.Step();
                record.Add(("step", step.Step), ("loss", step.Loss), ("text_loss", step.TextLoss),
                    ("image_loss", step.ImageLoss),
                    ("gradient_norm", step.GradientNorm), ("learning_rate", step.LearningRate), ("tokens", step.Tokens),
                    ("seconds", step.Seconds));
            });
        });

    // A finished stage is read; otherwise, when training from scratch, it is trained, measured and kept.
    private StageResult Stage(string stage, Func<Janus> start, Action<Janus, RunRecord> train)
    {
        if (IsThere(stage))
        {
            Tidy(stage);
            return new(Load(stage), Record(stage));
        }

        var model = start();
        using var turn = Turn(stage);
        if (IsThere(stage)) // another process has made it meanwhile
        {
            model.Dispose();
            return new(Load(stage), Record(stage));
        }

        var record = NewRecord(stage);
        train(model, record);
        Keep(stage, Weights(model), record, () =>
            Measure(model, NearEqualCodes.Read(stage).Stage != "base", Config.BenchmarkPromptsPerTask));
        return new(model, record);
    }

    private void Keep(string stage, Dictionary<string, Tensor> weights, RunRecord record, Func<JObject> measure)
    {
        Safetensors.Save(CheckpointPath(stage), weights, Description(stage), ScalarType.Float16);
        Safetensors.LoadInto(weights, CheckpointPath(stage)); // what is measured is what ships
        record.Results = measure();
        record.Save(Path.Combine(Folder, "runs"));
        RemovePartial(stage);
    }

    private void TrainTokenizer(Janus model)
    {
        if (IsThere("tokenizer"))
        {
            Tidy("tokenizer");
            return;
        }

        using var turn = Turn("tokenizer");
        if (IsThere("tokenizer"))
        {
            return;
        }

        var record = NewRecord("tokenizer");
        using (var trainer = TokenizerTrainer(model, TokenizerSettings))
        {
            RunSteps("tokenizer", record, Config.TokenizerSteps, () => (int)trainer.StepCount, trainer.Save,
                trainer.Resume, Config.StepsPerSave, () =>
            {
                var step = trainer.Step();
                record.Add(("step", step.Step), ("loss", step.Loss), ("squared_error", step.SquaredError),
                    ("codes_in_use", step.CodesInUse),
                    ("perplexity", step.Perplexity), ("seconds", step.Seconds));
            });
        }

        Keep("tokenizer", TokenizerWeights(model), record, () => new JObject
        {
            ["round_trip_textured"] = RoundTrip(model, Texture.Textured, Config.RoundTripScenes),
            ["round_trip_plain"] = RoundTrip(model, Texture.Plain, Config.RoundTripScenes),
        });
    }

    private void RunSteps(string stage, RunRecord record, int steps, Func<int> done, Action<string> save,
        Action<string> resume, int saveEvery, Action step)
    {
        var partial = Path.Combine(Folder, "partial");
        if (File.Exists(StatePath(stage)))
        {
            var rows = PartialRecord(stage, record);
            resume(StatePath(stage));
            if (rows.Count < done())
            {
                throw new UnusableFileException(Path.Combine(partial, stage + ".csv"),
                    $"it holds {rows.Count} steps, and the state beside it {done()}", BeginAnew(stage));
            }

            rows.TruncateTo(done());
            record.Continue(rows);
        }

        void SaveState()
        {
            record.Save(partial);
            save(StatePath(stage));
        }

        while (done() < steps)
        {
            try
            {
                step();
                record.Seconds += record.Last("seconds");
                OnStep?.Invoke(record, steps);
            }
            catch (Exception e) when (done() > 0 && record.Count == done() && e is not NonFiniteLossException)
            {
                StepGuard.SaveWhole(SaveState);
                throw;
            }

            if (done() % saveEvery == 0 || done() == steps || Cancel.IsCancellationRequested)
            {
                SaveState();
                Cancel.ThrowIfCancellationRequested();
            }
        }
    }

    private RunRecord NewRecord(string stage) =>
        new RunRecord(stage, Config.Seed, CommandOf?.Invoke(stage)
            ?? $"dotnet run -c Release --project lib/ReasonGen.Host -- study {stage} --seed {Config.Seed} "
            + $"--threads {get_num_threads()}{(Config.Name == StudyConfig.Trial.Name ? " --trial" : "")}"
            + $"{(Start is null ? "" : $" {StartOption}{Start}")}")
    {
        Settings = SettingsOf(stage),
    }.On(ComputeTarget.Default);

    private Dictionary<string, string> Description(string stage) =>
        new() { ["stage"] = stage, ["seed"] = Config.Seed.ToString(), ["commit"] = RunRecord.CurrentCommit };

    // of one call of Measure
    internal static int RolloutsMeasured(StudyConfig config) => Prompts.Tasks.Count
        * (3 * config.BenchmarkPromptsPerTask
            + Math.Min(GroupsPerTask, config.BenchmarkPromptsPerTask) * config.Grpo.RolloutsPerPrompt);

    private const int GroupsPerTask = 5; // in which different pictures are counted

    private const string StartOption = "--start ";

    private string StatePath(string stage) => Path.Combine(Folder, "partial", stage + ".state.safetensors");
}
