// Supervised fine-tuning (img_rl_fsdp_sft_trainer.py): for each micro-batch SftLoss → backward;  clip → AdamW.
// Deviations: 1. Gradients of micro-batches are averaged, or with SumMicroBatches added up, over all ranks; the
//   reference adds up those of a GPU and averages over GPUs (janus_sft.sh: 8 on each of 4), before it clips.
//   2. Weights and moments are fp32, unless KeepMasters is false; the reference's are bf16. Gradients are added up and
//   clipped in fp32 in any case; the reference's are added up in its weights' bf16.  3. A loss or gradient that is not
//   finite ends the run.
// Kept: the first step of a warm-up has learning rate 0.
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Ranks;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Sft;

/// <summary>What one optimizer step did.</summary>
/// <param name="Step">Counted from 0.</param>
/// <param name="Loss">The weighted loss.</param>
/// <param name="TextLoss">Mean cross-entropy of text tokens whose loss is above 0, in nats.</param>
/// <param name="ImageLoss">Mean cross-entropy of image tokens whose loss is above 0, in nats.</param>
/// <param name="GradientNorm">Before clipping.</param>
/// <param name="LearningRate">Of this step.</param>
/// <param name="Tokens">Tokens read, pads not counted.</param>
/// <param name="Seconds">Wall clock.</param>
public sealed record SftStep(long Step, double Loss, double TextLoss, double ImageLoss, double GradientNorm,
    double LearningRate, long Tokens, double Seconds);

/// <summary>Supervised training, one step at a time, resumable to the same numbers.</summary>
public sealed class SftTrainer : IDisposable
{
    private readonly IImageTextModel model;
    private readonly Func<long, SftBatch> batchOfStep;
    private readonly long beginOfImage;
    private readonly AdamW optimizer;
    private readonly IRankGroup ranks;
    private readonly StepGuard guard = new();
    private string? lastSaved;

    /// <param name="model">Trained in place.</param>
    /// <param name="batchOfStep">The batch of a step: a pure function, so that a resumed run sees the same data. The
    /// trainer disposes it.</param>
    /// <param name="beginOfImage">Id of the begin-of-image token.</param>
    /// <param name="config">Settings.</param>
    /// <param name="ranks">The ranks that train the model together, micro-batch m on rank m mod W; null for
    /// one.</param>
    /// <param name="shardOptimizer">Whether they share the optimizer's state out (ZeRO-1).</param>
    public SftTrainer(IImageTextModel model, Func<long, SftBatch> batchOfStep, long beginOfImage, SftConfig config,
        IRankGroup? ranks = null, bool shardOptimizer = false)
    {
        config.Validate();
        this.ranks = ranks ?? Alone.Group;
        (this.model, this.batchOfStep, this.beginOfImage, Config) = (model, batchOfStep, beginOfImage, config);
        optimizer = new AdamW(model.TrainableParameters(), config.Beta1, config.Beta2, config.WeightDecay,
            keepMasters: config.KeepMasters, ranks: shardOptimizer ? ranks : null);
    }

    public SftConfig Config { get; }

    /// <summary>Steps taken so far.</summary>
    public long StepCount { get; private set; }

    /// <summary>Takes up to so many more steps, each when it is asked for; ends early at the configured total or when
    /// cancelled.</summary>
    /// <exception cref="NonFiniteLossException">The loss or a gradient is not finite; the weights are those of the step
    /// before.</exception>
    public IEnumerable<SftStep> Steps(int count = int.MaxValue, CancellationToken cancel = default)
    {
        for (var i = 0; i < count && StepCount < Config.TotalSteps && !cancel.IsCancellationRequested; i++)
        {
            yield return Step();
        }
    }

    /// <summary>Takes one step.</summary>
    public SftStep Step()
    {
        var watch = Stopwatch.StartNew();
        using var turn = guard.Step();
        using var scope = NewDisposeScope();
        using var batch = batchOfStep(StepCount).To(model.Device);
        optimizer.ZeroGradients();
        int micro = Math.Min(Config.MicroBatchSamples, batch.Count), parts = (batch.Count + micro - 1) / micro;
        List<Tensor> watched = [];
        for (var start = ranks.Rank * micro; start < batch.Count; start += ranks.Size * micro)
        {
            using var pass = NewDisposeScope();
            optimizer.WidenGradients();
            var part = SftLoss.Compute(model, batch.Slice(start, Math.Min(micro, batch.Count - start)), beginOfImage,
                Config.TextScale, Config.ImageScale, Config.BeginOfImageScale);
            ActivationCheckpoint.Backward(Config.SumMicroBatches ? part.Total : part.Total.div(parts));
            watched.Add(part.Watched.MoveToOuterDisposeScope());
        }

        var read = watched.Count == 0 ? [] : cat(watched).Values<float>(); // at once: each read waits for the device
        var losses = ranks.Dealt([.. read.Chunk(SftLossParts.Numbers)
            .Select(one => (Loss: one[0], Text: one[1], Image: one[2]))], "losses of a step");
        double loss = losses.Sum(one => one.Loss / (double)parts), text = losses.Sum(one => one.Text / (double)parts),
            image = losses.Sum(one => one.Image / (double)parts);
        ranks.SumGradients(model.TrainableParameters().Select(p => p.Parameter));
        var norm = GradientClip.Apply(model.TrainableParameters().Select(p => p.Parameter), Config.GradientClip);
        if (!double.IsFinite(loss) || !double.IsFinite(norm))
        {
            throw new NonFiniteLossException(double.IsFinite(loss) ? "the gradient" : "the loss", StepCount,
                $"batch {StepCount} of {batch.Count} samples", lastSaved);
        }

        var rate = Config.LearningRate
            * LearningRate.Cosine(StepCount, LearningRate.WarmupSteps(Config.WarmupRatio, Config.TotalSteps),
                Config.TotalSteps);
        guard.Changing();
        optimizer.Step(rate);
        optimizer.ZeroGradients();
        StepCount++;
        guard.Whole();
        return new(StepCount - 1, loss, text, image, norm, rate, batch.AttentionMask.sum().item<long>(),
            watch.Elapsed.TotalSeconds);
    }

    /// <summary>Writes all that <see cref="Resume"/> needs into one file.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; an earlier state stays as it was.</exception>
    /// <exception cref="InvalidOperationException">The last step was broken off while it changed the
    /// weights.</exception>
    public void Save(string path)
    {
        using var turn = guard.Save();
        RunState.Save(path, model.TrainableParameters(), optimizer,
            new JObject { ["step"] = StepCount, ["config"] = JObject.FromObject(Config) }, ranks: ranks);
        lastSaved = path;
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="UnusableFileException">The state is missing, damaged, or of a run with other settings; nothing
    /// was changed.</exception>
    public void Resume(string path)
    {
        using var turn = guard.Step();
        StepCount = RunState.Load(path, model.TrainableParameters(), optimizer, state =>
        {
            RunState.ExpectSettings(path, state["config"], JObject.FromObject(Config));
            return RunState.Count(state, "step");
        });
        lastSaved = path;
        guard.Whole();
    }

    public void Dispose() => optimizer.Dispose();
}
