using ReasonGen.Checkpoints;
using ReasonGen.Host;
using ReasonGen.Host.Commands;
using ReasonGen.Host.Engine;
using ReasonGen.Host.Notebooks;
using ReasonGen.Notebook;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using ReasonGen.Tokenizers;
using ReasonGen.TrainingData;
using Xunit;

namespace ReasonGen.Tests.Checkpoints;

/// <summary>A pipe in place of a file is told by name, and nobody waits for its writer.</summary>
public sealed class PipeTests : IDisposable
{
    private readonly TestFolder folder = new();

    private static Dictionary<string, Action<string>> Readers { get; } = new()
    {
        ["text"] = path => TextFile.Read(path), ["checkpoint"] = path => CheckpointFiles.Open(path),
        ["config"] = path => ConfigSection.Read(path), ["image"] = path => ImageFile.Read(path),
        ["parquet"] = path => SftParquet.Open(path), ["weights"] = path => ModelOptions.Fingerprint(path),
        ["kept answers"] = path => AnswerCache.KeyOf(path), ["notebook"] = path => NotebookFile.Read(path),
        ["results"] = path => GenEvalResults.Read(path), ["scores"] = path => ScoreReport.Read(path),
        ["tokenizer"] = path => HuggingFaceTokenizer.Load(path),
        ["import"] = path => CellParts.Split($"#!import {path}", Path.GetTempPath()),
    };

    public static TheoryData<string> Kinds => [.. Readers.Keys];

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_pipe_that_nobody_writes_to_is_not_waited_for(string kind)
    {
        var pipe = await Pipe("pipe.safetensors");
        File.CreateSymbolicLink(folder.At("link.safetensors"), "pipe.safetensors");
        foreach (var path in new[] { pipe, folder.At("link.safetensors") })
        {
            var told = await Soon(() => Record.Exception(() => Readers[kind](path)));
            Assert.True(told is UnusableFileException or UsageException or CellSyntaxException, $"{told}");
            Assert.Contains("it is a pipe", told.Message);
        }
    }

    [Fact]
    public async Task A_pipe_among_images_is_left_out_by_name()
    {
        await Pipe("b.png");
        await Pipe("notes");
        File.CreateSymbolicLink(folder.At("also-notes"), "notes");
        File.Copy(HandedIn.Path("exif6.jpg"), folder.At("a.jpg"));
        var found = await Soon(() => CaptionImages.Find(folder.Path, default));
        Assert.Equal("a.jpg", Assert.Single(found.Images).Name);
        Assert.Equal([("b.png", "it is a pipe")], found.Strangers);
        Assert.Equal(["also-notes", "notes"], found.Others);
    }

    [Fact]
    public async Task A_pipe_beside_images_becomes_a_note_and_one_in_place_of_a_depth_image_costs_that_image()
    {
        var pipe = await Pipe("side.json");
        List<string> notes = [];
        await Soon(() => (SideFile.Text(pipe, "the model", notes, "about", "model"),
            SideFile.Texts(pipe, "the judge", notes)("Judge"), SideFile.Count(pipe, "the count", notes, "count")));
        Assert.Equal(["the model", "the judge", "the count"],
            notes.Select(note => note.Replace($" could not be read in {pipe}: it is a pipe", "")));
        var told = await Soon(() => Record.Exception(() => T2iParts.ReadDepth(pipe)));
        Assert.Equal($"its depth image {pipe} cannot be read: it is a pipe", (told as OfficialStopException)?.Cause);
        File.Delete(pipe);
        Assert.Contains("is no image, or a damaged one", Assert.Throws<OfficialStopException>(() =>
            T2iParts.ReadDepth(folder.Write("depth.png", "no image"))).Cause);
        Assert.Contains("it has no depth image", Assert.Throws<OfficialStopException>(() =>
            T2iParts.ReadDepth(pipe)).Cause);
    }

    [Theory]
    [InlineData("inspect <(cat '{0}')", 2, "it is a pipe")]
    [InlineData("inspect '{0}'", 0, "tensors")]
    public async Task What_a_shell_pipes_in_is_told_by_name(string command, int code, string message)
    {
        Assert.SkipUnless(File.Exists("/bin/bash"), "there is no bash here");
        var file = ModelOptions.Shipped("sft");
        var (exit, output, error) = await Child.RunAsync(new("/bin/bash",
            ["-c", $"exec dotnet '{Reasongen.Assembly}' {string.Format(command, file)}"]));
        Assert.True(exit == code, output + error);
        Assert.Contains(message, output + error);
    }

    public void Dispose() => folder.Dispose();

    private async Task<string> Pipe(string name)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows keeps its pipes elsewhere");
        var (code, _, error) = await Child.RunAsync(new("mkfifo", [folder.At(name)]));
        Assert.True(code == 0, error);
        return folder.At(name);
    }

    private static Task<T> Soon<T>(Func<T> ask) => Task.Run(ask).WaitAsync(TimeSpan.FromSeconds(60));
}
