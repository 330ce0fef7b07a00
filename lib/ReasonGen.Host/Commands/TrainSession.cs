using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.WorldData;

namespace ReasonGen.Host.Commands;

/// <summary>A run of <c>train</c>: puts it together from what was given, and tells how it goes.</summary>
/// <param name="stage">The stage.</param>
/// <param name="found">The model.</param>
/// <param name="settings">All settings.</param>
/// <param name="data">What it learns from.</param>
/// <param name="heldOut">What it is held against; none for none, or the world's own.</param>
/// <param name="rewards">Parts of the reward.</param>
/// <param name="target">Device and type.</param>
/// <param name="ranks">The processes that train together.</param>
internal sealed class TrainSession(TrainingStage stage, TrainModel found, Settings settings, string[] data,
    string[] heldOut, IReadOnlyList<RewardPart> rewards, ComputeTarget target, IRankGroup ranks)
{
    private static readonly TimeSpan Report = TimeSpan.FromSeconds(10);
    private static readonly TimeSpan Sight = TimeSpan.FromSeconds(90); // NFS may remember for 60 that a name is missing
    private const string Loading = "loading";
    private static readonly string[] Asking = [nameof(ServedJudgeConfig.Concurrent), nameof(ServedJudgeConfig.Tries),
        nameof(ServedJudgeConfig.Timeout), nameof(ServedJudgeConfig.LongestWait),
        nameof(ServedJudgeConfig.LongestOutage)];

    private const int SampleCount = 4;

    private readonly RunConfig config = settings.Get<RunConfig>();

    /// <summary>All that decides the run's numbers; how often it saves and draws, and how patiently it asks a judge,
    /// does not.</summary>
    internal JObject Identity()
    {
        var all = settings.ToJson();
        string[] deciding = stage == TrainingStage.Grpo
            ? ["grpo", "rollout", "entropy", "lora", "promptTokens", "judge"]
            : TrainData.IsWorld(data) ? ["sft", "lora", "world"] : ["sft", "lora"];
        var identity = new JObject(deciding.Select(name => new JProperty(name, all[name])))
        {
            ["stage"] = $"{stage}", ["seed"] = config.Run.Seed, ["model"] = found.Fingerprint(),
            ["data"] = TrainData.Fingerprint(data), ["type"] = $"{target.DType}",
        };
        if (stage == TrainingStage.Sft && !TrainData.IsWorld(data))
        {
            var samples = ((JObject)all["data"]!).Properties()
                .Where(one => one.Name != Settings.Name(nameof(config.Data.MaxTokens))); // it refuses rows, no more
            identity.Add(samples.Select(one => new JProperty(RunFolder.OfSamples + one.Name, one.Value)));
        }

        if (rewards.Count > 0)
        {
            identity["reward"] = string.Join(" + ",
                rewards.Select(part => FormattableString.Invariant($"{part.Weight} {part.Fingerprint}")));
            Array.ForEach(Asking, name => ((JObject)identity["judge"]!).Remove(Settings.Name(name)));
        }

        return identity;
    }

    /// <summary>Takes the folder: the first rank does, the others follow when all were started alike.</summary>
    /// <param name="folder">The folder.</param>
    /// <param name="about">Of this session; how many ranks train on what is added.</param>
    /// <exception cref="ArgumentException">They were not.</exception>
    internal RunFolder Open(string folder, JObject about)
    {
        var identity = Identity();
        (about["ranks"], about["device"]) = (ranks.Size, target.Name);
        ranks.Agree(new JObject
        {
            ["stage"] = $"{stage}", ["settings"] = settings.ToJson(), ["out"] = Path.GetFullPath(folder),
            ["validation"] = TrainData.Fingerprint(heldOut),
            ["run"] = new JObject(identity.Properties().Where(one => one.Value is JValue)),
        });
        var opened = ranks.AfterFirst(() => ranks.Rank == 0
            ? RunFolder.Open(folder, identity, settings.ToJson(), about,
                text => Console.WriteLine(Terminal.Line(text)), Validation())
            : RunFolder.Follow(folder));
        const string what = "the run's folder";
        var first = ranks.Texts(ranks.Rank == 0 ? opened.Fingerprint : "", what)[0];
        _ = ranks.Awaited(() => opened.Shows(first, Sight), what);
        ranks.Agree(new JObject { ["folder"] = opened.Fingerprint });
        return opened;
    }

    // what it is held against; null for nothing
    private string? Validation()
    {
        var from = heldOut.Length > 0 ? heldOut : TrainData.IsWorld(data) ? data : [];
        if (from.Length == 0)
        {
            return null;
        }

        var (number, micro) = (config.Run.ValidationSamples, config.Sft.MicroBatchSamples);
        var count = TrainData.Count(stage, from);
        var measured = Math.Min(number, count ?? number);
        var batch = TrainData.IsWorld(from) ? settings.Get<WorldBatchConfig>().SamplesPerStep
            : config.Data.SamplesPerStep;
        // earlier versions measured whole batches, weighed micro-batches alike, and of more rows took those that come
        // first: others are told from theirs
        var alike = measured % batch == 0 && (batch <= micro || batch % micro == 0);
        var how = stage == TrainingStage.Grpo ? "" : measured < count ? "spread " : alike ? "" : "exactly ";
        return $"{how}{measured} of {TrainData.Fingerprint(from)}";
    }

    /// <summary>What the run will hold and how long it is.</summary>
    internal void ShowPlan()
    {
        PlanCommand.Print(MemoryPlan.Of(config.Setup(found.Given, found.Config, target.DType), stage,
            RewardPart.Plans(rewards, target), ranks.Size));
        var (sft, grpo) = (config.Sft, config.Grpo);
        Console.WriteLine(stage == TrainingStage.Sft ? $"{sft.TotalSteps} steps, learning rate {sft.LearningRate:G3}."
            : $"{config.Run.Steps} steps of {grpo.PromptsPerStep} prompts, {grpo.RolloutsPerPrompt} rollouts each, "
                + $"{grpo.PromptsPerStep / grpo.PromptsPerUpdate} updates a step, learning rate "
                + $"{grpo.LearningRate:G3}.");
        if (stage == TrainingStage.Grpo && config.Rollout.GuidanceScale != 1)
        {
            Console.WriteLine($"rollout.guidanceScale is {config.Rollout.GuidanceScale}, which guides sampling alone: "
                + "log-probs and updates are without guidance, other than in the reference. Set it to 1 to train what "
                + "is sampled.");
        }
    }

    /// <summary>Trains to the end.</summary>
    /// <returns>The exit code.</returns>
    internal int Run(RunFolder folder, CancellationToken asked)
    {
        using var end = new SharedCancellation(ranks, asked);
        var (pipeline, place) = ranks.AfterFirst(() => found.Open(target, folder));
        using var opened = pipeline;
        var (policy, export) = ranks.Awaited(() => found.Prepare(config, pipeline, place), Loading);
        using var additions = policy as Lora;
        using var reference = config.Grpo.KlWeight > 0 && stage == TrainingStage.Grpo
            ? ranks.Awaited(() => found.OpenReference(target, folder), Loading) : null;
        var parts = Parts(pipeline, policy, export, end.Token, asked) with { Reference = reference?.Model };
        using var run = new TrainingRun(parts.SharedBy(ranks, end, pipeline.Model.Target.Device), folder);
        Console.WriteLine(run.Done == 0 ? $"Training into {folder.Folder}."
            : run.Done == run.Total ? $"All {run.Total} steps are done."
            : run.Done > run.Total ? $"{run.Done} steps are done, more than the {run.Total} asked for: none is added."
            : $"Goes on after step {run.Done} of {run.Total}.");
        run.Stepped += Reporter(ranks.Size == 1 && !Console.IsErrorRedirected);
        try
        {
            run.Run(end.Token);
        }
        catch (OperationCanceledException)
        {
            if (ranks.Rank == 0)
            {
                Console.Error.WriteLine($"Interrupted after step {run.Done} of {run.Total}. What was done is in "
                    + $"{folder.Folder}; the same command goes on from there.");
            }

            return CommandLine.Interrupted;
        }

        var best = run.Best is var (step, value) ? $", the best by validation ({run.Measure!.Value.Name} "
            + $"{value:0.####} after step {step}) "
            + (new[] { folder.Best, folder.Better }.FirstOrDefault(path => RunFolder.StepOf(path) == step)
                is { } kept ? $"in {kept}" : "is not there any more") : "";
        var after = run.Done > run.Total ? $", as it is after step {run.Done}" : "";
        Console.WriteLine($"The model is in {folder.Final}{after}{best}.");
        return CommandLine.Done;
    }

    private RunParts Parts(JanusPipeline pipeline, IImageTextModel policy, Action<string> export,
        CancellationToken cancel, CancellationToken asked)
    {
        var style = stage == TrainingStage.Sft ? pipeline.Style.Sft : pipeline.Style.Rl;
        var sampling = config.Rollout with { ImageTokens = pipeline.Model.Config.ImageTokens };
        var sampler = new PolicySampler(policy, pipeline.Tokenizer, style, sampling, pipeline.Model.Target.Device)
        {
            TokenDone = _ => cancel.ThrowIfCancellationRequested(),
        };
        var parts = new RunParts
        {
            Stage = stage, Config = config, Policy = policy, Special = pipeline.Tokenizer.Special, Source = sampler,
            Export = export, Provenance = new()
            {
                ["model"] = found.Given, ["data"] = new JArray(data), ["settings"] = settings.ToJson(),
                ["commit"] = RunRecord.CurrentCommit, ["ranks"] = ranks.Size, ["device"] = target.Name,
            },
            Tell = Console.WriteLine,
        };
        return stage == TrainingStage.Sft ? ranks.AfterFirst(() => WithSamples(parts, pipeline, asked))
            : ranks.Awaited(() => WithPrompts(parts, pipeline), Loading);
    }

    private RunParts WithSamples(RunParts parts, JanusPipeline pipeline, CancellationToken cancel)
    {
        var samples = new TrainSamples(pipeline, config, settings.Get<WorldBatchConfig>(), Say(), cancel);
        var learned = samples.Of(data);
        var validated = samples.HeldOut(data, heldOut);
        if (learned.Count is { } count)
        {
            var epochs = (double)config.Sft.TotalSteps * config.Data.SamplesPerStep / count;
            Console.WriteLine($"{count:N0} samples, {epochs:0.##} epochs.");
        }

        return parts with
        {
            Batches = learned.Batch, HeldOut = validated?.Batch, HeldOutSamples = validated?.PerBatch ?? 1,
            HeldOutCount = validated?.Count, SamplePrompts = SheetOf(learned.Prompts),
        };
    }

    private RunParts WithPrompts(RunParts parts, JanusPipeline pipeline)
    {
        var prompts = TrainData.Prompts(data, heldOut, config, pipeline);
        Console.WriteLine((TrainData.IsWorld(data) ? "Prompts are drawn" : $"{prompts.All.Count:N0} prompts")
            + (prompts.LeftOut == 0 ? "."
                : $"; {prompts.LeftOut:N0} longer than {config.PromptTokens} tokens are left out."));
        var reward = TrainRewards.Load(rewards, target);
        parts.Provenance["reward"] = reward.Name;
        return parts with
        {
            PromptAt = prompts.At, HeldOutPrompts = prompts.HeldOut, Reward = reward, Entropy = config.Entropy.Build(),
            SamplePrompts = SheetOf(prompts.All.Select(prompt => prompt.Text)),
        };
    }

    private Prompt[] SheetOf(IEnumerable<string> otherwise) => [.. (config.Run.SamplePrompts.Count > 0
        ? config.Run.SamplePrompts : otherwise.Take(SampleCount)).Select(text => new Prompt(text, "", []))];

    // one line at most every few seconds in a log; where someone is looking, one that keeps changing
    private static Action<RunProgress> Reporter(bool seen)
    {
        var (watch, last) = (Stopwatch.StartNew(), -Report);
        return progress =>
        {
            string[] shown = progress.Metrics.Columns.Contains("reward")
                ? ["reward", "text_entropy", "image_entropy", "gradient_norm"]
                : ["loss", "text_loss", "image_loss", "gradient_norm"];
            var numbers = shown.Where(name => !double.IsNaN(progress.Metrics.Last(name)))
                .Select(name => $"{name} {progress.Metrics.Last(name):0.####}");
            var line = $"{progress.Done}/{progress.Total}  {string.Join("  ", numbers)}  "
                + $"{progress.SecondsPerStep:0.0#} "
                + $"s a step, about {(int)progress.Left.TotalHours}:{progress.Left:mm\\:ss} left";
            if (seen && progress.Done < progress.Total)
            {
                Terminal.Passing(line);
            }
            else if (watch.Elapsed - last > Report || progress.Done == progress.Total)
            {
                last = watch.Elapsed;
                Terminal.Passing("");
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
