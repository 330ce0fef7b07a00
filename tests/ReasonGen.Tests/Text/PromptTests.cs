using ReasonGen.Rollouts;
using ReasonGen.Tokenizers;
using Xunit;

namespace ReasonGen.Tests.Text;

public sealed class PromptTests
{
    [Fact]
    public void Strip_is_that_of_Python()
    {
        Assert.Equal("a b",
            PythonText.Strip(
                " \t\r\n\v\f\u001C\u001D\u001E\u001F\u0085\u00A0\u1680\u2003\u2028\u202F\u205F\u3000a b\u3000\u001F"));
        foreach (var kept in "\u200B\uFEFF\u180E\u0000")
        {
            Assert.Equal($"{kept}", PythonText.Strip($"{kept} "));
        }

        Assert.Equal("", PythonText.Strip(" \u001C "));
    }

    [Fact]
    public void Fill_blank_turn_has_no_separator() =>
        Assert.Equal("<|User|>:<|Assistant|>:", (PromptTemplate.JanusRl with { Turn = "{}" }).Fill(" \u001F"));

    [Fact]
    public void Fill_keeps_braces_and_full_stops_of_the_prompt() =>
        Assert.Equal("<|User|>: A photo of {a} {}.. Output a richly detailed prompt:\n\n<|Assistant|>:",
            PromptTemplate.JanusRl.Fill("{a} {}."));

    [Fact]
    public void Subject_loses_every_photo_of() =>
        Assert.Equal("a cat and  a dog", PromptTemplate.Subject("A photo of a cat and a photo of a dog\n"));

    [Fact]
    public void Question_has_one_placeholder_a_image() => Assert.Equal(
        JanusChat.UnderstandingSystem
            + "\n\n<|User|>: <image_placeholder>\n<image_placeholder>\nWhich?\n\n<|Assistant|>:",
        JanusChat.Question("Which? ", 2));
}
