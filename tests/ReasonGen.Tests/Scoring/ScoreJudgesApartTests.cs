using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Commands;
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

    [Theory] // benchmark, judge, identity, file, options, inputs, folders
    [InlineData("GenEval j 1 /a -", "GenEval j 1 /b -", null)] // the same content
    [InlineData("GenEval j 1 /a -", "GenEval j 2 /a -", null)] // the same file
    [InlineData("GenEval j 1 /a -", "GenEval j 2 /b -", "s-j")]
    [InlineData("GenEval j 1 - -", "GenEval j 2 - -", "s-j")]
    [InlineData("GenEval j 1 - -", "GenEval k 1 - -", "s-j")]
    [InlineData("GenEval j 1 - -", "GenEval j 1 - crop=0", "s-j")]
    [InlineData("GenEval j 1 - -", "DPG-Bench j 1 - -", "s-GenEval-j")]
    [InlineData("GenEval j - - -", "GenEval j 2 /b -", null)] // as earlier versions wrote them
    [InlineData("GenEval j - - -", "GenEval k 2 /b -", "s-j")]
    [InlineData("DPG-Bench j 1 - - 4 ../a", "DPG-Bench j 1 - - 4 ../a", null)]
    [InlineData("DPG-Bench j 1 - - 4 ../a", "DPG-Bench j 1 - - 1 ../a", "s-j")]
    [InlineData("DPG-Bench j 1 - - 4 ../a", "DPG-Bench j 1 - - 4 ../b", "s-j")]
    [InlineData("DPG-Bench j 1 - -", "DPG-Bench j 1 - - 1 ../b", null)]
    public void Scores_that_are_not_of_the_same_judge_benchmark_and_options_are_set_aside(string first, string second,
        string? expected)
    {
        List<string> notes = [];
        Put(first, notes);
        Put(second, notes);
        string[] kept = expected is null ? [] : [expected];
        Assert.Equal(["s", .. kept], Kept());
        Assert.Equal(kept.Length, notes.Count);
        Assert.Equal(second.Split(' ')[1], ScoreReport.Read(folder.At("s")).Judge);
    }

    [Fact]
    public void Scores_that_were_set_aside_are_never_overwritten_and_an_interrupted_move_goes_on()
    {
        List<string> notes = [];
        foreach (var category in (string[])["color", "shape", "texture", "color", "shape"])
        {
            Put($"T2I-{category} j 1 - -", notes);
        }

        Assert.Equal(["s", "s-T2I-color-j", "s-T2I-color-j-2", "s-T2I-shape-j", "s-T2I-texture-j"], Kept());
        folder.Write("s/analysis.txt", "now");
        folder.Write("s-T2I-shape-j-2/sheet.html", "moved before"); // score.json goes last
        Put("T2I-color j 1 - -", notes);
        Assert.Equal(["analysis.txt", "score.json", "sheet.html"],
            Directory.GetFiles(folder.At("s-T2I-shape-j-2")).Select(Path.GetFileName).Order());
    }

    [Fact]
    public async Task Judges_of_one_name_do_not_replace_each_other()
    {
        var images = GenEval("images", 2, "bird");
        foreach (var name in (string[])["a", "b", "c"])
        {
            var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge",
                "file:" + Boxes($"{name}/d.jsonl", 2, _ => name == "a" ? "bird" : "cat"));
            Assert.True(code == 0, output);
        }

        double Of(string name) => ScoreReport.Read(folder.At("images-scores", name)).Overall.Value;
        Assert.Equal((0, 1), (Of("geneval"), Of("geneval-d.jsonl"))); // b and c hold the same
        Assert.Equal(2, Directory.GetDirectories(folder.At("images-scores")).Length);
        var lists = Directory.CreateDirectory(folder.At("served")).FullName;
        for (var i = 0; i < 2; i++)
        {
            using var endpoint = new FaultyEndpoint((_, _) => Reply.Says("[]"));
            var (code, output) = await Reasongen.RunAsync("score", "geneval", images, "--judge", endpoint.Address,
                "--judge-model", "m", "--no-alarm", "--out", Path.Combine(lists, "s"));
            Assert.True(code == 0, output);
        }

        Assert.Equal("m", ScoreReport.Read(Path.Combine(lists, "s-m")).Judge);
    }

    [Fact]
    public async Task Options_that_are_not_GenEvals_stand_in_the_label_and_set_other_scores_aside()
    {
        var images = GenEval("images", 2, "bird");
        string[] arguments = ["score", "geneval", images, "--judge", "file:" + Boxes("d.jsonl", 2, _ => "bird"),
            "--judge-name", "official"];
        var (code, output) = await Reasongen.RunAsync([.. arguments, "--options", "counting_threshold=0.1",
            "threshold=0.30"]);
        Assert.True(code == 0, output);
        (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 0, output);
        const string label = "GenEval; with counting_threshold=0.1, where GenEval has 0.9";
        var (own, other) = (folder.At("images-scores", "geneval"), folder.At("images-scores", "geneval-official"));
        Assert.Equal(("GenEval", label), (ScoreReport.Read(own).Label, ScoreReport.Read(other).Label));
        Assert.StartsWith(label + "\n", File.ReadAllText(Path.Combine(other, "summary.txt")));
        (code, output) = await Reasongen.RunAsync("score", "compare", own, other);
        Assert.True(code == 0, output);
        Assert.Contains("The two were scored by different options", output);
    }

    [Theory]
    [InlineData("images", ".")]
    [InlineData("images/00000", "..")]
    [InlineData("images/00000", "../")]
    public async Task Scores_of_the_folder_one_is_in_lie_beside_it(string at, string given)
    {
        GenEval("images", 2, "bird");
        var (code, output, error) = await Child.RunAsync(new("dotnet", [Reasongen.Assembly, "score", "geneval", given,
            "--judge", "file:" + Boxes("d.jsonl", 2, _ => "bird")]) { WorkingDirectory = folder.At(at) });
        Assert.True(code == 0, output + error);
        Assert.True(File.Exists(folder.At("images-scores", "geneval", "score.json")), output);
        Assert.DoesNotContain(Directory.GetFileSystemEntries(folder.At("images")), path => path.EndsWith("scores"));
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

    // as a run does
    private void Put(string scores, List<string> notes)
    {
        string? Of(int i) => scores.Split(' ').ElementAtOrDefault(i) is { } text && text != "-" ? text : null;
        var report = new ScoreReport
        {
            Benchmark = Of(0)!, Label = "l", Judge = Of(1)!, JudgeIdentity = Of(2), JudgeFile = Of(3),
            Options = Of(4) ?? "", Inputs = Of(5), Folders = Of(6), Images = [new("t", "p", "a.png", 1, "")],
        };
        EarlierScores.SetAside(folder.At("s"), report, notes);
        report.Write(folder.At("s"));
    }

    private string[] Kept() => [.. Directory.GetDirectories(folder.Path).Select(path => Path.GetFileName(path))
        .Order(StringComparer.Ordinal)];

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
        "file:" + folder.Write("d.jsonl", lines), .. category != "numeracy" ? Array.Empty<string>()
            : ["--objects", folder.Write("objects.txt", "man - men\ncat - cats\n")], .. more]);

    private static byte[] Image() => Png.Encode(new RgbImage(96, 96, [.. Enumerable.Repeat((byte)50, 96 * 96 * 3)]));
}
