// GenEval 2 (facebookresearch/GenEval2: evaluation.py, soft_tifa_analysis.py). One greedy token answers "{question}
// Answer in one word.":
//   p(question) = Σ over the forms of the answer of p[first token of the form], forms that share a token counted again;
//   forms: of "How many…" the word, capitalised, both after a blank, digits, digits after a blank; of all others Yes,
//   yes, " yes", " Yes".
//   Soft-TIFA AM = mean over a prompt's questions, GM = geometric mean;  benchmark = 100 · mean over prompts.
// Deviation: none in the rule. The published judge is Qwen3-VL-8B-Instruct; with any other the label says so.
using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>One prompt of GenEval 2.</summary>
/// <param name="Prompt">Prompt.</param>
/// <param name="Atoms">atom_count, 3 to 10.</param>
/// <param name="Questions">Question, expected answer, skill.</param>
public sealed record GenEval2Prompt(string Prompt, int Atoms,
    IReadOnlyList<(string Question, string Answer, string Skill)> Questions);

/// <summary>A prompt with the probabilities of its expected answers.</summary>
public sealed record GenEval2Score(GenEval2Prompt Prompt, IReadOnlyList<double> Probabilities)
{
    /// <summary>Soft-TIFA, arithmetic mean.</summary>
    public double Arithmetic => Probabilities.Count == 0 ? double.NaN
        : PythonNumber.Sum([.. Probabilities]) / Probabilities.Count;

    /// <summary>Soft-TIFA, geometric mean; 0 where one probability is 0.</summary>
    public double Geometric => Probabilities.Any(p => p == 0) ? 0
        : Math.Exp(PythonNumber.Mean(Probabilities.Select(p => Math.Log(p))));
}

/// <summary>GenEval 2's rules.</summary>
public static class GenEval2
{
    /// <summary>The judge of the published numbers.</summary>
    public const string PublishedJudge = "Qwen3-VL-8B-Instruct";

