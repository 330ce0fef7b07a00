using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Setups;

namespace ReasonGen.Verification;

/// <summary>
/// What a kind of model is checked with, and the bands its values should lie in. Bands of the published models are
/// leads
/// (what others report of them, widened): nobody had them where this was written. A wrong layout misses by far more.
/// </summary>
public sealed record VerifySuite
{
    /// <summary>Whom the bands are for.</summary>
    public required string Name { get; init; }

    /// <summary>Texts and the ids that the tokenizer should give, without special tokens around them.</summary>
    public IReadOnlyList<(string Text, int[] Ids)> TokenVectors { get; init; } = [];

    /// <summary>Texts that should be one token each.</summary>
    public IReadOnlyList<string> SingleTokens { get; init; } = [];

    /// <summary>Texts whose likelihood is measured: what comes before, which is given, and what is scored.</summary>
    public required IReadOnlyList<(string Before, string Scored)> Texts { get; init; }

    /// <summary>exp of the mean negative log-probability of a token.</summary>
    public required VerifyBand Perplexity { get; init; }

    /// <summary>
    /// The beginning of a sentence, and the words that its likeliest continuation should have; null for none.
    /// </summary>
    public (string Begin, string[] Words)? Sentence { get; init; }

    /// <summary>The user's turn of a chat and the words that the likeliest answer should have; null for none.</summary>
    public (string Turn, string[] Words)? Turn { get; init; }

    /// <summary>A user's turn → the text that the model goes on from.</summary>
    public required Func<string, string> Chat { get; init; }

    /// <summary>Most tokens of a continuation or an answer.</summary>
    public int AnswerTokens { get; init; } = 24;

    /// <summary>
    /// Images to take there and back through the image tokenizer, each with the text it is drawn after.
    /// </summary>
    public required IReadOnlyList<(string Text, RgbImage Picture)> Pictures { get; init; }

    /// <summary>Peak signal-to-noise ratio of an image there and back, in dB, the mean over the images.</summary>
    public required VerifyBand Psnr { get; init; }

    /// <summary>Mean negative log-probability of an image's tokens after its text, in nats.</summary>
    public required VerifyBand ImageLoss { get; init; }

    /// <summary>Questions about pictures, with as many yes as no.</summary>
    public IReadOnlyList<VerifyQuestion> Questions { get; init; } = [];

    /// <summary>What stands for yes and for no in an answer.</summary>
    public (string Yes, string No) Answers { get; init; } = ("yes", "no");

    /// <summary>Put behind a question.</summary>
    public string QuestionEnd { get; init; } = " Answer yes or no.";

    /// <summary>Questions that the model itself should answer rightly.</summary>
    public int LeastRight { get; init; } = 9;

    /// <summary>Questions that the judge should answer rightly.</summary>
    public int LeastRightOfJudge { get; init; } = 11;

    /// <summary>What is drawn four times, each with a seed of its own.</summary>
    public required string Prompt { get; init; }

    /// <summary>
    /// What an answer about an image of the prompt should name, one of these; empty where nothing can tell.
    /// </summary>
    public IReadOnlyList<string> Nouns { get; init; } = [];

    /// <summary>Asked about each drawn image.</summary>
    public string Describe { get; init; } = "What is in this picture?";

    /// <summary>How the prompt is put.</summary>
    public required PromptTemplate Template { get; init; }

    /// <summary>How the images are drawn.</summary>
    public required RolloutConfig Drawing { get; init; }

    /// <summary>Correlation of neighbouring pixels of the drawn images, their mean.</summary>
    public required VerifyBand Neighbours { get; init; }

    /// <summary>Janus-Pro and ReasonGen-R1 as published.</summary>
    public static VerifySuite Published() => new()
    {
        Name = "published Janus-Pro and ReasonGen-R1",
        // printed by users of the published tokenizer (UniLLM; a test of transformers)
        TokenVectors = [("Hello, how are you?", [17464, 11, 946, 418, 340, 30]), ("3", [18]), ("\n\n", [185, 185]),
            (".", [13])],
        SingleTokens = [JanusChat.User, JanusChat.Assistant, JanusChat.BeginOfImage, JanusChat.EndOfImage,
            JanusChat.ImagePlaceholder],
        Texts = [("", Paragraph)], Perplexity = VerifyBand.AtMost(40),
        Sentence = ("The capital of France is", ["Paris"]), Turn = ("What is the capital of France?", ["Paris"]),
        Chat = turn => JanusChat.Prompt(turn),
        Pictures = [.. DrawnPictures.Scenes()
            .Select(scene => (PromptTemplate.JanusImage.Fill(scene.Caption), scene.Picture))],
        Psnr = VerifyBand.AtLeast(15), ImageLoss = VerifyBand.AtMost(8), Questions = DrawnPictures.Questions(),
        Prompt = "A red apple on a wooden table.", Nouns = ["apple"], Template = PromptTemplate.JanusImage,
        Drawing = new() { MaxTextTokens = 0, GuidanceScale = 5 }, Neighbours = VerifyBand.AtLeast(.9),
    };

    /// <summary>
    /// The built-in model of random weights: it knows nothing, but its values are known, and an installation that
    /// gives others
    /// computes something else.
    /// </summary>
    public static VerifySuite Tiny() => new()
    {
        Name = "built-in model of random weights",
        TokenVectors = [("Hi!", [.. "Hi!".Select(c => c - '!')])],
        SingleTokens = [JanusChat.User, JanusChat.Assistant, JanusChat.BeginOfImage, JanusChat.EndOfImage,
            JanusChat.ImagePlaceholder],
        Texts = [("", Paragraph)], Perplexity = VerifyBand.Near(612, 20), Chat = turn => JanusChat.Prompt(turn),
        Pictures = [.. DrawnPictures.Scenes().Select(scene => (PromptTemplate.JanusImage.Fill(scene.Caption),
            Resampling.Resize(scene.Picture, TinySide, TinySide)))],
        Psnr = VerifyBand.Near(7.1, .3), ImageLoss = VerifyBand.Near(5.63, .1),
        Prompt = "A red apple on a wooden table.", Template = PromptTemplate.JanusImage,
        Drawing = new() { MaxTextTokens = 0, GuidanceScale = 5 }, Neighbours = VerifyBand.Near(.8, .15),
    };

    private static int TinySide { get; } =
        (int)Math.Sqrt(TinyJanus.Config.ImageTokens) * TinyJanus.Config.ImageTokenizer.PixelsPerCode;

    private const string Paragraph = "A lighthouse stands on the rocks at the end of the bay. Every evening the "
        + "keeper climbs the "
        + "stairs, cleans the glass and lights the lamp. Ships far out at sea watch for its beam and know that "
        + "land is near. In "
        + "winter the waves are higher than the door, and he waits for days until a boat can bring him bread, "
        + "coffee and letters.";
}
