using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Ranks;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Runs;

/// <summary>Unattended runs on the tiny model in a folder of their own, for tests.</summary>
public abstract class TrainingRuns : IDisposable
{
    private protected static readonly ComputeTarget Cpu = new(CPU, ScalarType.Float32);

    private static readonly Prompt[] Prompts =
        [.. new[] { "a red apple", "two cups", "a dog" }.Select(text => new Prompt(text, "", []))];

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public void Dispose() => Directory.Delete(folder, true);

    private protected static JObject Identity(double rate = 1e-2) =>
        new() { ["sft"] = new JObject { ["learningRate"] = rate }, ["model"] = "tiny" };

    private protected static void Run(string path, TrainingStage stage, bool lora, CancellationToken cancel,
        Action<long>? stepped = null, int keep = 3, int steps = 6, double rate = 1e-2, int saveEvery = 2,
        string? validation = null, Action<string>? exporting = null, Func<GrpoConfig, GrpoConfig>? grpo = null,
        Func<RewardRequest, float>? reward = null, IRankGroup? among = null, Action? restoring = null,
        Action? reading = null, Action? weighing = null, string? command = null, int validationSamples = 3,
        int heldOutSamples = 3, int? heldOutCount = null)
    {
        var ranks = among ?? Alone.Group;
        using var end = new SharedCancellation(ranks, cancel);
        using var run = ranks.AfterFirst(() => ranks.Rank > 0 ? RunFolder.Follow(path)
            : RunFolder.Open(path, Identity(rate), [], command is null ? [] : new() { ["command"] = command },
                validation: validation));
        var start = run.In("base");
        ranks.ByFirst(() =>
        {
            if (!Directory.Exists(start))
            {
                TinyJanus.Write(start);
            }
        }, "a tiny model");

        var config = new RunConfig
        {
            Sft = new() { TotalSteps = steps, LearningRate = rate, MicroBatchSamples = 2 },
            Grpo = new()
            {
                PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 3, MaxRounds = 1, MaxEmptySteps = 9,
                LearningRate = 1e-2,
            },
            Rollout = new() { MaxTextTokens = 5, ImageTokens = TinyJanus.Config.ImageTokens },
            Lora = lora ? new() { Rank = 2 } : null,
            Run = new()
            {
                Steps = steps, SaveEvery = saveEvery, CheckpointEvery = 2, ValidateEvery = 2, Keep = keep,
                ValidationSamples = validationSamples, SampleEvery = 3, SampleImages = 2,
            },
        };
        config = config with { Grpo = grpo?.Invoke(config.Grpo) ?? config.Grpo };
        using var pipeline = JanusPipeline.Open(start, Cpu);
        using var reference = config.Grpo.KlWeight > 0 ? JanusPipeline.Open(start, Cpu) : null;
        var policy = config.Setup("tiny", TinyJanus.Config, ScalarType.Float32).Prepare(pipeline.Model);
        using var additions = policy as Lora;
        var special = pipeline.Tokenizer.Special;
        SftSample Sample(long step, int i) => new([65 + (int)step, 66], [67 + i],
            [.. Enumerable.Range(0, 16).Select(code => (code * i + step) % 64)]);
        SftBatch Batch(long step) =>
            SftBatch.Build([.. Enumerable.Range(0, 3).Select(i => Sample(step, i))], special);
        SftBatch HeldOut(long number) => SftBatch.Build([.. Enumerable.Range((int)number * heldOutSamples,
            heldOutSamples).Select(i => i % (heldOutCount ?? int.MaxValue)).Select(i => Sample(100 + i / 3, i % 3))],
            special);
        Action<string> export = policy is Lora some ? to => PeftAdapter.Save(some, to, start, JanusLayout.Original)
            : to => JanusFiles.Save(pipeline.Model, to, JanusLayout.Original, from: start);
        using var training = new TrainingRun(new RunParts
        {
            Stage = stage, Config = config, Policy = policy, Special = special,
            Source = new PolicySampler(policy, pipeline.Tokenizer, PromptTemplate.JanusRl, config.Rollout, CPU),
            Export = to =>
            {
                exporting?.Invoke(to);
                export(to);
            },
            Reference = reference?.Model, Provenance = new() { ["reward"] = "bright" }, SamplePrompts = Prompts,
            Batches = step =>
            {
                reading?.Invoke();
                return Batch(step);
            },
            HeldOut = HeldOut, HeldOutSamples = heldOutSamples, HeldOutCount = heldOutCount,
            PromptAt = i => Prompts[i % Prompts.Length],
            HeldOutPrompts = Prompts, Entropy = new Watched(config.Entropy.Build(), restoring, weighing),
            Reward = new LambdaReward("bright", request =>
            {
                reading?.Invoke();
                return reward?.Invoke(request) ?? request.Image.Rgb.Sum(value => value) % 2;
            }),
        }.SharedBy(ranks, end, CPU), run);
        training.Stepped += progress => stepped?.Invoke(progress.Done);
        training.Run(end.Token);
    }

    private protected string At(string name) => Path.Combine(folder, name);

    private protected string[] Files(string root) => [.. Directory.GetFiles(At(root), "*", SearchOption.AllDirectories)
        .Select(file => Path.GetRelativePath(At(root), file)).Order(StringComparer.Ordinal)];

    // without clocks, and paths of the folder itself
    private protected string Content(string root, string file)
    {
        var bytes = File.ReadAllBytes(Path.Combine(At(root), file));
        return Path.GetFileName(file) switch
        {
            "metrics.csv" => string.Join('\n', System.Text.Encoding.UTF8.GetString(bytes).Split('\n')
                .Select(line => string.Join(',', line.Split(',').SkipLast(Clocks)))),
            "run.json" => JObject.Parse(System.Text.Encoding.UTF8.GetString(bytes))["identity"]!.ToString(),
            "adapter_config.json" => System.Text.Encoding.UTF8.GetString(bytes).Replace(At(root), ""),
            _ => Convert.ToBase64String(bytes),
        };
    }

    private const int Clocks = 4;

    private sealed class Watched(IEntropyStrategy inner, Action? restoring, Action? weighing) : IEntropyStrategy
    {
        public string Name => inner.Name;

        public JObject Settings => inner.Settings;

        public bool NeedsGradient => inner.NeedsGradient;

        public EntropyCoefficients Next(double textEntropy, double imageEntropy)
        {
            weighing?.Invoke();
            return inner.Next(textEntropy, imageEntropy);
        }

        public JObject SaveState() => inner.SaveState();

        public void RestoreState(JObject state)
        {
            restoring?.Invoke();
            inner.RestoreState(state);
        }
    }
}
