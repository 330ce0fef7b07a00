using System.Text;
using System.Text.Json;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Commands;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>Answers, boxes and results from files: what would count as something else is refused by its line.</summary>
public sealed class ScoreInputTests : IDisposable
{
    private readonly TestFolder folder = new();

    private static Dictionary<string, Action<string>> Readers { get; } = new()
    {
        ["dpg"] = path => DpgQuestions.Read(path), ["detections"] = path => DetectionFile.Read(path),
        ["answers"] = path => AnswerFile.Read(path), ["nouns"] = path => PromptNouns.Read(path),
        ["geneval2"] = path => GenEval2.Read(path), ["objects"] = path => T2iParts.ReadObjects(path),
        ["metadata"] = path => GenEvalAnnotations.ReadMetadata(path),
        ["annotations"] = path => GenEvalAnnotations.Read(path, new Dictionary<string, JsonElement>()),
    };

    public static TheoryData<string> Kinds => [.. Readers.Keys];

    [Theory]
    [MemberData(nameof(Kinds))]
    public void Text_that_is_not_Utf8_is_refused_by_its_line(string kind)
    {
        var path = folder.At("file");
        File.WriteAllBytes(path, Encoding.Latin1.GetBytes("\ncaf\u00e9"));
        Assert.Contains("line 2 is not UTF-8 text",
            Assert.Throws<UnusableFileException>(() => Readers[kind](path)).Message);
    }

    [Fact]
    public void Metadata_of_a_folder_that_are_not_Utf8_are_a_problem_of_that_folder()
    {
        Directory.CreateDirectory(folder.At("images/00000/samples"));
        File.WriteAllBytes(folder.At("images/00000/metadata.jsonl"),
            Encoding.Latin1.GetBytes("{\"tag\": \"colors\", \"prompt\": \"a caf\u00e9\"}"));
        var problem = Assert.Single(GenEvalFolder.Open(folder.At("images")).Problems);
        Assert.Equal("UnicodeDecodeError", problem.Official);
        Assert.Contains("line 1 is not UTF-8 text", problem.Cause);
    }

