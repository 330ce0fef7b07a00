using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Optimization;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Tests.Devices;
using ReasonGen.Training;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Grpo;

/// <summary>Whole iterations against the reference: what is logged, each loss, the weights after each optimizer
/// step.</summary>
[Trait("Category", "Golden")]
public sealed class GrpoIterationGoldenTests
{
    [Theory]
    [InlineData("script_lr", 1e-6)]
    [InlineData("lr_1e-2", 5e-6)]
    [InlineData("clipped", 5e-6)]
    [InlineData("static_entropy_kl", 5e-6)]
    public void Whole_iterations_follow_the_reference(string run, double tolerance)
    {
        var json = Golden.Json("grpo/update_" + run);
        var t = Golden.Tensors("grpo/update_" + run);
        using var model = new TableModel(t, "initial.");
        using var reference = t.ContainsKey("reference.text_embed") ? new TableModel(t, "reference.") : null;
        int prompts = (int)json["prompts"]!, n = (int)json["n"]!;
        var optimizer = json["optimizer"]!;
        var config = new GrpoConfig
        {
            PromptsPerStep = prompts, RolloutsPerPrompt = n,
            PromptsPerUpdate = (int)json["mini_batch_trajectories"]! / n,
            MicroBatchRollouts = (int)json["micro_batch"]!,
            LearningRate = (double)optimizer["lr"]!, WeightDecay = (double)optimizer["weight_decay"]!,
            GradientClip = (double)optimizer["grad_clip"]!, ClipRange = (double)json["clip_ratio"]!,
            KlWeight = (bool)json["use_kl_loss"]! ? (double)json["kl_loss_coef"]! : 0,
            IgnoreBeginOfImage = (bool)json["ignore_img_start"]!,
        };
        EntropyControllerConfig Controller(string target) =>
            new()
            {
                Target = (double)json[target]!, LearningRate = (double)json["entropy_lr"]!,
                Bound = (double)json["entropy_bounds"]![1]!,
            };
        var adaptive = (bool)json["adaptive_entropy"]!
            ? new AdaptiveEntropyTerm(Controller("text_target"), Controller("image_target")) : null;
        var iteration = 0;
        var source = new RecordedRollouts(() => iteration, t, (int)json["prompt_columns"]!);
        var reward = new RecordedReward(() => t[$"iter{iteration}.rewards"].to(ScalarType.Float32).Values<float>());
        var collector = new RolloutCollector(source, reward, i => new Prompt(i.ToString(), "", []), config);
        using var trainer = new GrpoTrainer(model, collector,
            (IEntropyStrategy?)adaptive ?? new FixedEntropyTerm(-(double)json["entropy_coeff"]!),
            (long)json["ids"]!["begin_of_image"]!, reference);
        var updates = prompts * n / (int)json["mini_batch_trajectories"]!;
        // the weights that the passes of a step read, each once
        var passed = new List<Dictionary<string, Tensor>>();
        model.Passing = () => Add(passed, TableModel.WeightNames.ToDictionary(name => name,
            name => model[name].detach().clone().DetachFromDisposeScope()));
        // gradients of each update as they last were before they were clipped
        var (summed, begins) = (new List<Dictionary<string, Tensor>>(), true);
        model.Listing = () =>
        {
            var none = TableModel.WeightNames.Any(name => model[name].grad is null);
            if (!none)
            {
                summed.RemoveRange(summed.Count - (begins ? 0 : 1), begins ? 0 : 1);
                summed.Add(TableModel.WeightNames.ToDictionary(name => name,
                    name => model[name].grad!.clone().DetachFromDisposeScope()));
            }

            begins = none;
        };
        foreach (var (expected, driver) in json["iterations"]!.Paired(json["driver_metrics"]!))
        {
            passed.Clear();
            summed.Clear();
            var step = trainer.Step();
            model.Passing();
            var mask = source.Current.ResponseMask;
            var batch = trainer.LastBatch!;
            Golden.Close(t[$"iter{iteration}.old_log_probs"].mul(mask), batch.OldLogProbs.mul(mask), 1e-5,
                "old log-probs");
            Golden.Close(t[$"iter{iteration}.advantages"].mul(mask), batch.Advantages.view(-1, 1).mul(mask), 2e-6,
                "advantages");
            var metrics = expected["per_micro_batch"]!;
            double Logged(string name) => (double)driver["actor/" + name]!;
            Assert.All(metrics.Children<JProperty>(), metric =>
                Assert.Equal((double)driver[metric.Name]!, metric.Value.Average(value => (double)value!), 1e-9));
            Totals(driver, step, batch, mask);
            // of what was sampled, begin-of-image too where the loss leaves it out
            var text = mask * batch.Rollouts.ImageMask.narrow(1, batch.Rollouts.PromptColumns, mask.shape[1])
                .logical_not().to(ScalarType.Int64);
            Assert.Equal(text.sum().item<long>() / (double)batch.Rollouts.Count, step.RationaleTokens, 1e-6);
            Assert.Equal(Logged("text_entropy_loss"), step.TextEntropy, 1e-5);
            Assert.Equal(Logged("img_entropy_loss"), step.ImageEntropy, 1e-5);
            Assert.Equal(Logged("pg_clipfrac"), step.ClipFraction, 1e-5);
            Assert.Equal(Logged("ppo_kl"), step.ApproxKl, 1e-5);
            // the reference logs the last of the norms, this is their mean
            var norms = json["grad_norm_per_optimizer_step"]!.Skip(iteration * updates).Take(updates).Some();
            Assert.Equal(norms.Average(norm => (double)norm!), step.GradientNorm,
                1e-5 * Math.Max(1, step.GradientNorm));
            Assert.Equal(Logged("grad_norm"), (double)norms[^1]!, 1e-7);
            double Rate(int at) => config.LearningRate * LearningRate.Constant(at, config.WarmupSteps);
            Assert.All(json["lr_used_per_optimizer_step"]!.Skip(iteration * updates).Take(updates).Some(),
                rate => Assert.Equal((double)rate!, Rate(iteration), 1e-12));
            Assert.Equal((double)expected["lr_after_scheduler"]!, Rate(iteration + 1), 1e-12);
            Tensor After(int number, string name) =>
                t[number < 0 ? "initial." + name : $"step{number}.after.{name}"];
            var steps = new List<Dictionary<string, Tensor>>();
            for (var number = iteration * updates - 1; number < (iteration + 1) * updates; number++)
            {
                Add(steps, TableModel.WeightNames.ToDictionary(name => name, name => After(number, name)));
            }

            foreach (var (number, gradients) in Enumerable.Range(iteration * updates, updates).Paired(summed))
            {
                var clipped = TableModel.WeightNames.ToDictionary(name => name,
                    name => new Parameter(zeros_like(gradients[name])) { grad = gradients[name] });
                GradientClip.Apply(clipped.Values, config.GradientClip);
                Assert.All(clipped, pair => Golden.Close(t[$"step{number}.clipped_grad.{pair.Key}"], pair.Value.grad!,
                    TestDevice.IsCpu ? 2e-6 : 1e-4, $"step {number}, clipped gradient of {pair.Key}"));
            }

            foreach (var (wanted, weights) in steps.Paired(passed))
            {
                Assert.All(wanted, pair => Golden.Close(pair.Value, weights[pair.Key],
                    iteration == 0 ? 0 : TestDevice.IsCpu ? tolerance : 1e-4, $"iteration {iteration} {pair.Key}"));
            }

            var divergences = new List<double>();
            for (var micro = 0; micro * config.MicroBatchRollouts < batch.Rollouts.Count; micro++)
            {
                var update = micro * config.MicroBatchRollouts * updates / batch.Rollouts.Count;
                using var policy = new TableModel(t, iteration * updates + update == 0 ? "initial."
                    : $"step{iteration * updates + update - 1}.after.");
                Losses(policy, batch.Slice(micro * config.MicroBatchRollouts, config.MicroBatchRollouts,
                    config.IgnoreBeginOfImage ? (long)json["ids"]!["begin_of_image"]! : null), micro);
            }

            Assert.Equal(divergences.DefaultIfEmpty(double.NaN).Average(), step.KlReference, 1e-5);
            if (adaptive is not null)
            {
                Assert.Equal((double)expected["text_psi"]!, adaptive.Text.Psi, 1e-7);
                Assert.Equal((double)expected["image_psi"]!, adaptive.Image.Psi, 1e-7);
                Assert.Equal(-Logged("text_entropy_coeff"), step.TextAlpha, 1e-7);
                Assert.Equal(-Logged("img_entropy_coeff"), step.ImageAlpha, 1e-7);
            }

            iteration++;

            void Losses(TableModel policy, MicroBatch part, int micro)
            {
                using var scope = NewDisposeScope();
                double Of(string name) => (double)metrics["actor/" + name]![micro]!;
                var (logProbs, entropies) = RolloutLogProbs.Compute(policy, part.Rollouts);
                var parts = PolicyLoss.Compute(logProbs, part.OldLogProbs, part.Advantages, part.Mask,
                    config.ClipRange);
                Assert.Equal(Of("pg_loss"), parts.Loss.ToDouble(), 1e-5);
                Assert.Equal(Of("pg_clipfrac"), parts.ClipFraction, 1e-5);
                Assert.Equal(Of("ppo_kl"), parts.ApproxKl, 1e-5);
                Assert.Equal(Of("entropy_loss"), MaskedMean.Of(entropies, part.Mask).ToDouble(), 1e-5);
                Assert.Equal(Of("text_entropy_loss"), MaskedMean.Of(entropies, part.TextMask).ToDouble(), 1e-5);
                Assert.Equal(Of("img_entropy_loss"), MaskedMean.Of(entropies, part.ImageMask).ToDouble(), 1e-5);
                if (reference is null)
                {
                    return;
                }

                var fromReference = RolloutLogProbs.Compute(reference, part.Rollouts).LogProbs;
                Golden.Close(t[$"iter{iteration}.ref_log_prob"].narrow(0, micro * part.Rollouts.Count,
                    part.Rollouts.Count).narrow(1, 0, part.Mask.shape[1]).mul(part.Rollouts.ResponseMask),
                    fromReference, 1e-5, "log-probs of the reference model");
                divergences.Add(MaskedMean.Of(Kl.K3(logProbs, fromReference), part.Mask).ToDouble());
                if ((micro + 1) * part.Rollouts.Count == batch.Rollouts.Count) // of the last one alone it is logged
                {
                    Assert.Equal(Logged("kl_loss"), divergences[^1], 1e-5);
                    Assert.Equal(Logged("kl_coef"), config.KlWeight, 1e-9);
                }
            }
        }
    }

