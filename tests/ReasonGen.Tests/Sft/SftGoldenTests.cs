using Newtonsoft.Json.Linq;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Optimization;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.Tests.Devices;
using ReasonGen.Tokenizers;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Sft;

[Trait("Category", "Golden")]
public sealed class SftGoldenTests
{
    [Fact]
    public void Sequences_equal_the_reference()
    {
        var json = Golden.Json("sft/samples");
        var expected = Golden.Tensors("sft/samples");
        var s = json["special"]!;
        var special = new SpecialTokens((int)s["bos"]!, (int)s["eos"]!, (int)s["pad"]!, (int)s["begin_of_image"]!,
            (int)s["end_of_image"]!, (int)s["image_placeholder"]!);
        var placeholders = Enumerable.Repeat((long)special.ImagePlaceholder, (int)json["image_tokens"]!).ToArray();
        var samples = json["rows"]!
            .Select(row =>
                new SftSample(row["prompt_ids"]!.ToObject<int[]>()!, row["response_ids"]!.ToObject<int[]>()!,
                    placeholders, (bool)row["dropped"]!)).ToArray();
        using var batch = SftBatch.Build(samples, special, (int)json["max_length"]!);
        Golden.Equal(expected["input_ids"], batch.Ids, "ids");
        Golden.Equal(expected["attention_mask"], batch.AttentionMask, "attention");
        Golden.Equal(expected["position_ids"], batch.PositionIds, "positions");
        Golden.Equal(expected["loss_mask"], batch.LossMask, "loss mask");
        Golden.Equal(expected["input_img_mask"], batch.ImageMask, "image mask");

        var length = (int)expected["exact_length.input_ids"].shape[0];
        using var exact = SftBatch.Build([samples[0]], special, length);
        Golden.Equal(expected["exact_length.input_ids"], exact.Ids[0], "exact ids");
        Golden.Equal(expected["exact_length.loss_mask"], exact.LossMask[0], "exact loss mask");
        Golden.Equal(expected["exact_length.position_ids"], exact.PositionIds[0], "exact positions");
        Golden.Equal(expected["exact_length.attention_mask"], exact.AttentionMask[0], "exact attention");
        Assert.Throws<ArgumentException>(() => SftBatch.Build([samples[0]], special, length - 1));
        var template = new PromptTemplate((string)json["template"]!, PromptTemplate.JanusSft.Chat);
        Assert.All(json["rows"]!,
            row => Assert.Equal((string)row["prompt_string"]!,
                template.Fill(((string)row["prompt"]!) is var p && p.EndsWith('.') ? p[..^1] : p)));
    }

    [Fact]
    public void Loss_and_gradients_equal_the_reference()
    {
        var json = Golden.Json("sft/loss");
        var t = Golden.Tensors("sft/loss");
        foreach (var (name, token) in (JObject)json["cases"]!)
        {
            using var scope = NewDisposeScope();
            var c = token!;
            using var model = new DenseLogits(t["text_logits"], t["image_logits"]);
            var batch = new SftBatch(t[name + ".input_ids"], t[name + ".attention_mask"].to(ScalarType.Int64),
                zeros_like(t[name + ".input_ids"]),
                t[name + ".loss_mask"].to(ScalarType.Int64), t[name + ".input_img_mask"].to(ScalarType.Bool));
            var factors = ((JArray)c["gradual_increase_key"]!).ToDictionary(key => (string)key!, _ => Grown(c));
            double Scale(string key) => (double)c["loss_scale"]![key]! * factors.GetValueOrDefault(key, 1);
            var weight = (double)c["kl_loss_weight"]!;
            using var reference = weight > 0
                ? new DenseLogits(t[name + ".reference_text_logits"], t[name + ".reference_image_logits"]) : null;
            var loss = SftLoss.Compute(model, batch, (long)json["begin_of_image"]!, Scale("text"), Scale("image"),
                Scale("image_start_token"), reference, weight);
            loss.Total.backward();
            Assert.Equal((double)c["loss"]!, loss.Total.ToDouble(), 1e-5);
            Assert.Equal((double)c["per_class"]!["text"]!, loss.Text, 1e-5);
            Assert.Equal((double)c["per_class"]!["image"]!, loss.Image, 1e-5);
            Assert.Equal(((double?)c["kl_loss"] ?? 0) * weight, loss.Kl, 1e-7);
            Golden.Close(t[name + ".grad_text_logits"], model.Text.grad!, 1e-7, name + " text gradient");
            Golden.Close(t[name + ".grad_image_logits"], model.Image.grad!, 1e-7, name + " image gradient");
        }
    }

    // the reference's factor on a scale that grows over training; janus_sft.sh grows none
    private static double Grown(JToken c)
    {
        double from = (double)c["gradual_increase_interval"]![0]!, to = (double)c["gradual_increase_interval"]![1]!;
        return (Math.Clamp((double)c["global_step"]! / (double)c["total_steps"]!, from, to) - from) / (to - from);
    }

