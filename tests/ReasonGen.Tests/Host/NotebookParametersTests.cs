using ReasonGen.Host;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class NotebookParametersTests : IDisposable
{
    private readonly TestFolder folder = new();

    [Theory]
    [InlineData("string a = \"x\";", "say \"hi\"\\", "a = \"say \\\"hi\\\"\\\\\";")]
    [InlineData("string? a = null;", "x", "a = \"x\";")]
    [InlineData("string? a = null;", "null", "a = null;")]
    [InlineData("string a = \"\";", "null", "a = \"null\";")]
    [InlineData("string a = null;", "null", "a = null;")]
    [InlineData("string a = default;", "null", "a = null;")]
    [InlineData("string a;", "null", "a = null;")]
    [InlineData("string a = null;", "Null", "a = \"Null\";")]
    [InlineData("string a = \"\";", "", "a = \"\";")]
    [InlineData("int a = 3;", "1e3", "a = 1000;")]
    [InlineData("int a = 3;", "-7", "a = -7;")]
    [InlineData("int a = 3;", "+7", "a = 7;")]
    [InlineData("int? a = null;", "null", "a = null;")]
    [InlineData("long a = 3;", "9007199254740993", "a = 9007199254740993L;")]
    [InlineData("float a = 0.5f;", "1e-3", "a = 0.001f;")]
    [InlineData("double a = 0.5;", "1e3", "a = 1000d;")]
    [InlineData("decimal a = 0.5m;", "0.1000", "a = 0.1000m;")]
    [InlineData("bool a = false;", "True", "a = true;")]
    [InlineData("char a = 'x';", "'", "a = '\\'';")]
    [InlineData("var a = 1.5f;", "2", "a = 2f;")]
    [InlineData("var a = -1;", "2", "a = 2;")]
    [InlineData("var a = true;", "FALSE", "a = false;")]
    [InlineData("int b = 1, a = 2;", "3", "a = 3;")]
    [InlineData("int @class = 1; int a = 2;", "3", "a = 3;")]
    [InlineData("DayOfWeek a = DayOfWeek.Monday;", "friday", "a = DayOfWeek.Friday;")]
    [InlineData("enum Kind { One, @two } Kind a = Kind.One;", "Kind.two", "a = Kind.two;")]
    [InlineData("enum Kind { One, @int } var a = Kind.One;", "int", "a = Kind.@int;")]
    [InlineData("DayOfWeek? a = null;", "null", "a = null;")]
    [InlineData("System.Int64 a = 1;", "12", "a = 12L;")]
    [InlineData("/* int a = 1; */ // int a = 2;\nstring a = \"int a = 3;\";", "4", "a = \"4\";")]
    public void A_value_is_written_as_its_type_asks(string declaration, string value, string expected) =>
        Assert.Equal(expected, Assignment(declaration, value));

    [Theory]
    [InlineData("int a = 3;", "1,000", "without thousands separators")]
    [InlineData("int a = 3;", "1.5", "is a whole number (int)")]
    [InlineData("int a = 3;", "3000000000", "is a whole number (int)")]
    [InlineData("byte a = 3;", "-1", "is a whole number (byte)")]
    [InlineData("int a = 3;", "null", "not 'null'")]
    [InlineData("int a = 3;", "", "not ''")]
    [InlineData("double a = 3;", "1,5", "is a number (double)")]
    [InlineData("double a = 3;", "1e999", "is a number (double)")]
    [InlineData("float a = 3;", "1e-60", "is a number (float)")]
    [InlineData("double a = 3;", "NaN", "is a number (double)")]
    [InlineData("bool a = true;", "yes", "is true or false")]
    [InlineData("DayOfWeek a = DayOfWeek.Monday;", "someday", "is one of Sunday, Monday")]
    [InlineData("DayOfWeek a = DayOfWeek.Monday;", "3", "is one of Sunday, Monday")]
    [InlineData("int[] a = [1];", "2", "has the type int[], which -p cannot set")]
    [InlineData("const int a = 1;", "2", "is a constant")]
    [InlineData("Nowhere a = default;", "2", "which -p cannot set")]
    public void A_value_that_does_not_fit_is_refused_before_anything_runs(string declaration, string value,
        string message)
    {
        var said = Assert.Throws<UsageException>(() => Assignment(declaration, value)).Message;
        Assert.Contains(message, said);
        Assert.Contains("the parameter a", said);
    }

    [Fact]
    public void An_enum_of_an_earlier_cell_is_known()
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path, ("enum Kind { One, Two }", "code"), ("Kind kind = Kind.One;", "parameters"));
        var notebook = NotebookFile.Read(path);
        notebook.SetParameters(new Dictionary<string, string> { ["kind"] = "two" });
        Assert.EndsWith("kind = Kind.Two;", NotebookFile.Source(notebook.Cells[2]));
    }

    [Fact]
    public void Two_cells_of_parameters_are_one_too_many()
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path, ("int a = 1;", "parameters"), ("int a = 2;", "parameters"));
        Assert.Contains("2 cells are tagged",
            Assert.Throws<UsageException>(() =>
                NotebookFile.Read(path).SetParameters(new Dictionary<string, string> { ["a"] = "3" })).Message);
    }

    [Fact]
    public void Sixty_thousand_empty_lines_are_read_at_once()
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path,
            (new string('\n', 60_000) + "int a = 1;" + new string('\n', 60_000) + "x", "parameters"));
        Assert.Equal("1", NotebookFile.Read(path).Parameters()["a"]);
    }

    [Fact]
    public void An_expression_nested_beyond_bounds_is_refused()
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path, ("int a = " + new string('(', 50_000), "parameters"));
        Assert.Contains("nested too deep",
            Assert.Throws<UsageException>(() => NotebookFile.Read(path).Parameters()).Message);
    }

    private string Assignment(string declaration, string value)
    {
        var path = folder.At("a.ipynb");
        SmallNotebook.Write(path, (declaration, "parameters"));
        return new NotebookParameters(NotebookFile.Read(path)).Assignment("a", value);
    }

    public void Dispose() => folder.Dispose();
}
