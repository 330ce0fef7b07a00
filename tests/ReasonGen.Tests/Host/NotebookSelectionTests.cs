using ReasonGen.Host;
using ReasonGen.Host.Notebooks;
using Xunit;

namespace ReasonGen.Tests.Host;

public sealed class NotebookSelectionTests : IDisposable
{
    private static readonly Dictionary<string, string> Nothing = [];
    private readonly TestFolder folder = new();

    [Fact]
    public void Copies_of_one_file_name_lie_apart()
    {
        var runs = NotebookSelection.Find([Cases.Path("same-name/a"), Cases.Path("same-name/b/x.ipynb"),
            Cases.Path("stale.ipynb")], Nothing, folder.At("out"));
        Assert.Equal(["same-name/a/x.ipynb", "same-name/b/x.ipynb", "stale.ipynb"],
            runs.Select(run => Path.GetRelativePath(folder.At("out", "notebooks"), run.Executed).Replace('\\', '/')));
    }

    [Fact]
    public void A_notebook_named_twice_is_run_once()
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        if (!OperatingSystem.IsWindows())
        {
            File.CreateSymbolicLink(folder.At("link.ipynb"), folder.At("a.ipynb"));
        }

        Assert.Single(NotebookSelection.Find([folder.At("a.ipynb"), folder.Path, folder.At(".", "a.ipynb")], Nothing,
            folder.At("out")));
    }

    [Theory]
    [InlineData("work/notebooks", "work")] // the copies would go where the sources lie
    [InlineData("other", "work")] // and where others lie that were not made by run
    public void A_copy_never_replaces_a_notebook(string of, string output)
    {
        Directory.CreateDirectory(folder.At("work", "notebooks"));
        Directory.CreateDirectory(folder.At("other"));
        SmallNotebook.Write(folder.At("work", "notebooks", "a.ipynb"), ("1", "code"));
        SmallNotebook.Write(folder.At("other", "a.ipynb"), ("2", "code"));
        var before = File.ReadAllText(folder.At("work", "notebooks", "a.ipynb"));
        Assert.Contains("would replace the notebook",
            Assert.Throws<UsageException>(() =>
                NotebookSelection.Find([folder.At(of)], Nothing, folder.At(output))).Message);
        Assert.Equal(before, File.ReadAllText(folder.At("work", "notebooks", "a.ipynb")));
    }

    [Fact]
    public void A_link_to_the_folder_of_the_sources_is_seen_through()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "links need rights there");
        Directory.CreateDirectory(folder.At("real"));
        SmallNotebook.Write(folder.At("real", "a.ipynb"), ("1", "code"));
        Directory.CreateDirectory(folder.At("out"));
        File.WriteAllText(folder.At("out", "report.html"), "an earlier one");
        Directory.CreateSymbolicLink(folder.At("out", "notebooks"), folder.At("real"));
        Assert.Contains("would replace",
            Assert.Throws<UsageException>(() =>
                NotebookSelection.Find([folder.At("real")], Nothing, folder.At("out"))).Message);
    }

    [Fact]
    public void What_a_run_made_is_replaced_by_the_next()
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        for (var run = 0; run < 2; run++)
        {
            NotebookSelection.Prepare(NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At("out")),
                folder.At("out")).Dispose();
        }

        Assert.True(File.Exists(folder.At("out", "notebooks", "a.ipynb")));
    }

    [Theory]
    [InlineData("Executed copies\n")] // what earlier versions wrote, which named none
    [InlineData("Executed copies\nb.ipynb\n")] // another notebook was run into this folder once
    [InlineData("")]
    [InlineData(null)]
    public void Neither_a_run_before_nor_a_report_makes_a_copy_of_a_notebook(string? mark)
    {
        Mine("work");
        if (mark is not null)
        {
            folder.Write("work/notebooks/.executed", mark);
        }

        folder.Write("work/report.html", "<title>ReasonGen-R1, step by step</title>");
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        Assert.Contains("would replace the notebook", Assert.Throws<UsageException>(() =>
            NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At("work"))).Message);
    }

    [Fact]
    public void Copies_of_an_earlier_version_in_the_usual_folder_are_known_and_named_from_then_on()
    {
        Mine("artifacts");
        SmallNotebook.Write(folder.At("artifacts", "notebooks", "b.ipynb"), ("3", "code"));
        folder.Write("artifacts/notebooks/.executed", "Executed copies\n");
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        NotebookSelection.Prepare(NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At("artifacts")),
            folder.At("artifacts")).Dispose();
        Assert.DoesNotContain("mine", File.ReadAllText(folder.At("artifacts", "notebooks", "a.ipynb")));
        Assert.Equal(["a.ipynb", "b.ipynb"],
            File.ReadAllLines(folder.At("artifacts", "notebooks", ".executed"))[1..]);
    }

    [Fact]
    public void A_report_of_something_else_is_not_replaced()
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        folder.Write("work/report.html", "<title>Sales</title>");
        Assert.Contains("would replace", Assert.Throws<UsageException>(() => NotebookSelection.Prepare(
            NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At("work")), folder.At("work"))).Message);
        Assert.Equal(["report.html"], Directory.GetFileSystemEntries(folder.At("work")).Select(Path.GetFileName));
    }

    [Fact]
    public void Two_runs_at_once_do_not_share_a_folder()
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        var runs = NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At("out"));
        using (NotebookSelection.Prepare(runs, folder.At("out")))
        {
            Assert.Contains("is at work in that folder",
                Assert.Throws<UsageException>(() => NotebookSelection.Prepare(runs, folder.At("out"))).Message);
        }

        NotebookSelection.Prepare(runs, folder.At("out")).Dispose();
        Assert.Equal([".executed", "a.ipynb"], Directory.GetFiles(folder.At("out", "notebooks"))
            .Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData("string model = \"\";", "Lab.Start(preset, 1);", "there", true)]
    [InlineData("string model = \"\";", "Lab.Start(preset, 1);", "beside", true)] // in the notebook's own folder
    [InlineData("string model = \"\";", "Lab.Start(preset, 1);", "nowhere", false)]
    [InlineData("string model = \"\";", "model", "there", false)] // of another kit, to which it is a word
    [InlineData("string model = \"\";", "Lab.Start(preset, 1);", "", false)]
    public void A_folder_is_meant_from_where_the_command_is_called(string parameters, string code, string name,
        bool whole)
    {
        Directory.CreateDirectory(folder.At("there"));
        Directory.CreateDirectory(folder.At("sub", "beside"));
        SmallNotebook.Write(folder.At("sub", "a.ipynb"), (parameters, "parameters"), (code, "code"));
        var given = name == "there"
            ? Path.GetRelativePath(Directory.GetCurrentDirectory(), folder.At("there")) : name;
        Dictionary<string, string> values = new() { ["model"] = given };
        var found = NotebookSelection.WithFolders(values,
            NotebookSelection.Find([folder.At("sub")], values, folder.At("out")));
        Assert.Equal(whole ? folder.At(name == "there" ? [name] : ["sub", name]) : given, found["model"]);
    }

    [Theory]
    [InlineData("var lab = Lab.Start(preset, seed, device);", "device", true)]
    [InlineData("var on = device == \"\" ? ComputeTarget.Default : ComputeTarget.Parse(device);", "device", true)]
    [InlineData("Console.WriteLine(device); Lab.Start(preset, seed); var x = device;", "device", false)]
    [InlineData("Lab.Start(preset, seed, device);", "seed", true)]
    [InlineData("Lab.Start(preset, seed, judgeDevice);", "device", false)]
    public void A_device_is_one_where_a_notebook_computes_on_it(string code, string name, bool uses)
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("string device = \"\"; long seed = 1;", "parameters"),
            (code, "code"));
        Assert.Equal(uses, NotebookSelection.UsesDevice(
            NotebookSelection.Find([folder.Path], Nothing, folder.At("out")), name));
    }

    private void Mine(string within)
    {
        Directory.CreateDirectory(folder.At(within, "notebooks"));
        SmallNotebook.Write(folder.At(within, "notebooks", "a.ipynb"), ("\"mine\"", "code"));
    }

    [Theory]
    [InlineData("file")]
    [InlineData("file/below")]
    [InlineData("taken")]
    public void A_folder_that_cannot_be_written_is_named_before_anything_runs(string output)
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("1", "code"));
        File.WriteAllText(folder.At("file"), "");
        Directory.CreateDirectory(folder.At("taken", "report.html"));
        var said = Assert.Throws<UsageException>(() =>
            NotebookSelection.Prepare(NotebookSelection.Find([folder.At("a.ipynb")], Nothing, folder.At(output)),
                folder.At(output)));
        Assert.Contains("--out", said.Message);
        Assert.Equal("", File.ReadAllText(folder.At("file")));
    }

    [Theory]
    [InlineData("{\"kernelspec\": {\"name\": \"python3\", \"display_name\": \"Python 3\", \"language\": \"python\"}}",
        "a notebook in python")]
    [InlineData("{\"language_info\": {\"name\": \"python\"}}", "a notebook in python")]
    [InlineData("{\"kernelspec\": {\"name\": \".net-fsharp\", \"display_name\": \".NET (F#)\", \"language\": \"F#\"}}",
        "a notebook in fsharp")]
    [InlineData("{\"kernelspec\": {\"name\": \".net-csharp\", \"display_name\": \".NET (C#)\"}}", null)]
    [InlineData("{\"kernelspec\": {\"name\": \"reasongen\", \"display_name\": \"C#\"}, \"language_info\": {\"name\": "
        + "\"polyglot-notebook\"}}", null)]
    [InlineData("{}", null)]
    public void A_notebook_in_another_language_is_refused(string metadata, string? message)
    {
        folder.Write(
            "a.ipynb", $$"""{"nbformat": 4, "nbformat_minor": 4, "metadata": {{metadata}}, "cells": [{"cell_type": "code", "source": "1", "metadata": {}, "outputs": [], "execution_count": null}]}""");
        var said = Record.Exception(() => NotebookSelection.Find([folder.Path], Nothing, folder.At("out")));
        Assert.Equal(message is null, said is null);
        Assert.Contains(message ?? "", said?.Message ?? "");
    }

    [Fact]
    public void A_preset_that_is_not_there_is_named_before_anything_runs()
    {
        SmallNotebook.Write(folder.At("a.ipynb"), ("string preset = \"quick\";", "parameters"),
            ("var lab = Lab.Start(preset, seed);", "code"));
        Assert.Contains("there is no preset 'fast'", Assert.Throws<UsageException>(() =>
            NotebookSelection.Find([folder.Path], new Dictionary<string, string> { ["preset"] = "fast" },
                folder.At("out"))).Message);
    }

    public void Dispose() => folder.Dispose();
}
