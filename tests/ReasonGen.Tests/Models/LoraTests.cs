using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;
using Parameter = TorchSharp.Modules.Parameter;

namespace ReasonGen.Tests.Models;

/// <summary>What makes real sizes trainable, on a model of a few thousand weights.</summary>
public sealed class LoraTests
{
    // the ids that TinyJanus gives its special tokens
    private static readonly SpecialTokens Special = new(256, 257, 258, 259, 260, 261);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Gradients_with_checkpointed_activations_are_the_same(bool lora)
    {
        var plain = Gradients(lora, checkpoint: false);
        var checkpointed = Gradients(lora, checkpoint: true);
        Assert.Equal(plain.Keys, checkpointed.Keys);
        Assert.All(plain,
            pair => Golden.Close(pair.Value, checkpointed[pair.Key],
                1e-6 * Math.Max(1e-3, pair.Value.abs().max().ToDouble()),
            pair.Key));
    }

    [Fact]
    public void For_a_plan_nothing_is_drawn()
    {
        using var model = new Janus(JanusConfig.Mini(83) with
        {
            Language = JanusConfig.Mini(83).Language with { Width = 96 << 6, Heads = 6 << 6 },
        }, new ComputeTarget(META, ScalarType.BFloat16));
        using var lora = new Lora(model, new() { Rank = 1 << 16 }); // 1.6 GB a matrix
        Assert.All(lora.TrainableParameters(), one => Assert.Equal(DeviceType.META, one.Parameter.device_type));
    }

    [Fact]
    public void Gradients_through_several_chunks_of_logits_are_those_of_all_at_once()
    {
        const int classes = (1 << 23) + 1; // one label a chunk
        using var scope = NewDisposeScope();
        manual_seed(1);
        Tensor labels = tensor(new long[] { 3, 70000 }, [1, 2]), states = randn(1, 2, 1), head = randn(classes, 1);
        var table = new Dictionary<string, Tensor> { ["text_embed"] = states[0], ["text_head"] = head,
            ["img_embed"] = zeros(1, 1),
            ["img_head"] = zeros(1, 1) };
        using var model = new TableModel(table, "");
        Tensor a = states.clone().requires_grad_(), b = states.clone().requires_grad_();
        var (logProbs, entropies) = TokenLogProbs.Compute(model, a, labels, zeros_like(labels), ones_like(labels));
        logProbs.sum().add(entropies.sum(), 0.3).backward();
        var gradient = model["text_head"].grad!.clone();
        model["text_head"].grad = null;
        var (expected, spread) = TokenLogProbs.OfLogits(model.TextLogits(b[0]), labels[0], 0);
        expected.sum().add(spread.sum(), 0.3).backward();
        Golden.Close(expected, logProbs[0], 1e-5, "log-probs");
        // of the states: (onehot − p − 0.3 p (log p + H)) · head, in fp64: fp32 loses a two-hundredth over eight
        // million terms
        using (no_grad())
        {
            Tensor wide = head.to(ScalarType.Float64).view(1, -1),
                log = nn.functional.log_softmax(states.to(ScalarType.Float64)[0].matmul(wide), -1); // [2, classes]
            // [2, classes]
            Tensor p = log.exp(), spreads = p.mul(log).sum([1L], true).neg(),
                slope = p.add(p.mul(log.add(spreads)).mul(0.3)).neg();
            var right = wide.view(-1).index_select(0, labels[0]).add(slope.mul(wide).sum([1L])).view(1, 2, 1);
            Golden.Close(right, a.grad!, 1e-2 * right.abs().max().ToDouble(), "states");
        }
        Golden.Close(model["text_head"].grad!, gradient, 1e-6, "head");
    }

    [Fact]
    public void A_new_lora_changes_no_output_and_a_trained_one_merges_into_the_weights()
    {
        using var model = TinyJanus.Build();
        using var batch = Batch(0);
        using var free = no_grad();
        var before = Hidden(model, batch);
        var lora = new Lora(model, new() { Rank = 4 });
        Golden.Equal(before, Hidden(lora, batch), "at the start");
        foreach (var (i, (_, parameter)) in lora.TrainableParameters().Index())
        {
            using var generator = Seeds.Torch(1, i);
            parameter.copy_(randn(parameter.shape, generator: generator).mul(0.1));
        }

        var trained = Hidden(lora, batch);
        Assert.True(trained.sub(before).abs().max().ToDouble() > 1e-3);
        lora.Merge();
        lora.Dispose();
        Golden.Close(trained, Hidden(model, batch), 1e-4, "merged");
        Assert.All(model.TrainableParameters(), p => Assert.True(p.Parameter.requires_grad, p.Name));
    }

    [Fact]
    public void Fine_tuning_a_lora_lowers_the_loss_and_changes_nothing_else()
    {
        using var model = TinyJanus.Build();
        var before = model.state_dict().ToDictionary(pair => pair.Key, pair => pair.Value.detach().clone());
        var setup = Tiny with { Lora = new() { Rank = 4, Alpha = 8 } };
        using var lora = (Lora)setup.Prepare(model);
        var start = lora.TrainableParameters().ToDictionary(p => p.Name, p => p.Parameter.detach().clone());
        using var trainer = new SftTrainer(lora, _ => Batch(0), Special.BeginOfImage, setup.Sft);
        var steps = trainer.Steps().ToArray();
        Assert.True(steps[^1].Loss < 0.8 * steps[0].Loss, $"{steps[0].Loss} → {steps[^1].Loss}");
        Assert.All(model.state_dict(), pair => Golden.Equal(before[pair.Key], pair.Value, pair.Key));
        Assert.All(lora.TrainableParameters(),
            p => Assert.False(p.Parameter.eq(start[p.Name]).all().ToBoolean(), p.Name));
    }

