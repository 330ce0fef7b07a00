using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Kernels;
using ReasonGen.Judging;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Devices;

/// <summary>The whole pipeline on the device that REASONGEN_DEVICE names, held against the CPU, in fp32.</summary>
public sealed class DeviceTests : IDisposable
{
    private const double Near = 1e-4;
    private static readonly SpecialTokens Special = new(256, 257, 258, 259, 260, 261); // of TinyJanus
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private static string Why =>
        $"{ComputeTarget.Variable} names no device beside the CPU; MixedDevicesTests runs these on libtorch's lazy one";

    [Theory]
    [InlineData(0, false)]
    [InlineData(0, true)]
    [InlineData(3, true)]
    public void Fine_tuning_takes_the_same_steps(int rank, bool checkpoint)
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        using var reads = TestDevice.ComputeAtReads();
        float[][] Train(ComputeTarget target)
        {
            using var model = Tiny(target);
            var lowRank = rank == 0 ? null : new LoraConfig { Rank = rank };
            var setup = Setup with { Lora = lowRank, CheckpointActivations = checkpoint };
            var policy = setup.Prepare(model);
            using var lora = policy as Lora;
            using var trainer = new SftTrainer(policy, step => Batch((int)step), Special.BeginOfImage, setup.Sft);
            _ = trainer.Steps(2).Last();
            return Values(policy);
        }