    // what the reference logs of a whole iteration: rewards of rollouts, advantages of tokens, lengths of responses
    private static void Totals(JToken driver, GrpoStep step, GrpoBatch batch, Tensor mask)
    {
        double Logged(string name) => (double)driver[name]!;
        Assert.Equal(Logged("critic/score/mean"), step.Reward, 1e-6);
        var rewards = batch.Rewards.Values<float>();
        Assert.Equal((Logged("critic/rewards/min"), Logged("critic/rewards/max")),
            ((double)rewards.Min(), (double)rewards.Max()));
        var advantages = batch.Advantages.view(-1, 1).expand(mask.shape).masked_select(mask.to(ScalarType.Bool));
        Assert.Equal(Logged("critic/advantages/mean"), advantages.mean().ToDouble(), 2e-6);
        Assert.Equal(Logged("critic/advantages/min"), advantages.min().ToDouble(), 2e-6);
        Assert.Equal(Logged("critic/advantages/max"), advantages.max().ToDouble(), 2e-6);
        var lengths = mask.sum([1L]).to(ScalarType.Float64);
        Assert.Equal((Logged("response_length/min"), Logged("response_length/max")),
            (lengths.min().ToDouble(), lengths.max().ToDouble()));
        Assert.Equal(Logged("response_length/mean"), lengths.mean().ToDouble(), 1e-6);
    }

