using ReasonGen.Checkpoints;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Setups;
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
        var config = new SftRowBatchConfig { SamplesPerStep = 4, PromptDropout = 0, Wordings = [] };
        var files = SftSets.Files([folder]);
        var sets = new SftSets([.. files.Select(file =>
        {
            var set = SftParquet.Open(file);
            var codes = new ImageCodeCache(set, pipeline.Model.ImageTokenizer, 32, ImageFile.Decode);
            return (new SftRowBatches(set, codes, pipeline.Tokenizer, PromptTemplate.JanusSft, config), set.Count);
        })], pipeline.Tokenizer.Special, config);
        Assert.Equal(8, sets.Count);
        string[] Epoch(int epoch) => [.. Enumerable.Range(2 * epoch, 2).SelectMany(step =>
        {
            using var batch = sets.Batch(step);
            return Enumerable.Range(0, 4).Select(row => pipeline.Tokenizer.Decode(
                batch.Ids[row].data<long>().Select(id => (int)id).Where(id => id < 256)).TrimEnd('\0')).ToArray();
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

    [Theory]
    [InlineData("none")]
    [InlineData("")]
    public void A_folder_without_sets_is_refused(string name) =>
        Assert.Throws<UnusableFileException>(() => SftSets.Files([Path.Combine(folder, name)]));

    public void Dispose() => Directory.Delete(folder, true);
}
