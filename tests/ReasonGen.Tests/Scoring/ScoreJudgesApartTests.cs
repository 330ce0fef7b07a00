using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>Detectors whose names are not those of the rules, two judges of one folder, and how they agree.</summary>
public sealed class ScoreJudgesApartTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData(20, "Bench", 1, "ALARM: of 20 images of a single object only 0 hold any detection above 0.3")]
    [InlineData(20, "cat", 1, "20 one of its neighbour in the list of classes, +1 from it")]
    [InlineData(20, "toothbrush", 1, "ALARM: of 20 images only 0 hold a box of what their prompts ask for. Such")]
    [InlineData(3, "toothbrush", 0, "of 3 images only 0 hold a box of what their prompts ask for")]
    [InlineData(40, "bird toothbrush toothbrush toothbrush toothbrush toothbrush toothbrush", 0, "GenEval's rules")]
    public async Task Boxes_of_names_that_nobody_asks_for_raise_the_alarm(int count, string found, int expected,
        string message)
    {
        var images = GenEval("images", count, "bird");
        var names = found.Split(' ');
        var boxes = Boxes("d.jsonl", count, i => names[i % names.Length]);
        var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "file:" + boxes);
        Assert.True(code == expected, output);
        Assert.Contains(message, output);
        Assert.Equal(expected == 0, File.Exists(folder.At("images-scores", "geneval", "results.jsonl")));
        (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", "file:" + boxes, "--no-alarm");
        Assert.True(code == 0, output);
    }

    [Theory]
    [InlineData("spatial", "a man on the left of a cat", "Man", 0.95)]
    [InlineData("numeracy", "a man and a cat", "MAN", 1.0)]
    public async Task Labels_of_a_file_count_whatever_their_case_and_a_man_is_a_person(string category, string prompt,
        string label, double expected)
    {
        var images = T2i($"{prompt}_000000.png");
        var (code, output) = await T2iScore(images, category, Line($"{prompt}_000000.png", (label, 5), ("Cat", 70),
            ("tree", 30)));
        Assert.True(code == 0, output);
        Assert.Equal(expected, ScoreReport.Read(folder.At("t2i-scores", $"t2i-{category}")).Images.Single()
            .Score!.Value, 1e-6);
        Assert.Contains("1 boxes are of labels that no prompt asks for and count for nothing: tree", output);
    }

    [Theory]
    [InlineData(20, 1)]
    [InlineData(3, 0)]
    public async Task Labels_that_nobody_asks_for_raise_the_alarm_of_T2I_too(int count, int expected)
    {
        string[] files = [.. Enumerable.Range(0, count).Select(i => $"a dog on the left of a cat_{i:000000}.png")];
        var lines = string.Join('\n', files.Select(file => Line(file, ("17", 5), ("18", 70))));
        var (code, output) = await T2iScore(T2i(files), "spatial", lines);
        Assert.True(code == expected, output);
        Assert.Contains($"of {count} images only 0 hold a box of what their prompts ask for", output);
        Assert.Equal(expected == 1, output.Contains("ALARM"));
        (code, output) = await T2iScore(folder.At("t2i"), "spatial", lines, "--no-alarm");
        Assert.True(code == 0, output);
    }

    [Fact]
    public async Task The_scores_of_an_earlier_judge_are_moved_beside_those_of_the_next()
    {
        var images = GenEval("images", 2, "bird");
        foreach (var judge in (string[])["one/two", "three", "one/two", "one/two"])
        {
            var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge",
                "file:" + Boxes("d.jsonl", 2, _ => judge == "three" ? "cat" : "bird"), "--judge-name", judge);
            Assert.True(code == 0, output);
        }

        Assert.Equal(("one/two", "three", "one/two"), (Judge("geneval"), Judge("geneval-three"),
            Judge("geneval-one-two")));
        Assert.All((string[])["results.jsonl", "summary.txt", "sheet.html"],
            file => Assert.True(File.Exists(folder.At("images-scores", "geneval-three", file))));
        Assert.Equal(0, ScoreReport.Read(folder.At("images-scores", "geneval-three")).Overall.Value);
        Assert.Equal(3, Directory.GetDirectories(folder.At("images-scores")).Length);

        string Judge(string name) => ScoreReport.Read(folder.At("images-scores", name)).Judge;
    }

    [Fact]
    public async Task What_a_scoring_takes_is_told_to_scripts()
    {
        var images = GenEval("images", 2, "bird");
        var (code, output, _) = await Reasongen.RunApartAsync("score", "geneval", images, "--judge",
            "http://localhost:1/v1", "--judge-model", "m", "--dry-run", "--json");
        Assert.Equal(0, code);
        var told = JObject.Parse(output);
        Assert.Equal(("GenEval", 2, 0, 2), ((string?)told["benchmark"], (int)told["images"]!, (int)told["questions"]!,
            (int)told["calls"]!));
        Assert.Equal(JTokenType.Null, told["secondsHere"]!.Type);
        (_, output, _) = await Reasongen.RunApartAsync("score", "geneval", images, "--judge", "official", "--dry-run",
            "--json");
        Assert.True((double)JObject.Parse(output)["secondsHere"]! > 0, output);
    }

    [Fact]
    public async Task Judges_agree_only_about_images_of_the_same_benchmark_and_prompt()
    {
        var one = Scored("one", "GenEval", "a dog", 0.6);
        foreach (var (other, message) in ((string, string)[])
            [(Scored("two", "GenEval", "a cat", 1), "1 of 1 at the same place have another prompt"),
            (Scored("three", "GenEval 2", "a dog", 1), "holds scores of GenEval, ")])
        {
            var (wrong, said) = await Reasongen.RunAsync("score", "agree", one, other);
            Assert.True(wrong == 2, said);
            Assert.Contains(message, said);
        }

        var (code, output) = await Reasongen.RunAsync("score", "agree", one, one);
        Assert.True(code == 0, output);
        Assert.Contains("by their place and prompt\nA score counts as right from 0.5 on.", output);
        (code, output, _) = await Reasongen.RunApartAsync("score", "agree", one, one, "--json");
        Assert.Equal(0, code);
        var json = JObject.Parse(output);
        Assert.Equal(0.5, (double)json["threshold"]!);
        Assert.Equal((1.0, JTokenType.Null), ((double)json["tasks"]!["all"]!["accuracy"]!["value"]!,
            json["tasks"]!["all"]!["kappa"]!["value"]!.Type)); // chance explains all of one image
    }

    [Fact]
    public async Task People_are_held_against_scores_of_GenEval_alone()
    {
        var (code, output) = await Reasongen.RunAsync("score", "agree", Scored("dpg", "DPG-Bench", "a dog", 1),
            folder.At("annotations_clip.csv"));
        Assert.True(code == 2, output);
        Assert.Contains("holds scores of DPG-Bench, ", output);
    }

    public void Dispose() => folder.Dispose();

    private string Scored(string name, string benchmark, string prompt, double score)
    {
        new ScoreReport
        {
            Benchmark = benchmark, Label = "l", Judge = name,
            Images = [new("t", prompt, "00000/samples/0000.png", score, "")],
        }.Write(folder.At(name));
        return folder.At(name);
    }

    private string GenEval(string name, int count, string asked)
    {
        for (var i = 0; i < count; i++)
        {
            Directory.CreateDirectory(folder.At(name, $"{i:00000}", "samples"));
            folder.Write($"{name}/{i:00000}/metadata.jsonl", new JObject
            {
                ["tag"] = "single_object", ["prompt"] = $"a photo of a {asked}",
                ["include"] = new JArray(new JObject { ["class"] = asked, ["count"] = 1 }),
            }.ToString(Formatting.None));
            File.WriteAllBytes(folder.At(name, $"{i:00000}", "samples", "0000.png"), Image());
        }

        return folder.At(name);
    }

    private string Boxes(string name, int count, Func<int, string> found) => folder.Write(name, string.Join('\n',
        Enumerable.Range(0, count).Select(i => Line($"{i:00000}/samples/0000.png", (found(i), 5)))));

    private static string Line(string file, params (string Class, int X)[] boxes) => new JObject
    {
        ["filename"] = file,
        ["detections"] = new JArray(boxes.Select(box => new JObject
        {
            ["class"] = box.Class, ["box"] = new JArray(box.X, 40, box.X + 12, 52), ["score"] = 0.9,
        })),
    }.ToString(Formatting.None);

    private string T2i(params string[] files)
    {
        Directory.CreateDirectory(folder.At("t2i"));
        Array.ForEach(files, file => File.WriteAllBytes(folder.At("t2i", file), Image()));
        return folder.At("t2i");
    }

    private Task<(int Code, string Output)> T2iScore(string images, string category, string lines,
        params string[] more) => Reasongen.RunAsync(["score", "t2i", images, "--category", category, "--judge",
        "file:" + folder.Write("d.jsonl", lines), "--objects", folder.Write("objects.txt", "man - men\ncat - cats\n"),
        .. more]);

    private static byte[] Image() => Png.Encode(new RgbImage(96, 96, [.. Enumerable.Repeat((byte)50, 96 * 96 * 3)]));
}
