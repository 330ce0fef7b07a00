using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>A trained stage: the model, and the record of the run that made it.</summary>
public sealed record StageResult(Janus Model, RunRecord Record);

/// <summary>
/// The paper's story in miniature, stage by stage: tokenizer → base → SFT → RL and its ablations. A preset decides
/// whether a stage is trained here, resuming what is there, or read from what ships. Everything a notebook needs to
/// build its own variant is public.
/// </summary>
public sealed partial class Study
{
    /// <param name="config">What is trained, and what is read.</param>
    /// <param name="folder">Where stages are kept; by default the shipped data, or artifacts/study/… when trained from
    /// scratch.</param>
    /// <exception cref="ArgumentException">A number of the configuration is out of range.</exception>
    public Study(StudyConfig config, string? folder = null)
    {
        config.Validate();
        Config = config;
        Folder = folder
            ?? (config.FromScratch
                ? Path.Combine(Checkout() ?? Directory.GetCurrentDirectory(), "artifacts", "study",
                    $"{config.Name}-seed{config.Seed}") : DataFolder());
    }

    public StudyConfig Config { get; }

    /// <summary>Where checkpoints and runs of the stages are.</summary>
    public string Folder { get; }

    /// <summary>The drawn world.</summary>
    public WorldConfig World { get; } = new();

    /// <summary>The word tokenizer of the miniature.</summary>
    public WordTokenizer Tokenizer { get; } = new(Rationales.Words);

    /// <summary>The folder that foundations were taken from, for the command that remakes a run; null when all were
    /// made here.</summary>
    public string? Start { get; init; }

    /// <summary>Whether a stage that is asked for by <see cref="Load"/>, <see cref="Record"/> or
    /// <see cref="LoadJudge"/> is trained first, where stages are trained here and it is not there. Default
    /// false.</summary>
    public bool TrainsOnDemand { get; init; }

    /// <summary>Called after each recorded step with the record so far and the number of steps to come in
    /// all.</summary>
    public Action<RunRecord, int>? OnStep { get; set; }

    /// <summary>Ends a stage after the step at hand; its state is saved and it can be resumed.</summary>
    public CancellationToken Cancel => Cancellation();

    /// <summary>Gives the token of whoever waits now: a notebook has another one in each cell.</summary>
    public Func<CancellationToken> Cancellation { get; init; } = () => default;

    /// <summary>Names of the stages before RL, in the order in which each stands on those before it.</summary>
    public static IReadOnlyList<string> Foundations { get; } = ["tokenizer", "base", "sft"];

    /// <summary>Names of the RL arms, the paper's method first.</summary>
    public static IReadOnlyList<string> Arms { get; } = ["rl-adaptive", "rl-none", "rl-fixed", "rl-without-sft"];

    /// <summary>The data that ships: the folder "data" of the checkout this runs in, or else of the package or program
    /// that the kit was installed as.</summary>
    /// <exception cref="UnusableFileException">There is neither.</exception>
    public static string DataFolder() => Checkout() is { } root ? Path.Combine(root, "data") : PackagedData()
        ?? throw new UnusableFileException(Directory.GetCurrentDirectory(),
            "neither here nor above is the folder with ReasonGen.Notebooks.sln, and no data "
            + "lies beside the kit", "run inside a clone of the repository, or install the kit again");

    private static string? Checkout()
    {
        foreach (var start in new[] { Directory.GetCurrentDirectory(), AppContext.BaseDirectory, AssemblyFolder })
        {
            for (var folder = start.Length == 0 ? null : new DirectoryInfo(start); folder is not null;
                folder = folder.Parent)
            {
                if (File.Exists(Path.Combine(folder.FullName, "ReasonGen.Notebooks.sln")))
                {
                    return folder.FullName;
                }
            }
        }

        return null;
    }

    private static string AssemblyFolder =>
        Path.GetDirectoryName(typeof(Study).Assembly.Location) is { Length: > 0 } folder ? folder
            : AppContext.BaseDirectory;

    // beside the assembly of a program, two folders up in a package
    private static string? PackagedData() =>
        new[] { "data", Path.Combine("..", "..", "data") }.Select(path => Path.GetFullPath(path, AssemblyFolder))
        .FirstOrDefault(folder => ShippedFiles().All(file => File.Exists(Path.Combine(folder, file))));

