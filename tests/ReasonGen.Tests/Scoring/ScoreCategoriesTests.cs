using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Commands;
using ReasonGen.Tests.Host;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>The benchmarks and categories that other tests of the command do not reach, each through it.</summary>
public sealed class ScoreCategoriesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task Non_spatial_prompts_are_scored_from_a_file_and_complex_ones_from_three_scored_folders()
    {
        string[] prompts = ["a dog next to a red cat", "a man rides a blue horse", "a green cup near a box"];
        var images = Images("samples", [.. prompts.Select(prompt => $"{prompt}_000000.png")]);
        string Part(string name, string category, double score)
        {
            new ScoreReport
            {
                Benchmark = $"T2I-CompBench {category}", Label = "l", Judge = name,
                Images = [.. prompts.Select(prompt => new ImageScore(category, prompt, $"{prompt}_000000.png", score,
                    ""))],
            }.Write(Path.Combine(folder, name));
            return Path.Combine(folder, name);
        }

        var file = Written("clip.jsonl", string.Join('\n', prompts.Select(prompt => Line(new()
        {
            ["image"] = $"{prompt}_000000.png", ["question"] = "clip", ["probability"] = 0.9,
        }))));
        var (code, output) = await Reasongen.RunAsync("score", "t2i", images, "--category", "non-spatial",
            "--judge", "file:" + file, "--out", Path.Combine(folder, "action"));
        Assert.True(code == 0, output);
        Assert.Contains("T2I-CompBench's rules, scores by clip.jsonl", output);
        string[] parts = [Part("attribute", "texture", 0.2), Part("position", "spatial", 0.4),
            Path.Combine(folder, "action")];
        Written("complex_val_spatial.txt", "A dog next to a red cat.\n");
        Written("complex_val_action.txt", "A man rides a blue horse.\n");
        (code, output) = await Reasongen.RunAsync(["score", "t2i", images, "--category", "complex", "--judge",
            "file:none", "--lists", folder, "--parts", .. parts]);
        Assert.True(code == 0, output);
        Assert.Contains("where they run with --complex", output);
        var scores = ScoreReport.Read(Path.Combine(folder, "samples-scores", "t2i-complex")).Images
            .ToDictionary(image => image.Prompt, image => image.Score!.Value);
        Assert.Equal([0.3, 0.55, 0.5], prompts.Select(prompt => Math.Round(scores[prompt], 9)));
        (code, output) = await Reasongen.RunAsync("score", "t2i", images, "--category", "complex", "--judge",
            "file:none", "--lists", folder, "--parts", parts[0], parts[2], parts[1]);
        Assert.True(code == 2, output);
        Assert.Contains("holds scores of T2I-CompBench non-spatial; as position it must hold", output);
        File.Delete(Path.Combine(parts[1], ScoreReport.FileName));
        (code, output) = await Reasongen.RunAsync(["score", "t2i", images, "--category", "complex", "--judge",
            "file:none", "--lists", folder, "--parts", .. parts]);
        Assert.True(code == 2, output);
        Assert.Contains("it holds no scores", output);
    }

    [Theory]
    [InlineData("a dog in front of a cat", 0.45 + 900.0 / 2300)]
    [InlineData("a dog behind a cat", 0.45)]
    public async Task Depth_is_scored_from_boxes_and_depth_images(string prompt, double expected)
    {
        var images = Images("samples", $"{prompt}_000000.png");
        var depth = Directory.CreateDirectory(Path.Combine(folder, "depth")).FullName;
        File.WriteAllBytes(Path.Combine(depth, $"{prompt}_000000.png"), Png.Encode(new RgbImage(96, 96,
            [.. Enumerable.Range(0, 96 * 96 * 3).Select(i => (byte)(255 - i / 3 % 96 - i / 3 / 96))])));
        JObject Box(string name, int at) => new() { ["class"] = name, ["box"] = new JArray(at, at, at + 40, at + 40),
            ["score"] = 0.9 };
        var boxes = Written("d.jsonl", Line(new() { ["filename"] = $"{prompt}_000000.png",
            ["detections"] = new JArray(Box("dog", 10), Box("cat", 20)) }));
        string[] arguments = ["score", "t2i", images, "--category", "3d", "--judge", "file:" + boxes];
        var (code, output) = await Reasongen.RunAsync([.. arguments, "--depth", depth]);
        Assert.True(code == 0, output);
        Assert.Equal(expected, ScoreReport.Read(Path.Combine(folder, "samples-scores", "t2i-3d")).Images.Single()
            .Score!.Value, 1e-3);
        (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 2, output);
        Assert.Contains("3d wants --depth", output);
    }

    [Fact]
    public async Task GenEval_2_sums_the_probabilities_of_a_served_judges_first_words()
    {
        var samples = Directory.CreateDirectory(Path.Combine(folder, "images", "00000", "samples")).FullName;
        File.WriteAllBytes(Path.Combine(samples, "0000.png"), Image());
        File.WriteAllText(Path.Combine(folder, "images", "00000", "metadata.jsonl"),
            Line(new() { ["prompt"] = "two red dogs" }));
        var prompts = Written("geneval2_data.jsonl", Line(new()
        {
            ["prompt"] = "two red dogs", ["atom_count"] = 3, ["skills"] = new JArray("object", "count"),
            ["vqa_list"] = new JArray(new JArray("Are there any dogs?", "Yes"), new JArray("How many dogs?", "two")),
        }));
        using var endpoint = new FaultyEndpoint((request, _) => request.ToString().Contains("How many dogs")
            ? First(("two", 0.5), ("2", 0.14), ("three", 0.2)) : First(("Yes", 0.6), ("yes", 0.3), ("No", 0.1)));
        var (code, output) = await Reasongen.RunAsync("score", "geneval2", Path.Combine(folder, "images"), "--prompts",
            prompts, "--judge", endpoint.Address, "--judge-model", "m", "--training-reward", "org/M");
        Assert.True(code == 0, output);
        var report = ScoreReport.Read(Path.Combine(folder, "images-scores", "geneval2"));
        Assert.Equal(Math.Sqrt(0.9 * 0.64), report.Images.Single().Score!.Value, 1e-6);
        Assert.Contains("GenEval 2's rules, answers by m; not comparable with published GenEval 2 scores; this judge "
            + "was the training reward (their judge is Qwen3-VL-8B-Instruct)", report.Label);
        Assert.All((string[])["summary.txt", "score.json", "sheet.html"], file => Assert.Contains(
            "this judge was the training reward", File.ReadAllText(Path.Combine(folder, "images-scores", "geneval2",
                file))));
    }

    [Theory]
    [InlineData("Yes", 1, "the prompt 'a dog' has 1 of 2 images|the prompt 'a cat' has no image|3 images are missing")]
    [InlineData("", 2, "none of the 1 images could be scored|its answer is empty|Nothing was written")]
    public async Task GenEval_2_tells_absent_images_and_writes_nothing_where_none_is_scored(string answer, int expected,
        string message)
    {
        var images = Path.Combine(folder, "images");
        foreach (var (i, metadata) in ((string[])[Line(new() { ["prompt"] = "a dog" }), "{"]).Index())
        {
            var samples = Directory.CreateDirectory(Path.Combine(images, $"{i:00000}", "samples")).FullName;
            File.WriteAllBytes(Path.Combine(samples, "0000.png"), Image());
            File.WriteAllText(Path.Combine(images, $"{i:00000}", "metadata.jsonl"), metadata);
        }

        Written("images/generation.json", """{ "settings": { "count": 2 } }""");
        string Wanted(string prompt) => Line(new()
        {
            ["prompt"] = prompt, ["atom_count"] = 3, ["skills"] = new JArray("object"),
            ["vqa_list"] = new JArray { new JArray($"Is there {prompt}?", "Yes") },
        });
        var prompts = Written("data.jsonl", $"{Wanted("a dog")}\n{Wanted("a cat")}\n{Wanted("a dog")}\n");
        using var endpoint = new FaultyEndpoint((_, _) => answer.Length == 0 ? Reply.Says("") : First((answer, 0.9)));
        var (code, output) = await Reasongen.RunAsync("score", "geneval2", images, "--prompts", prompts, "--judge",
            endpoint.Address, "--judge-model", "m");
        Assert.True(code == expected, output);
        Assert.All(message.Split('|'), said => Assert.Contains(said, output));
        Assert.Equal(expected == 1, File.Exists(Path.Combine(folder, "images-scores", "geneval2", "score.json")));
        if (expected == 1)
        {
            Assert.Contains("repeat another; each prompt counts once", output);
        }
    }

    [Theory]
    [InlineData("pixels", "2 of 2 boxes lie outside the image; say with --boxes what a served judge counts in")]
    [InlineData("thousandths", null)]
    public async Task Boxes_of_a_served_judge_that_counts_to_1000_are_told_or_read(string unit, string? problem)
    {
        var images = Images("samples", "a dog on the left of a cat_000000.png");
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Says("""
            [{"bbox_2d": [100, 400, 300, 700], "label": "dog"}, {"bbox_2d": [600, 400, 900, 700], "label": "cat"}]
            """));
        string[] arguments = ["score", "t2i", images, "--category", "spatial", "--judge", endpoint.Address,
            "--judge-model", "Qwen/Qwen3-VL-8B-Instruct", "--boxes", unit];
        var (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 0, output);
        Assert.Equal(problem is null, !output.Contains("lie outside the image"));
        Assert.Contains(problem ?? "", output);
        (code, output) = await Reasongen.RunAsync("score", "t2i", images, "--category", "spatial", "--judge",
            "qwen:none", "--boxes", "thousandths");
        Assert.True(code == 2, output);
        Assert.Contains("--boxes goes with a served judge", output);
    }

    [Fact]
    public async Task DPG_asks_a_served_judge_about_each_crop_and_names_a_black_one()
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, "dpg")).FullName;
        var rgb = Enumerable.Repeat((byte)90, 64 * 64 * 3).ToArray();
        for (var row = 0; row < 32; row++)
        {
            rgb.AsSpan((row * 64 + 32) * 3, 96).Clear(); // the second of the four
        }

        File.WriteAllBytes(Path.Combine(images, "alpha.png"), Png.Encode(new RgbImage(64, 64, rgb)));
        const string head = "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
            + "question_natural_language\n";
        var csv = Written("q.csv", head + "zero,t,,1,0,,,entity - whole (x),Skipped?\n"
            + "alpha,t,,1,0,,,entity - whole (dog),Is there a dog?\n"
            + "alpha,t,,2,1,,,attribute - color (red),Is the dog red?\n");
        using var endpoint = new FaultyEndpoint((request, _) =>
            Reply.Says(request.ToString().Contains("Is the dog red") ? "No" : "Yes"));
        var (code, output) = await Reasongen.RunAsync("score", "dpg", images, "--questions", csv, "--judge",
            endpoint.Address, "--judge-model", "m");
        Assert.Matches(@"overall +50\.00", output);
        Assert.Contains("DPG-Bench's rules, answers by m; not comparable", output);
        Assert.Contains("crop 2 of alpha.png is black all over; it is scored as it is", output);
        Assert.True(code == 0, output);
    }

    [Theory]
    [InlineData("1", "", "", 0, "1 images, 1 questions")]
    [InlineData("4", "", "generated_images", 0, "1 images, 4 questions")]
    [InlineData("1", "", "generated_images", 0, "1 images, 1 questions")]
    [InlineData("1", " --images-per-file 1", "", 0, "1 images, 1 questions")]
    [InlineData("4", " --images-per-file 1", "", 2, "--images-per-file is 1, but ")]
    [InlineData("9", "", "", 2, "was drawn with --count 9; DPG-Bench asks about squares of four images")]
    [InlineData(null, "", "", 0, "1 images, 4 questions")]
    [InlineData(null, " --images-per-file 1", "", 0, "1 images, 1 questions")]
    public async Task DPG_asks_about_as_many_images_a_file_as_were_drawn(string? count, string option, string inner,
        int expected, string message)
    {
        Images("dpg/generated_images", "alpha.png");
        if (count is not null)
        {
            Written("dpg/generation.json", $$"""{ "settings": { "count": {{count}} } }""");
        }

        var csv = Written("q.csv", "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,"
            + "tuple,question_natural_language\nalpha,t,,1,0,,,entity - whole (dog),Is there a dog?\n");
        var (code, output) = await Reasongen.RunAsync(["score", "dpg", Path.Combine(folder, "dpg", inner),
            "--questions", csv, "--all-rows", "--judge", "http://localhost:1/v1", "--judge-model", "m", "--dry-run",
            .. option.Split(' ', StringSplitOptions.RemoveEmptyEntries)]);
        Assert.True(code == expected, output);
        Assert.Contains(message, output);
    }

    [Theory]
    [InlineData("geneval2", "file:x", "GenEval 2 needs the probability of words")]
    [InlineData("geneval2", "qwen:{0}/nowhere", "config.json: there is no such file")]
    [InlineData("t2i", "file:{0}/none.jsonl", "none.jsonl: there is no such file")]
    [InlineData("t2i", "qwen:{0}/nowhere", "config.json: there is no such file")]
    [InlineData("t2i", "http://localhost:1/v1", "say --judge-model")]
    [InlineData("t2i", "official --unidet {0}/none.pth", "--unidet: there is no ")]
    [InlineData("t2i", "nobody", "'nobody' is no judge for this")]
    public async Task A_judge_that_a_run_would_refuse_is_refused_by_a_dry_run(string benchmark, string judge,
        string message)
    {
        Images("samples", "a dog next to a cat_000000.png");
        Images("images/00000/samples", "0000.png");
        Written("images/00000/metadata.jsonl", Line(new() { ["prompt"] = "a dog" }));
        var prompts = Written("data.jsonl", Line(new()
        {
            ["prompt"] = "a dog", ["atom_count"] = 1, ["skills"] = new JArray("object"),
            ["vqa_list"] = new JArray { new JArray("Is there a dog?", "Yes") },
        }));
        string[] arguments = benchmark == "t2i" ? [Path.Combine(folder, "samples"), "--category", "spatial"]
            : [Path.Combine(folder, "images"), "--prompts", prompts];
        var (code, output) = await Reasongen.RunAsync(["score", benchmark, .. arguments, "--dry-run", "--judge",
            .. string.Format(judge, folder).Split(' ')]);
        Assert.True(code == 2, output);
        Assert.Contains(message, output);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void A_judge_whose_weights_are_torch_files_costs_as_much_as_they_hold()
    {
        var model = Directory.CreateDirectory(Path.Combine(folder, "model")).FullName;
        File.Copy(Golden.Path("torchbin/many_tensors.bin"), Path.Combine(model, "pytorch_model.bin"));
        Assert.True(ScoreCost.Seconds($"qwen:{model}", 1, 1, 1, 0)!.Value.Gpu > 0);
        Assert.Throws<UnusableFileException>(() => ScoreCost.Seconds($"qwen:{folder}", 1, 1, 1, 0));
    }

    [Fact]
    public async Task Orders_to_a_terminal_in_a_name_are_spelt_out()
    {
        var images = Images("samples", "a dog_0.png", "a\u001b]0;OWNED\u0007.png");
        var (code, output) = await Reasongen.RunAsync("score", "t2i", images, "--category", "non-spatial", "--judge",
            "file:" + Written("clip.jsonl", Line(new() { ["image"] = "a dog_0.png", ["question"] = "clip",
                ["probability"] = 0.9 })));
        Assert.Contains("a\\u001b]0;OWNED\\u0007.png is not named", output);
        Assert.DoesNotContain('\u001b', output);
        Assert.True(code == 0, output);
    }

    [Fact]
    [Trait("Category", "Golden")]
    public async Task A_judge_is_held_against_people()
    {
        var table = CsvTable.Parse(File.ReadAllText(Golden.Path("geneval/annotations/annotations_clip.csv")));
        int At(string name) => table.Header.ToList().IndexOf(name);
        var counted = table.Rows.First(row => row.Cells[At("Input.object_1_name")] == ""
            && row.Cells[At("Input.caption")].Contains(" four ")).Cells;
        var (prompt, name) = (counted[At("Input.caption")], counted[At("Input.object_0_name")]);
        var index = counted[At("Input.index")].Split('_');
        JObject Clause(int count) => new() { ["class"] = name, ["count"] = count };
        var metadata = Written("evaluation_metadata.jsonl", Line(new()
        {
            ["tag"] = "counting", ["include"] = new JArray(Clause(4)), ["exclude"] = new JArray(Clause(5)),
            ["prompt"] = prompt,
        }));
        var majority = (bool)Golden.Json("geneval/annotations/expected")["clip"]!["pictures"]![string.Join('_', index)]!
            ["majority"]!;
        new ScoreReport
        {
            Benchmark = "GenEval", Label = "the label", Judge = "m",
            Images = [new("counting", prompt, $"{int.Parse(index[0]):00000}/samples/{int.Parse(index[1]):0000}.png",
                majority ? 0 : 1, "")],
        }.Write(Path.Combine(folder, "scores"));
        string[] arguments = ["score", "agree", Path.Combine(folder, "scores"),
            Golden.Path("geneval/annotations/annotations_clip.csv")];
        var (code, output) = await Reasongen.RunAsync([.. arguments, "--metadata", metadata]);
        Assert.True(code == 0, output);
        Assert.Contains("the label", output);
        Assert.Matches(@"counting +1 +0\.00", output);
        Assert.Contains("have a caption that is no prompt of", output);
        Assert.Contains("People among themselves: ", output);
        (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 2, output);
        Assert.Contains("annotations need --metadata", output);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    // a chat completion with the probabilities of its first token
    private static Reply First(params (string Word, double Probability)[] words)
    {
        var reply = Reply.Says(words[0].Word);
        var body = JObject.Parse(reply.Body);
        JObject Token((string Word, double Probability) word) => new() { ["token"] = word.Word,
            ["logprob"] = Math.Log(word.Probability), ["bytes"] = null };
        var first = Token(words[0]);
        first["top_logprobs"] = new JArray(words.Select(Token));
        body["choices"]![0]!["logprobs"] = new JObject { ["content"] = new JArray(first), ["refusal"] = null };
        return reply with { Body = body.ToString() };
    }

    private static byte[] Image() => Png.Encode(new RgbImage(96, 96, [.. Enumerable.Repeat((byte)50, 96 * 96 * 3)]));

    private static string Line(JObject json) => json.ToString(Formatting.None);

    private string Images(string name, params string[] files)
    {
        var images = Directory.CreateDirectory(Path.Combine(folder, name)).FullName;
        foreach (var file in files)
        {
            File.WriteAllBytes(Path.Combine(images, file), Image());
        }

        return images;
    }

    private string Written(string name, string text)
    {
        var path = Path.Combine(folder, name);
        File.WriteAllText(path, text);
        return path;
    }
}
