// P(yes) of T2I-CompBench (BLIPvqa_eval/BLIP/train_vqa_func.py, data/utils.py, models/blip_vqa.py):
//   question: lower case, without . ! " ( ) * # : ; ~, its first 50 words;  35 ids at most, the first replaced by
//     [ENC];
//   P(yes) = p[yes] / (p[yes] + p[no]) over softmax of the first token behind [DEC], printed with four decimals.
// An empty question, where a prompt has fewer phrases than asked for, is for the caller to count as 1.
using System.Globalization;
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Blip;

/// <summary>Answers yes-or-no questions about images: T2I-CompBench's judge of colour, shape and texture, and a reward
/// by it.</summary>
public sealed class BlipVqaJudge : IQuestionJudge, IReward, IDisposable
{
    private const int MostIds = 35, MostWords = 50, QuestionsPerBatch = 32;

    private readonly BlipFiles files;
    private readonly PromptNouns? nouns;
    private readonly bool orWhole;
    private readonly string fingerprint;
    private readonly int yes, no, encode, decode;

    private BlipVqaJudge(BlipFiles files, BlipVqaModel model, WordPiece tokenizer, string path, PromptNouns? nouns,
        bool orWhole, string fingerprint)
    {
        (this.files, Model, Tokenizer, Transform, this.nouns, this.orWhole, this.fingerprint) = (files, model,
            tokenizer, new(files.Config.Vision.ImageSize), nouns, orWhole, fingerprint);
        int Id(string token) => tokenizer.IdOf(token)
            ?? throw new UnusableFileException(path, $"its vocabulary lacks '{token}'", "give the published vocab.txt");
        (yes, no, encode, decode) = (Id("yes"), Id("no"), Id("[ENC]"), Id("[DEC]"));
    }

    /// <summary>The model.</summary>
    public BlipVqaModel Model { get; }

    /// <summary>BERT's tokenizer with [DEC] and [ENC].</summary>
    public WordPiece Tokenizer { get; }

    /// <summary>Images to its pixels.</summary>
    public SquashTransform Transform { get; }

    public string Name => files.Name;

    public string Identity => $"{files.Name} | {files.Config} | {fingerprint}";

    public bool Official => files.HasOfficialForm;

    public IReadOnlyList<string> Limits => [.. ((string[])[Official
        ? "that the weights are T2I-CompBench's own is not checked: no checksum of its file is known"
        : "its weights or sizes are not those of T2I-CompBench's file", files.Note]).Where(text => text.Length > 0)];

    /// <param name="path">T2I-CompBench's .pth, or a folder of Hugging Face.</param>
    /// <param name="target">Device and type; the published numbers are made in fp32.</param>
    /// <param name="vocabulary">A vocab.txt; null for that beside the model, or else bert-base-uncased's.</param>
    /// <param name="imageSize">As <see cref="BlipFiles.Open"/>.</param>
    /// <param name="heads">As there.</param>
    /// <param name="nouns">Phrases of a prompt that a reward asks for; null asks for the whole prompt.</param>
    /// <param name="fingerprint">Tells files of one form apart, so that answers are kept apart.</param>
    /// <param name="orWhole">Whether a reward asks for the whole prompt where <paramref name="nouns"/> do not know its
    /// phrases; such a prompt has no reward otherwise.</param>
    /// <exception cref="UnusableFileException">It is no BLIP-VQA, or one of its files is damaged.</exception>
    public static BlipVqaJudge Load(string path, ComputeTarget target, string? vocabulary = null, int? imageSize = null,
        (int Vision, int Text)? heads = null, PromptNouns? nouns = null, string fingerprint = "",
        bool orWhole = false)
    {
        var files = BlipFiles.Open(path, imageSize, heads);
        var tokenizer = WordPiece.For(path, files.Config.Text.Vocabulary, vocabulary, "[DEC]", "[ENC]");
        var model = files.Load(target);
        try
        {
            return new(files, model, tokenizer, path, nouns, orWhole, fingerprint);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>A question as the model reads it: pre_question of the reference.</summary>
    public static string Prepare(string question)
    {
        var kept = string.Concat(LowerCase.Python(question).Where(c => !".!\"()*#:;~".Contains(c))).TrimEnd(' ');
        return string.Join(' ', kept.Split(' ').Take(MostWords));
    }

    /// <summary>Ids of a question: [ENC], its pieces, [SEP].</summary>
    public int[] Ids(string question)
    {
        var ids = Tokenizer.Encode(Prepare(question), MostIds);
        ids[0] = encode;
        return ids;
    }

    /// <summary>P(yes) of each question about one image, in 0…1; the image is encoded once.</summary>
    public float[] Yes(SourceImage image, IReadOnlyList<string> questions, CancellationToken cancel = default)
    {
        using var scope = NewDisposeScope();
        var states = questions.Count == 0 ? null! : Model.EncodeImages(Transform.PixelValues([image]));
        return [.. questions.Chunk(QuestionsPerBatch).SelectMany(part =>
        {
            cancel.ThrowIfCancellationRequested();
            using var inner = NewDisposeScope();
            var (ids, mask) = BertNames.Batch([.. part.Select(Ids)], Tokenizer.Pad);
            return Yes(Model.Logits(states, ids, mask, decode)).Values<float>();
        })];
    }

    /// <summary>The text that the reference writes: four decimals.</summary>
    public static string Text(float yes) => ((double)yes).ToString("F4", CultureInfo.InvariantCulture);

    public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel) =>
        [.. Yes(image, [.. questions.Select(question => question.Plain ?? question.Text)], cancel)
            .Select(p => JudgeReply.Of(double.Parse(Text(p), CultureInfo.InvariantCulture), p > 0.5f ? "yes" : "no"))];

    /// <summary>The product of P(yes) over the phrases of each prompt, in 0…1. Where the phrases are not known it is
    /// that of the whole prompt, cut at 35 ids, or not a number, as <see cref="Load"/> was told.</summary>
    public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
        [.. requests.Select(request => Phrases(request.Prompt.Text) is { } phrases
            ? Yes(request.Image, T2iCompBench.Questions(phrases), cancel).Aggregate(1f, (product, p) => product * p)
            : float.NaN)];

    public void Dispose() => Model.Dispose();

    /// <summary>P(yes) from logits [N, V]: [N].</summary>
    internal Tensor Yes(Tensor logits)
    {
        using var scope = NewDisposeScope();
        var chances = logits.softmax(1);
        var (agrees, differs) = (chances.select(1, yes), chances.select(1, no));
        return agrees.div(agrees.add(differs)).MoveToOuterDisposeScope();
    }

    private IReadOnlyList<string>? Phrases(string prompt)
    {
        try
        {
            return nouns is null ? [prompt] : nouns.Of(prompt).Chunks;
        }
        catch (OfficialStopException)
        {
            return orWhole ? [prompt] : null;
        }
    }
}
