// One iteration of GRPO as ReasonGen-R1 runs it (verl: ray_trainer.py fit, dp_actor.py update_policy):
//   collect groups → advantages → old log-probs → for each update: for each micro-batch
//     loss = PolicyLoss + α_text H_text + α_image H_image (+ w KL),  divided by the micro-batches of the update → clip → AdamW.
// Deviations: 1. A loss that is not finite ends the run; the reference turns it into 0 and steps on whatever gradients there are.
//   2. Columns behind the longest response of a micro-batch are not computed; they are masked in the reference.
//   3. Too few groups are trained on instead of ending the run, unless FailOnTooFewGroups.  4. Controllers are saved with the run.
//   Kept: the first iteration has learning rate 0; forced tokens (begin_of_image, eos) are trained as if sampled; logits are clamped.
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Grpo;

/// <summary>GRPO, one iteration at a time, resumable to the same numbers.</summary>
public sealed class GrpoTrainer : IDisposable
{
    private readonly IImageTextModel model;
    private readonly IImageTextModel? reference;
    private readonly ExperienceCollector collector;
    private readonly IEntropyStrategy entropy;
    private readonly long beginOfImage;
    private readonly AdamW optimizer;
    private int emptySteps;
    private string? lastSaved;

    /// <param name="model">The policy, trained in place.</param>
    /// <param name="collector">Gives the groups of an iteration.</param>
    /// <param name="entropy">The entropy term.</param>
    /// <param name="beginOfImage">Id of the begin-of-image token.</param>
    /// <param name="config">Settings.</param>
    /// <param name="reference">A frozen model for the KL term; needed when its weight is above 0.</param>
    public GrpoTrainer(IImageTextModel model, ExperienceCollector collector, IEntropyStrategy entropy, long beginOfImage, GrpoConfig config,
        IImageTextModel? reference = null)
    {
        config.Validate();
        if (config.KlWeight > 0 && reference is null)
        {
            throw new ArgumentException($"{nameof(GrpoConfig.KlWeight)} is {config.KlWeight}, so a reference model is needed", nameof(reference));
        }

        (this.model, this.collector, this.entropy, this.beginOfImage, Config, this.reference) = (model, collector, entropy, beginOfImage, config, reference);
        optimizer = new AdamW(model.TrainableParameters(), 0.9, 0.999, config.WeightDecay);
    }

    public GrpoConfig Config { get; }

    /// <summary>Iterations done so far.</summary>
    public long StepCount { get; private set; }

    /// <summary>What the last iteration trained on; it is disposed when the next begins.</summary>
    public Experience? LastExperience { get; private set; }

    /// <summary>Does so many more iterations, each when it is asked for; ends early when cancelled.</summary>
    /// <exception cref="NonFiniteLossException">A loss or gradient is not finite.</exception>
    /// <exception cref="InvalidOperationException">Several iterations in a row found no group of differing rewards.</exception>
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
        var collected = collector.Collect(cancel);
        var watch = Stopwatch.StartNew();
        LastExperience?.Dispose();
        LastExperience = collected is { } groups ? Prepare(groups.Rollouts, groups.Groups) : null;
        emptySteps = LastExperience is null ? emptySteps + 1 : 0;
        if (emptySteps >= Config.MaxEmptySteps)
        {
            throw new InvalidOperationException($"{emptySteps} iterations in a row found no group whose rewards differ: the reward is always the same. "
                + "Look at the pictures and at the reward; a policy that is always right or always wrong cannot be trained this way."
                + (collector.Report is { SkippedGroups: > 0 and var skipped } ? $" In the last one {skipped} groups were left out as a reward could not be had." : ""));
        }

