// Supervised training of a judge: cross-entropy of the answer's tokens, given image and question; AdamW, warm-up and
// half a cosine.
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Optimization;
using ReasonGen.Qwen;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Studies;

/// <summary>One image, the prompt it is held against, and the answer a judge should give.</summary>
public sealed record JudgeSample(string Prompt, RgbImage Image, string Answer);

/// <summary>Settings of a judge's training.</summary>
public sealed record JudgeTrainerConfig
{
    /// <summary>Optimizer steps; the learning rate reaches 0 at the end. At least 1.</summary>
    public required int TotalSteps { get; init; }

    /// <summary>Samples a step. Default 64; at least 1.</summary>
    public int SamplesPerStep { get; init; } = 64;

    /// <summary>Base learning rate. Default 2e-3; above 0.</summary>
    public double LearningRate { get; init; } = 2e-3;

    /// <summary>Share of the steps in which the learning rate rises. Default 0.05; in [0, 1).</summary>
    public double WarmupRatio { get; init; } = 0.05;

    /// <summary>AdamW's weight decay. Default 0.01; at least 0.</summary>
    public double WeightDecay { get; init; } = 0.01;

    /// <exception cref="ArgumentException">A setting is out of range.</exception>
    public void Validate()
    {
        // NaN is none of these
        if (!(TotalSteps >= 1 && SamplesPerStep >= 1 && LearningRate > 0 && WarmupRatio is >= 0 and < 1
            && WeightDecay >= 0))
        {
            throw new ArgumentException(
                $"steps and samples must be at least 1, the learning rate above 0, the warm-up in [0, 1) and the "
                + $"weight decay at least 0: {this}");
        }
    }
}

/// <summary>What one step did.</summary>
/// <param name="Step">Counted from 0.</param>
/// <param name="Loss">Mean cross-entropy of answer tokens, in nats.</param>
/// <param name="TokenAccuracy">Share of answer tokens that were the likeliest, given all before.</param>
/// <param name="GradientNorm">Before clipping.</param>
/// <param name="Seconds">Wall clock.</param>
public readonly record struct JudgeStep(long Step, double Loss, double TokenAccuracy, double GradientNorm,
    double Seconds);

/// <summary>Trains a judge, one step at a time, resumable to the same numbers.</summary>
public sealed class JudgeTrainer : IDisposable
{
    private readonly QwenVl model;
    private readonly QwenJudge judge;
    private readonly ITokenizer tokenizer;
    private readonly Func<long, JudgeSample> sampleAt;
    private readonly AdamW optimizer;
    private readonly StepGuard guard = new();
    private string? lastSaved;

    /// <param name="model">Trained in place.</param>
    /// <param name="judge">The same model as a judge: what it reads is what it is trained on.</param>
    /// <param name="tokenizer">Of questions and answers.</param>
    /// <param name="sampleAt">Sample number i of the run: a pure function, so that a resumed run sees the same
    /// data.</param>
    /// <param name="config">Settings.</param>
    public JudgeTrainer(QwenVl model, QwenJudge judge, ITokenizer tokenizer, Func<long, JudgeSample> sampleAt,
        JudgeTrainerConfig config)
    {
        config.Validate();
        (this.model, this.judge, this.tokenizer, this.sampleAt, Config) = (model, judge, tokenizer, sampleAt, config);
        optimizer = new AdamW(model.Weights(), 0.9, 0.98, config.WeightDecay);
    }

    public JudgeTrainerConfig Config { get; }

    /// <summary>Steps taken so far.</summary>
    public long StepCount { get; private set; }

