// One iteration of GRPO (verl: ray_trainer.py fit, dp_actor.py update_policy), top down in Step, Update and Backward:
//   rollouts → rewards → groups whose rewards differ → advantages → old log-probs
//   → for each update: for each micro-batch: loss = PolicyLoss + α_text H_text + α_image H_image (+ α H) (+ w KL),
//     divided by the micro-batches of the update;  clip → AdamW.
// Deviations: 1. A loss that is not finite ends the run; the reference turns it into 0 and steps on what is there.
//   2. Columns behind the longest response of a micro-batch are not computed; they are masked in the reference.
//   3. Too few groups are trained on instead of ending the run, unless FailOnTooFewGroups.  4. Controllers are saved
//   with the run.  5. Old log-probs of the first update are those of its own pass: the weights are the same.  6. The
//   gradient norm that is told is the mean of the updates', not the last one's.  7. Update 1 has the groups that came
//   first, the last one those that were refilled; there each of 8 GPUs halves its eighth, and update 1 has groups 0, 1,
//   4, 5, …, 28, 29 of 32.
// Kept: iteration 0 has learning rate 0; forced tokens (begin_of_image, eos) train as if sampled; logits are clamped.
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Ranks;
using ReasonGen.Rollouts;
using ReasonGen.Training;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>GRPO, one iteration at a time, resumable to the same numbers.</summary>
public sealed class GrpoTrainer : IDisposable
{
    private readonly IImageTextModel model;
    private readonly IImageTextModel? reference;
    private readonly RolloutCollector collector;
    private readonly IEntropyStrategy entropy;
    private readonly long beginOfImage;
    private readonly AdamW optimizer;
    private readonly IRankGroup ranks;
    private readonly StepGuard guard = new();
    private string? lastSaved;

    /// <param name="model">The policy, trained in place.</param>
    /// <param name="collector">Gives the groups of an iteration; its settings are the trainer's.</param>
    /// <param name="entropy">The entropy term.</param>
    /// <param name="beginOfImage">Id of the begin-of-image token.</param>
    /// <param name="reference">A frozen model for the KL term; needed when its weight is above 0.</param>
    /// <param name="ranks">Ranks that train it together, micro-batch m on rank m mod W; null for one process.</param>
    /// <param name="shardOptimizer">Whether they share the optimizer's state out (ZeRO-1).</param>
    /// <exception cref="ArgumentException">A setting is out of range, the reference model is missing, or the collector
    /// samples from another model or at another temperature.</exception>
    public GrpoTrainer(IImageTextModel model, RolloutCollector collector, IEntropyStrategy entropy, long beginOfImage,
        IImageTextModel? reference = null, IRankGroup? ranks = null, bool shardOptimizer = false)
    {
        (Config = collector.Config).Validate();
        if (Config.KlWeight > 0 && reference is null)
        {
            throw new ArgumentException($"{nameof(GrpoConfig.KlWeight)} is {Config.KlWeight}, which needs a reference "
                + "model", nameof(reference));
        }

        collector.Source.CheckPolicy(model, Config.Temperature);
        (this.model, this.reference, this.collector) = (model, reference, collector);
        (this.entropy, this.beginOfImage, this.ranks) = (entropy, beginOfImage, ranks ?? Alone.Group);
        var sharing = shardOptimizer ? ranks : null;
        optimizer = new AdamW(model.TrainableParameters(), 0.9, 0.999, Config.WeightDecay, ranks: sharing);
    }

    public GrpoConfig Config { get; }

    /// <summary>Iterations done so far.</summary>
    public long StepCount { get; private set; }

    /// <summary>What the last iteration trained on, until the next begins; null where no rewards differed.</summary>
    public GrpoBatch? LastBatch { get; private set; }

    /// <summary>Does up to so many iterations, each when it is asked for; ends early when cancelled.</summary>
    /// <exception cref="NonFiniteLossException">A loss or gradient is not finite.</exception>
    /// <exception cref="TooFewGroupsException">Too few rewards differ; the state can be saved.</exception>
    public IEnumerable<GrpoStep> Steps(int count, CancellationToken cancel = default)
    {
        for (var i = 0; i < count && !cancel.IsCancellationRequested; i++)
        {
            yield return Step(cancel);
        }
    }

