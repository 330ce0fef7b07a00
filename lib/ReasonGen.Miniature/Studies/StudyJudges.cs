using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Qwen;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>How a judge's verdicts compare with the detector's.</summary>
/// <param name="Images">Judged.</param>
/// <param name="Accuracy">Share of equal verdicts.</param>
/// <param name="Precision">Share of right images among those the judge calls right; NaN when there are none.</param>
/// <param name="Recall">Share of right images that the judge calls right; NaN when there are none.</param>
/// <param name="Right">Share of right images.</param>
public readonly record struct JudgeQuality(int Images, double Accuracy, double Precision, double Recall, double Right)
{
    /// <summary>Compares verdicts with the truth, item by item.</summary>
    public static JudgeQuality Of(IReadOnlyList<bool> verdicts, IReadOnlyList<bool> truth)
    {
        double both = verdicts.Zip(truth).Count(pair => pair.First && pair.Second),
            equal = verdicts.Zip(truth).Count(pair => pair.First == pair.Second);
        return new(truth.Count, equal / truth.Count, both / verdicts.Count(verdict => verdict),
            both / truth.Count(right => right), truth.Count(right => right) / (double)truth.Count);
    }

    /// <summary>A judge's recorded quality on images of a policy, "base" or "sft".</summary>
    /// <exception cref="ArgumentException">The record has none.</exception>
    public static JudgeQuality Of(RunRecord record, string policy) =>
        new((int)record.Result(policy + ".images"), record.Result(policy + ".accuracy"),
        record.Result(policy + ".precision"), record.Result(policy + ".recall"), record.Result(policy + ".right"));

    /// <summary>As it stands in a record.</summary>
    internal JObject ToJson() => new()
    {
        ["accuracy"] = BenchmarkResult.Rounded(Accuracy), ["precision"] = BenchmarkResult.Rounded(Precision),
        ["recall"] = BenchmarkResult.Rounded(Recall),
        ["right"] = BenchmarkResult.Rounded(Right), ["images"] = Images,
    };
}

/// <summary>A judge and the detector on the same images: the run is rewarded by the judge, and the detector's word is
/// kept beside it.</summary>
public sealed class AuditedReward(IReward judge) : IReward
{
    private readonly DetectorReward detector = new();
    private readonly List<(float Believed, float True)> scores = [];

    public string Name => judge.Name;

    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default)
    {
        var believed = judge.Score(requests, cancel);
        scores.AddRange(believed.Zip(detector.Score(requests, cancel)));
        return believed;
    }

    /// <summary>Means over everything scored since the last call: what the judge believed, what is true, and how often
    /// the judge was fooled.</summary>
    public (double Believed, double True, double Fooled) Take()
    {
        var seen = scores.DefaultIfEmpty().ToArray();
        scores.Clear();
        return (seen.Average(s => s.Believed), seen.Average(s => s.True), seen.Average(s =>
            s.Believed > s.True ? 1 : 0));
    }
}

/// <content>The judges, and reinforcement learning with them.</content>
public sealed partial class Study
{
    private IReadOnlyList<(Prompt Prompt, RgbImage Image)>? drawn;

    /// <summary>Names of the miniature judges, the good one first.</summary>
    public static IReadOnlyList<string> Judges { get; } = ["judge-large", "judge-small"];

    /// <summary>Names of the RL arms whose reward is a judge, in the order of <see cref="Judges"/>.</summary>
    public static IReadOnlyList<string> JudgeArms { get; } = ["rl-judge-large", "rl-judge-small"];

    /// <summary>The judges' word tokenizer.</summary>
    public static WordTokenizer JudgeTokenizer { get; } = new(JudgeData.Words);

    /// <summary>A judge with fresh weights.</summary>
    /// <exception cref="ArgumentException">There is no such judge.</exception>
    public (QwenVl Model, QwenJudge Judge) NewJudge(string stage)
    {
        var config = JudgeModel(stage);
        var model = new QwenVl(config, ComputeTarget.Default.Exact);
        model.Initialize(Seeds.Mix(Config.Seed, 31));
        return (model, new QwenJudge(stage, model, JudgeTokenizer, JudgeConfig.Mini(config)));
    }