        Same(Train(TestDevice.Cpu), Train(TestDevice.Target));
    }

    [Fact]
    public void Fine_tuning_is_validated_with_samples_that_lie_on_the_CPU()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        using var reads = TestDevice.ComputeAtReads();
        double Validate(ComputeTarget target, string name)
        {
            using var model = Tiny(target);
            using var run = RunFolder.Open(Path.Combine(folder, name), [], [], []);
            using var training = new TrainingRun(new RunParts
            {
                Stage = TrainingStage.Sft, Policy = model, Special = Special, Provenance = [],
                Config = new()
                {
                    Sft = Setup.Sft with { TotalSteps = 1 }, Grpo = GrpoConfig.Paper,
                    Run = new() { CheckpointEvery = 0 },
                },
                Source = new Given(model), Export = to => Directory.CreateDirectory(to), HeldOutSamples = 3,
                Batches = step => Batch((int)step), HeldOut = number => Batch(50 + (int)number),
            }, run);
            training.Run();
            return training.Best!.Value.Value;
        }

        Assert.Equal(Validate(TestDevice.Cpu, "cpu"), Validate(TestDevice.Target, "device"), Near);
    }

    [Fact]
    public void Updates_on_given_rollouts_are_the_same()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        float[][] Train(ComputeTarget target)
        {
            using var model = Tiny(target);
            var policy = (Setup with { Lora = new() { Rank = 2 } }).Prepare(model);
            using var lora = policy as Lora;
            using var reference = Tiny(target, 2);
            var config = new GrpoConfig
            {
                PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 4, MicroBatchRollouts = 3,
                LearningRate = 1e-2, MaxRounds = 1, KlWeight = 0.1, WarmupSteps = 0,
            };
            var collector = new RolloutCollector(new Given(policy), new LambdaReward("odd", r => r.Image.Rgb[0] % 2),
                i => new ReasonGen.Rollouts.Prompt($"prompt {i}", "", []), config);
            using var trainer = new GrpoTrainer(policy, collector,
                new AdaptiveEntropyTerm(new() { Target = 1 }, new() { Target = 3 }), Special.BeginOfImage, reference);
            _ = trainer.Steps(2).Last();
            return Values(policy);
        }

        Same(Train(TestDevice.Cpu), TestDevice.AsFarAsItGoes(() => Train(TestDevice.Target)));
    }

    [Fact]
    public void A_step_of_sampling_scoring_and_learning_runs_through_and_repeats()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        double[] Run()
        {
            using var model = Tiny(TestDevice.Target);
            var config = new GrpoConfig
            {
                PromptsPerStep = 2, PromptsPerUpdate = 2, RolloutsPerPrompt = 4, MicroBatchRollouts = 4, MaxRounds = 3,
            };
            var sampler = new PolicySampler(model, Words, PromptTemplate.JanusRl,
                new() { MaxTextTokens = 4, ImageTokens = 16, RowsAtATime = 5, GuidanceScale = 2 }, model.Target.Device);
            using var trainer = new GrpoTrainer(model, new RolloutCollector(sampler,
                new LambdaReward("odd", r => r.Image.Rgb.Sum(value => value) % 2),
                i => new ReasonGen.Rollouts.Prompt($"prompt {i}", "", []), config), new NoEntropyTerm(),
                Special.BeginOfImage);
            var step = trainer.Step();
            return [step.Reward, step.ImageEntropy, step.GradientNorm];
        }

        var first = TestDevice.AsFarAsItGoes(Run);
        Assert.All(first ?? [], value => Assert.True(double.IsFinite(value)));
        Assert.Equal(first?[0], first is null ? null : Run()[0]);
    }

    [Fact]
    public void Noise_of_a_seed_repeats()
    {
        Assert.SkipUnless(TestDevice.Device.type == DeviceType.CUDA, $"{ComputeTarget.Variable} names no GPU");
        using var scope = NewDisposeScope();
        using var like = zeros([50, 100], device: TestDevice.Device);
        var (a, b) = (DeviceKernels.Seeded(like, 7), DeviceKernels.Seeded(like, 8));
        Golden.Equal(a, DeviceKernels.Seeded(like, 7));
        Assert.False(a.eq(b).any().ToBoolean());
        Assert.Equal(1, a.mean().ToDouble(), 0.1);
    }

    [Fact]
    public void Threads_that_draw_and_threads_that_record_do_not_meet()
    {
        Assert.SkipUnless(TestDevice.Device.type == DeviceType.CUDA, $"{ComputeTarget.Variable} names no GPU");
        using var model = Tiny(TestDevice.Target);
        long[] Draw(int part)
        {
            using var scope = NewDisposeScope();
            var sampler = new RolloutSampler(model, Special, new() { MaxTextTokens = 80, ImageTokens = 16 });
            var ids = full([3, 4], (long)Special.Bos, ScalarType.Int64, TestDevice.Device);
            using var rollouts = sampler.Generate(ids, ones_like(ids), 1 + part);
            return rollouts.Ids.Values<long>();
        }

        var alone = Enumerable.Range(0, 8).Select(Draw).ToArray();
        Assert.Equal(alone, ParallelParts.Run(8, Draw, 4));
    }

    [Fact]
    public void What_cannot_be_recorded_leaves_graphs_and_noise_to_what_comes_after()
    {
        Assert.SkipUnless(TestDevice.Device.type == DeviceType.CUDA && CudaGraph.IsPossible,
            $"{ComputeTarget.Variable} names no GPU, or there are no graphs");
        using var scope = NewDisposeScope();
        var x = ones([4], device: TestDevice.Device);
        Assert.Null(CudaGraph.Record(() => x.add(x.sum().item<float>()))); // reads a number
        using var made = CudaGraph.Record(() => x.add_(1));
        Assert.NotNull(made);
        var before = x.sum().item<float>();
        made.Run();
        Assert.Equal(before + 4, x.sum().item<float>());
        Assert.True(DeviceKernels.Seeded(x, 3).gt(0).all().ToBoolean());
    }

    [Fact]
    public void The_image_tokenizer_learns_the_same()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        float[][] Train(ComputeTarget target)
        {
            var tokenizer = new VqTokenizer(VqConfig.Mini, target);
            tokenizer.Initialize(3);
            using var images = randn([4, 3, 32, 32], ScalarType.Float32, CPU, generator: Seeds.Torch(5)).clamp(-1, 1);
            using var trainer = new VqTrainer(tokenizer, _ => images.clone(),
                new() { TotalSteps = 10, ResetInterval = 1, LearningRate = 1e-4 });
            _ = trainer.Steps(2).Last();
            using var codes = tokenizer.Encode(images);
            return [.. tokenizer.parameters().Select(p => p.Values<float>()),
                [.. codes.Values<long>().Select(c => (float)c)]];
        }

        Same(Train(TestDevice.Cpu), TestDevice.AsFarAsItGoes(() => Train(TestDevice.Target)), 1e-3);
    }

    [Theory]
    [InlineData(1, 0, false)]
    [InlineData(5, 6, false)]
    [InlineData(2, 6, true)]
    public void Greedy_drawing_gives_the_same_tokens_and_images(double guidance, int words, bool lora)
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        using var reads = TestDevice.ComputeAtReads();
        (long[] Ids, byte[] Pixels) Draw(ComputeTarget target)
        {
            using var model = Tiny(target);
            using var additions = lora ? new Lora(model, new() { Rank = 2 }) : null;
            foreach (var (i, (_, parameter)) in (additions?.TrainableParameters() ?? []).Index())
            {
                using var free = no_grad();
                parameter.copy_(randn(parameter.shape, ScalarType.Float32, CPU, generator: Seeds.Torch(1, i)).mul(0.1));
            }

            var sampler = new PolicySampler(additions is null ? model : additions, Words, PromptTemplate.JanusRl, new()
            {
                MaxTextTokens = words, ImageTokens = 16, GuidanceScale = guidance, Greedy = true, RowsAtATime = 2,
            }, model.Target.Device);
            ReasonGen.Rollouts.Prompt[] prompts =
                [new("a", "", []), new("a longer one", "", []), new("another", "", [])];
            using var rollouts = sampler.Generate(prompts, 1, 1);
            return (rollouts.Ids.Values<long>(), [.. sampler.Images(rollouts).SelectMany(image => image.Rgb)]);
        }

        var (cpu, device) = (Draw(TestDevice.Cpu), Draw(TestDevice.Target));
        Assert.Equal(cpu.Ids, device.Ids);
        Assert.All(cpu.Pixels.Zip(device.Pixels), pair => Assert.InRange(pair.First - pair.Second, -1, 1));
    }

    [Fact]
    public void A_chat_about_an_image_says_the_same()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        string Talk(ComputeTarget target)
        {
            using var pipeline = TinyJanus.Open(target);
            using var reads = TestDevice.ComputeAtReads();
            var image = new RgbImage(20, 30, [.. Enumerable.Range(0, 1800).Select(i => (byte)(i * 7))]);
            var chat = pipeline.Chat(new() { MaxTokens = 12 });
            return string.Concat(chat.Ask("What is this?", [image])) + string.Concat(chat.Ask("And that?"));
        }

        Assert.Equal(Talk(TestDevice.Cpu), Talk(TestDevice.Target));
    }

    [Fact]
    public void A_judge_says_the_same()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        using var reads = TestDevice.ComputeAtReads();
        var study = new Study(StudyConfig.Smoke, folder);
        var world = new WorldConfig();
        var requests = ReasonGen.World.Prompts.Benchmark(1).Take(3).Select((prompt, i) => new RewardRequest(prompt, "",
            Renderer.Render(Scene.For(prompt, Seeds.Random(i)), world, i))).ToArray();
        string[] Judge(ComputeTarget target)
        {
            var was = ComputeTarget.Default;
            ComputeTarget.Default = target;
            try
            {
                var (model, judge) = study.NewJudge("judge-small");
                using (model)
                {
                    return [.. judge.Judge(requests).Select(answer => answer.Text)];
                }
            }
            finally
            {
                ComputeTarget.Default = was;
            }
        }

        Assert.Equal(Judge(TestDevice.Cpu), Judge(TestDevice.Target));
    }

    [Fact]
    public void A_saved_run_goes_on_elsewhere()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        float[][] Train(ComputeTarget first, ComputeTarget then, string name)
        {
            var path = Path.Combine(folder, name);
            using (var model = Tiny(first))
            using (var trainer = new SftTrainer(model, step => Batch((int)step), Special.BeginOfImage, Setup.Sft))
            {
                _ = trainer.Step();
                trainer.Save(path);
            }

            using var other = Tiny(then, 2);
            using var second = new SftTrainer(other, step => Batch((int)step), Special.BeginOfImage, Setup.Sft);
            second.Resume(path);
            _ = second.Step();
            return Values(other);
        }

        Same(Train(TestDevice.Cpu, TestDevice.Cpu, "cpu"), Train(TestDevice.Target, TestDevice.Cpu, "moved"));
    }

    [Fact]
    public void The_study_trains_on_the_drawn_world()
    {
        Assert.SkipWhen(TestDevice.IsCpu, Why);
        using var reads = TestDevice.ComputeAtReads();
        var study = new Study(StudyConfig.Trial, folder);
        using var model = study.Untrained();
        Assert.Equal(ScalarType.Float32, model.Target.DType);
        using var trainer = study.SftTrainer(model, "sft", 1);
        Assert.True(double.IsFinite(trainer.Step().Loss));
        Assert.InRange(study.RoundTrip(model, Texture.Plain, 4), 0, 1);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static TrainingSetup Setup { get; } = new()
    {
        Name = "tiny", Model = TinyJanus.Config, DType = ScalarType.Float32, Grpo = GrpoConfig.Paper,
        Sft = new()
        {
            TotalSteps = 40, LearningRate = 1e-3, MicroBatchSamples = 2, BeginOfImageScale = 1, WarmupRatio = 0,
        },
    };

    private static ITokenizer Words { get; } = OpenWords();

    private static HuggingFaceTokenizer OpenWords()
    {
        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), TinyJanus.Tokenizer().ToString());
        var words = HuggingFaceTokenizer.Load(folder, JanusChat.SpecialNames);
        Directory.Delete(folder, true);
        return words;
    }

    private static Janus Tiny(ComputeTarget target, long seed = 1)
    {
        using var made = TinyJanus.Build(seed);
        var model = new Janus(TinyJanus.Config, target);
        using var free = no_grad();
        foreach (var (name, weight) in made.state_dict())
        {
            model.state_dict()[name].copy_(weight);
        }

        return model;
    }

    private static SftBatch Batch(int seed)
    {
        var random = Seeds.Random(7, seed);
        int[] Text(int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(256))];
        long[] Codes() => [.. Enumerable.Range(0, TinyJanus.Config.ImageTokens).Select(_ => (long)random.Next(64))];
        return SftBatch.Build(
            [.. Enumerable.Range(0, 3).Select(i => new SftSample(Text(4 + i), Text(5), Codes(), i == 2))], Special);
    }

    private static float[][] Values(IImageTextModel model) =>
        [.. model.TrainableParameters().Select(p => p.Parameter.Values<float>())];

    private static void Same(float[][] expected, float[][]? actual, double tolerance = Near) =>
        Assert.All(expected.Zip(actual ?? []), pair => Assert.All(pair.First.Zip(pair.Second),
            values => Assert.Equal(values.First, values.Second, tolerance)));

    /// <summary>Rollouts that are the same on every device: noise of no policy.</summary>
    private sealed class Given(IImageTextModel policy) : IRolloutSource
    {
        private const int Prompt = 3, Text = 4, Image = 16;

        public RolloutBatch Generate(IReadOnlyList<ReasonGen.Rollouts.Prompt> prompts, int rolloutsPerPrompt, long seed)
        {
            var (random, rows, width) = (Seeds.Random(seed), prompts.Count * rolloutsPerPrompt, Prompt + Text + Image);
            var ids = new long[rows * width];
            var (image, positions) = (new bool[ids.Length], new long[ids.Length]);
            for (var at = 0; at < ids.Length; at++)
            {
                var column = at % width;
                (image[at], positions[at]) = (column >= Prompt + Text, column);
                ids[at] = image[at] ? random.Next(64)
                    : column == Prompt + Text - 1 ? Special.BeginOfImage : random.Next(256);
            }

            Tensor Here(Tensor values) => values.to(policy.Device).DetachFromDisposeScope();
            using var scope = NewDisposeScope();
            var all = tensor(ids, [rows, width], device: CPU);
            return new(Prompt, Here(all), Here(ones_like(all)), Here(tensor(positions, [rows, width], device: CPU)),
                Here(tensor(image, [rows, width], device: CPU)), Here(all.narrow(1, Prompt + Text, Image)),
                Here(zeros(rows, Text + Image, ScalarType.Float32, CPU)));
        }

        public string[] Rationales(RolloutBatch rollouts) => [.. Enumerable.Repeat("", rollouts.Count)];

        public RgbImage[] Images(RolloutBatch rollouts) => [.. rollouts.ImageCodes.Values<long>().Chunk(Image)
            .Select(codes => new RgbImage(1, 1, [(byte)codes[0], 0, 0]))];
    }
}
