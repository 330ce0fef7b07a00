using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Training;
using ReasonGen.World;
using ReasonGen.Tests.Devices;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Grpo;

[Trait("Category", "Golden")]
public sealed class GrpoGoldenTests
{
    [Fact]
    public void Advantages_equal_the_reference()
    {
        var t = Golden.Tensors("grpo/advantages");
        foreach (var name in ((JObject)Golden.Json("grpo/advantages")["cases"]!).Properties().Select(p => p.Name))
        {
            using var scope = NewDisposeScope();
            var groups = t[name + ".group"].Values<long>();
            var rewards = t[name + ".token_level_rewards"].sum([1L]).Values<float>();
            var expected = t[name + ".advantages"];
            var mask = t[name + ".response_mask"].to(ScalarType.Float32);
            var advantages = new float[groups.Length];
            foreach (var rows in Enumerable.Range(0, groups.Length).GroupBy(row => groups[row])
                .Select(group => group.ToArray()))
            {
                var values = GroupAdvantage.Compute(tensor(rows.Select(row => rewards[row]).ToArray()).unsqueeze(0))
                    .Values<float>();
                foreach (var (i, row) in rows.Index())
                {
                    advantages[row] = values[i];
                }
            }

            Golden.Close(expected, tensor(advantages).Here().unsqueeze(1).mul(mask), 2e-6, name);
        }
    }

    [Fact]
    public void Filter_keeps_and_refills_like_the_reference()
    {
        foreach (var (name, token) in Golden.Json("grpo/group_filter"))
        {
            var scenario = token!;
            var batches = scenario["loader_batches_rewards"]!
                .Select(batch => batch.Select(group => group.ToObject<float[]>()!).ToArray()).ToArray();
            int size = (int)scenario["train_batch_size"]!, n = (int)scenario["n"]!;
            var source = new ScriptedRollouts();
            var calls = source.Calls;
            var config = new GrpoConfig
            {
                PromptsPerStep = size, RolloutsPerPrompt = n, PromptsPerUpdate = size,
                MaxRounds = (int)scenario["max_num_gen_batches"]!, FailOnTooFewGroups = true,
                PromptsPerRefill = (int)scenario["world_size"]!, FilterGroups = (bool)scenario["filter_enabled"]!,
            };
            var collector = new RolloutCollector(source, new RewardByPrompt(batches, n),
                i => i / size < batches.Length ? new Prompt(i.ToString(), "", []) : throw new EndOfStreamException(),
                config);
            var failed = false;
            var updates = new List<List<Group>>();
            try
            {
                // the reference's runs end after so many
                var wanted = Math.Max(1, ((JArray)scenario["updates"]!).Count);
                while (updates.Count < wanted && collector.NextPrompt / size < batches.Length
                    && collector.Collect() is { Rollouts: not null } collected)
                {
                    updates.Add([.. collected.Groups]);
                    collected.Rollouts.Dispose();
                }
            }
            catch (EndOfStreamException)
            {
                // the loader ended: a partial collection is lost
            }
            catch (InvalidOperationException)
            {
                failed = true;
            }

            Assert.True(failed == (scenario["error"]!.Type != JTokenType.Null), name);
            Assert.Equal(scenario["generated_prompts_per_call"]!.Select(call => string.Join(',', call)), calls);
            var expected = (JArray)scenario["updates"]!;
            Assert.True(expected.Count == updates.Count,
                $"{name}: {updates.Count} updates instead of {expected.Count}");
            foreach (var (update, groups) in expected.Paired(updates))
            {
                Assert.Equal(update["prompt"]!.Select(p => (string)p!).Where((_, i) => i % n == 0),
                    groups.Select(group => group.Prompt.Text));
                var advantages = groups.SelectMany(group =>
                    GroupAdvantage.Compute(tensor(group.Rewards).unsqueeze(0)).Values<float>());
                Assert.All(update["advantage"]!.Paired(advantages),
                    pair => Assert.Equal((float)pair.First!, pair.Second, 2e-6f));
            }
        }
    }

    [Fact]
    public void Policy_loss_equals_the_reference()
    {
        var t = Golden.Tensors("grpo/policy_loss");
        foreach (var (name, c) in Golden.Json("grpo/policy_loss"))
        {
            if (c!["cliprange"] is null)
            {
                continue; // the paired branch is not part of GRPO
            }

            var logProbs = t[name + ".log_prob"].clone().requires_grad_();
            var parts = PolicyLoss.Compute(logProbs, t[name + ".old_log_prob"], t[name + ".advantages"],
                t[name + ".mask"], (double)c["cliprange"]!);
            parts.Loss.backward();
            var relative = name == "large_ratios" ? 1e-5 * Math.Max(1, Math.Abs(t[name + ".loss"].ToDouble())) : 1e-6;
            Assert.Equal(t[name + ".loss"].ToDouble(), parts.Loss.ToDouble(), relative);
            Assert.Equal(t[name + ".ppo_kl"].ToDouble(), parts.ApproxKl, 1e-5);
            if (name != "exact_bounds")
            {
                Assert.Equal(t[name + ".clipfrac"].ToDouble(), parts.ClipFraction, 1e-6);
                var gradient = t[name + ".grad_log_prob"];
                Golden.Close(gradient, logProbs.grad!,
                    name == "large_ratios" ? 1e-5 * Math.Max(1, gradient.abs().max().ToDouble()) : 1e-6,
                    name + " gradient");
            }
        }
    }

