using System.CommandLine;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Qwen;
using ReasonGen.Ranks;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.WorldData;
using static TorchSharp.torch;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen train: unattended runs of both stages, on models of any size.</summary>
/// <param name="stage">The stage that this command is of.</param>
internal sealed class TrainCommand(TrainingStage stage)
{
    private const int MostThreads = 1024;

    private const string SftHelp = """
        Fine-tunes a model on prompt → rationale → image. Interrupted or killed, the same command goes on where it was saved.

        Examples:
          reasongen train sft --model mini --out runs/sft
          reasongen train sft --model Janus-Pro-7B --data ReasonGen-R1-SFT-230k --validation held-out.parquet --out runs/sft
          reasongen train sft --model Janus-Pro-7B --data SET/data/train-*.parquet --validation SET/data/test-*.parquet --out runs/sft
          reasongen train sft --model Janus-Pro-1B --data set.parquet --steps 500
            --set lora.rank=32 --set lora.alpha=64 --out runs/sft
          reasongen train sft --preset janus-7b --help-settings
        """;

    private const string GrpoHelp = """
        Trains a fine-tuned model by GRPO with the adaptive entropy loss. Interrupted or killed, the same command goes on where it was saved.

        Examples:
          reasongen train grpo --model runs/sft/model --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data geneval.txt --data dpg.txt --judge Qwen2.5-VL-7B-Instruct --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data train_metadata.jsonl --judge "geneval-share,0.5*hps" --weights judges --out runs/rl
          reasongen train grpo --model ReasonGen-R1-SFT --data prompts.txt --judge http://localhost:8000/v1 --judge-model Qwen2.5-VL-7B-Instruct
            --config mine.yaml --set grpo.learningRate=1e-5 --out runs/rl
        """;

    private readonly ModelOptions model = new(required: false);
    private readonly TrainRewards rewards = new();
    private readonly SettingsOptions settings = new();
    private readonly Option<string[]> data = new("--data", "-d")
    {
        AllowMultipleArgumentsPerToken = true,
        Description = (stage == TrainingStage.Sft ? "Parquet files of the published schema, or folders of one split of "
            + "them, in the folder itself or in data/ below it"
            : "Files of prompts: a prompt a line, or .jsonl as GenEval's metadata")
            + "; or world, the drawn world, which is the default for mini.",
    };

    private readonly Option<string[]> validation = new("--validation")
    {
        AllowMultipleArgumentsPerToken = true,
        Description = "Held-out data of the same kind; the best checkpoint by it is kept. The drawn world has its own.",
    };

    private readonly Option<int?> steps = new("--steps") { Description = "Steps of the whole run." };
    private readonly Option<long?> seed = new("--seed") { Description = "Seed of everything that is drawn." };
    private readonly Option<int?> threads = new("--threads")
    {
        Description = "Threads of libtorch, on which the last digits depend. Default: as many as processors.",
    };

    private readonly Option<string?> output = new("--out", "-o")
    {
        Description = "Folder of the run; made when missing.",
    };

    private readonly Option<bool> helpSettings = new("--help-settings")
    {
        Description = "Lists every setting with its value and meaning.",
    };

    private readonly Option<bool> dryRun = new("--dry-run") { Description = "Shows the plan alone." };

    private string Name => stage.ToString().ToLowerInvariant();

    internal static Command Create() => new("train",
        "Trains a model unattended: 'train sft' fine-tunes, 'train grpo' reinforces. See 'reasongen train sft --help'.")
    {
        new TrainCommand(TrainingStage.Sft).Command(SftHelp), new TrainCommand(TrainingStage.Grpo).Command(GrpoHelp),
    };

    private Command Command(string help)
    {
        var command = new Command(Name, help) { data, validation };
        model.AddTo(command);
        if (stage == TrainingStage.Grpo)
        {
            rewards.AddTo(command);
        }

        settings.AddTo(command);
        foreach (var option in (Option[])[steps, seed, threads, output, helpSettings, dryRun])
        {
            command.Options.Add(option);
        }

        command.SetAction((parsed, cancel) =>
            Task.FromResult(RankedCommand.Run(cancel, ranks => Run(parsed, ranks, cancel))));
        return command;
    }