    [Fact]
    public void Schedules_equal_the_reference()
    {
        var json = Golden.Json("sft/schedules");
        foreach (var c in json["cosine"]!)
        {
            double Rate(long step) => LearningRate.Cosine(step, (long)c["warmup_steps"]!, (long)c["total_steps"]!);
            foreach (var (step, factor) in c["step"]!.Some().Paired(c["factor"]!))
            {
                Assert.Equal((double)factor!, Rate((long)step!), 1e-12);
            }

            Used(c, Rate);
        }

        foreach (var c in json["constant"]!)
        {
            double Rate(long step) => LearningRate.Constant(step, (long)c["warmup_steps"]!);
            foreach (var (step, factor) in c["factor"]!.Some().Index())
            {
                Assert.Equal((double)factor!, Rate(step), 1e-12);
            }

            Used(c, Rate);
        }

        var warmup = json["warmup_steps_from_ratio"]!;
        Assert.All(warmup["cases"]!.Some(), c =>
            Assert.Equal((long)c[1]!, LearningRate.WarmupSteps((double)warmup["ratio"]!, (long)c[0]!)));

        // with a learning rate of 1e-5
        static void Used(JToken c, Func<long, double> rate) =>
            Assert.All(c["lr_used_by_first_optimizer_steps"]!.Some().Index(),
                used => Assert.Equal((double)used.Item!, 1e-5 * rate(used.Index), 1e-17));
    }

    [Fact]
    public void Clipping_equals_the_reference()
    {
        var json = Golden.Json("sft/clipping");
        var t = Golden.Tensors("sft/clipping");
        foreach (var (name, c) in (JObject)json["cases"]!)
        {
            var parameters = Enumerable.Range(0, int.MaxValue).TakeWhile(i => t.ContainsKey($"{name}.grad{i}"))
                .Select(i => new Parameter(zeros_like(t[$"{name}.grad{i}"])) { grad = t[$"{name}.grad{i}"].clone() })
                .Some();
            var norm = GradientClip.Apply(parameters, (double)json["max_norm"]!);
            Assert.Equal((double)c!["total_norm"]!, norm, 1e-6 * Math.Max(1e-9, norm));
            foreach (var (i, parameter) in parameters.Index())
            {
                var expected = t[$"{name}.clipped{i}"];
                Golden.Close(expected, parameter.grad!, 1e-6 * Math.Max(1e-12, expected.abs().max().ToDouble()),
                    $"{name} {i}");
            }
        }
    }

    [Theory]
    [InlineData("script_lr", 1e-6)]
    [InlineData("lr_1e-2", 5e-6)]
    [InlineData("clipped", 5e-6)]
    public void Training_follows_the_reference(string run, double tolerance)
    {
        var json = Golden.Json("sft/trajectory_" + run);
        var t = Golden.Tensors("sft/trajectory_" + run);
        using var model = new TableModel(t, "initial.");
        SftBatch Batch(long step)
        {
            var ids = t[$"step{step}.input_ids"].clone();
            return new(ids, ones_like(ids), zeros_like(ids), t[$"step{step}.loss_mask"].to(ScalarType.Int64),
                t[$"step{step}.input_img_mask"].to(ScalarType.Bool));
        }

        var steps = (JArray)json["steps"]!;
        var total = (int)json["total_steps"]!;
        using var trainer = new SftTrainer(model, Batch, (long)json["begin_of_image"]!, new SftConfig
        {
            TotalSteps = total, LearningRate = (double)json["lr"]!,
            WarmupRatio = ((double)json["warmup_steps"]! + 1e-9) / total,
            Beta1 = (double)json["betas"]![0]!, Beta2 = (double)json["betas"]![1]!,
            WeightDecay = (double)json["weight_decay"]!, GradientClip = (double)json["clip_grad"]!,
            TextScale = (double)json["loss_scale"]!["text"]!, ImageScale = (double)json["loss_scale"]!["image"]!,
            BeginOfImageScale = (double)json["loss_scale"]!["image_start_token"]!,
            MicroBatchSamples = (int)json["micro_batch"]!, SumMicroBatches = true,
        });
        for (var s = 0; s < steps.Count; s++)
        {
            Gradients(s);
            var step = trainer.Step();
            Assert.Equal((double)steps[s]["lr_used"]!, step.LearningRate, 1e-12);
            Assert.Equal((double)steps[s]["grad_norm_before_clipping"]!, step.GradientNorm,
                1e-5 * Math.Max(1, step.GradientNorm));
            var log = steps[s]["log"]!;
            Assert.Equal((double)log["train/loss"]!, step.Loss, 1e-5 + 1e-6 * step.Loss);
            // means over the losses above 0: large logits round some of the smallest to 0, not the same in each order
            var rounded = run == "clipped" ? 0.025 : 1e-6;
            Assert.Equal((double)log["train/text"]!, step.TextLoss, rounded * Math.Max(10, step.TextLoss));
            Assert.Equal((double)log["train/image"]!, step.ImageLoss, rounded * Math.Max(10, step.ImageLoss));
            var next = LearningRate.Cosine(s + 1, (long)json["warmup_steps"]!, total);
            Assert.Equal((double)log["train/lr(1e-3)"]!, 1000 * (double)json["lr"]! * next, 1e-9);
            foreach (var name in TableModel.WeightNames)
            {
                Golden.Close(t[$"step{s}.after.{name}"], model[name], s == 0 ? 0 : tolerance, $"step {s} {name}");
            }
        }

        // of a step's micro-batches with the weights before it, summed up one after the other
        void Gradients(int s)
        {
            using var before = new TableModel(t, s == 0 ? "initial." : $"step{s - 1}.after.");
            using var batch = Batch(s);
            var summed = TableModel.WeightNames.ToDictionary(name => name, name => zeros_like(before[name]));
            var (size, close) = ((int)json["micro_batch"]!, TestDevice.IsCpu ? 2e-6 : 1e-4);
            for (var micro = 0; micro * size < batch.Count; micro++)
            {
                var loss = SftLoss.Compute(before, batch.Slice(micro * size, size), (long)json["begin_of_image"]!,
                    trainer.Config.TextScale, trainer.Config.ImageScale, trainer.Config.BeginOfImageScale);
                loss.Total.backward();
                if (s == 0)
                {
                    var expected = (double)json[$"micro{micro}_loss"]!;
                    Assert.Equal(expected, loss.Total.ToDouble(), 1e-5 + 1e-6 * expected);
                }

                foreach (var name in TableModel.WeightNames)
                {
                    var gradient = before[name].grad!;
                    if (t.TryGetValue($"step{s}.micro{micro}.grad.{name}", out var alone))
                    {
                        Golden.Close(alone, gradient, close, $"step {s}, micro-batch {micro}, gradient of {name}");
                    }

                    summed[name].add_(gradient);
                    gradient.zero_();
                }
            }

            Assert.All(summed, pair =>
                Golden.Close(t[$"step{s}.grad.{pair.Key}"], pair.Value, close, $"step {s}, gradient of {pair.Key}"));
        }
    }