    private static readonly string[] Numbers = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine",
        "ten"];

    /// <summary>Skills in the order of the analysis.</summary>
    private static readonly string[] Skills = ["object", "attribute", "count", "position", "verb"];

    /// <summary>What the judge is asked.</summary>
    public static string Ask(string question) => $"{question} Answer in one word.";

    /// <summary>What VQAScore asks about a whole prompt.</summary>
    public static string AskWhole(string prompt) =>
        $"Does this image show \"{prompt}\"? Answer the question with Yes or No.";

    /// <summary>The forms of the expected answer, each of whose first token counts. The stored answer of a question
    /// that is no "How many" is not looked at.</summary>
    public static IReadOnlyList<string> Forms(string question, string answer)
    {
        if (!question.StartsWith("How many", StringComparison.Ordinal))
        {
            return ["Yes", "yes", " yes", " Yes"];
        }

        var capital = answer.Length == 0 ? "" : char.ToUpperInvariant(answer[0]) + answer[1..].ToLowerInvariant();
        var digits = Array.IndexOf(Numbers, answer) is >= 0 and var at ? (at + 1)
            .ToString(System.Globalization.CultureInfo.InvariantCulture) : "other";
        return [answer, capital, " " + answer, " " + capital, digits, " " + digits];
    }

    /// <summary>Probability of an answer: that of each form's first token, summed with repetitions.</summary>
    /// <param name="forms">Of <see cref="Forms"/>.</param>
    /// <param name="firstToken">Id of a text's first token.</param>
    /// <param name="probability">Probability of a token as the first of the answer.</param>
    public static double Probability(IReadOnlyList<string> forms, Func<string, int> firstToken, Func<int,
        double> probability) =>
        forms.Sum(form => probability(firstToken(form)));

    /// <summary>
    /// The forms that count where only the likeliest first tokens are known (Tencent-Hunyuan/UniRL's reward service):
    /// digits for zero too and for any
    /// case, none for other words.
    /// </summary>
    public static IReadOnlyList<string> ServedForms(string question, string answer)
    {
        if (!question.StartsWith("How many", StringComparison.Ordinal))
        {
            return ["Yes", "yes", " Yes", " yes"];
        }

        var forms = Forms(question, answer).Take(4);
        var digits = answer.Equals("zero", StringComparison.OrdinalIgnoreCase) ? 0
            : Array.IndexOf(Numbers, answer.ToLowerInvariant()) + 1;
        return digits > 0 || answer.Equals("zero", StringComparison.OrdinalIgnoreCase)
            ? [.. forms, $"{digits}", $" {digits}"] : [.. forms];
    }

    /// <summary>Probability of an answer where only the likeliest first tokens are known: each counts once, all others
    /// not at all.</summary>
    public static double ServedProbability(IReadOnlyList<string> forms, Func<string, int> firstToken,
        IReadOnlyDictionary<int, double> likeliest) =>
        forms.Select(firstToken).Distinct().Sum(id => likeliest.GetValueOrDefault(id));

    /// <summary>TIFA's hard verdict: whether the likeliest token's text, in lower case, is one of the forms.</summary>
    public static bool Tifa(IReadOnlyList<string> forms, string predicted) =>
        forms.Contains(predicted.ToLowerInvariant());

    /// <summary>100 · mean over prompts.</summary>
    public static double Score(IReadOnlyList<GenEval2Score> prompts, Func<GenEval2Score, double> of) =>
        100 * PythonNumber.Mean(prompts.Select(of));

    /// <summary>100 · mean over all questions of each skill, and over the geometric means of each number of atoms;
    /// groups without prompts are left out.</summary>
    public static (IReadOnlyList<(string Skill, double Score)> Skills,
        IReadOnlyList<(int Atoms, double Score)> Atoms) Analyse(IReadOnlyList<GenEval2Score> prompts)
    {
        var questions = prompts.SelectMany(p => p.Prompt.Questions.Zip(p.Probabilities, (q, probability) =>
            (q.Skill, probability))).ToLookup(q => q.Skill, q => q.probability);
        return ([.. Skills.Where(questions.Contains).Select(skill => (skill,
            100 * PythonNumber.Mean(questions[skill])))],
            [.. prompts.GroupBy(p => p.Prompt.Atoms).OrderBy(group => group.Key)
                .Select(group => (group.Key, 100 * PythonNumber.Mean(group.Select(p => p.Geometric))))]);
    }

    /// <summary>The analysis as the official script prints it, rounded to two digits.</summary>
    public static string AnalysisText(IReadOnlyList<GenEval2Score> prompts)
    {
        var (skills, atoms) = Analyse(prompts);
        static string Rounded(double value) => PythonNumber.Repr(double.Parse(PythonNumber.Fixed(value, 2),
            System.Globalization.CultureInfo.InvariantCulture));
        return "Per Atom Type Analysis (Soft-TIFA AM)\n" + string.Concat(skills.Select(s =>
            $"{char.ToUpperInvariant(s.Skill[0])}{s.Skill[1..]}:\n{Rounded(s.Score)}\n"))
            + "\nPer Atomicity Analysis (Soft-TIFA GM)\n" + string.Concat(atoms.Select(a =>
                $"Results for Atomicity={a.Atoms}\n{Rounded(a.Score)}\n"));
    }

    /// <summary>Reads geneval2_data.jsonl.</summary>
    /// <exception cref="UnusableFileException">It is missing, a line is no prompt, or has an earlier one's prompt and
    /// other questions.</exception>
    public static IReadOnlyList<GenEval2Prompt> Read(string path)
    {
        List<GenEval2Prompt> prompts = [];
        var first = new Dictionary<string, (GenEval2Prompt Prompt, int Line)>();
        foreach (var (i, line) in TextFile.Read(path).Split('\n').Index().Where(line => line.Item.Trim().Length > 0))
        {
            try
            {
                var prompt = Parse(PythonJson.Parse(line));
                if (!first.TryAdd(prompt.Prompt, (prompt, i + 1)) && first[prompt.Prompt] is var known
                    && (known.Prompt.Atoms != prompt.Atoms
                    || !known.Prompt.Questions.SequenceEqual(prompt.Questions)))
                {
                    throw new FormatException($"line {known.Line} asks other questions of the same prompt");
                }

                prompts.Add(prompt);
            }
            catch (Exception e) when (e is OfficialStopException or InvalidOperationException
                or KeyNotFoundException or FormatException or IndexOutOfRangeException)
            {
                throw new UnusableFileException(path,
                    $"line {i + 1} is no prompt of GenEval 2: {e.Message.TrimEnd('.')}",
                    "give geneval2_data.jsonl, with prompt, atom_count, vqa_list and skills on every line", e);
            }
        }

        return prompts.Count > 0 ? prompts : throw new UnusableFileException(path, "it holds no prompt",
            "give geneval2_data.jsonl");
    }

    /// <summary>One line of geneval2_data.jsonl.</summary>
    public static GenEval2Prompt Parse(JsonElement line)
    {
        var (list, skills) = (line.Need("vqa_list"), line.Need("skills"));
        return list.GetArrayLength() == skills.GetArrayLength() && list.GetArrayLength() > 0
            ? new(line.Need("prompt").Text(), line.Need("atom_count").GetInt32(),
                [.. list.EnumerateArray().Zip(skills.EnumerateArray(), (pair, skill) =>
                    (pair[0].Text(), pair[1].Text(), skill.Text()))])
            : throw new FormatException($"it has {list.GetArrayLength()} questions and {skills.GetArrayLength()} "
                + $"skills");
    }
}
