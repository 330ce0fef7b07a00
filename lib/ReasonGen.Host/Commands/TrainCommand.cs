using System.CommandLine;
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.WorldData;
using static TorchSharp.torch;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen train: unattended runs of both stages, on models of any size.</summary>
internal static class TrainCommand
{
    private const int MostThreads = 1024;
    private static readonly TimeSpan Report = TimeSpan.FromSeconds(10);

    private const string SftHelp = """
        Fine-tunes a model on prompt → rationale → image. Interrupted or killed, the same command goes on where it was saved.

        Examples:
          reasongen train sft --model mini --out runs/sft
          reasongen train sft --model Janus-Pro-7B --data ReasonGen-R1-SFT-230k --validation held-out.parquet --out runs/sft
          reasongen train sft --model Janus-Pro-1B --data set.parquet --preset paper --set sft.totalSteps=500 --set lora.rank=32 --out runs/sft
          reasongen train sft --preset janus-7b --help-settings
        """;

    private const string GrpoHelp = """
        Trains a fine-tuned model by GRPO with the adaptive entropy loss. Interrupted or killed, the same command goes on where it was saved.

        Examples:
          reasongen train grpo --model runs/sft/model --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data geneval.txt --data dpg.txt --judge Qwen2.5-VL-7B-Instruct --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data train_metadata.jsonl --judge "geneval-share,0.5*hps" --weights judges --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data prompts.txt --judge http://localhost:8000/v1 --judge-model Qwen/Qwen2.5-VL-7B-Instruct
            --config mine.yaml --set grpo.learningRate=1e-5 --out runs/rl
        """;

    internal static Command Create() => new("train",
        "Trains a model unattended: 'train sft' fine-tunes, 'train grpo' reinforces. See 'reasongen train sft --help'.")
    {
        new Stage(TrainingStage.Sft).Create(SftHelp), new Stage(TrainingStage.Grpo).Create(GrpoHelp),
    };

    private sealed class Stage(TrainingStage stage)
    {
        private readonly ModelOptions model = new(required: false);
        private readonly TrainRewards rewards = new();
        private readonly Option<string[]> data = new("--data", "-d")
        {
            Description = (stage == TrainingStage.Sft ? "Parquet files of the published schema, or folders of them"
                : "Files of prompts: a prompt a "
                + "line, or .jsonl as GenEval's metadata")
                + "; or world, the drawn world, which is the default for mini.",
        };

        private readonly Option<string[]> validation = new("--validation")
        {
            Description = "Held-out data of the same kind; the best checkpoint by it is kept. The drawn world has "
                + "its own.",
        };

        private readonly Option<string?> preset = new Option<string?>("--preset")
        {
            Description = $"Settings to begin with: {string.Join(", ", RunConfig.Presets)}. Default: by the model's "
                + $"size.",
        }.Suggesting([.. RunConfig.Presets]);

        private readonly Option<string?> file = new("--config") { Description = "File of settings, json or YAML, "
            + "such as the settings.json of a run." };
        private readonly Option<string[]> set = new("--set")
        {
            Description = "One setting, such as grpo.learningRate=1e-5; --help-settings lists all.",
        };

        private readonly Option<int?> steps = new("--steps") { Description = "Steps of the whole run." };
        private readonly Option<long?> seed = new("--seed") { Description = "Seed of everything that is drawn." };
        private readonly Option<int?> threads = new("--threads")
        {
            Description = "Threads of libtorch, on which the last digits depend. Default: as many as processors.",
        };

        private readonly Option<string?> output =
            new("--out", "-o") { Description = "Folder of the run; made when missing." };
        private readonly Option<bool> helpSettings =
            new("--help-settings") { Description = "Lists every setting with its value and meaning." };
        private readonly Option<bool> dryRun = new("--dry-run") { Description = "Shows the plan alone." };

        internal Command Create(string help)
        {
            var command = new Command(stage.ToString().ToLowerInvariant(), help) { data, validation };
            model.AddTo(command);
            if (stage == TrainingStage.Grpo)
            {
                rewards.AddTo(command);
            }

            foreach (var option in (Option[])[preset, file, set, steps, seed, threads, output, helpSettings, dryRun])
            {
                command.Options.Add(option);
            }

            command.SetAction((parsed, cancel) =>
                Task.FromResult(RankedCommand.Run(cancel, ranks => Run(parsed, ranks, cancel))));
            return command;
        }