    /// <summary>Takes one step.</summary>
    /// <exception cref="NonFiniteLossException">The loss or a gradient is not finite; the weights are those of the step
    /// before.</exception>
    public JudgeStep Step()
    {
        var watch = Stopwatch.StartNew();
        using var turn = guard.Step();
        using var scope = NewDisposeScope();
        var samples = Enumerable.Range(0, Config.SamplesPerStep).AsParallel().AsOrdered()
            .Select(i => sampleAt(StepCount * Config.SamplesPerStep + i)).ToArray();
        optimizer.ZeroGradients();
        var (loss, accuracy) = Loss(samples);
        loss.backward();
        var norm = GradientClip.Apply(model.Weights().Select(p => p.Parameter), 1);
        var value = loss.ToDouble();
        if (!double.IsFinite(value) || !double.IsFinite(norm))
        {
            throw new NonFiniteLossException(double.IsFinite(value) ? "the gradient" : "the loss", StepCount,
                $"batch {StepCount} of {samples.Length} samples", lastSaved);
        }

        guard.Changing();
        optimizer.Step(Config.LearningRate
            * LearningRate.Cosine(StepCount, LearningRate.WarmupSteps(Config.WarmupRatio, Config.TotalSteps),
                Config.TotalSteps));
        optimizer.ZeroGradients();
        StepCount++;
        guard.Whole();
        return new(StepCount - 1, value, accuracy, norm, watch.Elapsed.TotalSeconds);
    }

    /// <summary>Mean cross-entropy of the answers' tokens, their end included, and the share that was the
    /// likeliest.</summary>
    public (Tensor Loss, double TokenAccuracy) Loss(IReadOnlyList<JudgeSample> samples)
    {
        using var scope = NewDisposeScope();
        long[][] answers = [
            .. samples.Select(sample =>
                tokenizer.Encode(sample.Answer).Select(id => (long)id).Append(model.Config.EndTokens[0]).ToArray())];
        var question = judge.Input(samples.Select(sample => (sample.Prompt, sample.Image)).ToArray());
        // questions end, and answers begin, in one column; shorter answers are padded on the right
        var (answerIds, answerMask) = QwenJudge.Pad(answers, model.Config.Pad, left: false);
        var device = model.Target.Device;
        Tensor ids = cat([question.Ids, answerIds.to(device)], 1),
            mask = cat([question.Mask, answerMask.to(device)], 1);
        var input = question with { Ids = ids, Mask = mask };
        var positions = QwenPositions.Of(ids, mask, input.Grids, model.Config);
        var hidden = model.Hidden(model.Embed(input), mask, positions.Ids).narrow(1, question.Ids.shape[1] - 1,
            answerIds.shape[1]);
        var places = answerMask.to(device).reshape(-1).nonzero().squeeze(1); // [n]
        var logits = model.Logits(hidden.reshape(-1, hidden.shape[2]).index_select(0, places)); // [n, V]
        var labels = answerIds.to(device).reshape(-1).index_select(0, places);
        var loss = nn.functional.cross_entropy(logits.to(ScalarType.Float32), labels);
        return (loss.MoveToOuterDisposeScope(), logits.argmax(-1).eq(labels).to(ScalarType.Float32).mean().ToDouble());
    }

    /// <summary>Writes all that <see cref="Resume"/> needs into one file.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; an earlier state stays as it was.</exception>
    /// <exception cref="InvalidOperationException">The last step was broken off while it changed the
    /// weights.</exception>
    public void Save(string path)
    {
        using var turn = guard.Save();
        RunState.Save(path, model.Weights(), optimizer,
            new JObject { ["step"] = StepCount, ["config"] = JObject.FromObject(Config) });
        lastSaved = path;
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="UnusableFileException">The state is missing, damaged, or of a run with other settings; nothing
    /// was changed.</exception>
    public void Resume(string path)
    {
        using var turn = guard.Step();
        StepCount = RunState.Load(path, model.Weights(), optimizer, state =>
        {
            RunState.ExpectSettings(path, state["config"], JObject.FromObject(Config));
            return RunState.Count(state, "step");
        });
        lastSaved = path;
        guard.Whole();
    }

    public void Dispose() => optimizer.Dispose();
}
