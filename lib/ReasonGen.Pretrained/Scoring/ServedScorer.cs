// A served vision-language model as a scorer (any OpenAI-compatible endpoint). Probabilities are those of the 20
// likeliest first tokens where the server gives them (outside these: 0), else the word it says counts as certain, where
// that may be.
using System.Security.Cryptography;
using Microsoft.Extensions.AI;
using Newtonsoft.Json;
using ReasonGen.Imaging;
using ReasonGen.Served;

namespace ReasonGen.Scoring;

/// <summary>A text and the likeliest tokens at its beginning, joined into one text, so that whoever hands on texts
/// alone hands on both.</summary>
/// <param name="Text">What was said.</param>
/// <param name="First">Tokens that might have stood first, with their log-probabilities; empty where the server tells
/// none.</param>
public sealed record ServedReply(string Text, IReadOnlyList<(string Token, double LogProbability)> First)
{
    private const string Mark = "\u0001first-tokens ";

    /// <summary>Both as one text.</summary>
    public string Join() => Mark + JsonConvert.SerializeObject(new { Text, Tokens = First.Select(t => t.Token),
        LogProbabilities = First.Select(t => t.LogProbability) });

    /// <summary>Takes a joined text apart; any other is a text without tokens.</summary>
    public static ServedReply Split(string text)
    {
        if (!text.StartsWith(Mark, StringComparison.Ordinal))
        {
            return new(text, []);
        }

        try
        {
            var parts = JsonConvert.DeserializeAnonymousType(text[Mark.Length..],
                new { Text = "", Tokens = Array.Empty<string>(), LogProbabilities = Array.Empty<double>() });
            return parts is { Text: { } said, Tokens: { } tokens, LogProbabilities: { } chances }
                && !tokens.Contains(null)
                ? new(said, [.. tokens.Zip(chances)]) : new(text, []);
        }
        catch (JsonException) // a server's own words that begin so
        {
            return new(text, []);
        }
    }

    /// <summary>Probability of each form as the first token, or certainty of the word that was said.</summary>
    public JudgeReply Of(IReadOnlyList<string> forms)
    {
        if (First.Count > 0)
        {
            // a form that is given twice counts once; Qwen's tokenizers begin " 3" with a lone blank
            var blank = First.Any(t => t.Token.Length > 1 && t.Token[0] == ' ' && char.IsAsciiDigit(t.Token[1])) ? null
                : " ";
            string Token(string form) => blank is not null && form.Length > 1 && form[0] == ' '
                && char.IsAsciiDigit(form[1]) ? blank : form;
            var tokens = forms.Select(Token).ToArray();
            return new([.. tokens.Select((token, i) => Array.IndexOf(tokens, token) < i ? 0
                : First.Where(t => t.Token == token).Sum(t => Math.Exp(t.LogProbability)))], Text);
        }

        var word = Text.Trim().Split(default(char[]), StringSplitOptions.RemoveEmptyEntries).FirstOrDefault("")
            .Trim('.', ',', '!', '"', '\'', '*', ':', ';');
        var at = forms.ToList().FindIndex(form => form.Trim().Equals(word, StringComparison.OrdinalIgnoreCase));
        return new([.. forms.Select((_, i) => i == at ? 1.0 : 0)], Text);
    }
}

/// <summary>A served model, by questions and by boxes.</summary>
/// <param name="client">The endpoint; it joins tokens to its texts (<see cref="ServedReply"/>) where it can. It stays
/// the caller's to dispose.</param>
/// <param name="model">Model as the endpoint names it.</param>
/// <param name="calls">Concurrency, retries, time-outs.</param>
public sealed class ServedScorer(IChatClient client, string model, ChatCallConfig calls) : IVisionJudge
{
    // Qwen's servers count boxes in pixels of an image whose sides are multiples of this; sent so, nothing is resized
    // there
    private const int Unit = 28;
    private const int FewestPixels = 256 * 256, MostPixels = 1280 * Unit * Unit;
    private const int FailuresInARow = 5, Thousand = 1000;
    private readonly ChatCaller caller = new(client, calls);
    private int failures; // in a row

