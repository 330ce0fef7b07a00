// DPG-Bench's judge (modelscope's pipeline visual-question-answering with mPLUG-large): the question in lower case,
// always 25 ids, without a prompt of its own; the image squashed; the answer decoded with special tokens left out
// wherever they stand and blanks before punctuation taken away. DPG-Bench counts 1 where it is exactly "yes".
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mplug;

/// <summary>An answer and how it was found.</summary>
/// <param name="Text">As the pipeline returns it.</param>
/// <param name="Search">The search behind it.</param>
public sealed record MplugAnswer(string Text, BeamSearch Search);

/// <summary>Answers questions about images: mPLUG-large.</summary>
public sealed class MplugJudge : IQuestionJudge, IDisposable
{
    internal const int QuestionIds = 25;

    private const int QuestionsPerBatch = 8; // their keys and values take 100 MB each at the published size

    private readonly string note, fingerprint;

    private MplugJudge(MplugModel model, WordPiece tokenizer, string note, string fingerprint) =>
        (Model, Tokenizer, Transform, this.note, this.fingerprint) = (model, tokenizer,
            new(model.Config.Vision.ImageSize), note, fingerprint);

    /// <summary>The model.</summary>
    public MplugModel Model { get; }

    /// <summary>BERT's tokenizer.</summary>
    public WordPiece Tokenizer { get; }

    /// <summary>Images to its pixels.</summary>
    public SquashTransform Transform { get; }

    public string Name => NameOf(Model.Config);

    public string Identity => $"{Name} | {Model.Config} | {fingerprint}";

    public bool Official => Model.Config.IsLarge;

    public IReadOnlyList<string> Limits => [.. ((string[])[Official
        ? "that the weights are modelscope's own is not checked: no checksum of its file is known"
        : "its sizes are not those of the published mPLUG-large", note]).Where(text => text.Length > 0)];

    /// <param name="folder">modelscope's folder.</param>
    /// <param name="target">Device and type; the published numbers are made in fp32.</param>
    /// <param name="fingerprint">Tells folders of one form apart, so that answers are kept apart.</param>
    /// <exception cref="UnusableFileException">It is no mPLUG for questions, or one of its files is
    /// damaged.</exception>
    public static MplugJudge Load(string folder, ComputeTarget target, string fingerprint = "")
    {
        var (files, config, unread) = Open(folder);
        var vocabulary = Path.Combine(folder, "vocab.txt");
        var tokenizer = WordPiece.For(folder, config.Text.Vocabulary, vocabulary);
        if ((tokenizer.Start, tokenizer.End, tokenizer.Pad) != (101, 102, 0))
        {
            throw new UnusableFileException(vocabulary,
                $"its [CLS], [SEP] and [PAD] are {tokenizer.Start}, {tokenizer.End} "
                + $"and {tokenizer.Pad}; mPLUG's search has 101, 102 and 0 built in",
                "use the vocab.txt of bert-base-uncased");
        }

        var copies = unread.Count(IsMomentum);
        var model = new MplugModel(config, target with { Device = META });
        return new(NamedWeights.Fill(files, model, target.Device, model.Names), tokenizer, copies == 0 ? ""
            : $"{copies} momentum copies in its file, weights of training under names with _m, are not read",
            fingerprint);
    }

    /// <summary>Answers to questions about one image, which is encoded once.</summary>
    public IReadOnlyList<MplugAnswer> Answer(SourceImage image, IReadOnlyList<string> questions,
        CancellationToken cancel =
        default)
    {
        using var scope = NewDisposeScope();
        var rows = questions.Count == 0 ? null! : Model.EncodeImage(Transform.PixelValues([image]));
        return [.. questions.Chunk(QuestionsPerBatch).SelectMany(part =>
        {
            using var inner = NewDisposeScope();
            var (ids, mask) = Batch(part);
            return Model.Answer(rows, ids, mask, Tokenizer.Start, Tokenizer.End, cancel)
                .Select(search => new MplugAnswer(Tokenizer.Decode(search.Results[0].Ids), search)).ToArray();
        })];
    }

    /// <summary>Ids of questions [N, 25], and true where a token counts, [N, 1, 1, 25].</summary>
    public (Tensor Ids, Tensor Mask) Batch(IReadOnlyList<string> questions) =>
        BertNames.Batch([.. questions.Select(question =>
        Tokenizer.Encode(LowerCase.Python(question), QuestionIds))], Tokenizer.Pad, QuestionIds);

    public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel) =>
        [.. Answer(image, [.. questions.Select(question => question.Plain ?? question.Text)], cancel).Select(answer =>
            JudgeReply.Of(answer.Text == "yes" ? 1 : 0, answer.Text) with { WordCounts = true })];

    public void Dispose() => Model.Dispose();

    /// <summary>Whether a file has the names of an mPLUG.</summary>
    internal static bool Is(CheckpointFiles files)
    {
        return files.Entries.Any(entry => entry.Name.EndsWith("visn_fc.weight", StringComparison.Ordinal))
            && files.Entries.Any(entry => entry.Name.Contains("fusion_encoder.encoder.layer."));
    }

    /// <summary>What a folder with the names of an mPLUG is; its names and shapes are compared.</summary>
    /// <exception cref="UnusableFileException">It does not fit its configuration.</exception>
    internal static string Describe(string folder)
    {
        var (_, config, unread) = Open(folder);
        return $"{NameOf(config)}; joint layers every {config.Stride} of {config.FusionLayers}"
            + (unread.Count(IsMomentum) is > 0 and var copies ? $"; {copies} momentum copies, which are not read" : "");
    }

    private static (CheckpointFiles Files, MplugConfig Config, string[] Unread) Open(string folder)
    {
        var config = MplugConfig.Read(folder);
        var files = Plain(CheckpointFiles.Open(folder));
        var most = Math.Max(Math.Max(config.Vision.Layers, config.Text.Layers),
            Math.Max(config.FusionLayers, config.DecoderLayers));
        if (most > files.Entries.Count) // bounds what is built to compare names with
        {
            throw new UnusableFileException(folder, $"its configuration speaks of {most} blocks, its file holds "
                + $"{files.Entries.Count} tensors", "keep weights and configuration of one publication together");
        }

        using var model = new MplugModel(config, new(META, ScalarType.Float32));
        return (files, config, NamedWeights.Check(files, model, model.Names));
    }

    // as the reference reads names
    private static CheckpointFiles Plain(CheckpointFiles files) => files.Renamed(name => name.Replace("model.", ""));

    private static bool IsMomentum(string name) => name.Split('.')[0].EndsWith("_m");

    private static string NameOf(MplugConfig config) => config.IsLarge
        ? "mPLUG-large VQA (sizes and layout of modelscope's folder; no checksum is known, other weights of these "
            + "sizes look the same)"
        : $"mPLUG's rules by {config}";
}
