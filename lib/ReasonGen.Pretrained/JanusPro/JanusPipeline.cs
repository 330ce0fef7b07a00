using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Tokenizers;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>One drawn image.</summary>
/// <param name="Image">The pixels.</param>
/// <param name="Rationale">What the model wrote before it drew; empty for plain Janus-Pro.</param>
public sealed record Drawing(RgbImage Image, string Rationale);

/// <summary>A Janus with its tokenizer, as people use it: draws images of a prompt, and talks about images.</summary>
public sealed class JanusPipeline : IDisposable
{
    private const int RowsAtATime = 16;
    private readonly string source;

    /// <param name="model">Owned from here on.</param>
    /// <param name="tokenizer">Its tokenizer.</param>
    /// <param name="processor">How images are prepared; null where the model reads none.</param>
    /// <param name="source">Where it came from, for messages.</param>
    /// <exception cref="UnusableFileException">The tokenizer has ids that the model lacks.</exception>
    public JanusPipeline(Janus model, ITokenizer tokenizer, ImageProcessor? processor = null,
        string source = "the model")
    {
        if (tokenizer.VocabularySize > model.VocabularySize)
        {
            model.Dispose();
            throw tokenizer.Foreign(source, model.VocabularySize);
        }

        (Model, Tokenizer, Processor, this.source) = (model, tokenizer, processor, source);
    }

    public Janus Model { get; }

    public ITokenizer Tokenizer { get; }

    public ImageProcessor? Processor { get; }

    /// <summary>How it is spoken to.</summary>
    public PromptStyle Style { get; init; } = PromptStyle.Janus;

    /// <summary>Opens a folder with config.json, weights and tokenizer.json, in the original layout or that of
    /// transformers; or an adapter of PEFT with the base that it names.</summary>
    /// <exception cref="UnusableFileException">A file is missing or unsound, or the parts do not belong
    /// together.</exception>
    public static JanusPipeline Open(string folder, ComputeTarget? target = null)
    {
        Expect(folder);
        return PeftAdapter.IsIn(folder) ? OpenAdapter(PeftAdapter.Read(folder), target) : OpenWhole(folder, target);
    }

    private static JanusPipeline OpenAdapter(PeftAdapter adapter, ComputeTarget? target)
    {
        var pipeline = Open(adapter.FindBase(), target);
        try
        {
            adapter.MergeInto(pipeline.Model);
            return pipeline;
        }
        catch
        {
            pipeline.Dispose();
            throw;
        }
    }

    private static JanusPipeline OpenWhole(string folder, ComputeTarget? target)
    {
        // the tokenizer first: it is read in no time, and may be wrong
        var tokenizer = HuggingFaceTokenizer.Load(folder, JanusChat.SpecialNames);
        _ = tokenizer.Special;
        var model = JanusFiles.Load(folder, target ?? ComputeTarget.Default);
        return new(model, tokenizer,
            model.Config.Vision is { } vision ? ImageProcessor.Read(folder, vision.ImageSize) : null, folder);
    }

    /// <summary>Whether a folder may be one of a model, before anything of it is read.</summary>
    /// <exception cref="UnusableFileException">There is none, or it is known to be of something else.</exception>
    public static void Expect(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new UnusableFileException(folder, "there is no such folder",
                "give the folder of a downloaded Janus-Pro or ReasonGen-R1");
        }

        if (PeftAdapter.IsIn(folder))
        {
            Expect(PeftAdapter.Read(folder).FindBase());
        }
        else if (!File.Exists(Path.Combine(folder, "config.json")) && FolderKinds.Explain(folder) is { } other)
        {
            throw other;
        }
    }

    /// <summary>Tokens of a prompt as the model reads them, bos included, begin-of-image not.</summary>
    /// <exception cref="ArgumentException">The prompt leaves no room for what is to follow.</exception>
    public int[] PromptTokens(string prompt, PromptTemplate template, RolloutConfig config)
    {
        int[] tokens = [Tokenizer.Special.Bos, .. Tokenizer.Encode(template.Fill(prompt))];
        tokens = tokens[^1] == Tokenizer.Special.BeginOfImage ? tokens[..^1] : tokens; // the sampler puts it there
        (config with { ImageTokens = Model.Config.ImageTokens }).CheckPrompt(prompt, tokens.Length, Model.Positions);
        return tokens;
    }

    /// <summary>Draws images of a prompt: after a rationale where <paramref name="config"/> has a text budget, at once
    /// where it has none.</summary>
    /// <param name="prompt">What to draw.</param>
    /// <param name="count">At least 1.</param>
    /// <param name="template">Wraps the prompt; see <see cref="PromptTemplate"/>.</param>
    /// <param name="config">Sampling; its image tokens are taken from the model.</param>
    /// <param name="seed">The same seed draws the same images.</param>
    /// <param name="progress">Told after each token the share of the work that is done at most, in [0, 1].</param>
    /// <param name="cancel">Ends it between tokens.</param>
    /// <exception cref="ArgumentException">The prompt leaves no room for what is to follow, or a setting is out of
    /// range.</exception>
    /// <exception cref="UnusableFileException">The weights give no numbers.</exception>
    public Drawing[] Draw(string prompt, int count, PromptTemplate template, RolloutConfig config, long seed,
        Action<double>? progress = null,
        CancellationToken cancel = default)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        config = config with { ImageTokens = Model.Config.ImageTokens };
        var sampler = new RolloutSampler(Model, Tokenizer.Special, config);
        var tokens = PromptTokens(prompt, template, config).Select(id => (long)id).ToArray();
        var drawings = new List<Drawing>();
        var most = Model.Target.Bytes is not { } bytes ? RowsAtATime : MemoryPlan.DrawingRows(Model.Config,
            Model.Target.DType == ScalarType.Float32 ? 4 : 2, tokens.Length + config.MaxTextTokens + config.ImageTokens,
            config.GuidanceScale != 1, bytes);
        for (var start = 0; start < count; start += most)
        {
            using var scope = NewDisposeScope();
            var (done, rows) = (start, Math.Min(most, count - start));
            var ids = tensor(tokens, device: Model.Target.Device).unsqueeze(0).repeat(rows, 1);
            using var rollouts = sampler.Generate(ids, ones_like(ids), Seeds.Mix(seed, start), token =>
            {
                cancel.ThrowIfCancellationRequested();
                progress?.Invoke((done + rows * token / (double)(config.MaxTextTokens + config.ImageTokens)) / count);
            });
            if (rollouts.SampledLogProbs.isnan().any().ToBoolean())
            {
                throw new UnusableFileException(source, "its weights give no probabilities (NaN)",
                    "check the files against the published ones, or compute in bf16 or fp32");
            }

            var images = ImageTensors.FromTensor(Model.DecodeImage(rollouts.ImageCodes));
            var rationales = RolloutText.Rationales(rollouts, Tokenizer);
            drawings.AddRange(images.Zip(rationales, (image, text) => new Drawing(image, PythonText.Strip(text))));
        }

        return [.. drawings];
    }

    /// <summary>Starts a chat, about images or not.</summary>
    public JanusChatSession Chat(TextConfig? config = null) => new(Model, Tokenizer, Processor, config);

    /// <summary>Asks about an image; the answer comes piece by piece.</summary>
    public IEnumerable<string> Ask(RgbImage image, string question, TextConfig? config = null, long seed = 0) =>
        Chat(config).Ask(question, [image], seed);

    public void Dispose() => Model.Dispose();
}
