using System.Text.Json;
using System.Text.RegularExpressions;
using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>An answer to a yes-or-no question.</summary>
/// <param name="Text">As the rules compare it.</param>
/// <param name="Yes">Probability of yes.</param>
public sealed record YesAnswer(string Text, double Yes);

/// <summary>Where answers come from: a judge that looks, or a file.</summary>
public interface IAnswerSource
{
    IScoringJudge Judge { get; }

    /// <summary>An answer a question; null where there is none, or it is neither yes nor no.</summary>
    /// <param name="file">File name of the image.</param>
    /// <param name="crop">Number of the crop, 0 for a whole image.</param>
    /// <param name="image">Gives the image.</param>
    /// <param name="questions">Questions.</param>
    /// <param name="cancel">Ends it.</param>
    IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel);

    /// <summary>Why there is no answer to a question; a sentence that ends before what was asked.</summary>
    string WhyNone(string file, int crop, string question) => "there is neither yes nor no to";
}

/// <summary>Answers of a judge: yes where its probability is above one half.</summary>
public sealed class JudgeAnswers(IQuestionJudge judge) : IAnswerSource
{
    public IScoringJudge Judge => judge;

    public IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel) =>
        [.. judge.Ask(image(), file, [.. questions.Select(JudgeQuestion.OfYesNo)], cancel)
            .Select(reply => reply.Yes is { } yes
                ? new YesAnswer(reply.WordCounts ? reply.Word : yes > 0.5 ? "yes" : "no", yes) : null)];
}

/// <summary>
/// Answers from a file: JSON lines {"image": …, "crop": 0, "question": …, "answer": "yes", "p_yes": 0.9}, or the detail
/// file of DPG-Bench's script. One of answer and p_yes may be left out, or be null.
/// </summary>
public sealed partial class AnswerFile : IAnswerSource, IScoringJudge
{
    /// <summary>The question that stands for an image's CLIP score, a cosine.</summary>
    internal const string Clip = "clip";

    private const string Comma = ", ";
    private readonly Dictionary<(string Image, int Crop, string Question), YesAnswer> answers = [];
    private readonly Dictionary<(string Image, int Crop), List<(int Line, string Said)>> details = [];
    private readonly string path;

    private AnswerFile(string path, string? judge) =>
        (this.path, Name, Official) = (path, judge ?? Path.GetFileName(path), judge == "official");

    public IScoringJudge Judge => this;

    public string Name { get; }

    public string Identity => path;

    public bool Official { get; }

    public IReadOnlyList<string> Limits => [];