    [Fact]
    public void Log_probs_and_entropies_equal_the_reference()
    {
        var json = Golden.Json("grpo/logprobs");
        var t = Golden.Tensors("grpo/logprobs");
        long columns = (long)json["response_length"]!, length = t["input_ids"].shape[1], start = length - columns;
        foreach (var (name, c) in (JObject)json["cases"]!)
        {
            using var scope = NewDisposeScope();
            Tensor text = t[name + ".text_logits"].clone().requires_grad_(),
                image = t[name + ".image_logits"].clone().requires_grad_();
            var model = new LogitsModel(text.shape[2], image.shape[2]);
            var labels = t["input_ids"].narrow(1, start, columns);
            var isImage = t["seq_img_mask"].narrow(1, start, columns);
            var (logProbs, entropies) = TokenLogProbs.Compute(model,
                cat([text, image], -1).narrow(1, start - 1, columns), labels, isImage, ones_like(labels),
                (double)c!["temperature"]!);
            Golden.Close(t[name + ".log_probs"], logProbs, 1e-5, name + " log-probs");
            Golden.Close(t[name + ".entropy"], entropies, 1e-5, name + " entropy");
            var mask = t["attention_mask"].narrow(1, start, columns);
            foreach (var (kind, counted) in new[] { ("all", mask), ("image", mask.mul(isImage)),
                ("text", mask.mul(isImage.eq(0))) })
            {
                Assert.Equal(t[$"{name}.entropy_{kind}"].ToDouble(), MaskedMean.Of(entropies, counted).ToDouble(),
                    1e-5);
            }

            logProbs.mul(t[name + ".cot_log_probs"]).sum().add(entropies.mul(t[name + ".cot_entropy"]).sum())
                .backward();
            Golden.Close(t[name + ".grad_text_logits"], text.grad!, 1e-5, name + " text gradient");
            Golden.Close(t[name + ".grad_image_logits"], image.grad!, 1e-5, name + " image gradient");
        }
    }

    [Fact]
    public void Log_probs_at_full_width_equal_the_reference()
    {
        const int vocabulary = 102400;
        var t = Golden.Tensors("grpo/logprobs_full_width");
        using var logits = t["image_logits_fp16"].to(ScalarType.Float32).requires_grad_();
        var (logProbs, entropies) = TokenLogProbs.OfLogits(logits, t["labels"], vocabulary - logits.shape[1]);
        logProbs.sum().add(entropies.sum()).backward();
        Golden.Close(t["log_probs"], logProbs, 1e-5, "log-probs");
        Golden.Close(t["log_probs_float64"], logProbs, 1e-5, "log-probs against fp64");
        // better than the reference's own fp32
        Golden.Close(t["entropy_float64"], entropies, 1e-3, "entropy against fp64");
        double[] ours = entropies.to(ScalarType.Float64).Values<double>(),
            exact = t["entropy_float64"].Values<double>();
        foreach (var (row, entropy) in t["entropy"].Values<float>().Index())
        {
            // where the reference's sum over the padded classes goes astray
            var astray = Math.Abs(entropy - exact[row]) > 1e-5;
            Assert.Equal(entropy, ours[row], astray ? 1e-2 : 1e-5);
            var gradient = logits.grad![row];
            Golden.Close(t["grad_head"][row], gradient.narrow(0, 0, t["grad_head"].shape[1]), 1e-5, $"gradient {row}");
            Assert.Equal(t["grad_sum_abs"][row].ToDouble(), gradient.abs().sum().ToDouble(), astray ? 1e-2 : 1e-4);
        }
    }

    [Fact]
    public void Kl_estimate_equals_the_reference()
    {
        var t = Golden.Tensors("grpo/kl");
        var logProbs = t["log_prob"].clone().requires_grad_();
        var value = Kl.K3(logProbs, t["ref_log_prob"]);
        Golden.Close(t["low_var_kl.value"], value, 1e-6, "value");
        var mean = MaskedMean.Of(value, t["mask"]);
        Assert.Equal(t["low_var_kl.masked_mean"].ToDouble(), mean.ToDouble(), 1e-6);
        mean.backward();
        Golden.Close(t["low_var_kl.grad_of_masked_mean"], logProbs.grad!, 1e-6, "gradient");
    }

