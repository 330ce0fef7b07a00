using System.Text;
using ReasonGen.Tests.Host;
using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Evaluation;

/// <summary>Prompt files as editors of all kinds save them.</summary>
public sealed class PromptFileTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("utf-8", false, "\n")]
    [InlineData("utf-8", true, "\r\n")]
    [InlineData("utf-16", true, "\n")]
    [InlineData("utf-16BE", true, "\r\n")]
    [InlineData("utf-32", true, "\n")]
    [InlineData("utf-8", false, "\r")]
    public void Text_is_read_whatever_its_encoding_and_line_ends(string encoding, bool mark, string lineEnd)
    {
        var known = Encoding.GetEncoding(encoding);
        var text = known.GetBytes($"a café{lineEnd}a dog{lineEnd}{lineEnd}");
        var suite = Suite([.. mark ? known.GetPreamble() : [], .. text]);
        Assert.Equal(["a café", "a dog"], suite.Items.Select(item => item.Prompt));
    }

    [Theory]
    [InlineData("a cat\na caf\u00e9\n", "iso-8859-1", "line 2 is not UTF-8 text")]
    [InlineData("a cat\n\na dog\n", "utf-8", "line 2 holds no prompt")]
    [InlineData("a cat\n \t \na dog\n", "utf-8", "line 2 holds no prompt")]
    [InlineData("a cat\na photo of\n", "utf-8", "line 2 holds no prompt")]
    [InlineData("a cat\na\0dog\n", "utf-8", "line 2 holds the control character U+0000")]
    [InlineData("a \u001b[2Jcat\n", "utf-8", "line 1 holds the control character U+001B")]
    [InlineData("{\"prompt\": \"a cat\"}\n{\"prompt\": \"  \"}\n", "utf-8", "line 2 holds no prompt")]
    [InlineData("{\"prompt\": \"a cat\"}\n{\"prompt\": 5}\n", "utf-8", "line 2 is no prompt")]
    [InlineData("{\"prompt\": \"a cat\"}\n{\"prompt\": \"a\", \"prompt\": \"b\"}\n", "utf-8", "line 2 is no prompt")]
    [InlineData("{\"prompt\": \"a cat\"} {\"prompt\": \"a dog\"}\n", "utf-8", "line 1 is no prompt")]
    [InlineData("{\"prompt\": \"a cat\"}\n{\"prompt\": \"a \\ud800 cat\"}\n", "utf-8", "half of a character")]
    [InlineData("{\"prompt\": \"a cat\"}\n[1]\n", "utf-8", "line 2 is no prompt")]
    [InlineData("\n\n", "utf-8", "holds no prompt")]
    public void What_would_be_drawn_as_something_else_is_refused_with_file_and_line(string text, string encoding,
        string message)
    {
        var error = Assert.Throws<UnusableFileException>(() => Suite(Encoding.GetEncoding(encoding).GetBytes(text)));
        Assert.Contains(message, error.Message);
        Assert.Contains("prompts.txt", error.Message);
    }

    [Fact]
    public void Text_without_a_mark_in_two_bytes_a_letter_is_refused() =>
        Assert.Contains("U+0000",
            Assert.Throws<UnusableFileException>(() => Suite(Encoding.Unicode.GetBytes("a cat\n"))).Message);

    [Fact]
    public void A_prompt_that_looks_like_a_date_stays_as_it_is() =>
        Assert.Equal("2024-01-01T00:00:00", Suite("{\"prompt\": \"2024-01-01T00:00:00\"}"u8.ToArray()).Items[0].Prompt);

    [Fact]
    public void An_empty_file_among_the_prompts_of_dpg_is_refused()
    {
        File.WriteAllText(Path.Combine(folder, "a.txt"), "a cat");
        File.WriteAllText(Path.Combine(folder, "b.txt"), "\n");
        Assert.Contains("b.txt", Assert.Throws<UnusableFileException>(() => ImageSuite.Dpg(folder, "out", 4)).Message);
    }

    [Fact]
    public async Task A_prompt_may_begin_with_an_at_sign()
    {
        var (code, output) = await Reasongen.RunAsync("generate", "--model", Path.Combine(folder, "none"), "--prompt",
            "@midjourney style",
            "--out", Path.Combine(folder, "out"));
        Assert.Equal(2, code);
        Assert.Contains("there is no such folder", output);
    }

    [Fact]
    public async Task A_file_in_place_of_the_output_folder_is_refused_before_a_model_is_loaded()
    {
        File.WriteAllText(Path.Combine(folder, "out"), "mine");
        var (code, output) = await Reasongen.RunAsync("generate", "--model", Path.Combine(folder, "none"), "--prompt",
            "a cat", "--out", Path.Combine(folder, "out"));
        Assert.Equal(2, code);
        Assert.Contains("it is a file", output);
        Assert.Equal("mine", File.ReadAllText(Path.Combine(folder, "out")));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private ImageSuite Suite(byte[] bytes)
    {
        var path = Path.Combine(folder, "prompts.txt");
        File.WriteAllBytes(path, bytes);
        return ImageSuite.GenEval(path, Path.Combine(folder, "out"), 1);
    }
}
