using Newtonsoft.Json.Linq;
using ReasonGen.Tests.Host;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>The command as a user meets it.</summary>
public sealed class ScoreCommandTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task Images_of_the_world_are_scored_written_compared_and_held_against_one_another()
    {
        var (good, bad) = (World("good", right: true), World("bad", right: false));
        var (code, output) = await Reasongen.RunAsync("score", "geneval", good, "--judge", "world", "--training-reward",
            "the drawn world's exact detector");
        Assert.True(code == 0, output);
        Assert.Contains("not comparable with published GenEval scores; this judge was the training reward", output);
        Assert.Matches(@"overall +100\.00", output);
        foreach (var file in (string[])["results.jsonl", "summary.txt", "score.json", "sheet.html"])
        {
            Assert.Contains("not comparable", file == "results.jsonl" ? "not comparable"
                : File.ReadAllText(Path.Combine(folder, "good-scores", "geneval", file)));
        }

        Assert.Equal(1, GenEvalResults.Read(Path.Combine(folder, "good-scores", "geneval", "results.jsonl")).Overall);
        (code, output) = await Reasongen.RunAsync("score", "geneval", bad, "--judge", "world", "--no-alarm", "--json");
        Assert.True(code == 0, output);
        (code, output) = await Reasongen.RunAsync("score", "compare", Path.Combine(folder, "good-scores", "geneval"),
            Path.Combine(folder, "bad-scores", "geneval"));
        Assert.True(code == 0, output);
        Assert.Matches(@"overall +-\d+\.\d\d", output);
        (code, output) = await Reasongen.RunAsync("score", "agree", Path.Combine(folder, "good-scores", "geneval"),
            Path.Combine(folder, "good-scores", "geneval", "results.jsonl"));
        Assert.True(code == 0, output);
        Assert.Matches(@"all +12 +1\.00", output);
        (code, output) = await Reasongen.RunAsync("score", "compare", Path.Combine(folder, "good-scores", "geneval"),
            Path.Combine(folder, "bad-scores", "geneval", "results.jsonl"));
        Assert.True(code == 0, output);
        Assert.Contains("Second minus first over 6 prompts", output);
    }

    [Fact]
    public async Task What_is_missing_black_or_damaged_is_named_and_counted()
    {
        var images = World("odd", right: true);
        File.Delete(Path.Combine(images, "00001", "samples", "0001.png"));
        File.WriteAllBytes(Path.Combine(images, "00002", "samples", "0000.png"),
            Png.Encode(new RgbImage(32, 32, new byte[3072])));
        File.WriteAllText(Path.Combine(images, "00003", "samples", "0000.png"), "no image");
        File.Delete(Path.Combine(images, "00004", "metadata.jsonl"));
        File.WriteAllBytes(Path.Combine(images, "00005", "samples", "0000.png"),
            Png.Encode(new RgbImage(16, 16, [.. Enumerable.Repeat((byte)9, 768)])));
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "world");
        Assert.True(code == 1, output);
        foreach (var said in (string[])["00001 has 1 of 2 images", "00002/samples/0000.png is black",
            "00003/samples/0000.png was not scored: it is no image", "00004: it has no metadata.jsonl",
            "00005/samples/0000.png was not scored: the detector reads 32x32 images, not 16x16",
                "2 of 9 images were not scored", "3 images are missing"])
        {
            Assert.Contains(said, output);
        }

        var scores = Path.Combine(folder, "odd-scores", "geneval");
        (code, output) = await Reasongen.RunAsync("score", "compare", scores, scores);
        Assert.True(code == 1, output);
        Assert.Contains($"{scores}: of 9 images 2 were not scored, 3 more are missing", output);
    }

    [Fact]
    public async Task A_folder_named_with_doubled_slashes_is_as_complete_as_it_is()
    {
        var images = World("slashes", right: true);
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images + "//", "--judge", "world");
        Assert.True(code == 0, output);
        Assert.Equal("00000/samples/0000.png",
            ScoreReport.Read(Path.Combine(folder, "slashes-scores", "geneval")).Images[0].Image);
    }

    [Fact]
    public async Task A_folder_whose_drawing_was_broken_off_is_not_complete()
    {
        var images = World("half", right: true); // six prompts, two images each
        File.WriteAllText(Path.Combine(images, "generation.json"),
            """{ "settings": { "count": 2, "prompt_count": 10 } }""");
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "world");
        Assert.True(code == 1, output);
        Assert.Contains("6 of 10 prompts have a folder", output);
        Assert.Contains("8 images are missing", output);
    }

    [Fact]
    public async Task What_others_left_beside_the_images_never_costs_the_results()
    {
        var images = World("told", right: true);
        var model = Directory.CreateDirectory(Path.Combine(folder, "model")).FullName;
        File.WriteAllText(Path.Combine(model, "training.json"), """{"reward": {"a": 1}, "step": {}}""");
        File.WriteAllText(Path.Combine(images, "generation.json"), new JObject
        {
            ["settings"] = new JObject { ["count"] = 1e20 }, ["about"] = new JObject { ["model"] = model },
        }.ToString());
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "world");
        Assert.True(code == 0, output);
        Assert.Contains("'reward' is no text", output);
        Assert.Contains("'count' is no whole number", output);
        Assert.True(File.Exists(Path.Combine(folder, "told-scores", "geneval", "results.jsonl")));
    }

    [Fact]
    public async Task Images_with_very_large_numbers_are_held_against_one_another()
    {
        var scores = Directory.CreateDirectory(Path.Combine(folder, "scores")).FullName;
        new ScoreReport
        {
            Benchmark = "GenEval", Label = "l", Judge = "j",
            Images = [new("t", "p", "00000/samples/3141592653.png", 1, "")],
        }.Write(scores);
        var (code, output) = await Reasongen.RunAsync("score", "agree", scores, scores);
        Assert.True(code == 0, output);
        Assert.Contains("1 images in common", output);
    }

    [Fact]
    public async Task One_prompt_a_task_gives_no_interval_and_the_text_says_why()
    {
        string Scores(string name, double score)
        {
            var scores = Directory.CreateDirectory(Path.Combine(folder, name)).FullName;
            new ScoreReport
            {
                Benchmark = "GenEval", Label = "l", Judge = "j", Images = [.. from task in (string[])["a", "b"]
                    from i in (int[])[0, 1] select new ImageScore(task, task, $"{task}/samples/000{i}.png", score, "")],
            }.Write(scores);
            return scores;
        }

        var (bad, good) = (Scores("bad", 0), Scores("good", 1));
        var written = JObject.Parse(File.ReadAllText(Path.Combine(good, ScoreReport.FileName)))["Overall"]!;
        Assert.Equal((1.0, JTokenType.Null), ((double)written["Value"]!, written["Low"]!.Type));
        Assert.Contains("100.00  (no interval: one prompt in a task)", ScoreReport.Read(good).Text());
        var (code, output) = await Reasongen.RunAsync("score", "compare", bad, good);
        Assert.True(code == 0, output);
        Assert.Contains("+100.00  (no interval: one prompt in a task)", output);
        Assert.DoesNotContain("no difference seen", output);
        (_, output) = await Reasongen.RunAsync("score", "compare", bad, good, "--json");
        var said = JObject.Parse(output);
        Assert.All([said["apart"]!, said["difference"]!["low"]!, said["tasks"]!["a"]!["high"]!],
            number => Assert.Equal(JTokenType.Null, number.Type));
    }

    [Theory]
    [InlineData(true, 4, 1, 1, "b.jsonl: 2 of 3 prompts have fewer scores than on the other side, 6 in all.")]
    [InlineData(true, 1, 4, 1, "a.jsonl: 2 of 3 prompts have fewer scores than on the other side, 6 in all.")]
    [InlineData(false, 4, 1, 0, "b: 2 of 3 prompts have fewer scores than on the other side, 6 in all.")]
    [InlineData(true, 4, 4, 0, "")]
    public async Task Images_that_a_side_has_fewer_of_are_told_and_lack_in_a_results_file(bool results, int first,
        int second, int expected, string message)
    {
        string Scores(string name, int images)
        {
            ImageScore[] scores = [.. from prompt in (string[])["p", "q", "r"]
                from i in Enumerable.Range(0, prompt == "r" ? 4 : images)
                select new ImageScore("t", prompt, $"{prompt}/samples/000{i}.png", 1, "")];
            if (results)
            {
                return Written(name + ".jsonl", string.Join('\n', scores.Select(score => new JObject
                {
                    ["filename"] = score.Image, ["tag"] = score.Task, ["prompt"] = score.Prompt, ["correct"] = true,
                    ["reason"] = "", ["metadata"] = "{}", ["details"] = "{}",
                }.ToString(Newtonsoft.Json.Formatting.None))));
            }

            var made = Directory.CreateDirectory(Path.Combine(folder, name)).FullName;
            new ScoreReport { Benchmark = "GenEval", Label = "l", Judge = "j", Images = scores }.Write(made);
            return made;
        }

        string[] command = ["score", "compare", Scores("a", first), Scores("b", second)];
        var (code, output) = await Reasongen.RunAsync(command);
        Assert.True(code == expected, output);
        Assert.Contains(message, output);
        Assert.Equal(first != second, output.Contains("fewer scores"));
        Assert.Equal(results, output.Contains("A results.jsonl tells neither its detector nor its options"));
        Assert.DoesNotContain("different judges", output); // which names of files do not tell
        var said = JObject.Parse((await Reasongen.RunAsync([.. command, "--json"])).Output);
        Assert.Equal((expected, message.Length == 0 ? 0 : 1 - expected),
            (said["lacking"]!.Count(), said["notes"]!.Count()));
    }

    [Theory]
    [InlineData("j", "1", "j", "1", false)]
    [InlineData("j", "1", "j", "2", true)] // another server's, or another model's weights
    [InlineData("j", "1", "j", null, false)]
    [InlineData("j", "1", "k", "1", true)]
    [InlineData("j", "1", "j", "2", false, "/d.jsonl")]
    public async Task Judges_differ_by_name_or_identity_but_not_by_the_content_of_a_file(string one, string identity,
        string two, string? other, bool differ, string? file = null)
    {
        string Scores(string name, string judge, string? identity)
        {
            var made = Directory.CreateDirectory(Path.Combine(folder, name)).FullName;
            new ScoreReport
            {
                Benchmark = "GenEval", Label = judge, Judge = judge, JudgeIdentity = identity, JudgeFile = file,
                Images = [new("t", "p", "0", 1, ""), new("t", "q", "1", 1, "")],
            }.Write(made);
            return made;
        }

        var (code, output) = await Reasongen.RunAsync("score", "compare", Scores("a", one, identity),
            Scores("b", two, other));
        Assert.True(code == 0, output);
        Assert.Equal(differ, output.Contains("The two were judged by different judges"));
    }

    [Fact]
    public async Task A_detector_that_finds_nothing_raises_the_alarm_and_another_set_is_refused()
    {
        var images = World("seen", right: true);
        var files = Directory.GetFiles(images, "*.png", SearchOption.AllDirectories)
            .Select(path => Path.GetRelativePath(images, path)).Order().ToArray();
        string Detections(string name, Func<string, JObject> line) =>
            Written(name, string.Join('\n', files.Select(file => line(file)
            .ToString(Newtonsoft.Json.Formatting.None))));
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "file:"
            + Detections("none.jsonl", file => new() { ["filename"] = file, ["detections"] = new JArray() }));
        Assert.True(code == 1, output);
        Assert.Contains("ALARM", output);
        Assert.False(File.Exists(Path.Combine(folder, "seen-scores", "geneval", "results.jsonl")));
        (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge",
            "file:" + Detections("other.jsonl", file => new() { ["filename"] = file, ["prompt"] = "another",
                ["detections"] = new JArray() }));
        Assert.True(code == 2, output);
        Assert.Contains("is of another prompt", output);
    }

    [Fact]
    public async Task Two_processes_and_a_third_later_ask_a_served_judge_once_about_each_image()
    {
        var images = World("shared", right: true);
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Says("[]"));
        Task<(int Code, string Output)> Score() => Reasongen.RunAsync("score", "geneval", images, "--judge",
            endpoint.Address, "--judge-model", "m", "--no-alarm");
        var runs = await Task.WhenAll(Score(), Score());
        Assert.All(runs, run => Assert.True(run.Code == 0, run.Output));
        Assert.Equal(12, endpoint.Calls);
        var (code, output) = await Score();
        Assert.True(code == 0, output);
        Assert.Equal(12, endpoint.Calls);
        Assert.Contains("12 of 12 answers were kept from before", output);
        Assert.Contains("GenEval's rules, boxes by m; not comparable", output);
        Assert.Contains("its boxes have no scores", output);
    }

    [Fact]
    public async Task DPG_squares_are_scored_from_answers_and_what_does_not_fit_is_named()
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, "dpg")).FullName;
        byte[] Image(int width, int height) => Png.Encode(new RgbImage(width, height,
            [.. Enumerable.Repeat((byte)100, width * height * 3)]));
        File.WriteAllBytes(Path.Combine(images, "alpha.png"), Image(8, 8));
        File.WriteAllBytes(Path.Combine(images, "beta.png"), Image(8, 6));
        File.WriteAllBytes(Path.Combine(images, "gamma.png"), Image(8, 8));
        File.WriteAllBytes(Path.Combine(images, "epsilon.png"), Image(8, 8));
        File.WriteAllBytes(Path.Combine(images, "stranger.png"), Image(8, 8));
        File.WriteAllText(Path.Combine(images, "notes.txt"), "x");
        string Row(string item, int id, string dependency) =>
            $"{item},t,,{id},{dependency},,,entity - whole (x),Question {id} of {item}?\n";
        var csv = Written("q.csv",
            "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
            + "question_natural_language\n"
            + Row("alpha", 9, "0") + Row("alpha", 1, "0") + Row("alpha", 2, "1") + Row("beta", 1, "0")
                + Row("gamma", 1, "0") + Row("delta", 1, "0") + Row("epsilon", 1, "0"));
        var answers = Written("a.jsonl", string.Join('\n', from crop in Enumerable.Range(0,
            4) from item in (string[])["alpha", "beta", "gamma"] from id in (int[])[1, 2]
            select new JObject { ["image"] = item + ".png", ["crop"] = crop, ["question"] = $"Question {id} of {item}?",
                ["answer"] = item == "gamma" && crop == 3 ? "maybe" : crop == 0 && id == 1 ? "No." : "yes" }
                .ToString(Newtonsoft.Json.Formatting.None)));
        var (code, output) = await Reasongen.RunAsync("score", "dpg", images, "--questions", csv, "--judge", "file:"
            + answers);
        Assert.True(code == 1, output);
        foreach (var said
        in (string[])["as in the official script the first data row is skipped: item alpha loses its question 9",
            "the official script stops at this file", "stranger.png is no item",
            "the item delta has no image",
                "beta.png was not scored: an image of 8x6 pixels does not consist of four squares",
                "gamma.png was not scored: there is neither yes nor no to question 1 about its crop 4",
                "epsilon.png was not scored: a.jsonl has no line for question 1 about its crop 1",
            "3 of 4 images were not scored"])
        {
            Assert.Contains(said, output);
        }

        Assert.Matches(@"overall +75\.00", output); // three crops whole, one zeroed through its parent
        Assert.Contains("DPG-Bench score: 75.0\n", File.ReadAllText(Path.Combine(folder, "dpg-scores", "dpg",
            "results.txt")));
    }

    [Theory]
    [InlineData("spatial", "a dog on the left of a cat", 0.95)]
    [InlineData("spatial", "a dog on the right of a cat", 0.0)]
    [InlineData("numeracy", "a dog and two cats", 0.75)]
    public async Task T2I_images_are_scored_from_boxes_in_the_detectors_scale(string category, string prompt,
        double expected)
    {
        Assert.Equal(expected, await T2iScore(category, prompt, $"samples/{prompt}_000000.png", ("dog", 5, 0.9),
            ("cat", 70, 0.9)), 1e-6);
    }

    [Theory]
    [InlineData("spatial", "a dog on the left of a cat", 0.95)]
    [InlineData("numeracy", "a dog and a cat", 1.0)]
    public async Task Boxes_of_a_file_count_above_a_tenth_and_the_surest_first(string category, string prompt,
        double expected)
    {
        Assert.Equal(expected, await T2iScore(category, prompt, $"{prompt}_000000.png", ("cat", 5, 0.1),
            ("dog", 84, 0.05), ("cat", 70, 0.9), ("dog", 20, 0.9)), 1e-6);
    }

    // of one image of 96 pixels a side and boxes of 12 in a row
    private async Task<double> T2iScore(string category, string prompt, string file,
        params (string Class, int X, double Score)[] boxes)
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, "t2i")).FullName;
        File.WriteAllBytes(Path.Combine(images, $"{prompt}_000000.png"),
            Png.Encode(new RgbImage(96, 96, [.. Enumerable.Repeat((byte)50, 96 * 96 * 3)])));
        var detections = Written("d.jsonl", new JObject
        {
            ["filename"] = file,
            ["detections"] = new JArray(boxes.Select(box => new JObject
            {
                ["class"] = box.Class, ["box"] = new JArray(box.X, 40, box.X + 12, 52), ["score"] = box.Score,
            })),
        }.ToString(Newtonsoft.Json.Formatting.None));
        var (code, output) = await Reasongen.RunAsync(["score", "t2i", images, "--category", category, "--judge",
            "file:" + detections, .. Objects(category, "dog - dogs\ncat - cats\n")]);
        Assert.True(code == 0, output);
        return ScoreReport.Read(Path.Combine(folder, "t2i-scores", $"t2i-{category}")).Images.Single().Score!.Value;
    }

    [Theory]
    [InlineData("spatial", "a girl on the left of a dog", "girl 10 dog 180", 1.0)]
    [InlineData("spatial", "a ship on the left of a dog", "ship 10 dog 180", 1.0)]
    [InlineData("numeracy", "two men", "man 10 men 180", 1.0)]
    [InlineData("numeracy", "one ship", "ship 10", 1.0)]
    [InlineData("numeracy", "one ship", "ship 10 ship 180", 0.5)]
    public async Task A_model_is_asked_for_the_prompts_words_and_scored_by_the_detectors(string category,
        string prompt, string said, double expected)
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, "t2i")).FullName;
        File.WriteAllBytes(Path.Combine(images, $"{prompt}_000000.png"),
            Png.Encode(new RgbImage(96, 96, [.. Enumerable.Repeat((byte)50, 96 * 96 * 3)])));
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Says(new JArray(said.Split(' ').Chunk(2).Select(box =>
            new JObject { ["label"] = box[0], ["bbox_2d"] = new JArray(int.Parse(box[1]), 100, int.Parse(box[1]) + 40,
                140) })).ToString(Newtonsoft.Json.Formatting.None)));
        var (code, output) = await Reasongen.RunAsync(["score", "t2i", images, "--category", category, "--judge",
            endpoint.Address, "--judge-model", "m",
            .. Objects(category, "man - men\nship - ships\nperson - people\n")]);
        Assert.True(code == 0, output);
        Assert.Equal(expected, ScoreReport.Read(Path.Combine(folder, "t2i-scores", $"t2i-{category}")).Images.Single()
            .Score!.Value, 1e-6);
    }

    [Theory]
    [InlineData("score geneval {0}/nowhere --judge world", "it is no folder")]
    [InlineData("score geneval {0} --judge world", "holds no image in GenEval's layout")]
    [InlineData("score geneval {0} --judge world --options threshold=x", "could not convert string to float")]
    [InlineData("score geneval {0} --judge world --options treshold=0.4", "there is no setting 'treshold'")]
    [InlineData("score geneval {0} --judge world --options model=x", "the detector is chosen with --detector")]
    [InlineData("score geneval {0} --judge official --options clip_model=x", "CLIP is chosen with --clip")]
    [InlineData("score geneval {0} --judge qwen:{0} --options crop=0", "it is about the colours that CLIP tells for")]
    [InlineData("score geneval {0} --judge file:{0}/d --options bgcolor=#fff", "another judge tells its own")]
    [InlineData("score dpg {0} --questions {0}/none.csv --judge world", "there is no such file")]
    [InlineData("score t2i {0} --category colour --judge world", "'color'")]
    [InlineData("score compare {0} {0}", "it holds no scores")]
    [InlineData("score geneval", "See 'reasongen score geneval --help'")]
    [InlineData("score geneval {0} --judge world --judge-model m",
        "--judge-model goes with a served judge (--judge https://…/v1) and has no effect with --judge world: leave it")]
    [InlineData("score geneval2 {0} --prompts p --judge qwen:{0} --concurrent 8", "--concurrent goes with a served")]
    [InlineData("score dpg {0} --questions q --judge http://a/v1 --judge-name b", "--judge-name goes with")]
    [InlineData("score geneval {0} --judge world --weights {0}", "--weights goes with --judge official")]
    [InlineData("score geneval {0} --judge qwen:{0} --detector d", "--detector goes with --judge official")]
    [InlineData("score geneval {0} --judge file:{0}/d --clip c", "--clip goes with --judge official")]
    [InlineData("score dpg {0} --questions q --judge file:{0}/a --mplug m", "--mplug goes with --judge official")]
    [InlineData("score t2i {0} --category color --judge file:{0}/a --blip b", "--blip goes with --judge official")]
    [InlineData("score t2i {0} --category spatial --judge world --unidet u", "--unidet goes with --judge official")]
    [InlineData("score t2i {0} --category 3d --judge world --unidet-labels u", "--unidet-labels goes with --judge off")]
    [InlineData("score t2i {0} --category color --judge qwen:{0} --any-model", "--any-model goes with --judge off")]
    [InlineData("score t2i {0} --category spatial --judge official --boxes thousandths --dry-run",
        "--boxes goes with a served judge")]
    [InlineData("score geneval {0} --judge world --boxes thousandths", "--boxes goes with a served judge")]
    [InlineData("score geneval {0} --judge world --boxes pixels", "holds no image in GenEval's layout")]
    [InlineData("score t2i {0} --category spatial --judge world --objects o",
        "--objects goes with --category numeracy and has no effect with --category spatial: leave it out")]
    [InlineData("score t2i {0} --category numeracy --judge world --depth d", "--depth goes with --category 3d and")]
    [InlineData("score t2i {0} --category color --judge qwen:{0} --parts a b c", "--parts goes with --category comp")]
    [InlineData("score t2i {0} --category 3d --judge world --lists l", "--lists goes with --category complex")]
    [InlineData("score t2i {0} --category complex --judge file:none --nouns n",
        "--nouns goes with --category color, shape, texture, spatial, 3d and has no effect with --category complex")]
    [InlineData("score agree {0} {0}/r.jsonl --metadata m", "--metadata goes with GenEval's annotations_*.csv and has")]
    public async Task Bad_input_is_answered_in_a_sentence(string arguments, string message)
    {
        var (code, output) = await Reasongen.RunAsync(string.Format(arguments, folder).Split(' '));
        Assert.True(code == 2, output);
        Assert.Contains(message, output);
        Assert.DoesNotContain("   at ", output);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private string[] Objects(string category, string lines) =>
        category == "numeracy" ? ["--objects", Written("objects.txt", lines)] : [];

    private string Written(string name, string text)
    {
        var path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }

    // Two images of each task's prompt, or of another prompt's.
    private string World(string name, bool right)
    {
        var prompts = Prompts.Benchmark(1, 3);
        foreach (var (i, prompt) in prompts.Index())
        {
            var samples = Directory.CreateDirectory(Path.Combine(folder, name, $"{i:00000}", "samples")).FullName;
            File.WriteAllText(Path.Combine(folder, name, $"{i:00000}", "metadata.jsonl"), WorldScoring.Metadata(prompt)
                .GetRawText());
            for (var k = 0; k < 2; k++)
            {
                var scene = Scene.For(right ? prompt : prompts[(i + 1) % prompts.Count], Seeds.Random(4, i, k));
                File.WriteAllBytes(Path.Combine(samples, $"{k:0000}.png"),
                    Png.Encode(Renderer.Render(scene, new WorldConfig(), k)));
            }
        }

        return Path.Combine(folder, name);
    }
}
