using System.Runtime.InteropServices;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Verification;

/// <summary>
/// Tells within minutes whether a model's files, and what this kit makes of them, are right: each check measures one
/// thing of
/// which it is known where it should lie, and what it means where it does not.
/// </summary>
/// <param name="pipeline">The model.</param>
/// <param name="suite">What it is checked with.</param>
/// <param name="judge">Checked too, and asked about the drawn images; null for none.</param>
public sealed class ModelVerification(JanusPipeline pipeline, VerifySuite suite, VerifyJudge? judge = null)
{
    private const int DrawnImages = 4, LeastNamed = 2;
    private const long Seed = 1;
    private readonly TextMeasures text = new(pipeline, suite);
    private readonly ImageMeasures image = new(pipeline, suite);

    /// <summary>The names, shapes and types of a folder's weights, before they are loaded.</summary>
    public static VerifyCheck Files(string folder)
    {
        const string Name = "files", What = "Names, shapes and types of all tensors, against config.json.";
        try
        {
            var layout = JanusFiles.Check(folder);
            var files = CheckpointFiles.Open(folder);
            string[] types = [.. files.Entries.Select(entry => entry.Type.ToString()).Distinct().Order()];
            return new(Name, What, VerifyOutcome.Passed, $"{files.Entries.Count} tensors in {files.Files.Count} files, "
                + $"{string.Join(", ", types)}; {layout} layout", "what config.json describes", "");
        }
        catch (UnusableFileException e)
        {
            return new(Name, What, VerifyOutcome.Missed, e.Message, "what config.json describes",
                "a shard of another model or revision, an unfinished download, or a config.json of another size");
        }
    }

    /// <summary>Whether an error is one that a verification is to find: of files, settings, or libtorch on this device.
    /// </summary>
    public static bool IsFault(Exception error) => error is UnusableFileException or ArgumentException
        or InvalidOperationException or ExternalException;

    /// <summary>A check that came to no value.</summary>
    public static VerifyCheck Failed(string name, string what, Exception error) => new(name, what,
        VerifyOutcome.Missed, error is ExternalException ? error.Message.Split('\n')[0] : error.Message, "a value",
        error is ExternalException ? "the device, its memory, its driver or libtorch; doctor tells which they are"
            : "the files, or what beside them tells how to use them");

    /// <summary>The checks, one after the other.</summary>
    /// <param name="starting">Told what comes next.</param>
    /// <param name="cancel">Ends it between checks, and within those that ask or draw.</param>
    public IEnumerable<VerifyCheck> Run(Action<string>? starting = null, CancellationToken cancel = default)
    {
        Func<VerifyCheck>[] measures = [Weights, text.Tokens, text.Perplexity, text.Sentence, () => text.Turn(cancel),
            image.RoundTrip, image.Loss];
        string[] names = ["weights", "tokenizer", "text", "sentence", "template", "image tokenizer", "image tokens"];
        foreach (var (measure, name) in measures.Zip(names))
        {
            yield return Guarded(name, measure);
        }

        RgbImage[] drawn = [];
        var asksItself = pipeline.Processor is not null;
        const string Questioned = "Questions about drawn images.";
        yield return Guarded("questions", () =>
            suite.Questions.Count == 0 ? VerifyCheck.Skip("questions", Questioned, "this model answers nothing")
            : asksItself ? Questions("questions", suite.LeastRight, AskModel)
            : VerifyCheck.Skip("questions", Questioned, "this Janus has no vision tower"));
        if (judge is not null && suite.Questions.Count > 0)
        {
            yield return Guarded("judge", () => Questions("judge", suite.LeastRightOfJudge, AskJudge));
        }

        yield return Guarded("drawing", () =>
        {
            drawn = [.. pipeline.Draw(suite.Prompt, DrawnImages, suite.Template, suite.Drawing, Seed, null, cancel)
                .Select(drawing => drawing.Image)];
            return ImageMeasures.Neighbours(drawn, suite);
        });
        if (drawn.Length > 0)
        {
            yield return ImageMeasures.Difference(drawn);
            if (suite.Nouns.Count > 0 && asksItself)
            {
                yield return Guarded("own answer", () => Named("own answer", drawn, AskModel));
            }

            if (suite.Nouns.Count > 0 && judge is not null)
            {
                yield return Guarded("judge's answer", () => Named("judge's answer", drawn, AskJudge));
            }
        }

        VerifyCheck Guarded(string name, Func<VerifyCheck> measure)
        {
            cancel.ThrowIfCancellationRequested();
            starting?.Invoke(name);
            try
            {
                using var free = no_grad();
                using var scope = NewDisposeScope();
                return measure();
            }
            catch (Exception e) when (IsFault(e))
            {
                return Failed(name, "", e);
            }
        }

        string AskModel(RgbImage image, string question) => string.Concat(
            pipeline.Ask(image, question, new TextConfig { MaxTokens = suite.AnswerTokens }).TakeWhile(_ =>
                !cancel.IsCancellationRequested));
        string AskJudge(RgbImage image, string question) => judge!.Ask(image, question, cancel);
    }

