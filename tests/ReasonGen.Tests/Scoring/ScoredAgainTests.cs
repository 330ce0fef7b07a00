using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Imaging;
using ReasonGen.Notebook;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>What was scored before is scored again: the same way, from other inputs, or by another server.</summary>
public sealed class ScoredAgainTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Fact]
    public async Task Scores_from_other_inputs_replace_none_and_the_same_command_goes_on_in_place()
    {
        var (images, other, answers) = (Dpg("images"), Dpg("other"), "file:" + Answers("a.jsonl"));
        await Score(images, Questions("q.csv"), []);
        await Score(images + "/", Questions("q.csv"), []);
        Assert.Equal(["dpg"], Kept());
        await Score(images, Questions("q.csv"), ["--images-per-file", "1"]);
        await Score(images, Questions("r.csv", "Is it there?"), ["--images-per-file", "1"]);
        await Score(other, Questions("r.csv", "Is it there?"), ["--images-per-file", "1"]);
        Assert.Equal(["dpg", "dpg-a.jsonl", "dpg-a.jsonl-2", "dpg-a.jsonl-3"], Kept());
        var (code, output) = await Reasongen.RunAsync("score", "compare", folder.At("s", "dpg-a.jsonl"),
            folder.At("s", "dpg-a.jsonl-2"));
        Assert.True(code == 0, output);
        Assert.Contains("The two were scored from different inputs (4 images a file, questions ", output);
        (_, output) = await Reasongen.RunAsync("score", "compare", folder.At("s", "dpg"),
            folder.At("s", "dpg-a.jsonl-3"));
        Assert.DoesNotContain("different inputs", output); // images of their own are what is compared

        async Task Score(string of, string questions, string[] more)
        {
            var (code, output) = await Reasongen.RunAsync(["score", "dpg", of, "--questions", questions, "--judge",
                answers, "--out", folder.At("s", "dpg"), .. more]);
            Assert.True(code == 0, output);
        }
    }

    [Fact]
    public async Task Nouns_of_a_file_are_other_inputs_than_those_of_the_rule()
    {
        Image("t2i/a red car and a blue dog_000000.png", 8);
        var answers = folder.Write("a.jsonl", string.Join('\n', ((string[])["a red car?", "a blue dog?", "a car?"])
            .Select(question => Line("a red car and a blue dog_000000.png", 0, question))));
        var nouns = folder.Write("n.jsonl",
            """{"prompt": "a red car and a blue dog", "nouns": ["car"], "chunks": ["a car"]}""");
        string[] command = ["score", "t2i", folder.At("t2i"), "--category", "color", "--judge", "file:" + answers,
            "--out", folder.At("s", "color")];
        foreach (var more in (string[][])[[], ["--nouns", nouns], ["--nouns", nouns]])
        {
            var (code, output) = await Reasongen.RunAsync([.. command, .. more]);
            Assert.True(code == 0, output);
        }

        Assert.Equal(["color", "color-a.jsonl"], Kept());
        Assert.Equal("nouns by rule", ScoreReport.Read(folder.At("s", "color-a.jsonl")).Inputs);
    }

    [Fact]
    public async Task Details_hold_the_crops_of_every_image_in_its_own_size()
    {
        Image("images/alpha.png", 8);
        Image("images/beta.png", 16);
        var (code, output) = await Reasongen.RunAsync("score", "dpg", folder.At("images"), "--questions",
            Questions("q.csv"), "--judge", "file:" + Answers("a.jsonl"), "--out", folder.At("s", "dpg"));
        Assert.True(code == 0, output);
        var details = File.ReadAllText(folder.At("s", "dpg", "results_detail.txt"));
        Assert.Contains("alpha.png, (4, 4, 8, 8), Is it a dog?, yes\n", details);
        Assert.Contains("beta.png, (8, 8, 16, 16), Is it a dog?, yes\n", details);
    }

    [Fact]
    public async Task Answers_of_another_server_are_not_taken_for_those_of_this_one()
    {
        var (images, questions, kept) = (Dpg("images"), Questions("q.csv"), "were kept from before");
        using var yes = new FaultyEndpoint((_, _) => Reply.Says("Yes"));
        using var no = new FaultyEndpoint((_, _) => Reply.Says("No"));
        Assert.DoesNotContain(kept, await Score(yes)); // crops that are alike are asked about once
        var calls = yes.Calls;
        Assert.Contains($"{calls * 4} of {calls * 4} answers {kept}", await Score(yes));
        Assert.Equal((calls, 1), (yes.Calls, ScoreReport.Read(folder.At("s", "dpg")).Overall.Value));
        await Score(no);
        Assert.Equal((calls, 0), (no.Calls, ScoreReport.Read(folder.At("s", "dpg")).Overall.Value));
        Assert.Equal(1, ScoreReport.Read(folder.At("s", "dpg-m")).Overall.Value);

        async Task<string> Score(FaultyEndpoint endpoint)
        {
            var (code, output) = await Reasongen.RunAsync("score", "dpg", images, "--questions", questions, "--judge",
                endpoint.Address, "--judge-model", "m", "--out", folder.At("s", "dpg"));
            Assert.True(code == 0, output);
            return output;
        }
    }

    [Theory]
    [InlineData("http://localhost:8000/v1", "http://localhost:8000/v1")]
    [InlineData("https://user:secret@Host/v1/", "https://host/v1")]
    [InlineData("http://a:1/v1/chat/completions", "http://a:1/v1")]
    [InlineData("http://a/v1?key=secret", "http://a/v1")]
    public void An_address_is_written_down_without_passwords(string address, string expected) =>
        Assert.Equal(expected, ChatEndpoint.Plain(address));

    [Fact]
    public async Task A_task_that_is_called_all_is_none_of_the_whole()
    {
        new ScoreReport
        {
            Benchmark = "GenEval", Label = "l", Judge = "j",
            Images = [.. ((string[])["all", "all (task)", "t"]).Select(task => new ImageScore(task, task,
                $"{task}.png", 1, ""))],
        }.Write(folder.At("s"));
        var (code, output, error) = await Reasongen.RunApartAsync("score", "agree", folder.At("s"), folder.At("s"),
            "--json");
        Assert.True(code == 0, output + error);
        Assert.Equal([("all", 3), ("all (task)", 1), ("all (task) (task)", 1), ("t", 1)],
            ((JObject)JObject.Parse(output)["tasks"]!).Properties().Select(task => (task.Name,
                (int)task.Value["images"]!)).OrderBy(task => task.Name, StringComparer.Ordinal));
    }

    public void Dispose() => folder.Dispose();

    private string[] Kept() => [.. Directory.GetDirectories(folder.At("s")).Select(path => Path.GetFileName(path))
        .Order(StringComparer.Ordinal)];

    private string Dpg(string name)
    {
        Image($"{name}/alpha.png", 8);
        return folder.At(name);
    }

    private void Image(string name, int side)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(folder.At(name))!);
        File.WriteAllBytes(folder.At(name), Png.Encode(new RgbImage(side, side,
            [.. Enumerable.Repeat((byte)100, side * side * 3)])));
    }

    // the first row is the one that the official script loses
    private string Questions(string name, string asked = "Is it a dog?") => folder.Write(name,
        "item_id,text,keywords,proposition_id,dependency,category_broad,category_detailed,tuple,"
        + "question_natural_language\nlost,t,,1,0,,,entity - whole (x),Lost?\n" + string.Concat(
            Directory.GetFiles(folder.At("images")).Select(Path.GetFileNameWithoutExtension)
                .Select(item => $"{item},t,,1,0,,,entity - whole (x),{asked}\n")));

    private string Answers(string name) => folder.Write(name, string.Join('\n',
        from image in (string[])["alpha", "beta"] from crop in Enumerable.Range(0, 4)
        from question in (string[])["Is it a dog?", "Is it there?"]
        select Line(image + ".png", crop, question)));

    private static string Line(string image, int crop, string question) => new JObject
    {
        ["image"] = image, ["crop"] = crop, ["question"] = question, ["answer"] = "yes",
    }.ToString(Formatting.None);
}