    private static QwenConfig JudgeModel(string stage) => stage switch
    {
        "judge-large" =>
            QwenConfig.Mini(JudgeTokenizer.VocabularySize, width: 96, layers: 3, visionWidth: 128, visionLayers: 2),
        "judge-small" =>
            QwenConfig.Mini(JudgeTokenizer.VocabularySize, width: 32, layers: 2, visionWidth: 16, visionLayers: 1),
        _ => throw new ArgumentException($"there is no judge '{stage}'; there are {string.Join(", ", Judges)}",
            nameof(stage)),
    };

    /// <summary>A finished judge; see <see cref="TrainsOnDemand"/>.</summary>
    /// <exception cref="UnusableFileException">It is not there, damaged, or of another seed or
    /// configuration.</exception>
    public QwenJudge LoadJudge(string stage)
    {
        var (model, judge) = NewJudge(stage);
        _ = Record(stage); // what is read is what was recorded
        LoadWeights(stage, JudgeWeights(model));
        return judge;
    }

    /// <summary>A judge, trained when it is not there; and the record of the run that made it.</summary>
    public (QwenJudge Judge, RunRecord Record) Judge(string stage)
    {
        if (IsThere(stage))
        {
            Tidy(stage);
            return (LoadJudge(stage), Record(stage));
        }

        var (model, judge) = NewJudge(stage);
        Base().Model.Dispose(); // what it learns from is made before it is its turn
        Sft().Model.Dispose();
        using var turn = Turn(stage);
        if (IsThere(stage)) // another process has made it meanwhile
        {
            return (LoadJudge(stage), Record(stage));
        }

        var record = NewRecord(stage);
        using (var trainer = JudgeTrainer(model, judge, Config.JudgeSteps))
        {
            RunSteps(stage, record, Config.JudgeSteps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume,
                Config.StepsPerSave, () =>
            {
                var step = trainer.Step();
                record.Add(("step", step.Step), ("loss", step.Loss), ("token_accuracy", step.TokenAccuracy),
                    ("gradient_norm", step.GradientNorm), ("seconds", step.Seconds));
            });
        }

        Keep(stage, JudgeWeights(model), record, () => new JObject(new[] { "base", "sft" }.Select(policy =>
            new JProperty(policy, Quality(judge, Draw(policy, Config.JudgeTestImages, 33)).ToJson())))
            {
                ["weights"] = model.parameters().Sum(p => p.numel()),
            });
        return (judge, record);
    }

    /// <summary>A trainer of a judge on what the base (a third) and the fine-tuned policy draw.</summary>
    public JudgeTrainer JudgeTrainer(QwenVl model, QwenJudge judge, int totalSteps)
    {
        var some = Config.JudgeImages / 3;
        drawn ??= [.. Draw("base", some, 32), .. Draw("sft", Config.JudgeImages - some, 32)];
        var data = new JudgeData(drawn, new WorldStream(World, Seeds.Mix(Config.Seed, 34)), Seeds.Mix(Config.Seed, 35));
        return new(model, judge, JudgeTokenizer, i => data[i], JudgeSettings(totalSteps));
    }

    /// <summary>How a judge does on images, each held against the prompt it was drawn for.</summary>
    public static JudgeQuality Quality(IReward judge, IReadOnlyList<(Prompt Prompt, RgbImage Image)> images)
    {
        var requests = images.Select(item => new RewardRequest(item.Prompt, "", item.Image)).ToArray();
        return JudgeQuality.Of([.. judge.Score(requests).Select(score => score == 1)],
            [.. new DetectorReward().Score(requests).Select(score => score == 1)]);
    }

    private static Dictionary<string, Tensor> JudgeWeights(QwenVl model) =>
        model.Weights().ToDictionary(p => p.Name, p => (Tensor)p.Parameter);
}