    /// <summary>What ships under the data folder.</summary>
    public static IEnumerable<string> ShippedFiles() => Foundations.Concat(Judges).Concat(Arms).Concat(JudgeArms)
        .SelectMany(FilesOf)
        .Concat(JudgeArms.SelectMany(arm => new[] { $"runs/seed2/{arm}.csv", $"runs/seed2/{arm}.json" }));

    private static string[] FilesOf(string stage) =>
        [$"checkpoints/{stage}.safetensors", $"runs/{stage}.csv", $"runs/{stage}.json"];

    /// <summary>A fresh model with the trained image tokenizer in it.</summary>
    /// <param name="codeCopies">Near-equal copies of each of the tokenizer's codes that it has; at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no code.</exception>
    public Janus NewModel(int codeCopies = 1)
    {
        var model = Untrained();
        TrainTokenizer(model);
        LoadWeights("tokenizer", TokenizerWeights(model));
        if (codeCopies == 1)
        {
            return model;
        }

        using (model)
        {
            var enlarged = Untrained(codeCopies);
            NearEqualCodes.Copy(model.ImageTokenizer, enlarged.ImageTokenizer, Seeds.Mix(Config.Seed, 6));
            return enlarged;
        }
    }

    /// <summary>A model with weights from the seed alone; in fp32, as the recorded runs, on whatever device.</summary>
    /// <param name="codeCopies">Times as many image codes as the miniature has; at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no code.</exception>
    public Janus Untrained(int codeCopies = 1)
    {
        var config = JanusConfig.Mini(Tokenizer.VocabularySize);
        config = config with { ImageTokenizer = NearEqualCodes.Of(config.ImageTokenizer, codeCopies) };
        var model = new Janus(config, ComputeTarget.Default.Exact);
        model.Initialize(Seeds.Mix(Config.Seed, 1));
        return model;
    }

    /// <summary>Weights of a finished stage; see <see cref="TrainsOnDemand"/>.</summary>
    /// <exception cref="UnusableFileException">They are not there, damaged, or of another stage, seed or
    /// configuration.</exception>
    public Janus Load(string stage)
    {
        _ = Record(stage); // what is read is what was recorded
        var model = NewModel(CopiesOf(stage));
        LoadWeights(stage, Weights(model));
        return model;
    }

    /// <summary>Training batches of the world.</summary>
    /// <param name="model">Whose image tokenizer encodes the images.</param>
    /// <param name="stage">"base" or "sft": each has images of its own.</param>
    /// <exception cref="ArgumentException">It is another stage.</exception>
    public WorldBatches Batches(Janus model, string stage) =>
        new(new WorldStream(World, Seeds.Mix(Config.Seed, IsBase(stage) ? 11 : 12)), model.ImageTokenizer, Tokenizer,
        PromptTemplate.Mini, new WorldBatchConfig());

    /// <summary>A trainer for base ("base") or fine-tuning ("sft") with the study's settings.</summary>
    /// <exception cref="ArgumentException">It is another stage, or the steps are less than 1.</exception>
    public SftTrainer SftTrainer(Janus model, string stage, int? totalSteps = null)
    {
        var batches = Batches(model, stage);
        return new(model, IsBase(stage) ? batches.Base : batches.Rationale, Tokenizer.Special.BeginOfImage,
            SftConfig.Mini(totalSteps ?? (IsBase(stage) ? Config.BaseSteps : Config.SftSteps)));
    }

    /// <summary>The study's settings of GRPO.</summary>
    public GrpoConfig GrpoSettings => Config.Grpo with { Seed = Seeds.Mix(Config.Seed, 21) };

    /// <summary>A GRPO trainer with the study's settings and the detector, or another reward.</summary>
    public GrpoTrainer GrpoTrainer(Janus model, IEntropyStrategy entropy, IReward? reward = null,
        GrpoConfig? config = null)
    {
        config ??= GrpoSettings;
        var collector = new RolloutCollector(Policy(model), reward ?? new DetectorReward(),
            i => Prompts.Draw(Seeds.Random(Config.Seed, 22, i)), config);
        return new(model, collector, entropy, Tokenizer.Special.BeginOfImage);
    }

