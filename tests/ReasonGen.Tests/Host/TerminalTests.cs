using ReasonGen.Host;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class TerminalTests
{
    [Theory]
    [InlineData("plain ä 日本 😀\ttab\nline", "plain ä 日本 😀\ttab\nline")]
    [InlineData("a\u001b[2Jb\u0007", "a\\u001b[2Jb\\u0007")]
    [InlineData("a\u009b31mb", "a\\u009b31mb")]
    [InlineData("a\rb\r\nc", "a\\u000db\nc")]
    [InlineData("gnp.\u202eexe", "gnp.\\u202eexe")]
    [InlineData("a\u2028b\u007f", "a\\u2028b\\u007f")]
    public void Orders_to_a_terminal_are_spelt_out(string text, string expected) =>
        Assert.Equal(expected, Terminal.Plain(text));

    [Fact]
    public void A_line_is_one() => Assert.Equal("a\\nb c", Terminal.Line("a\nb\tc"));

    [Fact]
    public void Errors_that_quote_a_user_are_spelt_out() =>
        Assert.Equal("no 'a\\u001b'", new UsageException("no 'a\u001b'").Message);
}
