using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>LaTeX in the report: MathML where it can be read, its source where not, and nothing that runs or leads
/// anywhere.</summary>
public sealed class FormulasTests
{
    [Theory]
    [InlineData(@"\frac{a}{b}", "<mfrac>")]
    [InlineData(@"\hat A_{pg} = \sqrt{x^2}", "<msqrt>")]
    [InlineData(@"r = \begin{cases} 1 & x \\ 0 & \text{else} \end{cases}", "<mtable")]
    public void A_formula_becomes_MathML(string latex, string part)
    {
        var html = Formulas.ToHtml(latex, true);
        Assert.StartsWith("<math display=\"block\"", html);
        Assert.Contains(part, html);
    }

    [Theory]
    [InlineData(@"\notacommand{x}")]
    [InlineData(@"\frac{a}{")]
    [InlineData(@"\def\a{\a\a}\a")]
    [InlineData("")]
    public void One_that_cannot_be_read_shows_its_source(string latex) =>
        Assert.Equal($"<code title=\"a formula that could not be read\">${latex}$</code>",
            Formulas.ToHtml(latex, false));

    [Theory]
    [InlineData(@"\href{javascript:alert(1)}{x}")]
    [InlineData(@"\text{<script>alert(1)</script><img src=x onerror=alert(1)>}")]
    [InlineData(@"\includegraphics{http://example.com/x.png}")]
    [InlineData(@"\class{menu}{x} \id{main}{y} \style{position:fixed}{z}")]
    public void None_runs_or_leads_anywhere(string latex)
    {
        var html = Formulas.ToHtml(latex, false);
        Assert.DoesNotMatch("<[^>]*( href=| src=| on[a-z]+=| id=|position)", html);
        Assert.DoesNotMatch("<(script|img|a)[ >]", html);
    }

    [Theory]
    [InlineData("with $a +\\nb$ in it", 1)]
    [InlineData("so\\n\\n$$a\\n+ b$$\\n\\nand $c$", 2)]
    [InlineData("```\\n$a\\nb$\\n```", 0)]
    [InlineData("costs $5\\nand 7 $ more", 0)]
    public void A_formula_may_go_on_over_lines(string text, int formulas)
    {
        using var folder = new TestFolder();
        SmallNotebook.Write(folder.At("a.ipynb"), (text.Replace("\\n", "\n"), "markdown"));
        var notebook = NotebookFile.Read(folder.At("a.ipynb"));
        var html = new ReportCells(notebook, "a", _ => null, trust: false).Cell(notebook.Cells[0]);
        Assert.True(formulas == Regex.Count(html, "<math[ >]"), html);
    }

    [Fact]
    public void Text_cells_show_formulas_headings_keep_their_ids_and_prices_stay()
    {
        using var folder = new TestFolder();
        SmallNotebook.Write(folder.At("a.ipynb"),
            ("# T\n\n## The term $x^2$\n\n$$\n\\alpha = \\sinh \\psi\n$$\n\n"
                + "It costs $5 and 10 $ more. See [it](../lib/A.cs) and `$y$`.", "markdown"));
        var notebook = NotebookFile.Read(folder.At("a.ipynb"));
        var cells = new ReportCells(notebook, "a", _ => null, trust: false);
        var html = string.Concat(notebook.Cells.Select(cells.Cell));
        Assert.Equal(2, Regex.Count(html, "<math[ >]"));
        Assert.Contains("<mi>ψ</mi>", html);
        Assert.Equal("The term x^2", cells.Headings.Single().Text);
        Assert.Contains("It costs $5 and 10 $ more. See it and <code>$y$</code>", html);
        Assert.DoesNotContain("formula-", html);
    }
}
