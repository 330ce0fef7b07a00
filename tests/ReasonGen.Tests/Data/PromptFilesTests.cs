using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Rollouts;
using ReasonGen.TrainingData;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>Prompts of GRPO from files, and the order in which a run sees them.</summary>
public sealed class PromptFilesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Text_and_metadata_are_read_and_too_long_prompts_are_counted()
    {
        var text = Write("a.txt", "a cat\r\n\n\uFEFF  two dogs \n" + new string('x', 50) + "\n");
        var json = Write("b.jsonl", """
            {"tag": "position", "include": [{"class": "bench", "count": 1}, {"class": "dog", "count": 2, "color": "red", "position": ["left of", 0]}], "prompt": "a photo of a dog left of a bench"}
            {"tag": "counting", "include": [{"class": "cow", "count": 2, "color": null, "position": null}], "exclude": [{"class": "cow", "count": 3}], "prompt": "a photo of a cow"}
            """);
        var read = PromptFiles.Read([text, json], prompt => prompt.Length, 40);
        Assert.Equal(["a cat", "two dogs", "a dog left of a bench", "a cow"],
            read.Prompts.Select(prompt => prompt.Text));
        Assert.Equal(1, read.LeftOut);
        Assert.Equal("position", read.Prompts[2].Task);
        Assert.Equal([new("cow", 2)], read.Prompts[3].Include);
        Assert.Equal([new("bench"), new Clause("dog", 2, "red", "left of", 0)], read.Prompts[2].Include);
    }

    [Fact]
    public void Every_epoch_is_all_prompts_in_an_order_of_its_own()
    {
        var read = PromptFiles.Read([Write("a.txt", string.Join('\n', Enumerable.Range(0, 20)))], _ => 0, 10);
        string[] Epoch(int epoch) => [.. Enumerable.Range(20 * epoch, 20).Select(i => read.At(i, 3).Text)];
        Assert.Equal(Epoch(0).Order(), Epoch(1).Order());
        Assert.NotEqual(Epoch(0), Epoch(1));
        Assert.Equal(Epoch(0), Epoch(0)); // after another one was asked for
        Assert.NotEqual(Epoch(0), Enumerable.Range(0, 20).Select(i => read.At(i, 4).Text));
    }

    [Theory]
    [InlineData("a.txt", "\n \n", "there is no prompt")]
    [InlineData("a.txt", "a very long prompt indeed", "has more than 10 tokens")]
    [InlineData("a.jsonl", "{\"prompt\": 3}", "line 1")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\"}\n{\"prompt\": ", "line 2")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [3]}", "no object")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"count\": 0}]}", "'count'")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"count\": 1e99}]}", "'count'")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"count\": 1}]}", "'class'")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [\"above\", 7]}]}",
        "'position'")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [{}, []]}]}", "line 1")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [\"above\", 0]}]}",
        "no earlier entry")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [\"near\", 0]}]}",
        "left of, right of, above, below")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": {\"class\": \"a\"}}", "'include' is no list")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"color\": [\"red\"]}]}",
        "line 1 is no prompt: a 'color' is no text")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": \"left of\"}]}",
        "line 1 is no prompt: a 'position' is no list of a relation")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [\"above\"]}]}",
        "a 'position' is no list")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\", \"position\": [\"above\", \"0\"]}]}",
        "a 'position' is no list")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"tag\": 3}", "a 'tag' is no text")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"include\": [{\"class\": \"a\"}], "
        + "\"exclude\": [{\"class\": \"b\", \"count\": 1}]}", "forbids 1 of 'b', which a reward would pass over")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\", \"tag\": \"counting\", "
        + "\"include\": [{\"class\": \"a\", \"count\": 2}], \"exclude\": [{\"class\": \"a\", \"count\": 4}]}",
        "forbids 4 of 'a'")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\"}\n{\"prompt\": \"a\", \"prompt\": \"b\"}", "line 2")]
    [InlineData("a.jsonl", "{\"prompt\": \"x\"}\n{\"prompt\": \"a \\ud800 cat\"}",
        "line 2 is no prompt: it holds half")]
    [InlineData("a.jsonl", "{\"prompt\": \"a photo of\"}", "empty")]
    [InlineData("a.csv", "id,prompt\n1,a cat\n", "a table (.csv)")]
    [InlineData("a.json", "[\n  {\"prompt\": \"a cat\"}\n]\n", "one json array")]
    [InlineData("a.txt", "[\"a cat\", \"a dog\"]", "one json array")]
    public void Files_without_usable_prompts_are_refused(string name, string text, string expected) =>
        Assert.Contains(expected, Assert.Throws<UnusableFileException>(() =>
            PromptFiles.Read([Write(name, text)], prompt => prompt.Length, 10)).Message);

    [Theory]
    [InlineData("a.json", "{\"prompt\": \"a cat\"}", "a cat")]
    [InlineData("a.txt", "  {\"prompt\": \"a cat\"}\n", "a cat")]
    [InlineData("a.txt", "[cinematic] a cat", "[cinematic] a cat")]
    [InlineData("a.txt", "\uFEFF\uFEFFa cat\n", "a cat")] // joined to an empty file
    [InlineData("a.jsonl", "\uFEFF\uFEFF {\"prompt\": \"a cat\"}", "a cat")]
    [InlineData("a.txt", "a cat\u2028on a table\r", "a cat\u2028on a table")]
    [InlineData("a.jsonl", "{\"prompt\": \"a cat\u2028on a table\"}", "a cat\u2028on a table")]
    [InlineData("a.jsonl", "{\"prompt\": \"2024-05-01T10:00:00\"}", "2024-05-01T10:00:00")]
    [InlineData("a.jsonl", "{\"prompt\": \"a \\ud83d\\ude00\"}", "a \ud83d\ude00")]
    public void Lines_say_what_they_are_and_end_where_python_ends_them(string name, string text, string expected)
    {
        Assert.Equal([expected],
            PromptFiles.Read([Write(name, text)], _ => 0, 10).Prompts.Select(prompt => prompt.Text));
        Assert.Equal([expected], ImageSuite.GenEval(Path.Combine(folder, name), folder, 1).Items
            .Select(item => item.Prompt));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string Write(string name, string text)
    {
        File.WriteAllText(Path.Combine(folder, name), text);
        return Path.Combine(folder, name);
    }
}