    [Fact]
    public void AdamW_in_bfloat16_equals_the_reference()
    {
        var t = Golden.Tensors("sft/adamw_bf16");
        var parameter = new Parameter(t["initial"].clone());
        using var optimizer = new AdamW([("p", parameter)], 0.9, 0.95, 0.01, keepMasters: false);
        for (var s = 0; t.ContainsKey($"step{s}.grad"); s++)
        {
            parameter.grad = t[$"step{s}.grad"].clone();
            optimizer.Step(1e-3);
            OneUlp(t[$"step{s}.after"], parameter, $"step {s} weight");
            OneUlp(t[$"step{s}.exp_avg"], optimizer.State()["p.exp_avg"], $"step {s} first moment");
            OneUlp(t[$"step{s}.exp_avg_sq"], optimizer.State()["p.exp_avg_sq"], $"step {s} second moment");
        }
    }

    // one bfloat16 unit is at most 2^-7 of the value
    private static void OneUlp(Tensor expected, Tensor actual, string what)
    {
        var e = expected.to(ScalarType.Float32);
        Assert.True(e.sub(actual.detach().to(ScalarType.Float32)).abs().le(e.abs().mul(1 / 128.0)).all().ToBoolean(),
            what);
    }

    /// <summary>Fixed logits at every place: what the loss fixtures differentiate.</summary>
    private sealed class DenseLogits : IImageTextModel, IDisposable
    {
        internal DenseLogits(Tensor text, Tensor image) =>
            (Text, Image) = (new Parameter(text.clone()), new Parameter(image.clone()));

        internal Parameter Text { get; }

        internal Parameter Image { get; }

        public int VocabularySize => (int)Text.shape[2];

        public int CodebookSize => (int)Image.shape[2];

        public IEnumerable<(string Name, Parameter Parameter)> TrainableParameters() =>
            [("text", Text), ("image", Image)];

        // a hidden state is both rows of logits, one behind the other
        public Tensor Embed(Tensor ids, Tensor? imageMask = null) => cat([Text, Image], -1);

        public Tensor EmbedImageCodes(Tensor codes) => throw new NotSupportedException();

        public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
            KvCache? cache = null) => embeddings;

        public Tensor TextLogits(Tensor hidden) => hidden.narrow(-1, 0, VocabularySize);

        public Tensor ImageLogits(Tensor hidden) => hidden.narrow(-1, VocabularySize, CodebookSize);

        public KvCache? NewCache(int rows, int tokens) => null;

        public Tensor DecodeImage(Tensor codes) => throw new NotSupportedException();

        public void Dispose()
        {
            Text.Dispose();
            Image.Dispose();
        }
    }
}
