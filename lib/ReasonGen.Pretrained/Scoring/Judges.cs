using System.Text.RegularExpressions;
using ReasonGen.Imaging;

namespace ReasonGen.Scoring;

/// <summary>What every judge says of itself, for labels and caches.</summary>
public interface IScoringJudge
{
    /// <summary>As it stands in labels: "Qwen2.5-VL-7B-Instruct".</summary>
    string Name { get; }

    /// <summary>All that decides its answers: model, size, type it computes in, endpoint, question's wording. Names its
    /// cache.</summary>
    string Identity { get; }

    /// <summary>Whether it is the model behind the published scores, so that the benchmark's own name may stand on the
    /// label.</summary>
    bool Official { get; }

    /// <summary>What it lacks beside the official judge, a sentence each.</summary>
    IReadOnlyList<string> Limits { get; }
}

/// <summary>A judge of objects that reads image files itself, since its reference reads them otherwise; its answers are
/// kept by the file's bytes instead of by its pixels.</summary>
public interface IReadsFiles;

/// <summary>Finds objects and tells their colours: what GenEval's rules and T2I-CompBench's positions eat. The seam for
/// the official models.</summary>
public interface IObjectJudge : IScoringJudge
{
    /// <summary>Boxes in the image's pixels, unthresholded, in the detector's order.</summary>
    /// <param name="image">The image, upright.</param>
    /// <param name="file">Its path, for judges that read a file; empty for an image that lies in none.</param>
    /// <param name="classes">Classes that matter; a detector of fixed classes may find others too.</param>
    /// <param name="cancel">Ends it.</param>
    /// <exception cref="OfficialStopException">Nothing can be said about this image.</exception>
    IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
        CancellationToken cancel);

    /// <summary>The colour of each object, of <see cref="GenEvalOptions.Colors"/>; null for none of them.</summary>
    /// <exception cref="OfficialStopException">It cannot tell colours.</exception>
    IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects, string className,
        CancellationToken cancel);
}

/// <summary>A question whose first word counts.</summary>
/// <param name="Text">What is asked behind the image.</param>
/// <param name="Forms">Texts whose first token's probability is wanted.</param>
public sealed record JudgeQuestion(string Text, IReadOnlyList<string> Forms)
{
    private static readonly string[] YesNo = ["Yes", "yes", " Yes", " yes", "No", "no", " No", " no"];

    /// <summary>A question to be answered with yes or no.</summary>
    public static JudgeQuestion OfYesNo(string question) =>
        new($"{question} Answer with yes or no.", YesNo) { Plain = question };

    /// <summary>The bare question, for models that were taught to answer those; null where there is none.</summary>
    public string? Plain { get; init; }
}

/// <summary>How likely each form is as the beginning of the answer.</summary>
/// <param name="Probabilities">One a form.</param>
/// <param name="Word">What it says.</param>
public sealed record JudgeReply(IReadOnlyList<double> Probabilities, string Word)
{
    /// <summary>P(yes) / (P(yes) + P(no)) of a <see cref="JudgeQuestion.OfYesNo"/>; null where it answers
    /// neither.</summary>
    public double? Yes => Mass >= LeastMass ? Probabilities.Take(4).Sum() / Mass : null;

    /// <summary>What counts is <see cref="Word"/> as it stands, not the probability: the answer of a search.</summary>
    public bool WordCounts { get; init; }

    /// <summary>The reply of a model that answers nothing but yes and no.</summary>
    public static JudgeReply Of(double yes, string word) => new([yes, 0, 0, 0, 1 - yes, 0, 0, 0], word);

    /// <summary>Below it an answer counts as neither yes nor no.</summary>
    private const double LeastMass = 0.01;

    private double Mass => Probabilities.Take(8).Sum();
}

/// <summary>Answers questions about an image: what DPG-Bench, GenEval 2 and T2I-CompBench's attributes eat.</summary>
public interface IQuestionJudge : IScoringJudge
{
    /// <summary>A reply a question, in order.</summary>
    /// <exception cref="OfficialStopException">Nothing can be said about this image.</exception>
    IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
        CancellationToken cancel);
}

/// <summary>A model that looks at images: it answers questions and finds objects.</summary>
public interface IVisionJudge : IQuestionJudge, IObjectJudge;

/// <summary>What stands above every score.</summary>
public static partial class ScoreLabel
{
    /// <summary>The label of a score.</summary>
    /// <param name="benchmark">"GenEval".</param>
    /// <param name="how">"boxes", or "answers".</param>
    /// <param name="judge">The judge.</param>
    /// <param name="trainedOn">The reward that the scored model was trained on, by its name or as 'train grpo --judge'
    /// takes it; null where none is known.</param>
    public static string Of(string benchmark, string how, IScoringJudge judge, string? trainedOn)
    {
        var label = judge.Official ? benchmark
            : $"{benchmark}'s rules, {how} by {judge.Name}; not comparable with published {benchmark} scores";
        return Names(trainedOn ?? "").Any(Same) ? label + "; this judge was the training reward" : label;

        bool Same(string reward) => Plain(reward) is { Length: > 0 } trained && Plain(judge.Name) is var own
            && (trained == own || Holds(reward, own) || Holds(judge.Name, trained)
                || judge.Official && trained == Plain(benchmark));
    }

    // Whether a phrase names somebody, in words of its own; a name alone is no phrase: gpt-4o-mini is not gpt-4o.
    private static bool Holds(string phrase, string name)
    {
        string[] words = [.. phrase.Split(' ', '/').Select(Letters).Where(word => word.Length > 0)];
        return phrase.Contains(' ') && Enumerable.Range(0, words.Length).Any(from =>
            Enumerable.Range(from + 1, words.Length - from).Any(to => string.Concat(words[from..to]) == name));
    }

    // A reward as a whole, the parts of a sum as 'train grpo --judge' takes them ("geneval-share,0.5*hps"), and who
    // looks where that has another name. A part that is said in words is none of a sum: names of judges have commas.
    private static IEnumerable<string> Names(string reward)
    {
        var parts = reward.Split(',').Select(part => Weight().Replace(part.Trim(), ""))
            .Where(part => part.Length > 0 && !part.Contains(' ')).ToArray();
        return [reward, .. parts, .. parts.Select(part => Lookers.GetValueOrDefault(part)).OfType<string>()];
    }

    private static readonly Dictionary<string, string> Lookers = new()
    {
        ["geneval-share"] = "GenEval", ["clipscore"] = "CLIP ViT-B/32 (OpenAI)",
    };

    [GeneratedRegex(@"^[^*/:]+\*\s*")]
    private static partial Regex Weight();

    // of a path or the id of a model its last part; what is said in words may hold a slash of its own (ViT-L/14)
    private static string Plain(string name) => Letters(name.Contains(' ') ? name
        : Path.GetFileName(name.TrimEnd('/')));

    private static string Letters(string name) =>
        string.Concat(name.ToLowerInvariant().Where(char.IsLetterOrDigit));
}
