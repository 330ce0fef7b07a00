using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Data;
using ReasonGen.Evaluation;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Sft;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <content>The stages: each is read when it is there, else trained, measured and recorded; an interrupted one goes on where it was.</content>
public sealed partial class Study
{
    /// <summary>The image tokenizer.</summary>
    public StageResult ImageTokenizer()
    {
        var model = NewModel();
        return new(model, Record("tokenizer"));
    }

    /// <summary>The base model: prompt → picture, and some prompt → rationale.</summary>
    public StageResult Base() => Supervised("base", null, Config.BaseSteps, batches => batches.Base);

    /// <summary>The base model after supervised fine-tuning on prompt → rationale → picture.</summary>
    public StageResult Sft() => Supervised("sft", Base, Config.SftSteps, batches => batches.Rationale);

    /// <summary>An arm of reinforcement learning, by name; see <see cref="Arms"/>.</summary>
    public StageResult Rl(string arm)
    {
        if (!Arms.Contains(arm) && !JudgeArms.Contains(arm))
        {
            throw new ArgumentException($"there is no arm '{arm}'; there are {string.Join(", ", Arms.Concat(JudgeArms))}", nameof(arm));
        }

        var steps = JudgeArms.Contains(arm) ? Config.JudgeRlSteps : Config.RlSteps;
        return Stage(arm, () => (arm == "rl-without-sft" ? Base() : Sft()).Model, (model, record) =>
        {
            var audit = JudgeArms.Contains(arm) ? new AuditedReward(Judge(arm["rl-".Length..]).Judge) : null;
            // a policy that fools its judge every time is a result, not a mistake: the run goes on to its end
            var config = audit is null ? null : GrpoSettings with { MaxEmptySteps = steps + 1 };
            using var trainer = GrpoTrainer(model, Entropy(arm), audit, config);
            record.Settings = new JObject { ["grpo"] = JObject.FromObject(trainer.Config), ["entropy"] = arm, ["steps"] = steps };
            RunSteps(arm, record, steps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume, 20, () =>
            {
                var step = trainer.Step(Cancel);
                (string, double)[] believed = audit?.Take() is var (judged, right, fooled) ? [("judged", judged), ("detector", right), ("fooled", fooled)] : [];
                record.Add([("step", step.Step), ("reward", step.Reward), ("groups", step.Groups), ("zero_variance", step.ZeroVariance), ("rounds", step.Rounds),
                    ("text_entropy", step.TextEntropy), ("image_entropy", step.ImageEntropy), ("text_alpha", step.TextAlpha), ("image_alpha", step.ImageAlpha),
                    ("clip_fraction", step.ClipFraction), ("kl", step.Divergence), ("gradient_norm", step.GradientNorm), ("rationale_tokens", step.RationaleTokens),
                    .. believed, ("seconds", step.Seconds)]);
            });
        });
    }

    /// <summary>Benchmark of a stage at temperature 1, at 0.5 and greedy, as it is recorded.</summary>
    public JObject Measure(Janus model, bool rationale, int promptsPerTask)
    {
        var results = new JObject();
        foreach (var (name, temperature) in new[] { ("t1", 1.0), ("t0.5", 0.5), ("greedy", 0.0) })
        {
            var result = Benchmark.Run(Policy(model, rationale, temperature), promptsPerTask, cancel: Cancel);
            results[name] = new JObject
            {
                ["mean"] = Math.Round(result.Mean, 4), ["standard_error"] = Math.Round(result.StandardError, 4), ["tasks"] = JObject.FromObject(result.Tasks),
                ["plan_correct"] = Rounded(result.PlanCorrect), ["image_follows_plan"] = Rounded(result.ImageFollowsPlan), ["layout_entropy"] = Rounded(result.LayoutEntropy),
            };
        }

        results["prompts_per_task"] = promptsPerTask;
        return results;
    }

    private StageResult Supervised(string stage, Func<StageResult>? before, int steps, Func<WorldBatches, Func<long, SftBatch>> source) =>
        Stage(stage, () => before?.Invoke().Model ?? NewModel(), (model, record) =>
        {
            using var trainer = SftTrainer(model, stage);
            record.Settings = new JObject { ["sft"] = JObject.FromObject(trainer.Config), ["data"] = JObject.FromObject(new WorldBatchConfig()) };
            RunSteps(stage, record, steps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume, 200, () =>
            {
                var step = trainer.Step();
                record.Add(("step", step.Step), ("loss", step.Loss), ("text_loss", step.TextLoss), ("image_loss", step.ImageLoss),
                    ("gradient_norm", step.GradientNorm), ("learning_rate", step.LearningRate), ("tokens", step.Tokens), ("seconds", step.Seconds));
            });
        });