        private int Run(ParseResult parsed, IRankGroup ranks, CancellationToken cancel)
        {
            // everything that can be wrong is looked at before a weight is read
            var given = model.Folder(parsed);
            var found = given is null ? null : TrainModel.Find(given, stage);
            var settings = Settings(parsed, found);
            if (parsed.GetValue(helpSettings))
            {
                Console.Write(SettingsText.Help(settings));
                return CommandLine.Done;
            }

            if (found is null || parsed.GetValue(output) is not { Length: > 0 } folder)
            {
                throw new UsageException($"train {stage.ToString().ToLowerInvariant()} wants --model and --out. See "
                    + $"'reasongen train "
                    + $"{stage.ToString().ToLowerInvariant()} --help'.");
            }

            var (config, worldConfig) = (settings.Get<RunConfig>(), settings.Get<WorldBatchConfig>());
            config.Validate();
            var from = parsed.GetValue(data) is { Length: > 0 } some ? some : found.IsMini ? ["world"]
                : throw new UsageException("--data is missing: " + data.Description);
            var heldOut = parsed.GetValue(validation) ?? [];
            var parts = stage == TrainingStage.Grpo ? rewards.Find(parsed, config, TrainData.IsWorld(from)) : [];
            var identity = Identity(config, settings, found, from, parts, parsed);
            ranks.Agree(new JObject
            {
                ["stage"] = stage.ToString(), ["settings"] = settings.ToJson(), ["out"] = Path.GetFullPath(folder),
                ["validation"] = new JArray(heldOut.Select(path => TrainData.Fingerprint([path]))),
                ["run"] = new JObject(identity.Properties().Where(one => one.Value is JValue)),
            });
            SetThreads(parsed);
            var target = model.Target(parsed);
            PlanCommand.Print(MemoryPlan.Of(config.Setup(given!, found.Config, target.DType), stage,
                parts.Select(part => part.Qwen).FirstOrDefault(sizes => sizes is not null), ranks.Size));
            Console.WriteLine(Length(config));
            if (parsed.GetValue(dryRun))
            {
                return CommandLine.Done;
            }

            Signals.Patience = Signals.TrainingPatience;
            using var run = ranks.AfterFirst(() => ranks.Rank == 0 ? RunFolder.Open(folder, identity, About(settings))
                : RunFolder.Follow(folder));
            ranks.Agree(new JObject { ["folder"] = run.Fingerprint });
            return Train(run, found, config, worldConfig, from, heldOut, parts, target, settings, ranks, cancel);
        }

        private int Train(RunFolder run, TrainModel found, RunConfig config, WorldBatchConfig world, string[] data,
            string[] heldOut,
            IReadOnlyList<RewardPart> rewardParts, ComputeTarget target, Settings settings, IRankGroup ranks,
            CancellationToken asked)
        {
            using var end = new SharedCancellation(ranks, asked);
            var cancel = end.Token;
            var (pipeline, folder) = ranks.AfterFirst(() => found.Open(target, run));
            using var opened = pipeline;
            var (policy, export) = found.Prepare(config, pipeline, folder);
            using var additions = policy as Lora;
            var sampler = new PolicySampler(policy, pipeline.Tokenizer, stage == TrainingStage.Sft ? pipeline.Style.Sft
                : pipeline.Style.Rl,
                config.Rollout with { ImageTokens = pipeline.Model.Config.ImageTokens }, pipeline.Model.Target.Device)
            {
                TokenDone = _ => cancel.ThrowIfCancellationRequested(),
            };
            var about = new JObject
            {
                ["model"] = found.Given, ["data"] = new JArray(data), ["settings"] = settings.ToJson(), ["commit"] =
                    RunRecord.CurrentCommit,
            };
            var parts = new RunParts
            {
                Stage = stage, Config = config, Policy = policy, Special = pipeline.Tokenizer.Special, Source =
                    sampler, Export = export,
                Provenance = about,
            };
            using var reference = config.Grpo.KlWeight > 0 && stage == TrainingStage.Grpo ? found.Open(target, run)
                .Pipeline : null;
            parts = stage == TrainingStage.Sft
                ? ranks.AfterFirst(() => WithSamples(parts, data, heldOut, world, pipeline, asked))
                : WithPrompts(parts, data, heldOut, rewardParts, pipeline, target) with { Reference =
                reference?.Model };
            using var training = new TrainingRun(parts.SharedBy(ranks, end, pipeline.Model.Target.Device), run);
            Console.WriteLine(training.Done == 0 ? $"Training into {run.Folder}." : training.Done == training.Total
                ? $"All {training.Total} steps are done." : $"Goes on after step {training.Done} of {training.Total}.");
            training.Stepped += Reporter(ranks.Size == 1 && !Console.IsErrorRedirected);
            try
            {
                training.Run(cancel);
            }
            catch (OperationCanceledException)
            {
                Console.Error.WriteLine($"Interrupted after step {training.Done} of {training.Total}. What was done "
                    + $"is in {run.Folder}; the same "
                    + "command goes on from there.");
                return CommandLine.Interrupted;
            }

            var best = training.Best is var (step, value)
                ? $", the best by validation ({training.Measure!.Value.Name} {value:0.####} after step {step}) "
                + $"in {run.Best}" : "";
            Console.WriteLine($"The model is in {run.Final}{best}.");
            return CommandLine.Done;
        }