    /// <summary>Does one iteration.</summary>
    public GrpoStep Step(CancellationToken cancel = default)
    {
        using var turn = guard.Step();

        // sample, score, filter
        var collected = collector.Collect(cancel);
        guard.Changing(); // the next prompts are others from here on
        collector.EmptySteps = collected.Rollouts is null ? collector.EmptySteps + 1 : 0;

        // advantages, old log-probs, update
        var watch = Stopwatch.StartNew();
        LastBatch?.Dispose();
        LastBatch = collected.Rollouts is null ? null : Prepare(collected.Rollouts, collected.Groups);
        UpdateMetrics? metrics = LastBatch is null ? null : Update(LastBatch);
        StepCount++;
        guard.Whole();
        return GrpoStep.Of(StepCount - 1, collected, metrics, watch.Elapsed.TotalSeconds);
    }

    /// <summary>Advantages of collected groups, and old log-probs but for the first update.</summary>
    public GrpoBatch Prepare(RolloutBatch rollouts, IReadOnlyList<Group> groups)
    {
        using var scope = NewDisposeScope();
        long[] shape = [groups.Count, groups[0].Rewards.Length];
        var rewards = tensor([.. groups.SelectMany(group => group.Rewards)], shape, device: rollouts.Ids.device);
        var advantages = GroupAdvantage.Compute(rewards); // [P, G]
        var oldLogProbs = RolloutLogProbs.Old(model, rollouts, Config.Temperature, Config.MicroBatchRollouts, ranks,
            from: Config.PromptsPerUpdate * (int)shape[1]); // [N, R]; those of the first update come with it
        return new(rollouts, groups, rewards.DetachFromDisposeScope(), advantages.DetachFromDisposeScope(),
            oldLogProbs.DetachFromDisposeScope());
    }

    private UpdateMetrics Update(GrpoBatch batch)
    {
        var perUpdate = Config.PromptsPerUpdate * batch.GroupSize;
        var rate = Config.LearningRate * LearningRate.Constant(StepCount, Config.WarmupSteps);
        var (metrics, norms) = (new List<UpdateMetrics>(), new List<double>());
        for (var start = 0; start < batch.Rollouts.Count; start += perUpdate)
        {
            var end = Math.Min(start + perUpdate, batch.Rollouts.Count);
            var microBatches = (end - start + Config.MicroBatchRollouts - 1) / Config.MicroBatchRollouts;
            optimizer.ZeroGradients();
            var mine = new List<UpdateMetrics>();
            for (var m = ranks.Rank; m - ranks.Rank < microBatches; m += ranks.Size) // as many turns on each rank
            {
                var at = start + m * Config.MicroBatchRollouts;
                if (at >= end)
                {
                    entropy.Skip();
                    continue;
                }

                optimizer.WidenGradients();
                mine.Add(Backward(batch, at, Math.Min(Config.MicroBatchRollouts, end - at), microBatches));
            }

            metrics.AddRange(ranks.Dealt(mine, "what an update did"));
            ranks.SumGradients(model.TrainableParameters().Select(p => p.Parameter));
            var norm = GradientClip.Apply(model.TrainableParameters().Select(p => p.Parameter), Config.GradientClip);
            if (!double.IsFinite(norm))
            {
                throw new NonFiniteLossException("the gradient", StepCount, $"rollouts {start}–{end - 1}", lastSaved);
            }

            norms.Add(norm);
            optimizer.Step(rate);
        }

        optimizer.ZeroGradients();
        return UpdateMetrics.Mean(metrics, norms.Average());
    }

