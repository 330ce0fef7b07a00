using ReasonGen.Host.Engine;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class CodeAssistantTests
{
    [Theory]
    [InlineData("\nConsole.", 0)]
    [InlineData("\n#!wh", 0)]
    [InlineData("", 0)]
    [InlineData("\n\nConsole.WriteL", 1)]
    public async Task Completion_at_the_top_of_a_cell_answers(string code, int cursor) =>
        Assert.Equal(cursor, (int)(await new CodeAssistant(new CSharpSession(".")).CompleteAsync(code,
            cursor))["cursor_end"]!);

    [Theory]
    [InlineData("#!html\n<b>it's {</b>", "complete")]
    [InlineData("#!markdown\n# a (\n#!time\n\"\"\"", "complete")]
    [InlineData("1 + 1\n#!html\n/* <b>", "complete")]
    [InlineData("#!html\n<b>(</b>\n#!csharp\nvar x = 1;", "complete")]
    [InlineData("#!html\n<b>(</b>\n#!csharp\nint x = );", "invalid")]
    [InlineData("#!markdown\n# a\n#!csharp\nfor (;;)\n{", "incomplete")]
    [InlineData("#!markdown\n#!/bin/sh (\n#!html\n(", "complete")]
    public void What_is_no_code_is_not_judged_as_code(string code, string status)
    {
        Assert.Equal(status, (string?)CodeAssistant.IsComplete(code)["status"]);
        Assert.Equal(code.Length, CellParts.Blanked(code).Length);
    }

    [Fact]
    public void Html_of_many_elements_is_complete() =>
        Assert.Equal("complete", (string?)CodeAssistant.IsComplete(
            "#!html\n" + string.Concat(Enumerable.Repeat("<b>x</b>\n", 2000)))["status"]);
}
