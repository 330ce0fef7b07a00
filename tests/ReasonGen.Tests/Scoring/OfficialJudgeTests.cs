using System.Diagnostics;
using System.Text.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Clip;
using ReasonGen.Tests.Host;
using ReasonGen.Tests.Judges;
using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>--judge official through the command, with the small models of the fixtures.</summary>
[Trait("Category", "Golden")]
public sealed class OfficialJudgeTests : IDisposable
{
    private const string Size = "real_scale";
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task GenEval_from_image_files_to_results_equals_the_fixtures_boxes_masks_and_colours()
    {
        var (image, boxes) = Expected();
        var first = GenEval.Keep(boxes, "colors", new()).Keys.First();
        var colors = Colors(image, boxes, first);
        var wrong = GenEvalOptions.Colors.First(color => !colors.Contains(color));
        string[] asked = [colors[0], wrong];
        foreach (var (i, color) in asked.Index())
        {
            Place(i, Asks(first, color, prompt: color));
        }

        var (code, output) = await ScoreAsync();
        Assert.True(code == 0, output);
        Assert.Contains(
            "GenEval's rules, boxes by Mask2Former of other sizes: not GenEval's official detector, colours "
            + "by", output);
        Assert.Contains("not comparable with published GenEval scores", output);
        var rows = GenEvalResults.Read(Path.Combine(folder, "images-scores", "geneval", "results.jsonl")).Rows;
        Assert.Equal(asked.Length, rows.Count);
        Assert.All(rows.Paired(asked), pair =>
        {
            var expected = GenEval.Keep(boxes, "colors", new()).Values.SelectMany(kept => kept).ToArray();
            Assert.Equal(expected.Select(box => (box.Class, box.X1, box.Y1, box.X2, box.Y2)),
                pair.First.Boxes().Select(box => (box.Class, box.X1, box.Y1, box.X2, box.Y2)));
            Assert.All(expected.Paired(pair.First.Boxes()),
                two => Assert.Equal(two.First.Score, two.Second.Score, 2e-4f));
            using var metadata = JsonDocument.Parse(pair.First.Metadata!);
            var verdict = GenEval.Evaluate(metadata.RootElement, GenEval.Keep(boxes, "colors", new()),
                (objects, _) => Colors(image, objects, first), new());
            Assert.Equal((verdict.Correct ? 1.0 : 0, verdict.Reason), (pair.First.Correct!.Value, pair.First.Reason));
        });
        Assert.Equal([1.0, 0.0], rows.Select(row => row.Correct!.Value));
    }

    [Fact]
    public async Task A_run_that_is_killed_goes_on_with_what_was_answered_and_ends_the_same()
    {
        var (_, boxes) = Expected();
        var first = GenEval.Keep(boxes, "colors", new()).Keys.First();
        for (var i = 0; i < 4; i++)
        {
            Place(i, Asks(first, "red", prompt: $"{i}"), copy: i % 3);
        }

        var (code, output) = await ScoreAsync("--out", Path.Combine(folder, "whole"));
        Assert.True(code == 0, output);
        var cut = Path.Combine(folder, "cut");
        using (var process = Child.Start(new ProcessStartInfo("dotnet",
            [Reasongen.Assembly, .. Arguments("--out", cut)]) { RedirectStandardOutput = true,
                RedirectStandardError = true }))
        {
            while (!process.HasExited && Answers(cut).Length == 0)
            {
                await Task.Delay(50);
            }

            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
        }

        Assert.NotEmpty(Answers(cut));
        File.WriteAllText(Answers(cut)[0], "{\"torn"); // as a disk that was full leaves it
        (code, output) = await ScoreAsync("--out", cut);
        Assert.True(code == 0, output);
        Assert.All((string[])["results.jsonl", "score.json", "summary.txt"], file =>
            Assert.Equal(File.ReadAllText(Path.Combine(folder, "whole", file)),
                File.ReadAllText(Path.Combine(cut, file))));
        Assert.Equal(Answers(Path.Combine(folder, "whole")).Select(Path.GetFileName).Order(),
            Answers(cut).Select(Path.GetFileName).Order());
    }