    // unless the last ones are the same
    private static void Add(List<Dictionary<string, Tensor>> seen, Dictionary<string, Tensor> weights)
    {
        if (seen.Count == 0 || weights.Any(pair => !pair.Value.equal(seen[^1][pair.Key]).all().ToBoolean()))
        {
            seen.Add(weights);
        }
    }

    private sealed class RecordedRollouts(Func<int> iteration, Dictionary<string, Tensor> t, int promptColumns)
        : IRolloutSource
    {
        internal RolloutBatch Current => Batch();

        public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed) => Batch();

        public string[] Rationales(RolloutBatch rollouts) => Enumerable.Repeat("", rollouts.Count).ToArray();

        public RgbImage[] Images(RolloutBatch rollouts) =>
            Enumerable.Repeat(new RgbImage(1, 1, [0, 0, 0]), rollouts.Count).ToArray();

        private RolloutBatch Batch()
        {
            Tensor Of(string name) => t[$"iter{iteration()}.{name}"].clone();
            var ids = Of("input_ids");
            return new(promptColumns, ids, Of("attention_mask"), Of("position_ids"),
                Of("seq_img_mask").to(ScalarType.Bool), zeros(ids.shape[0], 1, ScalarType.Int64, ids.device),
                zeros([ids.shape[0], ids.shape[1] - promptColumns], device: ids.device));
        }
    }

    private sealed class RecordedReward(Func<float[]> rewards) : IReward
    {
        public string Name => "recorded";

        public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) => rewards();
    }
}
