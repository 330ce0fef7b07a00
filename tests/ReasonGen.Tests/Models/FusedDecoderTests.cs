using ReasonGen.Core;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Native;
using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Models;

/// <summary>The fused pass beside the model's own.</summary>
[Collection(typeof(NothingBeside))]
public sealed class FusedDecoderTests
{
    private const int Rows = 5, Columns = 21, Prefill = 7;

    private static readonly SpecialTokens Special = new(1, 2, 0, 3, 4, 5);

    public static TheoryData<int, int, int, int, bool> Sizes => new()
    {
        // lanes, heads, key-value heads, head width, biases of q, k, v
        { 4, 3, 3, 4, false },
        { 4, 6, 2, 12, true },
        { 4, 6, 6, 16, false },
        { 8, 4, 1, 8, true },
        { 8, 3, 3, 24, false },
        { 8, 6, 3, 16, true },
        { 16, 6, 6, 16, false },
        { 16, 4, 2, 32, true },
    };

    [Theory]
    [MemberData(nameof(Sizes))]
    public void Hidden_states_keys_and_values_are_those_of_the_model(
        int lanes, int heads, int stored, int width, bool biased)
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var model = Model(heads, stored, width, biased);
        using KvCache fused = Cache(model, lanes), own = Cache(model, null);
        var (embeddings, mask, positions) = Input(model);
        var real = mask.to(ScalarType.Bool).unsqueeze(-1);
        foreach (var (start, end) in Steps(Prefill))
        {
            var count = end - start;
            Tensor Of(KvCache cache) => model.Hidden(embeddings.narrow(1, start, count), mask.narrow(1, 0, end),
                positions.narrow(1, start, count).contiguous(), cache)
                .masked_fill(real.narrow(1, start, count).logical_not(), 0);
            Golden.Close(Of(own), Of(fused), 1e-5, $"tokens {start} to {end - 1}");
        }