    // One micro-batch: its share of the update's gradient is added to what is there.
    private UpdateMetrics Backward(GrpoBatch batch, int start, int count, int microBatches)
    {
        using var scope = NewDisposeScope();
        var micro = batch.Slice(start, count, Config.IgnoreBeginOfImage ? beginOfImage : null);
        var (logProbs, entropies) =
            RolloutLogProbs.Compute(model, micro.Rollouts, Config.Temperature, entropy.NeedsGradient); // [n, R]
        var old = start < Config.PromptsPerUpdate * batch.GroupSize // the weights are still those that sampled
            ? micro.OldLogProbs.copy_(logProbs.detach()) : micro.OldLogProbs;
        var policy = PolicyLoss.Compute(logProbs, old, micro.Advantages, micro.Mask, Config.ClipRange);
        var textEntropy = MaskedMean.Of(entropies, micro.TextMask);
        var imageEntropy = MaskedMean.Of(entropies, micro.ImageMask);

        // all that is to be known here, read at once: each read waits for the device
        var known = stack([textEntropy, imageEntropy, micro.Rollouts.TextTokens.to(ScalarType.Float32)]);
        var read = cat([policy.Watched, known.detach()]).Values<float>();
        var (clipFraction, approxKl, textNats, imageNats) = (read[1], read[2], read[3], read[4]);
        if (!Array.TrueForAll(read, float.IsFinite)) // before the controllers learn from it
        {
            throw new NonFiniteLossException("the loss", StepCount, $"rollouts {start}–{start + count - 1}", lastSaved);
        }

        var alpha = entropy.Next(textNats, imageNats);
        var loss = policy.Loss + alpha.Text * textEntropy + alpha.Image * imageEntropy;
        if (alpha.All != 0)
        {
            loss += alpha.All * MaskedMean.Of(entropies, micro.Mask);
        }

        Tensor? kl = null;
        if (Config.KlWeight > 0)
        {
            var referenceLogProbs = RolloutLogProbs.Old(reference!, micro.Rollouts, Config.Temperature, count);
            loss += Config.KlWeight * (kl = MaskedMean.Of(Kl.K3(logProbs, referenceLogProbs), micro.Mask));
        }

        ActivationCheckpoint.Backward(loss / microBatches);
        return new()
        {
            TextEntropy = textNats, ImageEntropy = imageNats, Alpha = alpha, ClipFraction = clipFraction,
            ApproxKl = approxKl, KlReference = kl?.ToDouble() ?? double.NaN, RationaleTokens = read[5] / (double)count,
        };
    }

    /// <summary>Writes all that <see cref="Resume"/> needs into one file.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; an earlier state stays as it was.</exception>
    /// <exception cref="InvalidOperationException">The last step was broken off after its prompts were
    /// collected.</exception>
    public void Save(string path)
    {
        using var turn = guard.Save();
        RunState.Save(path, model.TrainableParameters(), optimizer, new JObject
        {
            ["step"] = StepCount, ["next_prompt"] = collector.NextPrompt, ["empty_steps"] = collector.EmptySteps,
            ["entropy"] = entropy.SaveState(), ["config"] = Settings(),
        }, ranks: ranks);
        lastSaved = path;
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="UnusableFileException">The state is missing, damaged, or of a run with other settings; nothing
    /// was changed.</exception>
    public void Resume(string path)
    {
        using var turn = guard.Step();
        (StepCount, collector.NextPrompt, collector.EmptySteps) =
            RunState.Load(path, model.TrainableParameters(), optimizer, state =>
        {
            RunState.ExpectSettings(path, state["config"], Settings(), GrpoConfig.WhenToGiveUp);
            long Count(string name) => RunState.Count(state, name);
            var counts = (Count("step"), Count("next_prompt"), checked((int)Count("empty_steps")));
            entropy.RestoreState((JObject)state["entropy"]!);
            return counts;
        });
        lastSaved = path;
        guard.Whole();
    }

    // all that decides how the run goes on, besides weights and counters
    private JObject Settings()
    {
        var settings = JObject.FromObject(Config);
        (settings["EntropyTerm"], settings["Entropy"], settings["Reward"]) =
            (entropy.Name, entropy.Settings, collector.RewardName);
        return settings;
    }

    public void Dispose()
    {
        LastBatch?.Dispose();
        optimizer.Dispose();
    }
}