    [Theory]
    [InlineData("\"response\": \"yes\"", "line 1 is no answer: it has neither \"answer\" nor \"p_yes\"")]
    [InlineData("\"prob\": 0.9", "it has neither \"answer\" nor \"p_yes\"")]
    [InlineData("\"answer\": \"no\", \"p_yes\": 0.9", "its answer is no, but its probability of yes")]
    [InlineData("\"answer\": \"No.\", \"probability\": 0.75", "probability of yes is 0.75")]
    [InlineData("\"answer\": null, \"p_yes\": null", "it has neither \"answer\" nor \"p_yes\"")]
    [InlineData("\"answer\": true", "line 1 is no answer: \"answer\" is true, where a text belongs")]
    [InlineData("\"answer\": \"yes\", \"crop\": \"0\"", "\"crop\" is \"0\", where a whole number belongs")]
    [InlineData("\"answer\": \"yes\", \"crop\": 0.5", "\"crop\" is 0.5, where a whole number belongs")]
    [InlineData("\"answer\": \"yes\", \"p_yes\": \"high\"", "\"p_yes\" is \"high\", where a number belongs")]
    public void Answers_that_say_nothing_or_two_things_are_refused(string members, string expected) =>
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() => Answers(members)).Message);

    [Theory]
    [InlineData("\"answer\": \"NO, there is none\"", "no", 0.0)]
    [InlineData("\"answer\": \" yes\", \"p_yes\": 0.5", "yes", 0.5)]
    [InlineData("\"answer\": \"I think so\", \"p_yes\": 0.75", "yes", 0.75)]
    [InlineData("\"answer\": \"now I see it, yes\"", null, null)]
    [InlineData("\"answer\": \"yes\", \"p_yes\": 0.25", "yes", 0.25)] // other words may have the rest
    [InlineData("\"answer\": \"nothing\"", null, null)]
    [InlineData("\"answer\": \"yesterday\"", null, null)]
    [InlineData("\"answer\": \"yes\", \"p_yes\": null, \"crop\": 0.0", "yes", 1.0)]
    [InlineData("\"answer\": null, \"p_yes\": 0.75, \"crop\": null", "yes", 0.75)]
    public void Answers_are_whole_words(string members, string? text, double? yes)
    {
        var answer = Answers(members).Ask("a.png", 0, null!, ["q"], default)[0];
        Assert.Equal((text, yes), (answer?.Text, answer?.Yes));
    }

    [Fact]
    public void An_answer_that_a_file_lacks_is_told_from_one_that_says_nothing()
    {
        var answers = Answers("\"answer\": \"nothing\"");
        Assert.Equal([null, null], answers.Ask("a.png", 0, null!, ["q", "other"], default));
        Assert.Equal("there is neither yes nor no to", answers.WhyNone("a.png", 0, "q"));
        Assert.Equal("answers.jsonl has no line for", answers.WhyNone("a.png", 0, "other"));
        Assert.Equal("answers.jsonl has no line for", answers.WhyNone("a.png", 1, "q"));
    }

    [Theory]
    [InlineData("Is the dog red?", "black, white", 0.0)]
    [InlineData("Is it red", "no", 0.0)]
    [InlineData("Is it red, or blue?", "yes", 1.0)]
    [InlineData("Is it large, or small?", "large, I think", 0.0)]
    public void Answers_of_a_detail_file_may_hold_commas_as_questions_do(string question, string text, double yes)
    {
        string[] asked = ["Is it red", "Is it red, or blue?", "Is it large, or small?", "Is the dog red?", question];
        var file = AnswerFile.Read(folder.Write("det.txt", string.Join('\n', ((string[])[
            "Is the dog red?, black, white", "Is it red, no", "Is it red, or blue?, yes",
            "Is it large, or small?, large, I think"])
            .Select(said => $"img/a.png, (0, 0, 32, 32), {said}"))));
        Assert.Equal(new YesAnswer(text, yes), file.Ask("a.png", 0, null!, asked, default)[^1]);
        Assert.Null(file.Ask("a.png", 1, null!, asked, default)[^1]);
    }

    [Fact]
    public void Answers_of_a_detail_file_that_contradict_each_other_are_refused()
    {
        const string line = "a.png, (0, 0, 32, 32), Is it red?, ";
        var file = AnswerFile.Read(folder.Write("det.txt", $"{line}yes\n{line}black, white\n"));
        Assert.Contains("line 2 answers a question otherwise than line 1", Assert.Throws<UnusableFileException>(() =>
            file.Ask("a.png", 0, null!, ["Is it red?"], default)).Message);
    }

    [Theory]
    [InlineData("\"0\"")]
    [InlineData("null")]
    [InlineData("true")]
    [InlineData("0.5")]
    public void A_position_without_the_number_of_a_clause_stops_the_rules_at_its_image(string clause)
    {
        using var metadata = JsonDocument.Parse(
            $$"""{"include": [{"class": "dog", "count": 1, "position": ["left of", {{clause}}]}]}""");
        var kept = GenEval.Keep([new("dog", 0, 0, 9, 9, 0.9f)], "position", new());
        Assert.Contains("not a relation and the number of a clause", Assert.Throws<OfficialStopException>(() =>
            GenEval.Evaluate(metadata.RootElement, kept, (_, _) => [], new())).Cause);
    }

    [Theory]
    [InlineData("\"width\": 64.0, \"height\": null, \"detections\": []", null)]
    [InlineData("\"width\": \"64\", \"detections\": []", "\"width\" is \"64\", where a whole number belongs")]
    [InlineData("\"height\": 64.5, \"detections\": []", "\"height\" is 64.5, where a whole number belongs")]
    [InlineData("\"detections\": null", "\"detections\" is null, where a list belongs")]
    [InlineData("\"detections\": [{\"class\": \"dog\", \"box\": [[1, 2], [3, 4]]}]",
        "\"box\" is [[1, 2], [3, 4]], where a list of four finite numbers")]
    [InlineData("\"detections\": [{\"class\": 7, \"box\": [1, 2, 3, 4]}]", "\"class\" is 7, where a text belongs")]
    [InlineData("\"detections\": [{\"class\": \"dog\", \"box\": [1, 2, 3, 4], \"score\": null}]",
        "\"score\" is null, where a number belongs")]
    public void A_member_of_detections_that_is_of_another_kind_is_named(string members, string? expected)
    {
        var path = folder.Write("d.jsonl", $"{{\"filename\": \"a.png\", {members}}}");
        if (expected is null)
        {
            Assert.Empty(DetectionFile.Read(path).Of("a.png", 64, 48, null));
            return;
        }

        var message = Assert.Throws<UnusableFileException>(() => DetectionFile.Read(path)).Message;
        Assert.Contains($"line 1 holds no detections: {expected}", message);
    }

    [Theory]
    [InlineData("[0.1, 0.2, 0.5, 0.9]", false)]
    [InlineData("[0, 0, 1.02, 1]", false)]
    [InlineData("[0.1, 0.2, 5, 0.9]", true)]
    public void Boxes_in_shares_of_the_sides_are_refused(string box, bool pixels)
    {
        var refusal = Record.Exception(() => Boxes(box, "0.9"));
        Assert.Equal(pixels, refusal is null);
        Assert.True(pixels || refusal is UnusableFileException
            && refusal.Message.Contains("shares of the image's sides, not in its pixels. Multiply x by"), $"{refusal}");
    }

    [Theory]
    [InlineData("geneval {0} --judge file:{1}", "00000/samples/0000.png")]
    [InlineData("t2i {0}/00000/samples --category numeracy --judge file:{1} --objects {2}", "a dog_000000.png")]
    public async Task Boxes_of_a_file_that_lie_outside_their_image_are_told(string command, string name)
    {
        GenEvalImages();
        File.Copy(folder.At("images/00000/samples/0000.png"), folder.At("images/00000/samples/a dog_000000.png"));
        var file = folder.Write("d.jsonl", string.Join('\n', ((string[])["00000/samples/0000.png",
            "00000/samples/a dog_000000.png"]).Select(image => $$"""
            {"filename": "{{image}}", "detections": [{"class": "dog", "box": [10, 20, 60, 62.5], "score": 0.9, "color": "red"}]}
            """.Trim())));
        var (_, output) = await Reasongen.RunAsync(["score", .. command.Split(' ').Select(word => string.Format(word,
            folder.At("images"), file, folder.Write("objects.txt", "dog - dogs\n")))]);
        Assert.Contains($"{name}: 1 of 1 boxes lie outside the image; a file's boxes are counted in pixels", output);
    }

    [Theory]
    [InlineData("item_id;text;proposition_id;dependency;question_natural_language\na;t;1;0;Is it, or not?\n",
        "its columns are separated by semicolons, not by commas. Save it with commas")]
    [InlineData("item_id\ttext\na\tt\nb\tt\n", "separated by tabs")]
    [InlineData("item_id,text\na,t\nb,t\n", "it has no column proposition_id")]
    public void Questions_that_no_commas_separate_are_told_so(string text, string expected) => Assert.Contains(expected,
        Assert.Throws<UnusableFileException>(() => DpgQuestions.Read(folder.Write("q.csv", text))).Message);

    [Theory]
    [InlineData("[60, 10, 20, 30]", "0.9", "the box [60, 10, 20, 30] ends before it begins")]
    [InlineData("[10, 60, 20, 30]", "0.9", "not a corner, width and height")]
    [InlineData("[10, 20, 60, 30]", "95", "the score 95 is none from 0 to 1; divide percent by 100")]
    [InlineData("[10, 20, 60, 30]", "-0.5", "the score -0.5 is none from 0 to 1")]
    public void Boxes_and_scores_that_cannot_be_are_refused(string box, string score, string expected)
    {
        var message = Assert.Throws<UnusableFileException>(() => Boxes(box, score)).Message;
        Assert.Contains("line 1 holds no detections", message);
        Assert.Contains(expected, message);
    }

    [Fact]
    public void Boxes_may_reach_beyond_the_image_and_colours_are_read_whatever_their_case()
    {
        var file = Boxes("[-2.5, -1, 400, 390]", "1", ", \"color\": \"Red \"");
        Assert.Equal("red", file.Of("a.png", 384, 384, null).Single().Color);
        Assert.Empty(file.UnknownColors(GenEvalOptions.Colors));
        Assert.Equal(("crimson", 1), Boxes("[1, 2, 3, 4]", "0", ", \"color\": \"Crimson\"")
            .UnknownColors(GenEvalOptions.Colors).Select(color => (color.Key, color.Value)).Single());
    }

    [Fact]
    public async Task Colours_that_GenEval_does_not_know_are_named()
    {
        GenEvalImages();
        var (code, output) = await Reasongen.RunAsync("score", "geneval", folder.At("images"), "--judge",
            "file:" + folder.Write("d.jsonl", """
            {"filename": "00000/samples/0000.png", "detections": [{"class": "dog", "box": [1, 2, 9, 9], "score": 0.9, "color": "crimson"}]}
            """));
        Assert.True(code == 0, output);
        Assert.Contains("1 boxes have colours that GenEval does not know, and are of none of its own: crimson", output);
    }

    [Theory]
    [InlineData("2", "the score of '00000/samples/0000.png' is 2, none from 0 to 1")]
    [InlineData("-1", "none from 0 to 1")]
    [InlineData("\"nan\"", "is NaN, none from 0 to 1")]
    [InlineData("\"True\"", "\"correct\" is a text in it")]
    public void Results_whose_verdict_is_none_are_refused(string correct, string expected) => Assert.Contains(expected,
        Assert.Throws<UnusableFileException>(() => ScoreReport.Read(folder.Write("r.jsonl", Row(correct)))).Message);

    [Fact]
    public void Results_that_stand_twice_count_once_and_contradictions_are_refused()
    {
        var two = $"{Row("true")}\n{Row("true")}\n{Row("false").Replace("0000.png", "0001.png")}\n";
        foreach (var name in (string[])["r.jsonl", "r.txt"]) // a shell's <(…) has no name, either
        {
            Assert.Equal([1, 0], ScoreReport.Read(folder.Write(name, two)).Images.Select(image => image.Score!.Value));
        }

        Assert.Single(ScoreReport.Read(folder.Write("r.txt", Row("true"))).Images);
        Assert.Contains("it has 2 lines of 'out/00000/samples/0000.png' that differ",
            Assert.Throws<UnusableFileException>(() => ScoreReport.Read(folder.Write("r.jsonl",
                $"{Row("true")}\n{Row("false")}\n"))).Message);
    }

    [Theory]
    [InlineData("GenEval", 1.0000000000000002, true)]
    [InlineData("GenEval", 1.5, false)]
    [InlineData("GenEval", double.NaN, false)]
    [InlineData("GenEval 2", 1.5, true)]
    [InlineData("GenEval 2", double.PositiveInfinity, false)]
    [InlineData("T2I-CompBench non-spatial", -0.1, true)]
    [InlineData("T2I-CompBench color", -0.1, false)]
    public void Scores_lie_where_those_of_their_benchmark_do(string benchmark, double score, bool sound)
    {
        new ScoreReport
        {
            Benchmark = benchmark, Label = "l", Judge = "j", Images = [new("t", "p", "a.png", score, "")],
        }.Write(folder.At("scores"));
        var refusal = Record.Exception(() => ScoreReport.Read(folder.At("scores")));
        Assert.Equal(sound, refusal is null);
        Assert.True(sound || refusal is UnusableFileException, refusal?.ToString());
    }

    [Fact]
    public async Task A_prompt_of_GenEval_2_that_looks_like_a_date_stays_as_it_is()
    {
        Directory.CreateDirectory(folder.At("images/00000/samples"));
        File.WriteAllText(folder.At("images/00000/metadata.jsonl"), """{"prompt": "2024-05-01T10:00:00"}""");
        File.WriteAllText(folder.At("images/00000/samples/0000.png"), "");
        var prompts = folder.Write("data.jsonl", """
            {"prompt": "2024-05-01T10:00:00", "atom_count": 3, "skills": ["object"], "vqa_list": [["Is there a date?", "Yes"]]}
            """);
        var (code, output) = await Reasongen.RunAsync("score", "geneval2", folder.At("images"), "--prompts", prompts,
            "--judge", "http://localhost:1/v1", "--judge-model", "m", "--dry-run");
        Assert.True(code == 0, output);
        Assert.Contains("GenEval 2: 1 images", output);
    }

    public void Dispose() => folder.Dispose();

    private void GenEvalImages()
    {
        Directory.CreateDirectory(folder.At("images/00000/samples"));
        File.WriteAllText(folder.At("images/00000/metadata.jsonl"), """
            {"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}], "prompt": "a red dog"}
            """);
        File.WriteAllBytes(folder.At("images/00000/samples/0000.png"),
            ReasonGen.Imaging.Png.Encode(new(32, 32, [.. Enumerable.Repeat((byte)9, 3072)])));
    }

    private static string Row(string correct) => $$"""
        {"filename": "out/00000/samples/0000.png", "tag": "t", "prompt": "p", "correct": {{correct}}, "metadata": "{}"}
        """.Trim();

    private AnswerFile Answers(string members) => AnswerFile.Read(folder.Write("answers.jsonl",
        $$"""{"image": "a.png", "question": "q", {{members}}}"""));

    private DetectionFile Boxes(string box, string score, string more = "") => DetectionFile.Read(
        folder.Write("detections.jsonl", $$"""
            {"filename": "a.png", "detections": [{"class": "dog", "box": {{box}}, "score": {{score}}{{more}}}]}
            """));
}