        private static RunParts WithSamples(RunParts parts, string[] data, string[] heldOut, WorldBatchConfig world,
            JanusPipeline pipeline,
            CancellationToken cancel)
        {
            var sft = TrainData.Sft(data, heldOut, parts.Config, world, pipeline, Say(), cancel);
            if (sft.Count is { } count)
            {
                var seen = (double)parts.Config.Sft.TotalSteps * parts.Config.Data.SamplesPerStep;
                Console.WriteLine($"{count:N0} samples, {seen / count:0.##} epochs.");
            }

            return parts with
            {
                Batches = sft.Batches, HeldOut = sft.HeldOut, HeldOutSamples = sft.HeldOutSamples, SamplePrompts =
                    Samples(parts.Config, sft.Prompts),
            };
        }

        private static RunParts WithPrompts(RunParts parts, string[] data, string[] heldOut,
            IReadOnlyList<RewardPart> rewards, JanusPipeline pipeline,
            ComputeTarget target)
        {
            var (at, held, all, leftOut) = TrainData.Grpo(data, heldOut, parts.Config, pipeline);
            Console.WriteLine($"{(TrainData.IsWorld(data) ? "Prompts are drawn." : $"{all.Count:N0} prompts")}"
                + $"{(leftOut > 0 ? $", {leftOut:N0} longer than {parts.Config.PromptTokens} tokens are left out" : "")}");
            if (rewards.FirstOrDefault(part => part.NeedsInclude) is { } blind
                && all.All(prompt => prompt.Include.Count == 0))
            {
                throw new UsageException($"--judge {blind.Spec} looks for the objects that a prompt asks for, and no "
                    + $"prompt of {string.Join(", ", data)} "
                    + "says which: give GenEval's metadata (.jsonl with \"include\")");
            }

            var reward = TrainRewards.Load(rewards, target);
            var provenance = (JObject)parts.Provenance.DeepClone();
            provenance["reward"] = reward.Name;
            return parts with
            {
                PromptAt = at, HeldOutPrompts = held, Reward = reward, Entropy = parts.Config.Entropy.Build(),
                    Provenance = provenance,
                SamplePrompts = Samples(parts.Config, [.. all.Take(4).Select(prompt => prompt.Text)]),
            };
        }

        private static Prompt[] Samples(RunConfig config, string[] otherwise) =>
            [.. (config.Run.SamplePrompts.Count > 0 ? config.Run.SamplePrompts : otherwise)
                .Select(text => new Prompt(text, "", []))];

        private Settings Settings(ParseResult parsed, TrainModel? found)
        {
            var config = RunConfig.Preset(parsed.GetValue(preset) ?? found?.Preset ?? "janus-7b");
            var adapter = found?.Adapter?.Config;
            var settings = new Settings(adapter is null ? config : config with { Lora = adapter },
                ("world", new WorldBatchConfig()));
            settings = parsed.GetValue(file) is { } path ? settings.With(SettingsText.Read(path)) : settings;
            if (parsed.GetValue(seed) is { } number)
            {
                settings = new[] { "run.seed", "data.seed", "grpo.seed" }.Aggregate(settings, (tree, name) =>
                    tree.With(name, $"{number}"));
            }

            settings = parsed.GetValue(steps) is not { } count ? settings
                : settings.With(stage == TrainingStage.Sft ? "sft.totalSteps" : "run.steps", $"{count}");
            foreach (var one in parsed.GetValue(set) ?? [])
            {
                settings = one.Split('=', 2) is [var name, var value] ? settings.With(name.Trim(), value.Trim())
                    : throw new UsageException($"--set {one}: write a name and a value, such as --set "
                        + $"grpo.learningRate=1e-5");
            }

            if (adapter is not null
                && !JToken.DeepEquals(JObject.FromObject(settings.Get<RunConfig>().Lora ?? new()),
                JObject.FromObject(adapter)))
            {
                throw new UsageException($"{found!.Given} is an adapter, whose additions are trained on as they are "
                    + $"(rank {adapter.Rank}, alpha "
                    + $"{adapter.Alpha}): leave the settings lora.* alone, or merge it first");
            }

            return settings;
        }