    /// <summary>A model as a policy: prompts in, rationales and images out.</summary>
    /// <param name="model">The model.</param>
    /// <param name="rationale">Whether it writes first; false draws at once, as the base model was trained to.</param>
    /// <param name="temperature">Of the samples; 0 takes the likeliest token.</param>
    public PolicySampler Policy(Janus model, bool rationale = true, double temperature = 1) =>
        new(model, Tokenizer, PromptTemplate.Mini, RolloutConfig.Mini with
    {
        MaxTextTokens = rationale ? RolloutConfig.Mini.MaxTextTokens : 0,
        Temperature = temperature == 0 ? 1 : temperature, Greedy = temperature == 0,
    }, model.Target.Device);

    /// <summary>The entropy term of an arm, by the arm's name or by its own: adaptive, none or fixed.</summary>
    /// <exception cref="ArgumentException">There is no such arm.</exception>
    public static IEntropyStrategy Entropy(string arm) => arm switch
    {
        _ when arm != "adaptive" && arm != "none" && arm != "fixed" && !Arms.Contains(arm)
            && !JudgeArms.Contains(arm) => throw NoArm(arm),
        "rl-none" or "none" => new NoEntropyTerm(),
        "rl-fixed" or "fixed" => new FixedEntropyTerm(0.02),
        _ => Adaptive(TextTarget, ImageTarget),
    };

    internal const double TextTarget = 0.25, ImageTarget = 1.5; // nats

    internal static AdaptiveEntropyTerm Adaptive(double text, double image) =>
        new(new() { Target = text, LearningRate = 5e-4, Bound = 0.01 },
            new() { Target = image, LearningRate = 5e-4, Bound = 0.01 });

    /// <summary>A trainer of the image tokenizer, on three textured images for each plain one.</summary>
    public VqTrainer TokenizerTrainer(Janus model, VqTrainerConfig config)
    {
        const int images = 32;
        WorldStream textured = new(World, Seeds.Mix(Config.Seed, 3)),
            plain = new(World with { Texture = Texture.Plain }, Seeds.Mix(Config.Seed, 4));
        return new(model.ImageTokenizer, step =>
        {
            var some = textured.Take(step * images, images * 3 / 4).Select(sample => sample.Image(textured.Config))
                .Concat(plain.Take(step * images, images / 4).Select(sample => sample.Image(plain.Config)));
            return ImageTensors.ToTensor(some.ToArray(), model.Target.Device);
        }, config);
    }

    /// <summary>Share of held-out scenes whose image, encoded and decoded, still satisfies its prompt.</summary>
    /// <param name="model">Its image tokenizer is measured.</param>
    /// <param name="look">Of the images.</param>
    /// <param name="scenes">How many; at least 1.</param>
    /// <exception cref="ArgumentOutOfRangeException">There would be no scene.</exception>
    public double RoundTrip(Janus model, Texture look, int scenes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(scenes, 1);
        var stream = new WorldStream(World with { Texture = look }, Seeds.Mix(Config.Seed, 5));
        var right = 0;
        for (var start = 0; start < scenes; start += 100)
        {
            using var scope = NewDisposeScope();
            var samples = stream.Take(start, Math.Min(100, scenes - start));
            var images = ImageTensors.ToTensor(samples.Select(sample => sample.Image(stream.Config)).ToArray(),
                model.Target.Device);
            var decoded = ImageTensors.FromTensor(model.DecodeImage(model.ImageTokenizer.Encode(images)));
            right += samples.Where((sample, i) => Detector.Check(decoded[i], sample.Prompt).Correct).Count();
        }

        return right / (double)scenes;
    }

    private static bool IsBase(string stage) => stage is "base" or "sft" ? stage == "base"
        : throw new ArgumentException($"supervised training is of 'base' or 'sft', not of '{stage}'", nameof(stage));

    // near-equal copies of each code that the model of a stage has
    private int CopiesOf(string stage) =>
        runs.TryGetValue(stage, out var run) ? run.CodeCopies : NearEqualCodes.Read(stage).Copies;

    private static ArgumentException NoArm(string arm) =>
        new($"there is no arm '{arm}'; there are {string.Join(", ", Arms.Concat(JudgeArms))}", nameof(arm));

    private string CheckpointPath(string stage) => Path.Combine(Folder, "checkpoints", stage + ".safetensors");

    private static Dictionary<string, Tensor> Weights(Janus model) =>
        model.TrainableParameters().ToDictionary(p => p.Name, p => (Tensor)p.Parameter);

    private static Dictionary<string, Tensor> TokenizerWeights(Janus model) =>
        model.ImageTokenizer.named_parameters().ToDictionary(p => p.name, p => (Tensor)p.parameter);
}