        for (var layer = 0; layer < model.Config.Layers; layer++)
        {
            var seen = real.unsqueeze(1);
            Golden.Close(own.Layer(layer).Keys.mul(seen), fused.Layer(layer).Keys.mul(seen), 1e-5, $"keys {layer}");
            Golden.Close(
                own.Layer(layer).Values.mul(seen), fused.Layer(layer).Values.mul(seen), 1e-5, $"values {layer}");
        }
    }

    [Theory]
    [InlineData(0.5)]
    [InlineData(1e-6)]
    [InlineData(3e-9)]
    [InlineData(1e-39)]
    public void A_token_is_drawn_at_any_temperature_with_its_log_prob(double temperature)
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        var logits = randn(64, 107, generator: new Generator(5)).mul(9).add(37);
        var (ids, logProbs) = TokenSampler.Draw(logits, temperature, false, like => empty_like(like).exponential_());
        Golden.Close(nn.functional.log_softmax(logits.to(float64).div(Math.Max(temperature, 1e-6)), -1).gather(1, ids),
            logProbs.to(float64), 1e-4, $"at {temperature}");
        var likeliest = ids.eq(logits.argmax(-1, keepdim: true)).sum().item<long>();
        Assert.True(temperature > 1e-3 || likeliest > 60, $"{likeliest} of 64");
    }

    [Theory]
    [InlineData(4)]
    [InlineData(8)]
    [InlineData(16)]
    public void It_goes_on_behind_a_prefill_by_the_model_itself_and_the_model_behind_it(int lanes)
    {
        using var scope = NewDisposeScope();
        using var model = Model(4, 2, 16, true);
        using KvCache mixed = Cache(model, lanes), own = Cache(model, null);
        var (embeddings, mask, positions) = Input(model);
        foreach (var (start, end) in Steps(Prefill))
        {
            Tensor Of(KvCache cache) => model.Hidden(embeddings.narrow(1, start, end - start), mask.narrow(1, 0, end),
                positions.narrow(1, start, end - start).contiguous(), cache).detach();
            using var free = start % 3 == 0 ? null : no_grad(); // with a graph the fused pass is not taken
            var keep = mask.narrow(1, start, end - start).unsqueeze(-1);
            Golden.Close(Of(own).mul(keep), Of(mixed).mul(keep), 1e-5, $"token {start}");
        }
    }

    [Fact]
    public void Without_mask_and_positions_it_counts_on_and_forgets_what_was_truncated()
    {
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var model = Model(4, 4, 16, false);
        using KvCache fused = Cache(model, FusedDecoder.LanesFor(16)), own = Cache(model, null);
        var embeddings = Input(model).Embeddings;
        foreach (var length in new[] { 9, 4, 17 })
        {
            (int, int)[] steps = [(0, 3), (3, 4), (4, length)];
            foreach (var (start, end) in steps.Where(step => step.Item2 > step.Item1))
            {
                Golden.Close(model.Hidden(embeddings.narrow(1, start, end - start), cache: own),
                    model.Hidden(embeddings.narrow(1, start, end - start), cache: fused), 1e-5, $"token {start}");
            }

            own.Truncate(0);
            fused.Truncate(0);
            embeddings = embeddings.flip(1);
        }
    }

    [Fact]
    public void What_it_cannot_do_is_left_to_the_model()
    {
        using var scope = NewDisposeScope();
        using var model = Model(4, 4, 16, false);
        var fused = model.Fuse(Columns)!;
        var (embeddings, mask, positions) = Input(model);
        bool CanHandle(Tensor x, Tensor? seen = null, Tensor? at = null, int tokens = Columns) =>
            fused.CanHandle(x, seen, at, tokens);
        Assert.False(CanHandle(embeddings)); // a graph is wanted
        using var free = no_grad();
        Assert.True(CanHandle(embeddings, mask, positions));
        Assert.False(CanHandle(embeddings.to(ScalarType.BFloat16), mask, positions));
        Assert.False(CanHandle(embeddings, mask.view(Rows, 1, 1, Columns), positions));
        Assert.False(CanHandle(embeddings, mask, stack([positions, positions, positions])));
        Assert.False(CanHandle(embeddings, mask, positions.sub(1)));
        Assert.False(CanHandle(embeddings, mask, positions.add(Columns)));
        Assert.False(CanHandle(embeddings, tokens: Columns + 1));
        Assert.False(CanHandle(embeddings, mask.narrow(1, 0, Columns - 1)));
        Assert.False(CanHandle(embeddings.narrow(2, 0, 8), mask, positions));
        using var odd = Model(2, 2, 6, false);
        Assert.Null(odd.Fuse(Columns)); // no vector fits into a head
        using var narrow = new Llama(model.Config, new ComputeTarget(CPU, ScalarType.BFloat16));
        Assert.Null(narrow.Fuse(Columns));
        var wide = model.Config with { MlpWidth = 1 << 16, Width = 64 };
        using var large = new Llama(wide, new ComputeTarget(CPU, ScalarType.Float32));
        Assert.Null(large.Fuse(Columns)); // its weights would not stay in the cache
        using var full = Cache(model, FusedDecoder.LanesFor(16));
        full.Advance(Columns);
        Assert.Throws<InvalidOperationException>(() => model.Hidden(embeddings.narrow(1, 0, 1), cache: full));
    }

    [Theory]
    [InlineData(1, 60)]
    [InlineData(2.5, 30)]
    public void Rollouts_are_those_of_the_model_in_blocks_too(double guidance, int rows)
    {
        using var scope = NewDisposeScope();
        using var model = ModelGoldenTests.Mini();
        var (fused, own) = Rollouts(model, guidance, rows);
        Golden.Equal(own.Ids, fused.Ids, "ids");
        Golden.Close(own.SampledLogProbs, fused.SampledLogProbs, 1e-5, "log-probs");
        Golden.Equal(own.ImageCodes, fused.ImageCodes, "codes");
    }

    [Fact]
    public void Rollouts_with_a_lora_are_those_of_the_model()
    {
        using var scope = NewDisposeScope();
        using var model = ModelGoldenTests.Mini();
        using var lora = new Lora(model, new() { Rank = 3 });
        using (no_grad())
        {
            using var generator = Seeds.Torch(2);
            foreach (var (_, parameter) in lora.TrainableParameters())
            {
                parameter.normal_(0, 0.1, generator);
            }
        }

        var (with, own) = Rollouts(lora, 1, 7);
        Golden.Equal(own.Ids, with.Ids, "ids");
        Golden.Close(own.SampledLogProbs, with.SampledLogProbs, 1e-5, "log-probs");
        lora.Dispose();
        Assert.False(Rollouts(model, 1, 7).Fused.Ids.eq(with.Ids).all().ToBoolean());
    }

    [Fact]
    public void Rollouts_depend_neither_on_threads_nor_on_how_they_are_told_of_progress()
    {
        using var scope = NewDisposeScope();
        using var model = ModelGoldenTests.Mini();
        var sampler = new RolloutSampler(model, Special, Config);
        var (ids, mask) = Prompts(50);
        RolloutBatch Drawn(int threads, Action<int>? told = null) => ParallelParts.Run(1, _ =>
        {
            RolloutBatch? drawn = null;
            var thread = new Thread(() =>
            {
                set_num_threads(threads);
                drawn = sampler.Generate(ids, mask, 3, told);
            });
            thread.Start();
            thread.Join();
            return drawn!;
        })[0];

        var steps = new List<int>();
        using RolloutBatch one = Drawn(1), three = Drawn(3), told = Drawn(2, steps.Add);
        foreach (var other in new[] { three, told })
        {
            Golden.Equal(one.Ids, other.Ids, "ids");
            Golden.Equal(one.SampledLogProbs, other.SampledLogProbs, "log-probs");
        }

        Assert.Equal(steps.Order(), steps);
        Assert.Equal(Config.MaxTextTokens + Config.ImageTokens, steps[^1]);
    }

    [Theory]
    [InlineData(7, 1)]
    [InlineData(-4, 33)]
    [InlineData(3742560917990695162, 257)]
    public void Noise_is_that_of_a_generator_of_libtorch(long seed, int columns)
    {
        NativeRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var generator = new Generator((ulong)seed, CPU);
        var noise = new ExponentialNoise(seed);
        for (var i = 0; i < 9; i++)
        {
            Golden.Close(empty(17, columns).exponential_(1, generator), noise.Next(17, columns), 1e-6, $"call {i}");
        }
    }

    [Theory]
    [InlineData(1, false)]
    [InlineData(0.4, false)]
    [InlineData(1, true)]
    public void A_drawn_token_is_the_one_that_libtorch_would_take(double temperature, bool greedy)
    {
        NativeRuntime.EnsureLoaded();
        using var scope = NewDisposeScope();
        using var free = no_grad();
        using var generator = Seeds.Torch(5);
        var logits = randn([200, 83], ScalarType.Float32, CPU, generator: generator).mul(4);
        var noise = new ExponentialNoise(9).Next(200, 83);
        var (ids, logProbs) = TokenSampler.Draw(logits, temperature, greedy, _ => noise);
        var p = nn.functional.softmax(logits.div(temperature), -1);
        Golden.Equal((greedy ? p : p.div(noise)).argmax(-1, keepdim: true), ids, "ids");
        Golden.Close(p.gather(1, ids).log(), logProbs, 1e-5, "log-probs");
        logits[3, 40] = float.NaN;
        Assert.True(TokenSampler.Draw(logits, temperature, greedy, _ => noise).LogProbs[3].isnan().ToBoolean());
    }

    private static RolloutConfig Config => new() { MaxTextTokens = 9, ImageTokens = 16 };

    private static (RolloutBatch Fused, RolloutBatch Own) Rollouts(IImageTextModel model, double guidance, int rows)
    {
        var (ids, mask) = Prompts(rows);
        RolloutBatch Drawn(IImageTextModel by) =>
            new RolloutSampler(by, Special, Config with { GuidanceScale = guidance }).Generate(ids, mask, 11);
        return (Drawn(model), Drawn(new OwnPass(model)));
    }

    // of different lengths, padded on the left
    private static (Tensor Ids, Tensor Mask) Prompts(int rows)
    {
        using var generator = Seeds.Torch(8);
        var ids = randint(6, 40, [rows, 6], ScalarType.Int64, CPU, generator: generator);
        var pads = arange(rows).remainder(4).unsqueeze(1);
        var mask = arange(6).unsqueeze(0).ge(pads);
        ids = ids.masked_fill(mask.logical_not(), Special.Pad);
        return (ids.scatter(1, pads, full([rows, 1], Special.Bos, ScalarType.Int64)), mask.to(ScalarType.Int64));
    }

    private static Llama Model(int heads, int stored, int width, bool biased)
    {
        var config = new LlamaConfig
        {
            VocabularySize = 40, Width = heads * width, MlpWidth = 52, Layers = 3, Heads = heads,
            KeyValueHeads = stored, RopeTheta = 100, AttentionBias = biased,
        };
        var model = new Llama(config, new ComputeTarget(CPU, ScalarType.Float32));
        using var free = no_grad();
        using var generator = Seeds.Torch(4);
        foreach (var (name, parameter) in model.named_parameters())
        {
            parameter.normal_(name.Contains("norm") ? 1 : 0, 0.1, generator);
        }

        return model;
    }

    private static KvCache Cache(Llama model, int? lanes) => new KvCache(
        model.Config.Layers, Rows, model.Config.KeyValueHeads, Columns, model.Config.HeadWidth, CPU, ScalarType.Float32)
        .With(lanes is null ? null : model.Fuse(Columns, lanes));

    // left-padded rows, one of them with a hole
    private static (Tensor Embeddings, Tensor Mask, Tensor Positions) Input(Llama model)
    {
        using var generator = Seeds.Torch(6);
        var ids = randint(0, 40, [Rows, Columns], ScalarType.Int64, CPU, generator: generator);
        var mask = arange(Columns).unsqueeze(0).ge(arange(Rows).unsqueeze(1)).to(ScalarType.Int64);
        mask[1, 4] = 0;
        return (model.Embed(ids).detach(), mask, mask.cumsum(1).sub(1).clamp_min(0));
    }

    private static IEnumerable<(int Start, int End)> Steps(int prefill) =>
        [(0, prefill), .. Enumerable.Range(prefill, Columns - prefill).Select(i => (i, i + 1))];

    /// <summary>A model whose caches know no other pass than its own.</summary>
    private sealed class OwnPass(IImageTextModel model) : IImageTextModel
    {
        public int VocabularySize => model.VocabularySize;

        public int CodebookSize => model.CodebookSize;

        public IEnumerable<(string Name, TorchSharp.Modules.Parameter Parameter)> TrainableParameters() => [];

        public Tensor Embed(Tensor ids, Tensor? imageMask = null) => model.Embed(ids, imageMask);

        public Tensor EmbedImageCodes(Tensor codes) => model.EmbedImageCodes(codes);

        public Tensor Hidden(Tensor embeddings, Tensor? attentionMask = null, Tensor? positionIds = null,
            KvCache? cache = null) => model.Hidden(embeddings, attentionMask, positionIds, cache);

        public Tensor TextLogits(Tensor hidden) => model.TextLogits(hidden);

        public Tensor ImageLogits(Tensor hidden) => model.ImageLogits(hidden);

        public KvCache? NewCache(int rows, int tokens) => model.NewCache(rows, tokens)?.With(null);

        public Tensor DecodeImage(Tensor codes) => model.DecodeImage(codes);
    }
}