    // everything that can be wrong is looked at before a weight is read
    private int Run(ParseResult parsed, IRankGroup ranks, CancellationToken cancel)
    {
        var given = model.Folder(parsed);
        var found = given is null ? null : TrainModel.Find(given, stage);
        var all = Settings(parsed, found, ranks.Size);
        if (parsed.GetValue(helpSettings))
        {
            Console.Write(SettingsText.Help(all));
            return CommandLine.Done;
        }

        if (found is null || parsed.GetValue(output) is not { Length: > 0 } folder)
        {
            throw new UsageException($"train {Name} wants --model and --out. See 'reasongen train {Name} --help'.");
        }

        var config = all.Get<RunConfig>();
        config.Validate();
        all.Get<WorldBatchConfig>().Validate();
        var from = parsed.GetValue(data) is { Length: > 0 } some ? some : found.IsMini ? [TrainData.DrawnWorld]
            : throw new UsageException($"--data is missing: {data.Description}");
        var heldOut = parsed.GetValue(validation) ?? [];
        found.Expect(config);
        TrainData.Expect(stage, from, heldOut);
        TrainData.ExpectSize(found.Config, stage == TrainingStage.Sft ? [from, heldOut] : [from]);
        var parts = stage == TrainingStage.Grpo ? rewards.Find(parsed, config, TrainData.IsWorld(from)) : [];
        TrainData.ExpectReadable(parts, from, heldOut);
        found.ExpectOutside(folder, parts.Select(part => part.Spec));
        SetThreads(parsed);
        var session = new TrainSession(stage, found, all, from, heldOut, parts, model.Target(parsed), ranks);
        using var run = parsed.GetValue(dryRun) ? null : session.Open(folder, Provenance.Now());
        session.ShowPlan();
        if (run is null)
        {
            return CommandLine.Done;
        }

        Signals.FinishStep(tells: ranks.Rank == 0);
        return session.Run(run, cancel);
    }

    private Settings Settings(ParseResult parsed, TrainModel? found, int ranks)
    {
        var adapter = found?.Adapter?.Config;
        var (number, count) = (parsed.GetValue(seed), parsed.GetValue(steps));
        (string, string)[] values =
        [
            .. number is null ? [] : new[] { "run.seed", "data.seed", "grpo.seed" }.Select(name => (name, $"{number}")),
            .. count is null ? [] : new[] { (stage == TrainingStage.Sft ? "sft.totalSteps" : "run.steps", $"{count}") },
        ];
        Settings Read(Func<RunConfig, RunConfig> change) => settings.Read(parsed, found?.Preset ?? "janus-7b", config =>
            AsBegun(change(adapter is null ? config : config with { Lora = adapter }), parsed.GetValue(output)),
            values);
        var all = Read(config => config);
        if (found is not null && stage == TrainingStage.Grpo && model.Target(parsed) is { Bytes: not null } target)
        {
            RunConfig Asked(RunConfig config) => config with
            {
                Judge = config.Judge with { ImagesPerBatch = JudgeConfig.On(target).ImagesPerBatch },
            };
            var rows = Rows(Read(Asked).Get<RunConfig>(), parsed, found, target, ranks);
            all = Read(config => Asked(config) with { Rollout = config.Rollout with { RowsAtATime = rows } });
        }

        return adapter is null || all.Get<RunConfig>().Lora is { } lora
            && JToken.DeepEquals(JObject.FromObject(lora), JObject.FromObject(adapter)) ? all
            : throw new UsageException($"{found!.Given} is an adapter, whose additions are trained on as they are "
                + $"(rank "
                + $"{adapter.Rank}, alpha {adapter.Alpha}): leave the settings lora.* alone, or merge it first");
    }

    // as many at a time as the GPU has room for beside judges and reference; who finds no judge is told of it later
    private int Rows(RunConfig config, ParseResult parsed, TrainModel found, ComputeTarget target, int ranks)
    {
        IReadOnlyList<PlannedJudge> judges;
        try
        {
            judges = RewardPart.Plans(rewards.Find(parsed, config,
                found.IsMini || TrainData.IsWorld(parsed.GetValue(data) ?? [])), target);
        }
        catch (Exception e) when (e is UsageException or UnusableFileException or ArgumentException)
        {
            judges = [PlannedJudge.Of("judge", QwenConfig.Qwen7B, target.DType)];
        }

        return config.Setup(found.Given, found.Config, target.DType).WithRows(target.Bytes, judges, ranks)
            .Rollout.RowsAtATime;
    }

    // they decide the numbers: a run that goes on keeps those it was begun with, on whatever and how many GPUs
    private static RunConfig AsBegun(RunConfig config, string? folder)
    {
        var begun = string.IsNullOrEmpty(folder) ? null : RunFolder.BegunAs(folder);
        int Number(string path, int otherwise) =>
            begun?.SelectToken(path) is JValue { Value: long and >= 1 and <= int.MaxValue and var number }
                ? (int)(long)number : otherwise;
        return config with
        {
            Rollout = config.Rollout with
            {
                RowsAtATime = Number("rollout.rowsAtATime", config.Rollout.RowsAtATime),
            },
            Judge = config.Judge with { ImagesPerBatch = Number("judge.imagesPerBatch", config.Judge.ImagesPerBatch) },
            Grpo = config.Grpo with
            {
                PromptsPerRefill = Number("grpo.promptsPerRefill", config.Grpo.PromptsPerRefill),
            },
            Entropy = begun is null ? config.Entropy
                : config.Entropy with { Pairs = Number("entropy.pairs", RunFolder.PairsBefore) },
        };
    }

    private void SetThreads(ParseResult parsed)
    {
        if (parsed.GetValue(threads) is { } count)
        {
            _ = ComputeTarget.Default; // loads libtorch
            set_num_threads(count is >= 1 and <= MostThreads ? count
                : throw new UsageException($"--threads is {count}; it must be at least 1 and at most {MostThreads}"));
        }
    }
}