        var metrics = LastExperience is null ? default : Update(LastExperience);
        var report = collector.Report;
        return new(StepCount++, report.Reward, LastExperience?.Groups.Count ?? 0, report.ZeroVariance, report.Rounds, metrics.TextEntropy, metrics.ImageEntropy,
            metrics.Used.Text, metrics.Used.Image, metrics.ClipFraction, metrics.Divergence, metrics.GradientNorm, metrics.RationaleTokens,
            report.SamplingSeconds, report.RewardSeconds, watch.Elapsed.TotalSeconds)
        {
            SkippedGroups = report.SkippedGroups, RewardParts = report.RewardParts,
        };
    }

    /// <summary>Advantages and old log-probs of collected groups.</summary>
    public Experience Prepare(RolloutBatch rollouts, IReadOnlyList<Group> groups)
    {
        using var scope = NewDisposeScope();
        var rewards = tensor(groups.SelectMany(group => group.Rewards).ToArray(), [groups.Count, groups[0].Rewards.Length], device: rollouts.Ids.device);
        return new(rollouts, groups, rewards.DetachFromDisposeScope(), GroupAdvantage.Compute(rewards).DetachFromDisposeScope(),
            OldLogProbs(rollouts).DetachFromDisposeScope());
    }

    /// <summary>Log-probs [N, R] and entropies [N, R] of a batch under a model; R as in the batch.</summary>
    public (Tensor LogProbs, Tensor Entropies) Statistics(IImageTextModel of, RolloutBatch rollouts, bool entropyGradient = true)
    {
        using var scope = NewDisposeScope();
        int start = rollouts.PromptColumns, columns = rollouts.ResponseColumns;
        var hidden = of.Hidden(of.Embed(rollouts.Ids, rollouts.ImageMask), rollouts.AttentionMask, rollouts.PositionIds).narrow(1, start - 1, columns);
        var (logProbs, entropies) = TokenStatistics.Compute(of, hidden, rollouts.Ids.narrow(1, start, columns), rollouts.ImageMask.narrow(1, start, columns),
            rollouts.ResponseMask, Config.Temperature, clamped: true, entropyGradient);
        return (logProbs.MoveToOuterDisposeScope(), entropies.MoveToOuterDisposeScope());
    }

    private Tensor OldLogProbs(RolloutBatch rollouts)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var old = zeros(rollouts.Count, rollouts.ResponseColumns, ScalarType.Float32, rollouts.Ids.device);
        for (var start = 0; start < rollouts.Count; start += Config.MicroBatchRollouts)
        {
            using var pass = NewDisposeScope();
            var micro = rollouts.Slice(start, Math.Min(Config.MicroBatchRollouts, rollouts.Count - start));
            old.narrow(0, start, micro.Count).narrow(1, 0, micro.ResponseColumns).copy_(Statistics(model, micro, false).LogProbs);
        }

        return old.MoveToOuterDisposeScope();
    }

    /// <summary>Means over micro-batches; the coefficients are those of the last one.</summary>
    private readonly record struct Metrics(double TextEntropy, double ImageEntropy, EntropyCoefficients Used, double ClipFraction, double Divergence,
        double GradientNorm, double RationaleTokens);

    private Metrics Update(Experience experience)
    {
        int size = experience.Groups[0].Rewards.Length, perUpdate = Config.PromptsPerUpdate * size, total = experience.Rollouts.Count;
        var rate = Config.LearningRate * LearningRate.Constant(StepCount, Config.WarmupSteps);
        List<Metrics> seen = [];
        var norms = new List<double>();
        for (var start = 0; start < total; start += perUpdate)
        {
            var rollouts = Math.Min(perUpdate, total - start);
            var parts = (rollouts + Config.MicroBatchRollouts - 1) / Config.MicroBatchRollouts;
            optimizer.ZeroGradients();
            for (var at = start; at < start + rollouts; at += Config.MicroBatchRollouts)
            {
                seen.Add(MicroBatch(experience, at, Math.Min(Config.MicroBatchRollouts, start + rollouts - at), size, parts));
            }

            var norm = GradientClip.Apply(model.TrainableParameters().Select(p => p.Parameter), Config.GradientClip);
            if (!double.IsFinite(norm))
            {
                throw new NonFiniteLossException("the gradient", StepCount, $"rollouts {start} to {start + rollouts - 1}", lastSaved);
            }

            norms.Add(norm);
            optimizer.Step(rate);
        }

        optimizer.ZeroGradients();
        return new(seen.Average(m => m.TextEntropy), seen.Average(m => m.ImageEntropy), seen[^1].Used, seen.Average(m => m.ClipFraction),
            seen.Average(m => m.Divergence), norms.Average(), seen.Average(m => m.RationaleTokens));
    }

    private Metrics MicroBatch(Experience experience, int start, int count, int groupSize, int parts)
    {
        using var scope = NewDisposeScope();
        var rollouts = experience.Rollouts.Slice(start, count);
        var columns = rollouts.ResponseColumns;
        Tensor image = rollouts.ImageMask.narrow(1, rollouts.PromptColumns, columns).to(ScalarType.Int64), mask = rollouts.ResponseMask;
        if (Config.IgnoreBeginOfImage)
        {
            using Scalar token = beginOfImage;
            mask = mask.mul(rollouts.Ids.narrow(1, rollouts.PromptColumns, columns).ne(token).to(ScalarType.Int64));
        }

        var (logProbs, entropies) = Statistics(model, rollouts, entropy is not NoEntropyTerm);
        var old = experience.OldLogProbs.narrow(0, start, count).narrow(1, 0, columns);
        var advantages = experience.Advantages.view(-1).narrow(0, start, count).unsqueeze(1); // [n, 1]
        var policy = PolicyLoss.Compute(logProbs, old, advantages, mask, Config.ClipRange);
        Tensor text = mask.mul(image.mul(-1).add(1)), drawn = mask.mul(image);
        Tensor textEntropy = Masked.Mean(entropies, text), imageEntropy = Masked.Mean(entropies, drawn);
        var used = entropy.Next(textEntropy.ToDouble(), imageEntropy.ToDouble());
        var loss = policy.Loss.add(textEntropy.mul(used.Text)).add(imageEntropy.mul(used.Image));
        loss = used.All == 0 ? loss : loss.add(Masked.Mean(entropies, mask).mul(used.All));
        if (reference is not null && Config.KlWeight > 0)
        {
            using var free = no_grad();
            var frozen = Statistics(reference, rollouts, false).LogProbs;
            using var grad = enable_grad();
            loss = loss.add(Masked.Mean(Kl.LowVariance(logProbs, frozen), mask).mul(Config.KlWeight));
        }

        if (!double.IsFinite(loss.ToDouble()))
        {
            throw new NonFiniteLossException("the loss", StepCount, $"rollouts {start} to {start + count - 1}", lastSaved);
        }

        ActivationCheckpoint.Backward(loss.div(parts));
        return new(textEntropy.ToDouble(), imageEntropy.ToDouble(), used, policy.ClipFraction, policy.Divergence, 0, text.sum().ToDouble() / count);
    }

    /// <summary>Writes all that <see cref="Resume"/> needs into one file.</summary>
    /// <exception cref="CheckpointException">It cannot be written; an earlier state stays as it was.</exception>
    public void Save(string path)
    {
        RunState.Save(path, model.TrainableParameters(), optimizer, new JObject
        {
            ["step"] = StepCount, ["next_prompt"] = collector.NextPrompt, ["empty_steps"] = emptySteps, ["entropy"] = entropy.SaveState(),
            ["strategy"] = entropy.Name, ["config"] = JObject.FromObject(Config),
        });
        lastSaved = path;
    }

    /// <summary>Goes on from a saved state.</summary>
    /// <exception cref="CheckpointException">The state is missing, damaged, or of a run with other settings.</exception>
    public void Resume(string path)
    {
        var state = RunState.Load(path, model.TrainableParameters(), optimizer);
        if (!JToken.DeepEquals(state["config"], JObject.FromObject(Config)) || (string?)state["strategy"] != entropy.Name)
        {
            throw new CheckpointException(path, "the run was made with other settings", $"resume with {state["config"]} and entropy term '{state["strategy"]}'");
        }

        (StepCount, collector.NextPrompt, emptySteps, lastSaved) = ((long)state["step"]!, (long)state["next_prompt"]!, (int)state["empty_steps"]!, path);
        entropy.RestoreState((JObject)state["entropy"]!);
    }

    public void Dispose()
    {
        LastExperience?.Dispose();
        optimizer.Dispose();
    }
}
