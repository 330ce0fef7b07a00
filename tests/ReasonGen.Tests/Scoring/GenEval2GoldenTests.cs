using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json.Linq;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>GenEval 2's rule against the official script.</summary>
[Trait("Category", "Golden")]
public sealed class GenEval2GoldenTests
{
    private const double Tolerance = 1e-5;
    private readonly JObject file = Golden.Json("geneval2/cases");

    [Fact]
    public void Probabilities_and_scores_are_the_official_ones()
    {
        var scores = new List<GenEval2Score>();
        Assert.All(file["prompts"]!, p =>
        {
            var prompt = GenEval2.Parse(PythonJson.Parse(p.ToString()));
            List<double> probabilities = [], served = [];
            Assert.All(p["atoms"]!.Some(), atom =>
            {
                var (question, answer) = ((string)atom["question"]!, (string)atom["answer"]!);
                var forms = GenEval2.Forms(question, answer);
                Assert.Equal(atom["forms"]!.Select(form => (string)form!), forms);
                Assert.Equal((string)atom["sent_sha256"]!, Hash(GenEval2.Ask(question)));
                probabilities.Add(GenEval2.Probability(forms, First, Chances(atom["logits"]!)));
                Assert.Equal((double)atom["probability"]!, probabilities[^1], Tolerance);
                var chances = Chances(atom["logits"]!);
                var likeliest = atom["logits"]!.Select(pair => (int)pair[0]!).OrderByDescending(chances).Take(20)
                    .ToDictionary(id => id, chances);
                served.Add(GenEval2.ServedProbability(GenEval2.ServedForms(question, answer), First, likeliest));
                Assert.Equal((double)atom["unirl_top20_probability"]!, served[^1], Tolerance);
                Assert.Equal((int)atom["tifa"]! == 1, GenEval2.Tifa(forms, (string)atom["predicted"]!));
            });
            scores.Add(new(prompt, probabilities));
            Assert.Equal((double)p["soft_tifa_am"]!, scores[^1].Arithmetic, Tolerance);
            Assert.Equal((double)p["soft_tifa_gm"]!, scores[^1].Geometric, Tolerance);
            Assert.Equal((double)p["unirl_am"]!, new GenEval2Score(prompt, served).Arithmetic, Tolerance);
            Assert.Equal((double)p["unirl_gm"]!, new GenEval2Score(prompt, served).Geometric, Tolerance);
            Assert.Equal((string)p["vqascore_sent_sha256"]!, Hash(GenEval2.AskWhole(prompt.Prompt)));
            Assert.Equal((double)p["vqascore"]!, GenEval2.Probability(GenEval2.Forms("", ""), First,
                Chances(p["vqascore_logits"]!)), Tolerance);
        });
        Assert.Equal((double)file["totals"]!["soft_tifa_am"]!["score"]!,
            GenEval2.Score(scores, score => score.Arithmetic), 100 * Tolerance);
        Assert.Equal((double)file["totals"]!["soft_tifa_gm"]!["score"]!,
            GenEval2.Score(scores, score => score.Geometric), 100 * Tolerance);
        Assert.Equal((string)file["analysis_printed"]!, GenEval2.AnalysisText(scores));
    }

    [Fact]
    public void Forms_of_other_answers_are_the_official_ones() => Assert.All(file["answer_forms"]!, c =>
    {
        Assert.Equal(c["forms"]!.Select(form => (string)form!),
            GenEval2.Forms((string)c["question"]!, (string)c["answer"]!));
        Assert.Equal(c["unirl_forms"]!.Select(form => (string)form!),
            GenEval2.ServedForms((string)c["question"]!, (string)c["answer"]!));
    });

    private int First(string form) => (int)file["token_ids"]![form]![0]!;

    private Func<int, double> Chances(JToken logits)
    {
        var known = logits.ToDictionary(pair => (int)pair[0]!, pair => (double)pair[1]!);
        double background = (double)file["background_logit"]!, top = Math.Max(background, known.Values.Max());
        var total = known.Values.Sum(v => Math.Exp(v - top))
            + ((int)file["vocabulary"]! - known.Count) * Math.Exp(background - top);
        // the reference's softmax is in single precision, where the smallest probabilities are 0
        return id => (float)(Math.Exp(known.GetValueOrDefault(id, background) - top) / total);
    }

    private static string Hash(string text) => Convert.ToHexStringLower(SHA256.HashData(Encoding.UTF8.GetBytes(text)));
}
