using ReasonGen.Checkpoints;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
using ReasonGen.Sft;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>Several parquet sets as one.</summary>
public sealed class SftSetsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void An_epoch_goes_through_every_row_of_every_set_once()
    {
        foreach (var (i, count) in new[] { 3, 5 }.Index())
        {
            SftParquet.Write(Path.Combine(folder, $"{i}.parquet"), WorldRows.Of(new WorldStream(new(), i), count), 2);
        }

        using var pipeline = TinyJanus.Open();
        var files = SftSets.Files([folder]);
        var sets = Sets(files, pipeline);
        Assert.Equal(8, sets.Count);
        string[] Epoch(int epoch) => [.. Enumerable.Range(2 * epoch, 2).SelectMany(step =>
        {
            using var batch = sets.Batch(step);
            return Texts(batch, pipeline);
        })];
        var all = files.SelectMany(file => SftParquet.Open(file).Rows())
            .Select(row => (string)row.Record["detailed_caption"]!);
        var first = Epoch(0);
        Assert.All(all, rationale => Assert.Single(first, text => text.Contains(rationale)));
        Assert.Equal(first.Select(Spoken).Order(), Epoch(1).Select(Spoken).Order());
        Assert.NotEqual(first.Select(Spoken), Epoch(1).Select(Spoken));

        // codes are ids as well; what is said ends before them
        static string Spoken(string text) => text[..Math.Min(60, text.Length)];
    }

    [Fact]
    public void Batches_of_several_sets_hold_one_row_group_and_are_functions_of_their_step()
    {
        foreach (var (i, count) in new[] { 3, 2, 1, 4 }.Index())
        {
            SftParquet.Write(Path.Combine(folder, $"{i}.parquet"), WorldRows.Of(new WorldStream(new(), i), count), 2);
        }

        using var pipeline = TinyJanus.Open();
        var (sets, later) = (Sets(SftSets.Files([folder]), pipeline), Sets(SftSets.Files([folder]), pipeline));
        for (var step = 0; step < 5; step++)
        {
            using var batch = sets.Batch(step);
            Assert.InRange(Assert.Single(sets.Sets, set => set.Samples.RowsHeld > 0).Samples.RowsHeld, 1, 2);
            if (step >= 3) // as a run that goes on reads it
            {
                using var again = later.Batch(step);
                Assert.True(batch.Ids.equal(again.Ids).all().item<bool>());
            }
        }
    }

    [Fact]
    public void Rows_to_be_held_against_come_from_everywhere_and_each_once()
    {
        foreach (var (i, count) in new[] { 5, 3 }.Index())
        {
            SftParquet.Write(Path.Combine(folder, $"{i}.parquet"), WorldRows.Of(new WorldStream(new(), i), count), 2);
        }

        using var pipeline = TinyJanus.Open();
        var files = SftSets.Files([folder]);
        var sets = Sets(files, pipeline);
        string[] all = [.. files.SelectMany(file => SftParquet.Open(file).Rows())
            .Select(row => (string)row.Record["detailed_caption"]!)];
        Assert.Equal([0, 2, 4, 6], Rows(0, 4));
        Assert.Equal([0, 1, 2, 4], Rows(0, 6)); // of batches of four
        Assert.Equal([5, 6], Rows(1, 6));
        Assert.InRange(Assert.Single(sets.Sets, set => set.Samples.RowsHeld > 0).Samples.RowsHeld, 1, 2);

        int[] Rows(long number, long rows)
        {
            using var batch = sets.Spread(number, rows);
            return [.. Texts(batch, pipeline).Select(text => Array.FindIndex(all, text.Contains))];
        }
    }

    [Fact]
    public void An_empty_row_group_is_left_out()
    {
        var path = Path.Combine(folder, "empty-group.parquet");
        File.Copy(HandedIn.Path("empty-group.parquet"), path);
        using var pipeline = TinyJanus.Open();
        var set = SftParquet.Open(path);
        Assert.Equal([2, 2, 0], set.GroupRows);
        var codes = new ImageCodeCache(set, pipeline.Model.ImageTokenizer, 32, ImageFile.Decode);
        Assert.Equal([(1, 3), (2, 3), (3, 3)], codes.Make());
        using var none = codes.Group(2);
        using var some = codes.Group(0);
        Assert.Equal([0, some.shape[1]], none.shape);
        var samples = new SftRowBatches(set, codes, pipeline.Tokenizer, PromptTemplate.JanusSft, new());
        Assert.Equal(8, Enumerable.Range(0, 8).Count(i => samples.Sample(i).ImageCodes!.Length == some.shape[1]));
    }

    [Theory]
    [InlineData("train-00000-of-00047.parquet train-00002-of-00047.parquet", "it lacks 45 of the 47 files")]
    [InlineData("train-00000-of-00002-0123456789abcdef.parquet", "the first 'train-00001-of-00002'")]
    [InlineData("train-00000-of-00001.parquet test-00000-of-00001.parquet", "train-*.parquet; several may stand")]
    [InlineData("test-00000-of-00001.parquet validation-00000-of-00001.parquet", "test-*.parquet; several may stand")]
    [InlineData("train.parquet validation.parquet", "several splits of a set: train.parquet, validation.parquet. Give")]
    [InlineData("train.parquet train-1.parquet test.parquet", "train-1.parquet; several may stand after one")]
    [InlineData("data/train-00000-of-00001.parquet data/test-00000-of-00001.parquet README.md", "data/train-*.parquet")]
    [InlineData("data/train-00000-of-00002.parquet", "data: it lacks 1 of the 2 files")]
    [InlineData("data/a.parquet .cache/huggingface/download/data/b.parquet.incomplete", "is not finished")]
    [InlineData("data/train-00000-of-00002.parquet data/train-00001-of-00002.parquet README.md", null)]
    [InlineData("a.parquet data/train.parquet data/test.parquet", null)] // what lies in the folder itself comes first
    [InlineData("a.parquet b.parquet.incomplete", "is not finished: 'b.parquet.incomplete'")]
    [InlineData("train-00000-of-00002.parquet train-00001-of-00002.parquet README.md", null)]
    [InlineData("a.parquet training.parquet tests.parquet", null)]
    public void A_folder_that_holds_part_of_a_set_or_several_is_refused(string names, string? message)
    {
        var files = names.Split(' ').Select(name => Path.Combine(folder, name)).ToArray();
        Array.ForEach(files, file =>
        {
            Directory.CreateDirectory(Path.GetDirectoryName(file)!);
            File.WriteAllText(file, "");
        });
        string[] found = [];
        var thrown = Record.Exception(() => found = SftSets.Files([folder]));
        Assert.Equal(message is null, thrown is null);
        Assert.Equal(message is null, found.Contains(files[0]));
        message = message?.Replace('/', Path.DirectorySeparatorChar);
        Assert.True(message is null || thrown is UnusableFileException && thrown.Message.Contains(message));
        Assert.Equal([files[0]], SftSets.Files([files[0]])); // by name, each is taken
    }

    [Theory]
    [InlineData("none")]
    [InlineData("")]
    [InlineData("above")] // data/ in data/ is somebody's own
    public void A_folder_without_sets_is_refused(string name)
    {
        var deep = Directory.CreateDirectory(Path.Combine(folder, "above", "data", "data")).FullName;
        File.WriteAllText(Path.Combine(deep, "a.parquet"), "");
        Assert.Throws<UnusableFileException>(() => SftSets.Files([Path.Combine(folder, name)]));
    }

    public void Dispose() => Directory.Delete(folder, true);

    // codes are ids as well, and read along
    private static string[] Texts(SftBatch batch, JanusPipeline pipeline) =>
        [.. Enumerable.Range(0, batch.Count).Select(row => pipeline.Tokenizer.Decode(
            batch.Ids[row].data<long>().Select(id => (int)id).Where(id => id < 256)).TrimEnd('\0'))];

    private static SftSets Sets(string[] files, JanusPipeline pipeline)
    {
        var config = new SftRowBatchConfig { SamplesPerStep = 4, PromptDropout = 0, Wordings = [] };
        return new([.. files.Select(file =>
        {
            var set = SftParquet.Open(file);
            var codes = new ImageCodeCache(set, pipeline.Model.ImageTokenizer, 32, ImageFile.Decode);
            return (new SftRowBatches(set, codes, pipeline.Tokenizer, PromptTemplate.JanusSft, config), set.Count);
        })], pipeline.Tokenizer.Special, config);
    }
}
