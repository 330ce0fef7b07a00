using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Data;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Text;
using ReasonGen.World;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>How a judge's verdicts compare with the detector's.</summary>
/// <param name="Pictures">Judged.</param>
/// <param name="Accuracy">Share of equal verdicts.</param>
/// <param name="Precision">Share of right pictures among those the judge calls right; NaN when there are none.</param>
/// <param name="Recall">Share of right pictures that the judge calls right; NaN when there are none.</param>
/// <param name="Right">Share of right pictures.</param>
public readonly record struct JudgeQuality(int Pictures, double Accuracy, double Precision, double Recall, double Right)
{
    /// <summary>Compares verdicts with the truth, item by item.</summary>
    public static JudgeQuality Of(IReadOnlyList<bool> verdicts, IReadOnlyList<bool> truth)
    {
        double both = verdicts.Zip(truth).Count(pair => pair.First && pair.Second), equal = verdicts.Zip(truth).Count(pair => pair.First == pair.Second);
        return new(truth.Count, equal / truth.Count, both / verdicts.Count(verdict => verdict), both / truth.Count(right => right), truth.Count(right => right) / (double)truth.Count);
    }
}

/// <summary>A judge and the detector on the same pictures: the run is rewarded by the judge, and the detector's word is kept beside it.</summary>
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

    /// <summary>Means over everything scored since the last call: what the judge believed, what is true, and how often the judge was fooled.</summary>
    public (double Believed, double True, double Fooled) Take()
    {
        var seen = scores.DefaultIfEmpty().ToArray();
        scores.Clear();
        return (seen.Average(s => s.Believed), seen.Average(s => s.True), seen.Average(s => s.Believed > s.True ? 1 : 0));
    }
}

/// <content>The judges, and reinforcement learning with them.</content>
public sealed partial class Study
{
    private IReadOnlyList<(Prompt Prompt, Picture Picture)>? drawn;

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
        var words = JudgeTokenizer.VocabularySize;
        var config = stage switch
        {
            "judge-large" => QwenConfig.Mini(words, width: 96, layers: 3, visionWidth: 128, visionLayers: 2),
            "judge-small" => QwenConfig.Mini(words, width: 32, layers: 2, visionWidth: 16, visionLayers: 1),
            _ => throw new ArgumentException($"there is no judge '{stage}'; there are {string.Join(", ", Judges)}", nameof(stage)),
        };
        var model = new QwenVl(config, ComputeTarget.Default);
        model.Initialize(Seeds.Mix(Config.Seed, 31));
        return (model, new QwenJudge(stage, model, JudgeTokenizer, JudgeConfig.Mini(config)));
    }

    /// <summary>A finished judge.</summary>
    public QwenJudge LoadJudge(string stage)
    {
        var (model, judge) = NewJudge(stage);
        Safetensors.LoadInto(JudgeWeights(model), CheckpointPath(stage));
        return judge;
    }

    /// <summary>A judge, trained when it is not there; and the record of the run that made it.</summary>
    public (QwenJudge Judge, RunRecord Record) Judge(string stage)
    {
        if (IsThere(stage))
        {
            return (LoadJudge(stage), Record(stage));
        }

        var (model, judge) = NewJudge(stage);
        var record = NewRecord(stage);
        using (var trainer = JudgeTrainer(model, judge, Config.JudgeSteps))
        {
            record.Settings = new JObject { ["training"] = JObject.FromObject(trainer.Config), ["model"] = JObject.FromObject(model.Config), ["pictures"] = Config.JudgePictures };
            RunSteps(stage, record, Config.JudgeSteps, () => (int)trainer.StepCount, trainer.Save, trainer.Resume, 200, () =>
            {
                var step = trainer.Step();
                record.Add(("step", step.Step), ("loss", step.Loss), ("token_accuracy", step.TokenAccuracy), ("gradient_norm", step.GradientNorm), ("seconds", step.Seconds));
            });
        }

        Keep(stage, JudgeWeights(model), record, () => new JObject(new[] { "base", "sft" }.Select(policy =>
        {
            var quality = Quality(judge, Draw(policy, Config.JudgeTestPictures, 33));
            return new JProperty(policy, new JObject
            {
                ["accuracy"] = Rounded(quality.Accuracy), ["precision"] = Rounded(quality.Precision), ["recall"] = Rounded(quality.Recall),
                ["right"] = Rounded(quality.Right), ["pictures"] = quality.Pictures,
            });
        })) { ["weights"] = model.parameters().Sum(p => p.numel()) });
        return (judge, record);
    }

    /// <summary>A trainer of a judge on what the base (a third) and the fine-tuned policy draw.</summary>
    public JudgeTrainer JudgeTrainer(QwenVl model, QwenJudge judge, int totalSteps)
    {
        var some = Config.JudgePictures / 3;
        drawn ??= [.. Draw("base", some, 32), .. Draw("sft", Config.JudgePictures - some, 32)];
        var data = new JudgeData(drawn, new WorldStream(World, Seeds.Mix(Config.Seed, 34)), Seeds.Mix(Config.Seed, 35));
        return new(model, judge, JudgeTokenizer, i => data[i], new() { TotalSteps = totalSteps });
    }

    /// <summary>Pictures that a stage's policy draws at temperature 1 for prompts of the world.</summary>
    /// <param name="stage">"base", "sft" or an arm.</param>
    /// <param name="count">How many.</param>
    /// <param name="purpose">Another purpose, other prompts and pictures.</param>
    public (Prompt Prompt, Picture Picture)[] Draw(string stage, int count, long purpose)
    {
        const int together = 250;
        using var model = (stage == "base" ? Base() : stage == "sft" ? Sft() : Rl(stage)).Model;
        var policy = Policy(model, stage != "base");
        return Enumerable.Range(0, count).Chunk(together).SelectMany(numbers =>
        {
            Cancel.ThrowIfCancellationRequested();
            var prompts = numbers.Select(i => Prompts.Draw(Seeds.Random(Config.Seed, purpose, i))).ToArray();
            using var rollouts = policy.Generate(prompts, 1, Seeds.Mix(Config.Seed, purpose, numbers[0], 1));
            return prompts.Zip(policy.Pictures(rollouts)).ToArray();
        }).ToArray();
    }

    /// <summary>How a judge does on pictures, each held against the prompt it was drawn for.</summary>
    public static JudgeQuality Quality(IReward judge, IReadOnlyList<(Prompt Prompt, Picture Picture)> pictures)
    {
        var requests = pictures.Select(item => new RewardRequest(item.Prompt, "", item.Picture)).ToArray();
        return JudgeQuality.Of([.. judge.Score(requests).Select(score => score == 1)], [.. new DetectorReward().Score(requests).Select(score => score == 1)]);
    }

    private static Dictionary<string, Tensor> JudgeWeights(QwenVl model) => model.Weights().ToDictionary(p => p.Name, p => (Tensor)p.Parameter);
}