    // A finished stage is read; otherwise, when training from scratch, it is trained, measured and kept.
    private StageResult Stage(string stage, Func<Janus> start, Action<Janus, RunRecord> train)
    {
        if (IsThere(stage))
        {
            return new(Load(stage), Record(stage));
        }

        var model = start();
        var record = NewRecord(stage);
        train(model, record);
        Keep(stage, Weights(model), record, () => Measure(model, stage != "base", Config.BenchmarkPromptsPerTask));
        return new(model, record);
    }

    /// <summary>Takes over from another study what the stages to be made stand on: tokenizer, base, SFT and judges, up to the first of them that is to be made.</summary>
    /// <exception cref="ArgumentException">There is no such folder.</exception>
    public void CopyFoundations(string from, IReadOnlyList<string> toBeMade)
    {
        if (!Directory.Exists(Path.Combine(from, "checkpoints")))
        {
            throw new ArgumentException($"'{from}' holds no finished stages; give a folder with checkpoints and runs in it, such as data", nameof(from));
        }

        foreach (var file in Foundations.Concat(Judges).TakeWhile(stage => !toBeMade.Contains(stage)).SelectMany(FilesOf))
        {
            var (source, target) = (Path.Combine(from, file), Path.Combine(Folder, file));
            Directory.CreateDirectory(Path.GetDirectoryName(target)!);
            if (File.Exists(source) && !File.Exists(target))
            {
                File.Copy(source, target);
            }
        }
    }

    private bool IsThere(string stage) => !Config.FromScratch || (File.Exists(CheckpointPath(stage)) && File.Exists(Path.Combine(Folder, "runs", stage + ".json")));

    private void Keep(string stage, Dictionary<string, Tensor> weights, RunRecord record, Func<JObject> measure)
    {
        Safetensors.Save(CheckpointPath(stage), weights, Description(stage), ScalarType.Float16);
        Safetensors.LoadInto(weights, CheckpointPath(stage)); // what is measured is what ships
        record.Results = measure();
        record.Save(Path.Combine(Folder, "runs"));
        foreach (var leftover in new[] { StatePath(stage), Path.Combine(Folder, "partial", stage + ".csv"), Path.Combine(Folder, "partial", stage + ".json") }.Where(File.Exists))
        {
            File.Delete(leftover);
        }
    }

    private void TrainTokenizer(Janus model)
    {
        var record = NewRecord("tokenizer");
        var config = new VqTrainerConfig { TotalSteps = Config.TokenizerSteps, Seed = Seeds.Mix(Config.Seed, 2) };
        record.Settings = JObject.FromObject(config);
        using (var trainer = TokenizerTrainer(model, config))
        {
            foreach (var step in trainer.Steps(cancel: Cancel))
            {
                record.Add(("step", step.Step), ("loss", step.Loss), ("squared_error", step.SquaredError), ("codes_in_use", step.CodesInUse),
                    ("perplexity", step.Perplexity), ("seconds", step.Seconds));
                record.Seconds += step.Seconds;
                OnStep?.Invoke(record, Config.TokenizerSteps);
            }
        }

        Cancel.ThrowIfCancellationRequested();
        Safetensors.Save(CheckpointPath("tokenizer"), TokenizerWeights(model), Description("tokenizer"), ScalarType.Float16);
        Safetensors.LoadInto(TokenizerWeights(model), CheckpointPath("tokenizer"));
        record.Results = new JObject { ["round_trip_textured"] = RoundTrip(model, Look.Textured, 3000), ["round_trip_plain"] = RoundTrip(model, Look.Plain, 3000) };
        record.Save(Path.Combine(Folder, "runs"));
    }

    private void RunSteps(string stage, RunRecord record, int steps, Func<int> done, Action<string> save, Action<string> resume, int saveEvery, Action step)
    {
        var partial = Path.Combine(Folder, "partial");
        if (File.Exists(StatePath(stage)))
        {
            resume(StatePath(stage));
            var rows = RunRecord.Load(partial, stage);
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
            }
            catch (Exception e) when (e is EndpointException or OperationCanceledException && done() > 0)
            {
                SaveState(); // a step that did not come to its end changed nothing
                throw;
            }

            record.Seconds += record.Last("seconds");
            OnStep?.Invoke(record, steps);
            if (done() % saveEvery == 0 || Cancel.IsCancellationRequested)
            {
                SaveState();
                Cancel.ThrowIfCancellationRequested();
            }
        }
    }

    private RunRecord NewRecord(string stage) => new(stage, Config.Seed, $"dotnet run -c Release --project lib/ReasonGen.Host -- study {stage} --seed {Config.Seed} --threads {get_num_threads()}{(Start is null ? "" : $" --start {Start}")}");

    private Dictionary<string, string> Description(string stage) => new() { ["stage"] = stage, ["seed"] = Config.Seed.ToString(), ["commit"] = RunRecord.CurrentCommit };

    private string StatePath(string stage) => Path.Combine(Folder, "partial", stage + ".state.safetensors");

    private static JToken Rounded(double value) => double.IsNaN(value) ? JValue.CreateNull() : Math.Round(value, 4);
}