        // all that decides the run's numbers; how often it saves and draws does not
        private JObject Identity(RunConfig config, Settings settings, TrainModel found, string[] data,
            IReadOnlyList<RewardPart> parts, ParseResult parsed)
        {
            var all = settings.ToJson();
            string[] deciding = stage == TrainingStage.Sft ? TrainData.IsWorld(data) ? ["sft", "lora", "world"]
                : ["sft", "lora", "data"]
                : ["grpo", "rollout", "entropy", "lora", "promptTokens", .. parts.Count > 0 ? new[] { "judge" } : []];
            var identity = new JObject(deciding.Select(name => new JProperty(name, all[name])))
            {
                ["stage"] = stage.ToString(), ["seed"] = config.Run.Seed, ["model"] = found.Fingerprint(), ["data"] =
                    TrainData.Fingerprint(data),
                ["type"] = $"{model.Target(parsed).DType}",
            };
            if (parts.Count > 0)
            {
                identity["reward"] =
                    string.Join(" + ", parts.Select(part =>
                        FormattableString.Invariant($"{part.Weight} {part.Fingerprint}")));
                (identity["judge"] as JObject)?.Remove("concurrent");
            }

            return identity;
        }

        private static JObject About(Settings settings) => new()
        {
            ["settings"] = settings.ToJson(), ["commit"] = RunRecord.CurrentCommit,
            ["command"] = "reasongen "
                + string.Join(' ', Environment.GetCommandLineArgs().Skip(1).Select(SelfProcess.Quote)),
            ["started"] = DateTime.UtcNow.ToString("u"), ["torchsharp"] = typeof(TorchSharp.torch).Assembly.GetName()
                .Version!.ToString(),
        };

        private void SetThreads(ParseResult parsed)
        {
            if (parsed.GetValue(threads) is { } count)
            {
                set_num_threads(count is >= 1 and <= MostThreads ? count
                    : throw new UsageException($"--threads is {count}; it must be at least 1 and at most "
                        + $"{MostThreads}"));
            }
        }

        private string Length(RunConfig config) => stage == TrainingStage.Sft
            ? $"{config.Sft.TotalSteps} steps, learning rate {config.Sft.LearningRate:G3}."
            : $"{config.Run.Steps} steps of {config.Grpo.PromptsPerStep} prompts, {config.Grpo.RolloutsPerPrompt} "
                + $"rollouts each, "
                + $"{config.Grpo.PromptsPerStep / config.Grpo.PromptsPerUpdate} updates a step, learning rate "
                    + $"{config.Grpo.LearningRate:G3}.";
    }

    // one line at most every few seconds in a log; where someone is looking, one that keeps changing
    private static Action<RunProgress> Reporter(bool seen)
    {
        var (watch, last) = (Stopwatch.StartNew(), TimeSpan.FromHours(-1));
        return progress =>
        {
            string[] shown = progress.Metrics.Columns.Contains("reward")
                ? ["reward", "text_entropy", "image_entropy", "gradient_norm"]
                : ["loss", "text_loss", "image_loss", "gradient_norm"];
            var line = $"{progress.Done}/{progress.Total}  "
                + $"{string.Join("  ", shown.Select(name => $"{name} {progress.Metrics.Last(name):0.####}"))}  "
                    + $"{progress.SecondsPerStep:0.0#} s a step, "
                    + $"about {(int)progress.Left.TotalHours}:{progress.Left:mm\\:ss} left";
            if (seen && progress.Done < progress.Total)
            {
                Console.Error.Write($"\r{line}\x1b[K");
            }
            else if (watch.Elapsed - last > Report || progress.Done == progress.Total)
            {
                last = watch.Elapsed;
                Console.WriteLine(line);
            }
        };
    }

    private static Action<string> Say()
    {
        var (watch, last) = (Stopwatch.StartNew(), TimeSpan.Zero);
        return text =>
        {
            if (watch.Elapsed - last > Report)
            {
                last = watch.Elapsed;
                Console.WriteLine(text);
            }
        };
    }
}