    [Fact]
    public async Task An_image_whose_kept_boxes_are_found_otherwise_now_is_judged_anew()
    {
        var first = GenEval.Keep(Expected().Boxes, "colors", new()).Keys.First();
        Place(0, $$"""{"tag": "colors", "include": [{"class": "{{first}}", "count": 1}], "prompt": "a"}""");
        var (code, output) = await ScoreAsync();
        Assert.True(code == 0, output);
        var kept = Answers(Path.Combine(folder, "images-scores", "geneval")).Single();
        var boxes = JObject.Parse(File.ReadAllText(kept));
        foreach (var box in boxes.Properties().Single().Value)
        {
            box["X1"] = (float)box["X1"]! + 1; // as another device sees its rim
        }

        File.WriteAllText(kept, boxes.ToString());
        Place(0, Asks(first, "red", prompt: "a"));
        var results = new List<string>();
        foreach (var scores in (string[])["images-scores/geneval", "fresh"])
        {
            (code, output) = await ScoreAsync("--out", Path.Combine(folder, scores));
            Assert.True(code == 0, output);
            results.Add(File.ReadAllText(Path.Combine(folder, scores, "results.jsonl")));
        }

        Assert.Equal(results[1], results[0]);
    }

    [Fact]
    public async Task An_image_that_the_detector_cannot_be_shown_is_named_and_counted()
    {
        Place(0, """{"tag": "two_object", "include": [{"class": "bed", "count": 1}], "prompt": "a"}""");
        Place(1, """{"tag": "two_object", "include": [{"class": "bed", "count": 1}], "prompt": "b"}""");
        File.WriteAllBytes(Path.Combine(folder, "images", "00001", "samples", "0000.png"),
            Png.Encode(new RgbImage(4000, 1, [.. Enumerable.Repeat((byte)9, 12000)])));
        var (code, output) = await ScoreAsync();
        Assert.True(code == 1, output);
        Assert.Contains("00001/samples/0000.png was not scored: the detector cannot be shown it", output);
        Assert.Contains("1 of 2 images were not scored", output);
    }

    [Theory]
    [InlineData("dpg", "mplug", "mplug/main")]
    [InlineData("t2i", "blip", "blip_vqa/hf")]
    public async Task Questions_are_answered_by_the_benchmarks_own_kind_of_model_alone(string benchmark, string option,
        string model)
    {
        string[] arguments = benchmark == "dpg"
            ? ["score", "dpg", Golden.Path("mplug/dpg_run/images"), "--questions",
                Golden.Path("mplug/dpg_run/questions.csv")]
            : ["score", "t2i", folder, "--category", "color"];
        File.Copy(Golden.Path("blip_vqa/images/0.png"), Path.Combine(folder, "a red car_0.png"));
        var results = Path.Combine(folder, "results");
        arguments = [.. arguments, "--judge", "official", "--" + option, Golden.Path(model), "--device", "cpu", "--out",
            results];
        var (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 2, output);
        Assert.Contains("--any-model", output);
        (code, output) = await Reasongen.RunAsync([.. arguments, "--any-model"]);
        // DPG-Bench's folder holds images that cannot be scored, and they are named
        Assert.True(code is 0 or 1, output);
        Assert.Contains("'s rules, answers by", output);
        Assert.Contains("Beside the official judge", output);
        if (benchmark == "dpg")
        {
            var scores = Golden.List("mplug/dpg_run/expected").Single(run => (int)run["pic_num"]! == 4)["scores"]!;
            Assert.All(ScoreReport.Read(results).Images.Where(image => image.Score is not null).Some(), image =>
                Assert.Equal((double)scores[image.Image]!["score"]!, image.Score!.Value, 1e-9));
        }
    }