    [Fact]
    public void Entropy_controllers_equal_the_reference()
    {
        var json = Golden.Json("grpo/entropy_controllers");
        var t = Golden.Tensors("grpo/entropy_controllers");
        foreach (var name in t.Keys.Where(key => key.EndsWith(".alpha_used")).Some()
            .Select(key => key[..^".alpha_used".Length]))
        {
            var settings = json[name.Split('.')[0]]!;
            var controller = Controller(settings, (double)settings["max_coeff"]!);
            float[] Values(string part) => t[$"{name}.{part}"].Values<float>();
            foreach (var (i, entropy) in Values("entropy").Index())
            {
                Assert.Equal(Values("alpha_used")[i], controller.Alpha, 1e-7f);
                var loss = controller.Update(entropy);
                Assert.Equal(Values("controller_loss")[i], loss, 1e-6 + 1e-6 * Math.Abs(loss));
                Assert.Equal(Values("psi_after")[i], controller.Psi, 1e-7f);
                Assert.Equal(Values("alpha_after")[i], controller.Alpha, 1e-7f);
                Assert.Equal(Values("adam_m")[i], controller.Moments.First,
                    1e-6f * Math.Max(0.1f, Math.Abs(controller.Moments.First)));
                Assert.Equal(Values("adam_v")[i], controller.Moments.Second,
                    1e-6f * Math.Max(0.1f, controller.Moments.Second));
            }
        }
    }

    [Fact]
    public void Entropy_controllers_that_start_elsewhere_equal_the_reference()
    {
        var json = Golden.Json("grpo/entropy_controllers");
        var t = Golden.Tensors("grpo/entropy_controllers");
        foreach (var name in t.Keys.Where(key => key.EndsWith(".alpha")).Some().Select(key => key[..^".alpha".Length]))
        {
            var controller = Controller(json[name]!, (double)json[name]!["bounds"]![1]!);
            float[] alphas = t[name + ".alpha"].Values<float>(), psis = t[name + ".psi"].Values<float>();
            Assert.Equal((alphas[0], psis[0]), (controller.Alpha, controller.Psi), Near);
            foreach (var ((alpha, psi), entropy) in alphas.Paired(psis).Skip(1)
                .Paired(t[name + ".entropy"].Values<float>()))
            {
                controller.Update(entropy);
                Assert.Equal((alpha, psi), (controller.Alpha, controller.Psi), Near);
            }
        }

        static bool Near((float Alpha, float Psi) a, (float Alpha, float Psi) b) =>
            Math.Abs(a.Alpha - b.Alpha) <= 1e-7 && Math.Abs(a.Psi - b.Psi) <= 1e-7;
    }

    private static EntropyController Controller(JToken settings, double bound) => new(new()
    {
        Target = (double)settings["target_entropy"]!, LearningRate = (double)settings["lr"]!, Bound = bound,
        InitialAlpha = (double)settings["initial_alpha"]!,
    });

    [Fact]
    public void Masked_means_equal_the_reference()
    {
        var t = Golden.Tensors("grpo/helpers");
        Assert.Equal(t["masked_mean"].ToDouble(), MaskedMean.Of(t["values"], t["eos_mask"]).ToDouble(), 1e-6);
        foreach (var (row, expected) in t["masked_mean_rows"].Values<float>().Index())
        {
            Assert.Equal(expected, MaskedMean.Of(t["values"][row], t["eos_mask"][row]).ToDouble(), 1e-6);
        }
    }

    /// <summary>Gives rollouts without content and notes what was asked for.</summary>
    private sealed class ScriptedRollouts : IRolloutSource
    {
        internal List<string> Calls { get; } = [];

        public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
        {
            Calls.Add(string.Join(',', prompts.Select(prompt => prompt.Text)));
            var n = prompts.Count * rolloutsPerPrompt;
            Tensor Zeros(int columns) => zeros(n, columns, ScalarType.Int64);
            return new(1, Zeros(3), Zeros(3), Zeros(3), Zeros(3), Zeros(1), zeros(n, 2));
        }

        public string[] Rationales(RolloutBatch rollouts) => Enumerable.Repeat("", rollouts.Count).ToArray();

        public RgbImage[] Images(RolloutBatch rollouts) =>
            Enumerable.Repeat(new RgbImage(1, 1, [0, 0, 0]), rollouts.Count).ToArray();
    }

    private sealed class RewardByPrompt(float[][][] batches, int n) : IReward
    {
        public string Name => "scripted";

        public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
            requests.Select((request, i) =>
        {
            var prompt = int.Parse(request.Prompt.Text);
            return batches[prompt / batches[0].Length][prompt % batches[0].Length][i % n];
        }).ToArray();
    }

    /// <summary>Hidden states are both rows of logits, one behind the other.</summary>
    private sealed class LogitsModel(long text, long image) : IImageTextModel
    {
        public int VocabularySize => (int)text;

        public int CodebookSize => (int)image;

        public IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> TrainableParameters() => [];

        public Tensor Embed(Tensor ids, Tensor? imageMask = null) => throw new NotSupportedException();

        public Tensor EmbedImageCodes(Tensor codes) => throw new NotSupportedException();

        public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
            KvCache? cache = null) => throw new NotSupportedException();

        public Tensor TextLogits(Tensor hidden) => hidden.narrow(-1, 0, text);

        public Tensor ImageLogits(Tensor hidden) => hidden.narrow(-1, text, image);

        public KvCache? NewCache(int rows, int tokens) => null;

        public Tensor DecodeImage(Tensor codes) => throw new NotSupportedException();
    }
}
