using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Tests.Models;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Qwen;
using ReasonGen.Checkpoints;
using ReasonGen.Scoring;
using ReasonGen.Served;
using ReasonGen.Studies;
using ReasonGen.Tokenizers;
using ReasonGen.World;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Scoring;

/// <summary>Judges: a shared image, probabilities of a served model, kept answers; and the rules
/// in the drawn world.</summary>
public sealed class JudgeScoringTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData(1024)]
    [InlineData(1)]
    public void Questions_that_share_an_image_are_answered_as_each_alone(int tokensAtATime)
    {
        using var model = QwenFixture.Untied();
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var whole = QwenFixture.Input(Golden.Tensors("qwen25vl/logits"), "one");
        var ids = whole.Ids.Values<long>();
        var start = Array.LastIndexOf(ids, model.Config.ImageToken) + 2;
        long[][] endings = [ids[start..], [7], [3, 1, 4, 1, 5], [9, 2]];
        var beginning = whole with { Ids = tensor(ids[..start]).unsqueeze(0), Mask = ones(1, start, ScalarType.Int64) };
        var together = model.NextLogits(beginning, endings, tokensAtATime);
        foreach (var (i, ending) in endings.Index())
        {
            var row = tensor((long[])[.. ids[..start], .. ending]).unsqueeze(0);
            Golden.Close(model.Logits(whole with { Ids = row, Mask = ones_like(row) })[0, -1], together[i], 1e-4,
                $"ending {i}");
        }
    }

    [Fact]
    public void A_local_judge_answers_each_question_once_and_keeps_the_answers()
    {
        using var model = QwenFixture.Untied();
        var judge = new QwenScorer("tiny", model, new Letters(model.Config),
            QwenProcessor.For(model.Config.Vision)) { MinPixels = 56 * 56 };
        var counting = new Counting(judge);
        var image = Renderer.Render(Scene.For(Prompts.Draw(Seeds.Random(1), "single_object"), Seeds.Random(2)),
            new WorldConfig(), 1);
        JudgeQuestion[] questions = [JudgeQuestion.OfYesNo("Is there a circle?"), JudgeQuestion.OfYesNo("Is it red?")];
        var cache = new AnswerCache(folder, judge);
        var first = new CachedQuestions(counting, cache).Ask(image, "a.png", questions, default);
        var again = new CachedQuestions(counting, new AnswerCache(folder, judge))
            .Ask(image, "b.png", [questions[1], questions[0], questions[1]], default);
        Assert.Equal(2, counting.Asked);
        Assert.Equal(first[0].Probabilities, again[1].Probabilities);
        Assert.Equal(first[1].Yes, again[2].Yes);
        Assert.All(first, reply => Assert.InRange(reply.Probabilities.Sum(), 0, 1.001));
    }

    [Fact]
    public void Answers_of_a_local_judge_are_kept_apart_by_the_type_that_it_computes_in()
    {
        using QwenVl exact = Load(ScalarType.Float32), half = Load(ScalarType.BFloat16);
        string Identity(QwenVl model) => new QwenScorer("tiny", model, new Letters(model.Config),
            QwenProcessor.For(model.Config.Vision)).Identity;
        Assert.NotEqual(Identity(exact), Identity(half));
        static QwenVl Load(ScalarType type) => QwenVl.Load(Golden.Path("qwen25vl/untied"), new(CPU, type));
    }

    [Fact]
    public void An_image_that_a_local_judge_cannot_be_shown_is_refused_alone()
    {
        using var model = QwenFixture.Untied();
        var judge = new QwenScorer("tiny", model, new Letters(model.Config),
            QwenProcessor.For(model.Config.Vision)) { MinPixels = 56 * 56 };
        var thin = new RgbImage(1000, 4, new byte[12000]);
        Assert.Contains("its 1000x4 pixels cannot be shown to the judge", Assert.Throws<OfficialStopException>(() =>
            judge.Ask(thin, "a.png", [JudgeQuestion.OfYesNo("Is there a dog?")], default)).Cause);
        Assert.Contains("1000x4", Assert.Throws<OfficialStopException>(() =>
            judge.Detect(thin, "a.png", ["dog"], default)).Cause);
    }

    [Theory]
    [InlineData(true, "Yes", 0.75)]
    [InlineData(false, "Yes.", 1.0)]
    [InlineData(false, "no, there is none", 0.0)]
    [InlineData(false, "Maybe", null)]
    public void A_served_judge_is_read_by_probability_or_by_its_word(bool probabilities, string word, double? expected)
    {
        using var endpoint = new FaultyEndpoint((request, _) =>
        {
            if (!probabilities && request["logprobs"] is not null)
            {
                return Reply.Fails(400, "logprobs are not supported");
            }

            return probabilities ? Likely(Reply.Says(word), ("Yes", 0.6), ("No", 0.2), ("The", 0.1)) : Reply.Says(word);
        });
        using var client = new FirstTokens(ChatEndpoint.Connect(endpoint.Address, "m"));
        var judge = new ServedScorer(client, "m", new() { Tries = 1 });
        var reply = judge.Ask(new RgbImage(40, 40, new byte[4800]), "a.png", [JudgeQuestion.OfYesNo("Is there a dog?")],
            default)[0];
        Assert.Equal(expected, reply.Yes is { } yes ? Math.Round(yes, 6) : null);
        Assert.Equal(expected > 0.5 ? "yes" : expected is null ? null : "no",
            new JudgeAnswers(judge).Ask("a.png", 0, () => new RgbImage(40, 40, new byte[4800]), ["Is there a dog?"],
                default)[0]?.Text);
    }

    [Fact]
    public void A_score_of_probabilities_takes_no_word_for_one()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Says("Yes"));
        using var client = new FirstTokens(ChatEndpoint.Connect(endpoint.Address, "m"));
        ServedScorer word = new(client, "m", new() { Tries = 1 }),
            sure = new(client, "m", new() { Tries = 1 }) { NeedsProbabilities = true };
        Assert.Equal(1, Ask(word).Yes);
        Assert.Contains("no probabilities", Assert.Throws<EndpointException>(() => Ask(sure)).Message);
        Assert.NotEqual(word.Identity, sure.Identity); // their answers are kept apart
    }

    [Fact]
    public void A_server_that_told_probabilities_is_not_asked_without_them_for_one_refusal()
    {
        using var endpoint = new FaultyEndpoint((request, call) => call == 1 ? Reply.Fails(400, "content_filter")
            : Likely(Reply.Says("Yes"), ("Yes", 0.6), ("No", 0.2)));
        using var client = new FirstTokens(ChatEndpoint.Connect(endpoint.Address, "m"));
        var judge = new ServedScorer(client, "m", new() { Tries = 1 });
        Assert.Equal(0.75, Ask(judge).Yes!.Value, 1e-6);
        Assert.Contains("content_filter", Assert.Throws<OfficialStopException>(() => Ask(judge)).Message);
        Assert.Equal(0.75, Ask(judge).Yes!.Value, 1e-6);
        Assert.Equal(3, endpoint.Calls);
    }

    [Fact]
    public void An_endpoint_that_refuses_image_after_image_ends_the_scoring()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Fails(400, "no images here"));
        using var client = new FirstTokens(ChatEndpoint.Connect(endpoint.Address, "m"));
        var judge = new ServedScorer(client, "m", new() { Tries = 1 });
        var thrown = Enumerable.Range(0, 5).Select(_ => Record.Exception(() => Ask(judge))!.GetType()).ToArray();
        Assert.Equal([.. Enumerable.Repeat(typeof(OfficialStopException), 4), typeof(EndpointException)], thrown);
    }

    private static JudgeReply Ask(ServedScorer judge) => judge.Ask(new RgbImage(40, 40, new byte[4800]), "a.png",
        [JudgeQuestion.OfYesNo("Is there a dog?")], default)[0];

    private static Reply Likely(Reply reply, params (string Text, double P)[] first)
    {
        var body = JObject.Parse(reply.Body);
        JObject Token((string Text, double P) of) =>
            new() { ["token"] = of.Text, ["logprob"] = Math.Log(of.P), ["bytes"] = null };
        var said = Token(first[0]);
        said["top_logprobs"] = new JArray(first.Select(Token));
        body["choices"]![0]!["logprobs"] = new JObject { ["content"] = new JArray(said), ["refusal"] = null };
        return reply with { Body = body.ToString() };
    }

    [Theory]
    [InlineData("""{"image": "a.png", "question": "q", "answer": "Yes", "p_yes": 0.98}""", "yes")]
    [InlineData("""{"image": "a.png", "question": "q", "answer": "No.", "p_yes": 0.1}""", "no")]
    [InlineData("""{"image": "a.png", "question": "q", "p_yes": 0.7}""", "yes")]
    [InlineData("""{"image": "a.png", "question": "q", "answer": "yes"}""", "yes")]
    public void Answers_of_a_file_are_compared_as_words(string line, string expected)
    {
        var path = Path.Combine(folder, "a.jsonl");
        File.WriteAllText(path, line + "\n" + line);
        Assert.Equal(expected, AnswerFile.Read(path).Ask("a.png", 0, null!, ["q"], default)[0]!.Text);
    }

    [Theory]
    [InlineData(null, false)]
    [InlineData("mPLUG", false)]
    [InlineData("official", true)]
    public void A_file_is_official_where_that_is_said_whatever_its_name(string? judge, bool official)
    {
        var path = Path.Combine(folder, "official");
        File.WriteAllText(path, """{"image": "a.png", "question": "q", "answer": "yes"}""");
        Assert.Equal(official, AnswerFile.Read(path, judge).Official);
    }

    [Theory]
    [InlineData("""{"image": "a.png", "question": "q", "p_yes": 12}""", "12 is no probability")]
    [InlineData("""{"image": "a.png", "question": "q", "p_yes": -0.5}""", "no probability")]
    [InlineData("""
        {"image": "a.png", "question": "q", "answer": "yes"}
        {"image": "a.png", "question": "q", "answer": "no"}
        """, "line 1 answers the same question")]
    public void Answers_of_a_file_that_cannot_be_are_refused(string text, string expected)
    {
        var path = Path.Combine(folder, "a.jsonl");
        File.WriteAllText(path, text);
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => AnswerFile.Read(path)).Message);
    }

    [Fact]
    public void In_the_drawn_world_the_rules_forgive_extras_that_the_strict_checker_does_not()
    {
        var prompts = Prompts.Benchmark(40, 5);
        var images = prompts.Select((prompt, i) => Renderer.Render(Scene.For(prompt, Seeds.Random(7, i)),
            new WorldConfig(), i)).ToArray();
        Assert.All(prompts.Zip(images), pair => Assert.True(WorldScoring.Judge(pair.Second, pair.First).Correct,
            pair.First.Text));
        // the next prompt's image, of the same task: mostly wrong, and never right for the checker alone
        var others = prompts.Zip(images[1..]).Where(pair => Detector.Check(pair.Second, pair.First).Correct).ToArray();
        Assert.All(others, pair => Assert.True(WorldScoring.Judge(pair.Second, pair.First).Correct));
    }

    [Fact]
    public void Intervals_hold_prompts_together_and_comparisons_are_paired()
    {
        TaskScores Task(params double[][] prompts) => new("t", [.. prompts.Select((scores, i) =>
            new PromptScores($"p{i}", scores))]);
        var alike = Task([.. Enumerable.Range(0, 50).Select(i => new[] { i % 2, i % 2, i % 2, (double)(i % 2) })]);
        var loose = Task([.. Enumerable.Range(0, 50).Select(_ => new[] { 0.0, 1, 0, 1 })]);
        var (wide, narrow) = (Intervals.Of([alike]), Intervals.Of([loose]));
        Assert.Equal((0.5, 0.5, 0.5), (narrow.Value, narrow.Low, narrow.High)); // each prompt scores one half
        Assert.InRange(wide.High - wide.Low, 0.22, 0.34); // ± 1.96 √(¼ / 50)
        var better = Task([.. alike.Prompts.Select(prompt => prompt.Scores.Select(score => score + 0.1).ToArray())]);
        var (difference, prompts2) = Intervals.Compare([alike], [better]);
        Assert.Equal(50, prompts2);
        Assert.Equal(0.1, difference.Low, 1e-9);
        Assert.Equal(0.1, difference.High, 1e-9);
        var agreement = Agreement.Of([.. Enumerable.Range(0, 100).Select(i => ($"p{i}", i < 50, i is < 40 or >= 90))]);
        Assert.Equal((0.8, 0.8, 0.8), (agreement.Accuracy.Value, agreement.Precision, agreement.Recall));
        Assert.Equal(0.6, agreement.Kappa.Value, 1e-9);
    }

    [Theory]
    [InlineData(2, 2, true)]
    [InlineData(2, 1, false)]
    [InlineData(1, 1, false)]
    public void A_task_of_one_prompt_has_no_interval(int first, int second, bool known)
    {
        TaskScores Task(string name, int prompts, double score) => new(name, [.. Enumerable.Range(0, prompts)
            .Select(i => new PromptScores($"p{i}", [score, score]))]);
        TaskScores[] Both(double score) => [Task("a", first, score), Task("b", second, score)];
        var ((of, _, _), (by, _)) = (Intervals.Of(Both(0.75)), Intervals.Compare(Both(0), Both(1)));
        Assert.Equal((0.75, 1.0, known), (of, by.Value, by.ExcludesZero));
        Assert.Equal(known ? "1.0 to 1.0" : "no interval: one prompt in a task", by.Ends(1, "0.0"));
        Assert.Equal(!known, double.IsNaN(Intervals.Of(Both(0.75)).High));
        double[][] outcomes = [new double[first], new double[second]];
        SeedOutcomes[] seeds = [new(1, outcomes), new(2, outcomes)];
        Assert.Equal(!known, double.IsNaN(SeedIntervals.Mean(seeds).Low));
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    /// <summary>A token a letter, beside Qwen's marks.</summary>
    private sealed class Letters(QwenConfig config) : ITokenizer
    {
        private const string Start = "<|vision_start|>";

        public int VocabularySize => config.Language.VocabularySize;

        public SpecialTokens Special => throw new NotSupportedException();

        public int[] Encode(string text)
        {
            var ids = new List<int>();
            while (text.Length > 0)
            {
                var (mark, id) = text.StartsWith(Start) ? (Start.Length, config.VisionStart)
                    : text.StartsWith(QwenChat.ImagePad) ? (QwenChat.ImagePad.Length, config.ImageToken)
                    : (1, text[0] % 200);
                ids.Add(id);
                text = text[mark..];
            }

            return [.. ids];
        }

        public string Decode(IEnumerable<int> ids) => string.Concat(ids.Select(id => (char)id));
    }

    private sealed class Counting(IQuestionJudge judge) : IQuestionJudge
    {
        internal int Asked { get; private set; }

        public string Name => judge.Name;

        public string Identity => judge.Identity;

        public bool Official => false;

        public IReadOnlyList<string> Limits => [];

        public IReadOnlyList<JudgeReply> Ask(RgbImage image, string file, IReadOnlyList<JudgeQuestion> questions,
            CancellationToken cancel)
        {
            Asked += questions.Count;
            return judge.Ask(image, file, questions, cancel);
        }
    }
}