    // A matrix of a layer is about as large as the same one of the other layers.
    private VerifyCheck Weights()
    {
        var worst = (Factor: 1.0, Name: "");
        var matrices = pipeline.Model.named_parameters().Where(p => p.parameter.dim() >= 2)
            .GroupBy(p => string.Join('.', p.name.Split('.').Select(part => part.All(char.IsAsciiDigit) ? "#" : part)))
            .Where(group => group.Key.Contains('#') && group.Count() > 2);
        foreach (var group in matrices)
        {
            var sizes = group.Select(p => (p.name, Size: Size(p.parameter))).OrderBy(p => p.Size).ToArray();
            var median = sizes[sizes.Length / 2].Size;
            foreach (var (name, size) in sizes)
            {
                var factor = Math.Max(size / median, median / Math.Max(size, 1e-12));
                worst = factor > worst.Factor ? (factor, name) : worst;
            }
        }

        var check = VerifyCheck.Of("weights", "Root mean square of each layer's matrices, against the same matrix "
            + "of the other layers.",
            worst.Factor, " times off at most", VerifyBand.AtMost(8), $"a wrong shard: {worst.Name} is of another "
                + "size than its kin, as "
            + "weights of another model or of none are");
        return check with { Details = worst.Name.Length == 0 ? [] : [$"farthest: {worst.Name}"] };

        static double Size(Tensor weight)
        {
            using var scope = NewDisposeScope();
            return weight.to(ScalarType.Float32).square().mean().sqrt().ToDouble();
        }
    }

    private VerifyCheck Questions(string name, int least, Func<RgbImage, string, string> ask)
    {
        var asked = suite.Questions
            .Select(question => (question, Answer: ask(question.Image, question.Question + suite.QuestionEnd)))
            .Select(pair => (pair.question, pair.Answer, Said: IsYes(pair.Answer))).ToArray();
        var right = asked.Count(pair => pair.Said == pair.question.Yes);
        var same = asked.Select(pair => pair.Said).Distinct().Count() == 1;
        var where = name == "judge"
            ? "the judge's preprocessor_config.json or processor_config.json, or its chat template"
            : "preprocessor_config.json or processor_config.json";
        var check = VerifyCheck.Of(name, $"{asked.Length} questions about images of which the answer is known, "
            + "half of them yes.", right,
            $" of {asked.Length} right", VerifyBand.AtLeast(least), same
                ? $"all answers are the same: the image is not seen. Normalisation of pixels ({where}), the "
                    + "aligner, or the places of "
                    + "image tokens in the template"
                : $"normalisation of pixels ({where}: mean and deviation, size), rotary layout, or a wrong shard "
                    + "of tower or aligner");
        return check with
        {
            Details = [.. asked.Select(pair => $"{(pair.Said == pair.question.Yes ? "right" : "wrong")}: "
                + $"{pair.question.Question} → "
                + TextMeasures.Quote(pair.Answer))],
            Images = [.. asked.Select(pair => (pair.question.Question, pair.question.Image)).DistinctBy(pair =>
                pair.Image)],
        };
    }

    // the first that stands in the answer as a word; null where neither does
    private bool? IsYes(string answer)
    {
        var (yes, no) = (TextMeasures.Place(answer, suite.Answers.Yes), TextMeasures.Place(answer, suite.Answers.No));
        return yes < 0 && no < 0 ? null : no < 0 || (yes >= 0 && yes < no);
    }

    private VerifyCheck Named(string name, IReadOnlyList<RgbImage> drawn, Func<RgbImage, string, string> ask)
    {
        string[] answers = [.. drawn.Select(image => ask(image, suite.Describe))];
        bool Names(string answer) => suite.Nouns.Any(noun => TextMeasures.Place(answer, noun) >= 0);
        var wanted = string.Join(" or ", suite.Nouns.Select(TextMeasures.Quote));
        var check = VerifyCheck.Of(name, $"{TextMeasures.Quote(suite.Describe)}, asked about each drawn image, is "
            + "answered "
            + $"with {wanted}.", answers.Count(Names), $" of {drawn.Count}",
            VerifyBand.AtLeast(LeastNamed), "images that do not show their prompt: guidance or template, the "
                + "codebook, gen_head or gen_embed of "
            + "another model; or the image is not seen, where the questions were missed too");
        return check with
        {
            Details = [.. answers.Select(TextMeasures.Quote)],
                Images = [.. drawn.Zip(answers, (image, answer) => (answer, image))],
        };
    }
}
