using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Notebook;

/// <summary>The notebooks as pages that teach: what each has, and that its links lead somewhere. Nothing is
/// run.</summary>
public sealed class NotebookPagesTests
{
    private static readonly string Folder = Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "notebooks");

    public static TheoryData<string> Notebooks => [.. Names("")];

    public static TheoryData<string> Solutions => [.. Names("solutions")];

    public static TheoryData<string> All => [.. Names(""), .. Names("solutions")];

    [Theory]
    [MemberData(nameof(All))]
    public void Code_is_narrow_short_and_free_of_types(string name)
    {
        var cells = Cells(name, "code");
        Assert.All(cells, cell => Assert.InRange(cell.Split('\n').Length, 1, 25));
        Assert.All(cells.SelectMany(cell => cell.Split('\n')), line => Assert.InRange(line.Length, 0, 100));
        Assert.All(cells,
            cell => Assert.DoesNotMatch(new Regex(@"^\s*(public |sealed )*(class|record|struct|interface) \w",
                RegexOptions.Multiline), cell));
    }

    [Theory]
    [MemberData(nameof(All))]
    public void The_second_code_cell_is_the_set_up(string name) =>
        Assert.Equal("#!import setup.cs\nvar lab = Lab.Start(preset, seed, device);\nlab.About",
            Cells(name, "code")[1]);

    // a seeded generator is a CPU's: what it draws is moved to where the model lies
    [Theory]
    [MemberData(nameof(All))]
    public void Cells_compute_where_the_model_lies_and_draw_from_the_seed(string name)
    {
        var code = string.Join('\n', Cells(name, "code"));
        Assert.DoesNotMatch(new Regex(@"(?<!ComputeTarget\((torch\.)?)\bCPU\b"), code);
        var draws = new Regex(@"\b(rand(n|int|perm)?|multinomial|bernoulli|normal_|uniform_)\([^;]*").Matches(code);
        Assert.All(draws, draw => Assert.Contains("enerator", draw.Value));
        Assert.All(draws, draw => Assert.DoesNotContain("device:", draw.Value));
        Assert.DoesNotMatch(new Regex(@"multinomial\((?!\w+\.cpu\(\))"), code);
        Assert.DoesNotMatch(new Regex(@"nn\.Linear\((?![\s\S]*\.parameters\(\)\)[\s\S]*uniform_\()"), code);
    }

    [Theory]
    [MemberData(nameof(All))]
    public void Links_lead_to_files(string name)
    {
        var from = Path.GetDirectoryName(Path.Combine(Folder, name))!;
        var links = Cells(name, "markdown").SelectMany(cell => Regex.Matches(cell, @"\]\(([^)#]+)\)"))
            .Select(link => link.Groups[1].Value);
        Assert.All(links.Where(link => !link.Contains("://")),
            link => Assert.True(File.Exists(Path.Combine(from, link)), link));
    }

    [Theory]
    [MemberData(nameof(Notebooks))]
    public void A_notebook_links_to_sources_and_ends_with_exercises_and_what_went_wrong(string name)
    {
        var words = string.Join("\n\n", Cells(name, "markdown"));
        Assert.Contains("](../lib/", words);
        Assert.Contains("**You will see**", words);
        Assert.Contains($"](solutions/{name})", words);
        Assert.Matches(new Regex(@"## Exercises\s+1\. [\s\S]+?\n2\. [\s\S]+## What went wrong here\s"), words);
    }

    [Theory]
    [MemberData(nameof(Solutions))]
    public void A_solution_belongs_to_a_notebook(string name) =>
        Assert.Contains($"](../{Path.GetFileName(name)})", Cells(name, "markdown")[0]);

    private static IEnumerable<string> Names(string folder) =>
        Directory.GetFiles(Path.Combine(Folder, folder), "*.ipynb").Order(StringComparer.Ordinal)
        .Select(path => Path.Combine(folder, Path.GetFileName(path)));

    private static string[] Cells(string name, string kind) =>
        [.. JObject.Parse(File.ReadAllText(Path.Combine(Folder, name)))["cells"]!
        .Where(cell => (string?)cell["cell_type"] == kind)
        .Select(cell => string.Concat(cell["source"]!.Select(line => (string)line!)))];
}
