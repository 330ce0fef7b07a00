using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>The rule that stands in for spaCy: it reads a prompt whole or not at all.</summary>
public sealed class PromptNounsTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("a red car and a blue dog", "a red car|a blue dog", "car dog")]
    [InlineData("A red car, a blue dog, and a cat.", "A red car|a blue dog|a cat", "car dog cat")]
    [InlineData("a dog hidden by a wooden chair", "a dog|a wooden chair", "dog chair")]
    [InlineData("dogs and cats", "dogs|cats", "dogs cats")]
    [InlineData("a wooden bed and a red rose", "a wooden bed|a red rose", "bed rose")]
    [InlineData("a large painting and a book stand", "a large painting|a book stand", "painting stand")]
    public void A_prompt_of_the_pattern_is_read_whole(string prompt, string chunks, string nouns)
    {
        var read = PromptNouns.Rule.Of(prompt);
        Assert.Equal((chunks, nouns, true),
            (string.Join('|', read.Chunks), string.Join(' ', read.Nouns), read.ByRule));
    }

    [Theory]
    [InlineData("a red apple and green banana", "green banana")]
    [InlineData("a man standing in the park near a dog", "a man standing in the park")]
    [InlineData("brown shoes and the white shirt are hanging on the rack", "brown shoes")]
    [InlineData("a shoe and a white shirt are hanging on the rack", "a white shirt are hanging on the rack")]
    [InlineData("The sleek black cat sat next to the fluffy white pillow.", "The sleek black cat sat")]
    [InlineData("A sleek black cat sat next to a fluffy white pillow.", "A sleek black cat sat")]
    [InlineData("The colorful balloons floated near the shiny silver airplane.", "The colorful balloons floated")]
    [InlineData("a yellow duck floated near a boat", "a yellow duck floated")]
    [InlineData("a man standing near a dog", "a man standing")]
    [InlineData("three camels shared a burger", "three camels shared a burger")]
    [InlineData("Two toilet stall, one blue and the other orange.", "the other orange")]
    [InlineData("The black camera was next to the white tripod", "The black camera was")]
    [InlineData("a cubic box and a bottle of lotion", "a bottle of lotion")]
    public void A_prompt_with_a_part_of_no_pattern_is_refused(string prompt, string part)
    {
        var thrown = Assert.Throws<OfficialStopException>(() => PromptNouns.Rule.Of(prompt));
        Assert.Contains($"not '{part}'", thrown.Cause);
        Assert.Contains("--nouns", thrown.Cause);
    }

    [Theory]
    [InlineData("chunks", """{"prompt": "p", "nouns": ["dog"]}""", "line 1 tells no nouns: it has no \"chunks\"")]
    [InlineData("chunks", """{"prompt": "p", "nouns": ["dog"], "noun_chunks": ["a dog"]}""", "it has no \"chunks\"")]
    [InlineData("nouns", """{"prompt": "p", "chunks": ["a dog"]}""", "it has no \"nouns\"")]
    [InlineData("nouns", """{"prompt": "p", "nouns": null}""", "line 1 tells no nouns")]
    [InlineData(null, "[]", "it has no \"prompt\"")]
    [InlineData("nouns", """
        {"prompt": "p", "nouns": ["dog"]}
        {"prompt": "p", "nouns": ["cat"]}
        """, "line 2 tells no nouns: line 1 says otherwise of the same prompt")]
    public void A_file_that_lacks_what_is_asked_about_or_says_two_things_is_refused(string? needed, string text,
        string message) => Assert.Contains(message, Assert.Throws<UnusableFileException>(() =>
            PromptNouns.Read(folder.Write("nouns.jsonl", text), needed)).Message);

    [Fact]
    public void A_file_needs_no_more_than_is_asked_about_and_may_say_it_twice()
    {
        const string line = """{"prompt": "p", "chunks": ["a dog"]}""";
        var read = PromptNouns.Read(folder.Write("nouns.jsonl", $"{line}\n\n{line}\n"), "chunks").Of("p");
        Assert.Equal(["a dog"], read.Chunks);
        Assert.False(read.ByRule);
    }

    [Theory]
    [InlineData("\"chunks\": []", 0, "a red car_0.png scores 1 without a question")]
    [InlineData("\"chunks\": [\"the left\"]", 0, "a red car_0.png scores 1 without a question")]
    [InlineData("\"noun_chunks\": []", 2, "it has no \"chunks\"")]
    public async Task A_prompt_without_a_chunk_to_ask_about_is_named(string chunks, int expected, string message)
    {
        Directory.CreateDirectory(folder.At("samples"));
        File.WriteAllBytes(folder.At("samples/a red car_0.png"),
            Png.Encode(new RgbImage(32, 32, [.. Enumerable.Repeat((byte)9, 3072)])));
        var nouns = folder.Write("nouns.jsonl", $$"""{"prompt": "a red car", {{chunks}}}""");
        var answers = folder.Write("answers.jsonl", """{"image": "b.png", "question": "q", "answer": "yes"}""");
        var (code, output) = await Reasongen.RunAsync("score", "t2i", folder.At("samples"), "--category", "color",
            "--judge", "file:" + answers, "--nouns", nouns);
        Assert.True(code == expected, output);
        Assert.Contains(message, output);
    }

    public void Dispose() => folder.Dispose();
}
