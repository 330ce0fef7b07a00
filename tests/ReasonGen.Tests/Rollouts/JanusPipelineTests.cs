using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Kernels;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Tokenizers;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rollouts;

public sealed class JanusPipelineTests : IDisposable
{
    private static readonly RolloutConfig WithRationale = new() { MaxTextTokens = 12, GuidanceScale = 5 };
    private static readonly RgbImage Shown = new(40, 30, [.. Enumerable.Range(0, 40 * 30 * 3).Select(i => (byte)i)]);
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void A_folder_of_the_published_format_draws_and_talks()
    {
        using var pipeline = JanusPipeline.Open(TinyJanus.Write(folder), new ComputeTarget(CPU, ScalarType.Float32));
        var drawing = Assert.Single(pipeline.Draw("a red cube", 1, PromptTemplate.JanusRl, WithRationale, 7));
        Assert.Equal((32, 32), (drawing.Image.Width, drawing.Image.Height));
        Assert.NotEmpty(string.Concat(pipeline.Ask(Shown, "What is this?", new TextConfig { MaxTokens = 8 })));
        using var built = InMemory();
        Assert.Equal(built.Draw("a red cube", 1, PromptTemplate.JanusRl, WithRationale, 7)[0].Image.Rgb,
            drawing.Image.Rgb);
    }

    [Fact]
    public void The_same_seed_draws_the_same_images()
    {
        using var pipeline = InMemory();
        var shares = new List<double>();
        var first = pipeline.Draw("a red cube", 3, PromptTemplate.JanusRl, WithRationale, 7, shares.Add);
        var again = pipeline.Draw("a red cube", 3, PromptTemplate.JanusRl, WithRationale, 7);
        var other = pipeline.Draw("a red cube", 3, PromptTemplate.JanusRl, WithRationale, 8);
        Assert.Equal(first.Select(d => Convert.ToHexString(d.Image.Rgb) + d.Rationale),
            again.Select(d => Convert.ToHexString(d.Image.Rgb) + d.Rationale));
        Assert.NotEqual(first[0].Image.Rgb, other[0].Image.Rgb);
        Assert.NotEqual(first[0].Image.Rgb, first[1].Image.Rgb);
        Assert.Equal(1, shares[^1]);
        Assert.Equal(shares.Order(), shares);
    }

    [Fact]
    public void Plain_Janus_draws_at_once_in_batches()
    {
        using var pipeline = InMemory();
        var config = new RolloutConfig { MaxTextTokens = 0, GuidanceScale = 5 };
        var drawings = pipeline.Draw("a red cube", 17, PromptTemplate.JanusImage, config, 7);
        Assert.Equal(17, drawings.Length);
        Assert.All(drawings, drawing => Assert.Empty(drawing.Rationale));
        // the template of plain Janus-Pro ends in begin-of-image, which the sampler sets itself
        Assert.Equal(pipeline.PromptTokens("a red cube", PromptTemplate.JanusImage, config),
            pipeline.PromptTokens("a red cube", new PromptTemplate("{}", turn => JanusChat.Prompt(turn)), config));
    }

    [Fact]
    public void What_cannot_be_drawn_is_refused_in_a_sentence()
    {
        using var pipeline = InMemory();
        var error = Assert.Throws<ArgumentException>(() =>
            pipeline.Draw(new string('x', 5000), 1, PromptTemplate.JanusRl, WithRationale, 1));
        Assert.Contains("fit beside 12 of a rationale and 16 of an image", error.Message);
        var policy = new PolicySampler(pipeline.Model, pipeline.Tokenizer, PromptTemplate.JanusRl,
            WithRationale with { ImageTokens = 16 }, CPU);
        Assert.Equal(error.Message,
            Assert.Throws<ArgumentException>(() => policy.PromptRows([new string('x', 5000)])).Message);
        Assert.Throws<ArgumentException>(() =>
            pipeline.Draw("a cube", 1, PromptTemplate.JanusRl, WithRationale with { Temperature = 0 }, 1));
        using var cancel = new CancellationTokenSource();
        Assert.Throws<OperationCanceledException>(() =>
            pipeline.Draw("a cube", 1, PromptTemplate.JanusRl, WithRationale, 1, share => cancel.Cancel(),
                cancel.Token));
        using (no_grad())
        {
            pipeline.Model.state_dict()["gen_head.vision_head.bias"].fill_(float.NaN);
        }

        Assert.Contains("NaN",
            Assert.Throws<UnusableFileException>(() =>
                pipeline.Draw("a cube", 1, PromptTemplate.JanusRl, WithRationale, 1)).Message);
        var small = TinyJanus.Config with { Language = TinyJanus.Config.Language with { VocabularySize = 100 } };
        Assert.Contains("the model only 100 embeddings", Assert.Throws<UnusableFileException>(
            () => new JanusPipeline(new Janus(small, new ComputeTarget(CPU, ScalarType.Float32)),
                Tokenizer())).Message);
    }