    [Fact]
    public void Grpo_trains_a_lora_with_checkpoints_as_without()
    {
        float[][] Train(bool checkpoint)
        {
            using var model = TinyJanus.Build();
            var setup = Tiny with { Lora = new() { Rank = 2 }, CheckpointActivations = checkpoint };
            using var lora = (Lora)setup.Prepare(model);
            var config = new GrpoConfig
            {
                PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 4, MicroBatchRollouts = 3,
                LearningRate = 1e-2, MaxRounds = 4,
            };
            using var trainer = new GrpoTrainer(lora, new RolloutCollector(Policy(lora, rows: 3),
                new LambdaReward("brightness", request => request.Image.Rgb.Sum(v => v) % 2),
                i => new ReasonGen.Rollouts.Prompt($"prompt {i}", "", []), config), new FixedEntropyTerm(0.01),
                Special.BeginOfImage);
            _ = trainer.Steps(2).Last();
            return [.. lora.TrainableParameters().Select(p => p.Parameter.Values<float>())];
        }

        var (plain, checkpointed) = (Train(false), Train(true));
        Assert.Contains(plain.SelectMany((values, i) => i % 2 == 1 ? values : []), value => value != 0); // B has moved
        Assert.All(plain.Zip(checkpointed),
            pair => Golden.Close(tensor(pair.First), tensor(pair.Second), 1e-3, "additions"));
    }

    [Fact]
    public void Rollouts_and_images_in_parts_are_those_of_one_batch()
    {
        using var model = TinyJanus.Build();
        ReasonGen.Rollouts.Prompt[] prompts = [new("one", "", []), new("another", "", [])];
        PolicySampler whole = Policy(model, 100), parts = Policy(model, 3);
        using var a = whole.Generate(prompts, 4, 1);
        using var b = parts.Generate(prompts, 4, 1);
        Golden.Equal(a.Ids, b.Ids);
        Assert.Equal(whole.Images(a).Select(p => Convert.ToHexString(p.Rgb)),
            parts.Images(a).Select(p => Convert.ToHexString(p.Rgb)));
    }

    [Fact]
    public void Bad_settings_of_a_lora_are_named()
    {
        using var model = TinyJanus.Build();
        Assert.Contains("'q_projj'; it has",
            Assert.Throws<ArgumentException>(() => new Lora(model, new() { Targets = ["q_projj"] })).Message);
        Assert.Contains("Rank is 0",
            Assert.Throws<ArgumentException>(() => new Lora(model, new() { Rank = 0 })).Message);
        Assert.All(model.parameters(), parameter => Assert.True(parameter.requires_grad));
    }

    private static HuggingFaceTokenizer Words { get; } = LoadWords();

    private static TrainingSetup Tiny { get; } = new()
    {
        Name = "tiny", Model = TinyJanus.Config, DType = ScalarType.Float32, Grpo = GrpoConfig.Paper,
        Sft = new() { TotalSteps = 40, LearningRate = 2e-2, MicroBatchSamples = 2, BeginOfImageScale = 1 },
    };

    private static PolicySampler Policy(IImageTextModel model, int rows) => new(model, Words, PromptTemplate.JanusRl,
        new()
        {
            MaxTextTokens = 6, ImageTokens = TinyJanus.Config.ImageTokens, RowsAtATime = rows, Greedy = model is Janus,
        }, CPU);

    private static HuggingFaceTokenizer LoadWords()
    {
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), TinyJanus.Tokenizer().ToString());
        var words = HuggingFaceTokenizer.Load(folder, JanusChat.SpecialNames);
        Directory.Delete(folder, true);
        return words;
    }

    private static SftBatch Batch(int seed)
    {
        var random = Seeds.Random(7, seed);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(256))];
        return SftBatch.Build([.. Enumerable.Range(0, 3).Select(i =>
            new SftSample(Text(4 + i), Text(5),
                [.. Enumerable.Range(0, TinyJanus.Config.ImageTokens).Select(_ => (long)random.Next(64))]))],
            Special);
    }

    private static Tensor Hidden(IImageTextModel model, SftBatch batch) =>
        model.Hidden(model.Embed(batch.Ids, batch.ImageMask), batch.AttentionMask, batch.PositionIds);

    private static SortedDictionary<string, Tensor> Gradients(bool additions, bool checkpoint)
    {
        using var model = TinyJanus.Build();
        model.CheckpointActivations = checkpoint;
        using var lora = additions ? new Lora(model, new() { Rank = 4 }) : null;
        foreach (var (i, (_, parameter)) in (lora?.TrainableParameters() ?? []).Index())
        {
            using var free = no_grad();
            using var generator = Seeds.Torch(1, i);
            parameter.copy_(randn(parameter.shape, generator: generator).mul(0.1));
        }

        IImageTextModel policy = lora is null ? model : lora;
        using var batch = Batch(0);
        for (var pass = 0; pass < 2; pass++)
        {
            using var scope = NewDisposeScope();
            SftLoss.Compute(policy, batch, Special.BeginOfImage, 2, 1, 1).Total.backward();
        }

        GC.Collect();
        GC.WaitForPendingFinalizers();
        return new(policy.TrainableParameters().ToDictionary(p => p.Name,
            p => p.Parameter.grad is { } gradient ? gradient.clone()
            : throw new InvalidOperationException(p.Name + " has no gradient")));
    }
}