    [Fact]
    public async Task CLIPScore_from_image_files_equals_T2I_CompBenchs()
    {
        var rows = Golden.Json("clip/clipscore")["images"]!;
        var images = Directory.CreateDirectory(Path.Combine(folder, "samples")).FullName;
        foreach (var row in rows)
        {
            File.Copy(Golden.Path($"clip/images/{row["image"]}.png"), Path.Combine(images, (string)row["file"]!));
        }

        using var weights = new ClipFixture.Copy(ClipFixture.Archive, "clip/hf/vocab.json", "clip/hf/merges.txt");
        File.Move(weights.In("ViT-tiny.pt"), weights.In("ViT-B-32.pt"));
        string[] arguments = ["score", "t2i", images, "--category", "non-spatial", "--judge", "official", "--weights",
            weights.Folder, "--device", "cpu"];
        var (code, output) = await Reasongen.RunAsync(arguments);
        Assert.True(code == 2, output);
        Assert.Contains("CLIPScore need", output);
        (code, output) = await Reasongen.RunAsync([.. arguments, "--any-model"]);
        Assert.True(code == 0, output);
        Assert.Contains("T2I-CompBench's rules, scores by", output);
        Assert.Contains("not OpenAI's file", output);
        var scores = ScoreReport.Read(Path.Combine(folder, "samples-scores", "t2i-non-spatial")).Images
            .ToDictionary(image => image.Image, image => image.Score!.Value);
        Assert.All(rows, row => Assert.Equal((double)row["answer"]!, scores[(string)row["file"]!], 2e-5));
    }

    [Theory]
    [InlineData("--weights {0}/none", "there is no such folder to look in")]
    [InlineData("--weights {0}", "it holds no mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99")]
    [InlineData("--detector {golden}/mask2former/mmdet.pth --clip {golden}/clip/hf", "GenEval's colours need")]
    [InlineData("--detector {golden}/clip/openai/ViT-tiny.pt --clip {golden}/clip/hf --any-model", "ViT-tiny.pt")]
    [InlineData("--detector {golden}/mask2former/mmdet.pth --clip {golden}/mask2former/mmdet.pth", "it is no CLIP")]
    [InlineData("--detector a --clip b --device tpu", "'tpu' names no device")]
    [InlineData("--detector a --clip b --device cuda:99", "'cuda:99' is not there")]
    public async Task Weights_that_are_missing_or_of_another_model_are_refused_before_an_image_is_read(string weights,
        string message)
    {
        Place(0, """{"tag": "two_object", "include": [{"class": "bed", "count": 1}], "prompt": "a"}""");
        var where = weights.Split(' ') // first: a folder's path may have a blank in it
            .Select(word => word.Replace("{0}", folder).Replace("{golden}", Golden.Path("").TrimEnd('/')));
        var (code, output) = await Reasongen.RunAsync(["score", "geneval", Path.Combine(folder, "images"), "--judge",
            "official", .. where]);
        Assert.True(code == 2, output);
        Assert.Contains(message, output);
        Assert.DoesNotContain("   at ", output);
        Assert.False(Directory.Exists(Path.Combine(folder, "images-scores", "geneval", "answers")));
    }

    [Fact]
    public async Task The_list_of_weights_says_what_is_there_and_what_it_is()
    {
        File.Copy(Golden.Path("mask2former/mmdet.pth"),
            Path.Combine(folder, "mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.pth"));
        File.WriteAllText(Path.Combine(folder, "ViT-L-14.pt"), "no weights");
        var (code, output) = await Reasongen.RunAsync("score", "weights", "--weights", folder);
        Assert.True(code == 0, output);
        Assert.All((string[])["mask2former_swin-s", "ViT-L-14.pt", "ViT-B-32.pt", "HPS_v2.1_compressed.pt",
            "PickScore_v1", "743b7d99", "b8cca3fd", "40d36571", "Apache-2.0", "OpenMMLab", $"not in {folder}"], said =>
            Assert.Contains(said, output));
        (code, output) = await Reasongen.RunAsync("score", "weights", "--weights", folder, "--check");
        Assert.True(code == 1, output);
        Assert.Contains("Mask2Former of other sizes: not GenEval's official detector", output);
        Assert.Contains($"{folder}/ViT-L-14.pt: ", output);
    }