    [Fact]
    public void A_chat_streams_its_answer_and_remembers_it()
    {
        using var pipeline = InMemory();
        var chat = pipeline.Chat(new TextConfig { MaxTokens = 20 });
        var pieces = chat.Ask("What is this?", [Shown]).ToArray();
        Assert.True(pieces.Length > 1);
        Assert.Equal([JanusChat.User, JanusChat.Assistant], chat.Turns.Select(turn => turn.Role));
        Assert.Equal("<image_placeholder>\nWhat is this?", chat.Turns[0].Content);
        Assert.Equal(string.Concat(pieces), chat.Turns[1].Content);
        Assert.Equal(string.Concat(pieces),
            string.Concat(pipeline.Ask(Shown, "What is this?", new TextConfig { MaxTokens = 20 })));
        _ = chat.Ask("And now?").ToArray();
        Assert.Equal(4, chat.Turns.Count);
        Assert.NotEqual(string.Concat(pieces),
            string.Concat(pipeline.Ask(new RgbImage(1, 1, [255, 0, 0]), "What is this?",
                new TextConfig { MaxTokens = 20 })));
    }

    [Fact]
    public void A_question_without_sense_is_refused_before_anything_is_read()
    {
        using var pipeline = InMemory();
        Assert.Throws<ArgumentException>(() => pipeline.Chat().Ask(" "));
        Assert.Contains("images are given beside it",
            Assert.Throws<ArgumentException>(() => pipeline.Chat().Ask("<image_placeholder> what?")).Message);
        Assert.Contains("Start a new one",
            Assert.Throws<ArgumentException>(() => pipeline.Chat().Ask(new string('x', 5000))).Message);
        using var blind = new JanusPipeline(new Janus(TinyJanus.Config with { Vision = null },
            new ComputeTarget(CPU, ScalarType.Float32)), Tokenizer());
        Assert.Contains("cannot look at one",
            Assert.Throws<ArgumentException>(() => blind.Ask(Shown, "What?")).Message);
        Assert.Throws<ArgumentException>(() => pipeline.Chat(new TextConfig { TopP = 0 }));
    }

    [Fact]
    public void Top_p_draws_only_from_the_likeliest()
    {
        using var scope = NewDisposeScope();
        using var generator = new Generator(3, CPU);
        var logits = tensor(new[] { 0.5f, 0.3f, 0.15f, 0.05f }).log().expand(2000, 4);
        Tensor Noise(Tensor like) => empty(2000, 4).exponential_(1, generator);
        long[] Drawn(double topP) =>
            [.. TokenSampler.Draw(logits, 1, false, Noise, topP).Ids.Values<long>().Distinct().Order()];
        Assert.Equal([0], Drawn(0.5));
        Assert.Equal([0, 1], Drawn(0.51));
        Assert.Equal([0, 1, 2], Drawn(0.95));
        Assert.Equal([0, 1, 2, 3], Drawn(1));
        var share =
            TokenSampler.Draw(logits, 1, false, Noise, 0.6).Ids.eq(0).to(ScalarType.Float32).mean().ToDouble();
        Assert.Equal(0.5 / 0.8, share, 0.05);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private JanusPipeline InMemory() =>
        new(TinyJanus.Build(), Tokenizer(), new ImageProcessor { ImageSize = TinyJanus.Config.Vision!.ImageSize });

    private HuggingFaceTokenizer Tokenizer()
    {
        var path = Path.Combine(folder, "in-memory.json");
        File.WriteAllText(path, TinyJanus.Tokenizer().ToString());
        return HuggingFaceTokenizer.Load(path, JanusChat.SpecialNames);
    }
}
