using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Data;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.Text;
using ReasonGen.World;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>A trained stage: the model, and the record of the run that made it.</summary>
public sealed record StageResult(Janus Model, RunRecord Record);

/// <summary>
/// The paper's story in miniature, stage by stage: tokenizer → base → SFT → RL and its ablations. A preset decides whether a stage is trained here,
/// resuming what is there, or read from what ships. Everything a notebook needs to build its own variant is public.
/// </summary>
public sealed partial class Study
{

    /// <param name="config">What is trained, and what is read.</param>
    /// <param name="folder">Where stages are kept; by default the shipped data, or artifacts/study/… when trained from scratch.</param>
    public Study(StudyConfig config, string? folder = null)
    {
        Config = config;
        Folder = folder ?? (config.FromScratch ? Path.Combine(Path.GetDirectoryName(DataFolder())!, "artifacts", "study", $"{config.Name}-seed{config.Seed}") : DataFolder());
    }

    public StudyConfig Config { get; }

    /// <summary>Where checkpoints and runs of the stages are.</summary>
    public string Folder { get; }

    /// <summary>The drawn world.</summary>
    public WorldConfig World { get; } = new();

    /// <summary>The word tokenizer of the miniature.</summary>
    public WordTokenizer Tokenizer { get; } = new(Rationales.Words);

    /// <summary>The folder that foundations were taken from, for the command that remakes a run; null when all were made here.</summary>
    public string? Start { get; init; }

    /// <summary>Called after each recorded step with the record so far and the number of steps to come in all.</summary>
    public Action<RunRecord, int>? OnStep { get; set; }

    /// <summary>Ends a stage after the step at hand; its state is saved and it can be resumed.</summary>
    public CancellationToken Cancel => Cancellation();

    /// <summary>Gives the token of whoever waits now: a notebook has another one in each cell.</summary>
    public Func<CancellationToken> Cancellation { get; init; } = () => default;

    /// <summary>Names of the stages before RL, in the order in which each stands on those before it.</summary>
    public static IReadOnlyList<string> Foundations { get; } = ["tokenizer", "base", "sft"];

    /// <summary>Names of the RL arms, the paper's method first.</summary>
    public static IReadOnlyList<string> Arms { get; } = ["rl-adaptive", "rl-none", "rl-fixed", "rl-without-sft"];

    /// <summary>The folder "data" of the checkout this runs in.</summary>
    /// <exception cref="CheckpointException">Neither the working directory nor the program lies in a checkout.</exception>
    public static string DataFolder()
    {
        foreach (var start in new[] { Directory.GetCurrentDirectory(), AppContext.BaseDirectory, Path.GetDirectoryName(typeof(Study).Assembly.Location) ?? "" })
        {
            for (var folder = start.Length == 0 ? null : new DirectoryInfo(start); folder is not null; folder = folder.Parent)
            {
                if (File.Exists(Path.Combine(folder.FullName, "ReasonGen.Notebooks.sln")))
                {
                    return Path.Combine(folder.FullName, "data");
                }
            }
        }

        throw new CheckpointException(Directory.GetCurrentDirectory(), "neither here nor above is the folder with ReasonGen.Notebooks.sln", "run inside a clone of the repository");
    }

    /// <summary>What ships under the data folder.</summary>
    public static IEnumerable<string> ShippedFiles() => Foundations.Concat(Judges).Concat(Arms).Concat(JudgeArms)
        .SelectMany(FilesOf).Concat(JudgeArms.SelectMany(arm => new[] { $"runs/seed2/{arm}.csv", $"runs/seed2/{arm}.json" }));

    private static string[] FilesOf(string stage) => [$"checkpoints/{stage}.safetensors", $"runs/{stage}.csv", $"runs/{stage}.json"];

    /// <summary>A fresh model with the trained image tokenizer in it.</summary>
    public Janus NewModel()
    {
        var model = Untrained();
        var tokenizer = CheckpointPath("tokenizer");
        if (!File.Exists(tokenizer) && Config.FromScratch)
        {
            TrainTokenizer(model);
        }

        Safetensors.LoadInto(TokenizerWeights(model), tokenizer);
        return model;
    }

    /// <summary>A model with weights from the seed alone.</summary>
    public Janus Untrained()
    {
        var model = new Janus(JanusConfig.Mini(Tokenizer.VocabularySize), ComputeTarget.Default);
        model.Initialize(Seeds.Mix(Config.Seed, 1));
        return model;
    }

    /// <summary>The record of a finished stage.</summary>
    public RunRecord Record(string stage) => RunRecord.Load(Path.Combine(Folder, "runs"), stage);

    /// <summary>The record that ships of an arm made once more, with another seed, from the same fine-tuned model.</summary>
    public static RunRecord RecordOfSeed(string arm, long seed) => RunRecord.Load(Path.Combine(DataFolder(), "runs", $"seed{seed}"), arm);

