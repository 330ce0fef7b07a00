using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Host.Commands;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.Sft;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Data;

/// <summary>From rows of a parquet set to training sequences, with the image codes kept beside it.</summary>
public sealed class SftRowBatchesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private readonly WordTokenizer words = new(Rationales.Words);
    private readonly VqTokenizer images = new(VqConfig.Mini, new ComputeTarget(CPU, ScalarType.Float32));
    private readonly WorldStream stream = new(new WorldConfig(), 1);
    private readonly SftParquet set;

    public SftRowBatchesTests()
    {
        images.Initialize(3);
        SftParquet.Write(SetPath, WorldRows.Of(stream, 10), 4);
        set = SftParquet.Open(SetPath);
    }

    private string SetPath => Path.Combine(folder, "set.parquet");

    [Fact]
    public void An_epoch_shows_every_row_once_with_its_own_codes_and_rationale()
    {
        var batches = Batches(new() { SamplesPerStep = 5, Wordings = [], PromptDropout = 0 });
        using var pixels =
            ImageTensors.ToTensor([.. Enumerable.Range(0, 10).Select(i => stream[i].Image(stream.Config))], CPU);
        using var codes = images.Encode(pixels);
        var expected = Enumerable.Range(0, 10)
            .Select(i =>
                (string.Join(',', words.Encode(PromptTemplate.Mini.Fill(stream[i].Caption(CaptionStyle.Plain)))),
            string.Join(',', words.Encode(stream[i].Rationale)), string.Join(',', codes[i].Values<long>()))).Order()
            .ToArray();
        foreach (var epoch in new[] { 0, 1 })
        {
            var seen = Enumerable.Range(0, 10).Select(i => batches.Sample(10 * epoch + i))
                .Select(s =>
                    (string.Join(',', s.Prompt), string.Join(',', s.Response), string.Join(',', s.ImageCodes!)));
            Assert.Equal(expected, seen.Order());
        }

        Assert.NotEqual(Enumerable.Range(0, 10).Select(i => string.Join(',', batches.Sample(i).Response)),
            Enumerable.Range(10, 10).Select(i => string.Join(',', batches.Sample(i).Response)));
    }

    [Fact]
    public void A_batch_is_a_function_of_its_step()
    {
        var config = new SftRowBatchConfig { SamplesPerStep = 3, PromptDropout = 0.3 };
        using var late = Batches(config).Batch(7);
        var through = Batches(config);
        for (var step = 0; step < 7; step++)
        {
            through.Batch(step).Dispose();
        }

        using var again = through.Batch(7);
        using var other = Batches(config with { Seed = 2 }).Batch(7);
        Assert.True(late.Ids.equal(again.Ids).all().item<bool>()
            && late.LossMask.equal(again.LossMask).all().item<bool>());
        Assert.False(other.Ids.shape.SequenceEqual(late.Ids.shape) && other.Ids.equal(late.Ids).all().item<bool>());
    }

    [Fact]
    public void Wordings_and_dropout_follow_the_settings()
    {
        var tags = Batches(new() { Wordings = ["tags"], PromptDropout = 1 });
        var allowed = set.Rows()
            .Select(row =>
                string.Join(',',
                    words.Encode(
                        PromptTemplate.Mini.Fill(string.Join(',', row.Record["augmented_prompts"]!["tags"]!)))))
                        .ToHashSet();
        Assert.All(Enumerable.Range(0, 10).Select(i => tags.Sample(i)), sample =>
        {
            Assert.Contains(string.Join(',', sample.Prompt), allowed);
            Assert.True(sample.DropText);
        });
    }

    [Fact]
    public void Codes_are_made_once_and_an_interrupted_run_goes_on()
    {
        var decoded = 0;
        RgbImage? Decode(byte[] bytes)
        {
            Interlocked.Increment(ref decoded);
            return ImageFile.Decode(bytes);
        }

        var codes = new ImageCodeCache(set, images, 32, Decode);
        using var stop = new CancellationTokenSource();
        foreach (var (done, of) in codes.Make(stop.Token))
        {
            Assert.Equal((1, 3), (done, of));
            stop.Cancel();
        }

        Assert.Equal(4, decoded);
        Assert.Equal([(1, 3), (2, 3), (3, 3)], new ImageCodeCache(set, images, 32, Decode).Make());
        Assert.Equal(10, decoded);
        using var kept = new ImageCodeCache(set, images, 32,
            _ => throw new InvalidOperationException("nothing is to be decoded")).Group(2);
        Assert.Equal([2, 64], kept.shape);
        Assert.Equal(3, Directory.GetFiles(codes.Folder).Length);

        images.Initialize(4); // another tokenizer: its codes are made anew
        using var fresh = new ImageCodeCache(set, images, 32, Decode).Group(2);
        Assert.Equal(12, decoded);
        Assert.False(kept.equal(fresh).all().item<bool>());
    }

    [Theory]
    [InlineData(10_000, false)] // in one of the samples of the file
    [InlineData(100_000, true)] // between them
    public void Codes_of_a_replaced_set_of_equal_length_and_end_are_made_anew(int place, bool rowsAtHand)
    {
        var (path, random, decoded, said) = (Path.Combine(folder, "large.parquet"), new Random(1), 0,
            new List<string>());
        SftParquet.Write(path, WorldRows.Of(stream, 10).Select(row =>
        {
            var image = new byte[200_000];
            random.NextBytes(image);
            return row with { Image = image };
        }), 4);
        using var before = Codes();
        using (var kept = Codes())
        {
            Assert.Equal(4, decoded);
        }

        using (var file = File.Open(path, FileMode.Open))
        {
            file.Position = place;
            var was = file.ReadByte();
            file.Position = place;
            file.WriteByte((byte)(was ^ 0xFF));
        }

        using var after = Codes();
        Assert.Equal(8, decoded);
        Assert.Contains("large.parquet.codes were made of other images", Assert.Single(said));
        using (var kept = Codes())
        {
            Assert.Equal(8, decoded);
        }

        Tensor Codes()
        {
            var large = SftParquet.Open(path);
            return new ImageCodeCache(large, images, 32, bytes =>
            {
                decoded++;
                return new(32, 32, bytes[..3072]);
            }, said.Add).Group(0, rowsAtHand ? () => large.ReadGroup(0) : null);
        }
    }

    [Fact]
    public void Codes_kept_by_an_earlier_version_are_made_anew_with_a_line()
    {
        var said = new List<string>();
        var codes = new ImageCodeCache(set, images, 32, ImageFile.Decode, said.Add);
        foreach (var group in new[] { 0, 1 })
        {
            Safetensors.Save(Path.Combine(SetPath + ".codes", $"{group:00000}.safetensors"),
                [new("codes", zeros(4, 64, ScalarType.Int32))],
                new Dictionary<string, string> { ["of"] = "0123 32 99 upright in all formats" });
        }

        Assert.Equal(3, codes.Make().Count());
        Assert.Contains("or by an earlier version; those of this run are made in", Assert.Single(said));
        using var fresh = codes.Group(0);
        Assert.True(fresh.any().item<bool>());
    }

    [Fact]
    public void Codes_of_another_tokenizer_stay_and_those_that_an_earlier_version_kept_are_read()
    {
        var said = new List<string>();
        ImageCodeCache Codes() => new(set, images, 32, ImageFile.Decode, said.Add);
        var first = Codes();
        Assert.Equal(3, first.Make().Count());
        Assert.Empty(said);
        images.Initialize(4);
        var second = Codes();
        Assert.Equal(3, second.Make().Count());
        Assert.Equal((3, 3), (Directory.GetFiles(first.Folder).Length, Directory.GetFiles(second.Folder).Length));
        Assert.Contains($"those of this run are made in {second.Folder}", Assert.Single(said));
        foreach (var file in Directory.GetFiles(second.Folder)) // as they lay
        {
            File.Move(file, Path.Combine(SetPath + ".codes", Path.GetFileName(file)));
        }

        Directory.Delete(second.Folder);
        Assert.Equal(3, new ImageCodeCache(set, images, 32,
            _ => throw new InvalidOperationException("nothing is to be decoded")).Make().Count());
    }

    [Fact]
    public void Codes_lie_beside_a_link_to_a_set_beside_which_nothing_can_be_written()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "not everybody may make links there");
        File.WriteAllText(SetPath + ".codes", "no folder can be made here");
        Assert.Contains("make a link to set.parquet in a folder that can be written",
            Assert.Throws<UnusableFileException>(() => new ImageCodeCache(set, images, 32, ImageFile.Decode).Group(0))
            .Message);
        var link = Path.Combine(Directory.CreateDirectory(Path.Combine(folder, "own")).FullName, "set.parquet");
        File.CreateSymbolicLink(link, SetPath);
        Assert.Equal(3, new ImageCodeCache(SftParquet.Open(link), images, 32, ImageFile.Decode).Make().Count());
        Assert.Single(Directory.GetDirectories(link + ".codes"));
        Assert.Equal(TrainData.Fingerprint([SetPath]), TrainData.Fingerprint([link])); // a run goes on with it
    }

    [Fact]
    public void Rows_that_cannot_be_trained_on_are_named()
    {
        var rows = WorldRows.Of(stream, 5).ToArray();
        var path = Path.Combine(folder, "bad.parquet");
        SftParquet.Write(path, [.. rows[..3], rows[3] with { Image = [1, 2, 3] }, rows[4]], 2);
        var error = Assert.Throws<UnusableFileException>(() =>
            new ImageCodeCache(SftParquet.Open(path), images, 32, ImageFile.Decode).Group(1));
        Assert.Contains("the image bytes of row 3 are no image", error.Message);
        // cut short
        SftParquet.Write(path,
            [.. rows[..3], rows[3] with { Image = rows[3].Image[..(rows[3].Image.Length / 2)] }, rows[4]], 2);
        Assert.Throws<UnusableFileException>(() =>
            new ImageCodeCache(SftParquet.Open(path), images, 32, ImageFile.Decode).Group(1));

        Assert.Contains("row 0 has no text in longIB_captions", Fails(new() { Wordings = ["longIB_captions"] }));
        Assert.Contains("more than MaxTokens 20. Raise data.maxTokens, which a run that goes on may; for a new run, "
            + "remove the row or choose other wordings.", Fails(new() { MaxTokens = 20 }));
        Assert.Contains("SamplesPerStep",
            Assert.Throws<ArgumentException>(() => Batches(new() { SamplesPerStep = 0 })).Message);
        string Fails(SftRowBatchConfig config) =>
            Assert.Throws<UnusableFileException>(() => Batches(config).Sample(0)).Message;
    }

    [Theory]
    [InlineData("tgas", "choose from short_caption, paraphrases, tags,")]
    [InlineData("short_captoin", "say short_caption,")]
    [InlineData("longIB_caption", "say longIB_captions,")]
    [InlineData("brief_caption", "say varied_captions, or leave it out; none at all takes brief_caption.")]
    public void A_wording_that_no_row_has_is_refused(string wording, string remedy)
    {
        var error = Assert.Throws<UnusableFileException>(() => Batches(new() { Wordings = ["tags", wording] })).Message;
        Assert.Contains($"no row has the wording '{wording}'. In data.wordings {remedy}", error);
    }

    [Fact]
    public void A_set_may_have_wordings_of_its_own_and_lack_published_ones()
    {
        var rows = WorldRows.Of(stream, 3).ToArray();
        Assert.True(set.HasText("augmented_prompts.tags"));
        Assert.False(set.HasText("augmented_prompts.tgas"));
        // the text of a JSON object, of which any may have a member of its own
        var own = SftParquet.Open(HandedIn.Path("prompts-as-json-text.parquet"));
        Assert.True(own.HasText("augmented_prompts.short_caption"));
        Assert.False(own.HasText("augmented_prompts.no_such"));
        foreach (var row in rows)
        {
            row.Record["augmented_prompts"]!["tags"] = new JArray();
        }

        var path = Path.Combine(folder, "untagged.parquet");
        SftParquet.Write(path, rows, 2);
        _ = new SftRowBatches(SftParquet.Open(path), new ImageCodeCache(SftParquet.Open(path), images, 32,
            ImageFile.Decode), words, PromptTemplate.Mini, new() { Wordings = ["short_caption", "tags"] });
    }

    [Fact]
    public void A_trainer_steps_on_the_batches()
    {
        var model = new Janus(JanusConfig.Mini(words.VocabularySize), ComputeTarget.Default);
        model.Initialize(1);
        var batches = new SftRowBatches(set, new ImageCodeCache(set, model.ImageTokenizer, 32, ImageFile.Decode), words,
            PromptTemplate.Mini, new() { SamplesPerStep = 4 });
        using var trainer = new SftTrainer(model, batches.Batch, words.Special.BeginOfImage, SftConfig.Mini(2));
        Assert.All(trainer.Steps(2), step => Assert.True(double.IsFinite(step.Loss)));
        model.Dispose();
    }

    public void Dispose()
    {
        images.Dispose();
        Directory.Delete(folder, true);
    }

    private SftRowBatches Batches(SftRowBatchConfig config) =>
        new(set, new ImageCodeCache(set, images, 32, ImageFile.Decode), words, PromptTemplate.Mini, config);
}