    public string Name => model;

    /// <summary>Whether a score is made of probabilities, so that a word alone is no answer. Default false.</summary>
    public bool NeedsProbabilities { get; init; }

    /// <summary>What it counts boxes in. Default pixels.</summary>
    public BoxUnit Boxes { get; init; }

    /// <summary>Address of the endpoint, without a password: tells servers apart that call their models alike. Default
    /// none.</summary>
    public string Address { get; init; } = "";

    public string Identity => $"{Address} served {model} | {BoxQuestions.Identity}".TrimStart()
        + (NeedsProbabilities ? " | probabilities" : "") + (Boxes == BoxUnit.Pixels ? "" : " | thousandths");

    public bool Official => false;

    public IReadOnlyList<string> Limits => BoxQuestions.Limits;

    public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel)
    {
        var png = Png.Encode(Sized(image));
        var replies = new ServedReply[questions.Count];
        var bound = new ParallelOptions { MaxDegreeOfParallelism = calls.ConcurrentCalls, CancellationToken = cancel };
        About(() => Parallel.ForEachAsync(Enumerable.Range(0, questions.Count), bound, async (i, stop) =>
            replies[i] = await SayAsync(png, questions[i].Text, 8, stop)), cancel);
        if (NeedsProbabilities && replies.Any(reply => reply.First.Count == 0))
        {
            throw new EndpointException(model,
                "it tells no probabilities of the first token, of which this score is made", "Serve it so that it does "
                + "(logprobs and top_logprobs of OpenAI's protocol), or give --judge qwen:FOLDER");
        }

        return [.. replies.Zip(questions, (reply, question) => reply.Of(question.Forms))];
    }

    public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel)
    {
        var sized = Sized(image);
        var said = "";
        About(async () => said = (await SayAsync(Png.Encode(sized), BoxQuestions.Boxes(classes), 1024, cancel)).Text,
            cancel);
        var (width, height) = Boxes == BoxUnit.Pixels ? (sized.Width, sized.Height) : (Thousand, Thousand);
        return BoxQuestions.Read(said, classes, image.Width / (double)width, image.Height / (double)height);
    }

    public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
        string className,
        CancellationToken cancel) =>
        [.. objects.Select(o => BoxQuestions.ColorOf(Ask(BoxQuestions.Cut(image, o), file,
            [BoxQuestions.Color(className)], cancel)[0]))];

    // What an endpoint refuses of one image is no reason to leave the others; of many in a row it is.
    private void About(Func<Task> ask, CancellationToken cancel)
    {
        try
        {
            Task.Run(ask, cancel).GetAwaiter().GetResult();
            failures = 0;
        }
        catch (EndpointException e) when (e.ThisQuestionOnly && ++failures < FailuresInARow)
        {
            throw new OfficialStopException("none", e.Message);
        }
    }

    private async Task<ServedReply> SayAsync(byte[] png, string text, int tokens, CancellationToken cancel)
    {
        var options = new ChatOptions { ModelId = model, Temperature = 0, TopP = 1, MaxOutputTokens = tokens };
        var turn = new ChatMessage(ChatRole.User, [new DataContent(png, "image/png"), new TextContent(text)]);
        var index = BitConverter.ToInt64(SHA256.HashData([.. png,
            .. System.Text.Encoding.UTF8.GetBytes(text)])) & long.MaxValue; // of the waits' seed
        return await caller.AskAsync([turn], options, ServedReply.Split, index, cancel);
    }

    private static RgbImage Sized(RgbImage image)
    {
        var pixels = (double)image.Width * image.Height;
        var scale = pixels > MostPixels ? Math.Sqrt(MostPixels / pixels) : pixels < FewestPixels
            ? Math.Sqrt(FewestPixels / pixels) : 1;
        int Side(int side) => Math.Max(1, (int)Math.Round(side * scale / Unit)) * Unit;
        return Resampling.Resize(image, Side(image.Width), Side(image.Height));
    }
}