    /// <summary>Reads a file.</summary>
    /// <param name="path">JSON lines.</param>
    /// <param name="judge">Who answered: "official" for the benchmark's own model; null takes the file's name, which
    /// says nothing of that.</param>
    /// <exception cref="UnusableFileException">It is missing, or a line is of another kind.</exception>
    public static AnswerFile Read(string path, string? judge = null)
    {
        var (file, number) = (new AnswerFile(path, judge), 0);
        var from = new Dictionary<(string, int, string), int>(); // lines
        void Add((string, int, string) of, YesAnswer answer)
        {
            if (file.answers.TryGetValue(of, out var earlier) && !earlier.Equals(answer))
            {
                throw new FormatException($"line {from[of]} answers the same question about the same image otherwise");
            }

            (file.answers[of], from[of]) = (answer, number);
        }

        try
        {
            foreach (var text in TextFile.Read(path).Split('\n'))
            {
                number++;
                if (text.Trim().Length == 0)
                {
                    continue;
                }

                if (DetailLine().Match(text) is { Success: true } detail)
                {
                    // the corner tells the crop: left or top beyond 0
                    var crop = (detail.Groups["left"].Value == "0" ? 0 : 1)
                        + (detail.Groups["top"].Value == "0" ? 0 : 2);
                    var (image, said) = (Path.GetFileName(detail.Groups["image"].Value), detail.Groups["said"].Value);
                    var last = said.LastIndexOf(Comma, StringComparison.Ordinal);
                    Add((image, crop, said[..last]), Detail(said[(last + Comma.Length)..]));
                    if (!file.details.TryGetValue((image, crop), out var lines))
                    {
                        file.details[(image, crop)] = lines = [];
                    }

                    lines.Add((number, said));
                    continue;
                }

                using var document = JsonDocument.Parse(text);
                var json = document.RootElement;
                var question = json.Need("question").Text("question");
                double? Yes(string name) => json.Member(name) is { } share
                    ? Probability(share.Number(name), least: question == Clip ? -1 : 0) : null;
                var yes = Yes("p_yes") ?? Yes("probability");
                var word = json.Member("answer") is { } words ? Plain(words.Text("answer")) : yes is not null ? null
                    : throw new FormatException("it has neither \"answer\" nor \"p_yes\"");
                if ((word, yes) is ("no", > 0.5)) // "yes" below: other words may have the rest
                {
                    throw new FormatException(FormattableString.Invariant(
                        $"its answer is {word}, but its probability of yes is {yes}"));
                }

                var answer = word is "yes" or "no" || yes is null ? word! : yes > 0.5 ? "yes" : "no";
                Add((Path.GetFileName(json.Need("image").Text("image")),
                    json.Member("crop")?.Whole("crop") ?? 0, question),
                    new(answer, yes ?? (answer == "yes" ? 1 : answer == "no" ? 0 : double.NaN)));
            }

            return file.answers.Count > 0 ? file : throw new UnusableFileException(path, "it holds no answer",
                "give a file with an answer a line");
        }
        catch (Exception e) when (e is JsonException or FormatException or KeyNotFoundException
            or InvalidOperationException)
        {
            throw new UnusableFileException(path,
                $"line {number} is no answer: {e.Message.Split(" LineNumber")[0].TrimEnd('.')}",
                "write a JSON object a line: {\"image\": …, \"crop\": 0, \"question\": …, \"answer\": \"yes\"}", e);
        }
    }

    public IReadOnlyList<YesAnswer?> Ask(string file, int crop, Func<RgbImage> image, IReadOnlyList<string> questions,
        CancellationToken cancel)
    {
        var (name, told) = (Path.GetFileName(file), new Dictionary<string, (int Line, YesAnswer Answer)>());
        foreach (var (line, said) in details.GetValueOrDefault((name, crop), []))
        {
            // a free answer may hold commas, as a question may: the line is of the longest question it begins with
            if (questions.Where(question => said.StartsWith(question + Comma, StringComparison.Ordinal))
                .MaxBy(question => question.Length) is { } own && Detail(said[(own.Length + Comma.Length)..]) is var now
                && !told.TryAdd(own, (line, now)) && told[own].Answer != now)
            {
                throw new UnusableFileException(path, $"line {line} answers a question otherwise than line "
                    + $"{told[own].Line}", "keep one of the two");
            }
        }

        return [.. questions.Select(question => (told.TryGetValue(question, out var detail) ? detail.Answer
            : answers.GetValueOrDefault((name, crop, question))) is { } answer && !double.IsNaN(answer.Yes) ? answer
            : null)];
    }

    public string WhyNone(string file, int crop, string question) =>
        answers.ContainsKey((Path.GetFileName(file), crop, question)) ? "there is neither yes nor no to"
            : $"{Path.GetFileName(path)} has no line for";

    private static YesAnswer Detail(string answer) => new(answer, answer == "yes" ? 1 : 0);

    private static double Probability(double value, double least) => value >= least && value <= 1 ? value
        : throw new FormatException(FormattableString.Invariant($"{value} is no probability from {least} to 1"));

    // "Yes." and "no, there is none" are answers; "maybe" and "nothing" are none.
    private static string Plain(string answer) => FirstWord().Match(answer) is { Success: true } first
        ? first.Groups[1].Value.ToLowerInvariant() : answer;

    [GeneratedRegex(@"^\s*(yes|no)\b", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex FirstWord();

    [GeneratedRegex(@"^(?<image>.+?), \((?<left>\d+), (?<top>\d+), \d+, \d+\), (?<said>.*, .*)$")]
    private static partial Regex DetailLine();
}