    public void Dispose() => Directory.Delete(folder, recursive: true);

    private static string[] Answers(string output) => !Directory.Exists(Path.Combine(output, "answers")) ? []
        : [.. Directory.GetFiles(Path.Combine(output, "answers"), "*.json", SearchOption.AllDirectories)
            .Order(StringComparer.Ordinal)];

    // what the fixture's reference found: its boxes with its masks
    private static (RgbImage Image, Detection[] Boxes) Expected()
    {
        var (t, json) = (Golden.Tensors("mask2former/detections"), Golden.Json("mask2former/detections")[Size]!);
        var (boxes, labels, queries) = (t[Size + ".boxes"].Values<float>(), t[Size + ".labels"].Values<long>(),
            t[Size + ".query"].Values<long>());
        int height = (int)json["size_h_w"]![0]!, width = (int)json["size_h_w"]![1]!;
        var (packed, row) = (t[Size + ".masks"].Values<byte>(), (int)t[Size + ".masks"].shape[1]);
        return (ReasonGen.Judges.Mask2Former.DetectorImageFile.Read(Source()),
        [
            .. labels.Select((label, i) => new Detection(GenEvalOptions.CocoClasses[(int)label], boxes[5 * i],
                boxes[5 * i + 1], boxes[5 * i + 2], boxes[5 * i + 3], boxes[5 * i + 4])
            {
                Mask = new(width, height, Mask2FormerFixture.Bits(packed.AsSpan((int)queries[i] * row, row),
                    width * height)),
            }),
        ]);
    }

    private static string Asks(string name, string color, string prompt) => $$"""
        {"tag": "colors", "include": [{"class": "{{name}}", "count": 1, "color": "{{color}}"}], "prompt": "{{prompt}}"}
        """;

    private static string Source() =>
        Golden.Path("mask2former/images/" + (string)Golden.Json("mask2former/detections")[Size]!["picture"]!);

    private static string[] Colors(RgbImage image, IEnumerable<Detection> boxes, string name)
    {
        using var colors = new ColorClassifier(ClipScorer.ForColors(Golden.Path(ClipFixture.Folder), ClipFixture.Target,
            anyModel: true));
        return [.. colors.Classify(image, [.. GenEval.Keep(boxes, "colors", new())[name]], name).Select(a => a.Color)];
    }

    // the fixture's image, or a copy of it with another pixel
    private void Place(int prompt, string metadata, int copy = 0)
    {
        var samples = Directory.CreateDirectory(Path.Combine(folder, "images", $"{prompt:00000}", "samples")).FullName;
        File.WriteAllText(Path.Combine(folder, "images", $"{prompt:00000}", "metadata.jsonl"), metadata.Trim());
        var image = ReasonGen.Judges.Mask2Former.DetectorImageFile.Read(Source());
        image.Rgb[0] = copy == 0 ? image.Rgb[0] : (byte)copy;
        File.WriteAllBytes(Path.Combine(samples, "0000.png"), Png.Encode(image));
    }

    private string[] Arguments(params string[] more) => ["score", "geneval", Path.Combine(folder, "images"), "--judge",
        "official", "--detector", Mask2FormerFixture.File, "--clip", Golden.Path(ClipFixture.Folder), "--any-model",
        "--device", "cpu", .. more];

    private Task<(int Code, string Output)> ScoreAsync(params string[] more) => Reasongen.RunAsync(Arguments(more));
}
