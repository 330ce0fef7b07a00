using ReasonGen.Scoring;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>The rule that stands in for spaCy: it reads a prompt whole or not at all.</summary>
public sealed class PromptNounsTests
{
    [Theory]
    [InlineData("a red car and a blue dog", "a red car|a blue dog", "car dog")]
    [InlineData("A red car, a blue dog, and a cat.", "A red car|a blue dog|a cat", "car dog cat")]
    [InlineData("a dog hidden by a wooden chair", "a dog|a wooden chair", "dog chair")]
    [InlineData("dogs and cats", "dogs|cats", "dogs cats")]
    public void A_prompt_of_the_pattern_is_read_whole(string prompt, string chunks, string nouns)
    {
        var read = PromptNouns.Rule.Of(prompt);
        Assert.Equal((chunks, nouns, true),
            (string.Join('|', read.Chunks), string.Join(' ', read.Nouns), read.ByRule));
    }

    [Theory]
    [InlineData("a red apple and green banana", "green banana")]
    [InlineData("a man standing in the park near a dog", "a man standing in the park")]
    [InlineData("The brown leather shoes and the white shirt are hanging on the rack",
        "the white shirt are hanging on the rack")]
    [InlineData("The black camera was next to the white tripod", "The black camera was")]
    [InlineData("a cubic box and a bottle of lotion", "a bottle of lotion")]
    public void A_prompt_with_a_part_of_no_pattern_is_refused(string prompt, string part)
    {
        var thrown = Assert.Throws<OfficialStopException>(() => PromptNouns.Rule.Of(prompt));
        Assert.Contains($"not '{part}'", thrown.Cause);
        Assert.Contains("--nouns", thrown.Cause);
    }
}