    /// <summary>Weights of a finished stage.</summary>
    public Janus Load(string stage)
    {
        var model = NewModel();
        Safetensors.LoadInto(Weights(model), CheckpointPath(stage));
        return model;
    }

    /// <summary>Training batches of the world.</summary>
    public WorldBatches Batches(Janus model, string stage) => new(new WorldStream(World, Seeds.Mix(Config.Seed, stage == "base" ? 11 : 12)), model.ImageTokenizer, Tokenizer,
        PromptTemplate.Mini, new WorldBatchConfig());

    /// <summary>A trainer for base ("base") or fine-tuning ("sft") with the study's settings.</summary>
    public SftTrainer SftTrainer(Janus model, string stage, int? totalSteps = null)
    {
        var batches = Batches(model, stage);
        return new(model, stage == "base" ? batches.Base : batches.Rationale, Tokenizer.Special.BeginOfImage,
            SftConfig.Mini(totalSteps ?? (stage == "base" ? Config.BaseSteps : Config.SftSteps)));
    }

    /// <summary>The study's settings of GRPO.</summary>
    public GrpoConfig GrpoSettings => GrpoConfig.Mini with { Seed = Seeds.Mix(Config.Seed, 21) };

    /// <summary>A GRPO trainer with the study's settings and the detector, or another reward.</summary>
    public GrpoTrainer GrpoTrainer(Janus model, IEntropyStrategy entropy, IReward? reward = null, GrpoConfig? config = null)
    {
        config ??= GrpoSettings;
        var collector = new ExperienceCollector(Policy(model), reward ?? new DetectorReward(), i => Prompts.Draw(Seeds.Random(Config.Seed, 22, i)), config);
        return new(model, collector, entropy, Tokenizer.Special.BeginOfImage, config);
    }

    /// <summary>A model as a policy: prompts in, rationales and pictures out.</summary>
    /// <param name="model">The model.</param>
    /// <param name="rationale">Whether it writes first; false draws at once, as the base model was trained to.</param>
    /// <param name="temperature">Of the samples; 0 takes the likeliest token.</param>
    public PolicySampler Policy(Janus model, bool rationale = true, double temperature = 1) => new(model, Tokenizer, PromptTemplate.Mini, RolloutConfig.Mini with
    {
        TextBudget = rationale ? RolloutConfig.Mini.TextBudget : 0, Temperature = temperature == 0 ? 1 : temperature, Greedy = temperature == 0,
    }, model.Target.Device);

    /// <summary>The entropy term of an arm.</summary>
    public static IEntropyStrategy Entropy(string arm) => arm switch
    {
        "rl-none" or "none" => new NoEntropyTerm(),
        "rl-fixed" or "fixed" => new FixedEntropyTerm(0.02),
        _ => new AdaptiveEntropyTerm(new() { Target = 0.25, LearningRate = 5e-4, Bound = 0.01 }, new() { Target = 1.5, LearningRate = 5e-4, Bound = 0.01 }),
    };

    /// <summary>A trainer of the image tokenizer, on three textured pictures for each plain one.</summary>
    public VqTrainer TokenizerTrainer(Janus model, VqTrainerConfig config)
    {
        const int pictures = 32;
        WorldStream textured = new(World, Seeds.Mix(Config.Seed, 3)), plain = new(World with { Look = Look.Plain }, Seeds.Mix(Config.Seed, 4));
        return new(model.ImageTokenizer, step =>
        {
            var some = textured.Take(step * pictures, pictures * 3 / 4).Select(sample => sample.Picture(textured.Config))
                .Concat(plain.Take(step * pictures, pictures / 4).Select(sample => sample.Picture(plain.Config)));
            return Pictures.ToTensor(some.ToArray(), model.Target.Device);
        }, config);
    }

    /// <summary>Share of held-out scenes whose picture, encoded and decoded, still satisfies its prompt.</summary>
    public double RoundTrip(Janus model, Look look, int scenes)
    {
        var stream = new WorldStream(World with { Look = look }, Seeds.Mix(Config.Seed, 5));
        var right = 0;
        for (var start = 0; start < scenes; start += 100)
        {
            using var scope = NewDisposeScope();
            var samples = stream.Take(start, Math.Min(100, scenes - start));
            var pictures = Pictures.ToTensor(samples.Select(sample => sample.Picture(stream.Config)).ToArray(), model.Target.Device);
            var decoded = Pictures.FromTensor(model.DecodeImage(model.ImageTokenizer.Encode(pictures)));
            right += samples.Where((sample, i) => Detector.Check(decoded[i], sample.Prompt).Correct).Count();
        }

        return right / (double)scenes;
    }

    private string CheckpointPath(string stage) => Path.Combine(Folder, "checkpoints", stage + ".safetensors");

    private static Dictionary<string, Tensor> Weights(Janus model) => model.TrainableParameters().ToDictionary(p => p.Name, p => (Tensor)p.Parameter);

    private static Dictionary<string, Tensor> TokenizerWeights(Janus model) =>
        model.ImageTokenizer.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
}
