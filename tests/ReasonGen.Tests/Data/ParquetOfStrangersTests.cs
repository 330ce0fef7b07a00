using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Models;
using ReasonGen.Rollouts;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;
using static ReasonGen.Tests.Data.HandmadeParquet;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Data;

public sealed class ParquetOfStrangersTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Lists_in_pages_of_version_2_are_said_to_be_beyond_the_library_and_not_damaged()
    {
        var error =
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(HandedIn.Path("pages-v2.parquet"))).Message;
        Assert.Contains("data pages of version 2", error);
        Assert.Contains("data_page_version='1.0'", error);
        Assert.DoesNotContain("damaged", error);
        Assert.DoesNotContain("ownload", error);
    }

    [Fact]
    public void A_row_with_a_null_list_has_its_other_wordings_and_one_with_none_is_found_before_training()
    {
        var set = SftParquet.Open(HandedIn.Path("null-wordings.parquet"));
        var rows = set.Rows().ToArray();
        Assert.Equal("v",
            PromptAugmentation.Prompt(rows[2].Record, ["paraphrases", "tags", "varied_captions"], (low, _) => low));
        Assert.Equal(1, set.FirstWithout([.. PromptAugmentation.PaperKeys.Select(key => $"augmented_prompts.{key}")]));
        Assert.Equal(1, set.FirstWithout("augmented_prompts.tags"));
        Assert.Equal(0, set.FirstWithout("augmented_prompts.no_such"));
        Assert.Null(set.FirstWithout("detailed_caption"));
        var words = new WordTokenizer(Rationales.Words);
        using var images = new VqTokenizer(VqConfig.Mini, new ComputeTarget(CPU, ScalarType.Float32));
        var error = Assert.Throws<UnusableFileException>(() =>
            new SftRowBatches(set, new ImageCodeCache(set, images, 32, ImageFile.Decode), words, PromptTemplate.Mini,
                new()));
        Assert.Contains("row 1 has no text in", error.Message);
    }

    [Fact]
    public void Prompts_stored_as_json_text_are_read()
    {
        var rows = SftParquet.Open(HandedIn.Path("prompts-as-json-text.parquet")).Rows().ToArray();
        Assert.All(rows,
            row => Assert.Equal(["p1", "p2"],
                row.Record["augmented_prompts"]!["paraphrases"]!.Select(text => (string)text!)));
        Assert.Equal("s", PromptAugmentation.Prompt(rows[0].Record, ["short_caption"], (low, _) => low));
        Assert.Null(SftParquet.Open(HandedIn.Path("prompts-as-json-text.parquet"))
            .FirstWithout("augmented_prompts.tags"));
        Assert.Equal(0,
            SftParquet.Open(HandedIn.Path("prompts-as-json-text.parquet")).FirstWithout("augmented_prompts.no_such"));
    }

    [Theory]
    [InlineData("""["one", "two"]""", "one|two")]
    [InlineData("""['one', "it's"]""", "one|it's")]
    [InlineData("""['it\'s', "say \"yes\""]""", "it's|say \"yes\"")]
    [InlineData("""["caf\u00e9", 'caf\xe9']""", "café|café")]
    [InlineData("""('one', 'two')""", "one|two")]
    [InlineData("""["one", null, 'a, b', ]""", "one|a, b")]
    [InlineData("[]", "")]
    [InlineData("None", "")]
    [InlineData("""['', ' ', 'x']""", "x")]
    [InlineData("A dog's ball near a cat's bowl", "A dog's ball near a cat's bowl")]
    [InlineData("\"Stop\", says a sign", "\"Stop\", says a sign")]
    [InlineData("[a sign's] photo", "[a sign's] photo")]
    [InlineData("red, cube", "red, cube")]
    public void Lists_stored_as_text_are_read_as_python_and_json_write_them(string stored, string expected) =>
        Assert.Equal(expected, string.Join('|', PromptAugmentation.Texts(new JValue(stored))));

    [Theory]
    [InlineData("""['open, "closed"]""")]
    [InlineData("""['one', 'tw""")]
    [InlineData("""['one' 'two']""")]
    [InlineData("""['one'] and 'two'""")]
    public void A_damaged_list_that_is_stored_as_text_is_refused(string stored) => Assert.Contains(stored,
        Assert.Throws<ArgumentException>(() => PromptAugmentation.Texts(new JValue(stored))).Message);

    [Fact]
    public void A_long_text_of_quotes_and_backslashes_takes_no_time()
    {
        var watch = Stopwatch.StartNew();
        Assert.Throws<ArgumentException>(() =>
            PromptAugmentation.Texts(new JValue("['" + new string('\\', 1_000_001))));
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(20));
    }

    [Fact]
    public void Lists_of_two_levels_are_said_to_be_beyond_the_library_and_not_damaged()
    {
        var path = Handmade(Group("augmented_prompts", 1), Group("tags", 1, ListGroup),
            Texts("array", "ball"u8.ToArray(), HandmadeParquet.Text, repeated: 2));
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(path)).Message;
        Assert.Contains("'augmented_prompts.tags' holds lists of the old form of two levels", error);
        Assert.DoesNotContain("damaged", error);
    }

    [Fact]
    public void A_compression_that_the_library_does_not_read_is_named_and_is_no_damage()
    {
        var lzo = Handmade(Texts("augmented_prompts", "{}"), Texts("extra", "x") with { Codec = 3 });
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(lzo)).Message;
        Assert.Contains("its column 'extra' is compressed with LZO", error);
        Assert.Contains("Write the set again with zstd, snappy or gzip", error);
        Assert.DoesNotContain("damaged", error);

        // Hadoop's two sizes before a block of literals alone
        byte[] plain = [.. Fixed(7), .. "caption"u8];
        byte[] framed = [0, 0, 0, (byte)plain.Length, 0, 0, 0, (byte)(plain.Length + 1), (byte)(plain.Length << 4),
            .. plain];
        HandmadeParquet.Element Stored(byte[] bytes) =>
            new("brief_caption", 6, bytes, HandmadeParquet.Text, Codec: 5, Unfolded: plain.Length);
        error = Assert.Throws<UnusableFileException>(() =>
            SftParquet.Open(Handmade(Texts("augmented_prompts", "{}"), Stored(framed)))).Message;
        Assert.Contains("its column 'brief_caption' is compressed with LZ4 in Hadoop's framing", error);
        Assert.Contains("Write the set again with zstd, snappy or gzip", error);
        Assert.DoesNotContain("damaged", error);
        _ = SftParquet.Open(Handmade(Texts("augmented_prompts", "{}"), Stored(framed[8..])));
    }

    [Fact]
    public void Images_are_read_from_plain_bytes_and_an_address_of_one_is_refused()
    {
        byte[] png = [0x89, (byte)'P', (byte)'N', (byte)'G', 13, 10, 26, 10];
        Assert.Equal(png, SftParquet.Open(Handmade(Texts("image", png, null), Texts("augmented_prompts", "{}"))).Rows()
            .Single().Image);
        Assert.Contains("row 0 holds no image. Write the column 'image' as a struct with a member 'bytes'",
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(Handmade(Texts("image", "https://a.org/b.png"),
                Texts("augmented_prompts", "{}"))).Rows().Count()).Message);
    }

    [Theory]
    [InlineData(HandmadeParquet.Text)]
    [InlineData(HandmadeParquet.Json)]
    [InlineData(null)]
    public void Texts_that_their_writer_does_not_call_so_are_read(int? converted)
    {
        var set = SftParquet.Open(Handmade(Texts("brief_caption", "a café", converted),
            Texts("augmented_prompts", """{ "tags": ["p1", "p2"] }""", converted)));
        Assert.Null(set.FirstWithout("brief_caption"));
        Assert.Null(set.FirstWithout("augmented_prompts.tags"));
        Assert.Equal(0, set.FirstWithout("augmented_prompts.paraphrases"));
        var record = Assert.Single(set.Rows()).Record;
        Assert.Equal("a café", (string?)record["brief_caption"]);
        Assert.Equal("p1,p2", PromptAugmentation.Prompt(record, ["tags"], (low, _) => low));
    }

    [Fact]
    public void Bytes_that_are_no_text_are_refused_where_a_text_belongs_and_there_alone()
    {
        var set = SftParquet.Open(Handmade(Texts("brief_caption", [0xE9], null), Texts("augmented_prompts", "{}")));
        foreach (var read in new Func<object?>[] { () => set.FirstWithout("brief_caption"), () => set.Rows().Count() })
        {
            var error = Assert.Throws<UnusableFileException>(read).Message;
            Assert.Contains("row 0", error);
            Assert.Contains("brief_caption", error);
            Assert.Contains("UTF-8", error);
        }

        Assert.Single(SftParquet.Open(Handmade(Texts("augmented_prompts", "{}"), Texts("thumb", [0xE9], null))).Rows());
    }

    [Fact]
    public void A_column_that_nobody_needs_and_that_cannot_be_read_is_named()
    {
        var half = Handmade(Texts("augmented_prompts", "{}"), new("half", 7, [0, 60], Logical: 15, Length: 2));
        Assert.Contains("'half' holds numbers of half precision",
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(half)).Message);
        var late = Handmade(Texts("augmented_prompts", "{}"), new("taken", 2, Fixed(1L << 62, 8), Converted: 10));
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(late).Rows().Count()).Message;
        Assert.Contains("its column 'taken'", error);
        Assert.Contains("Leave the column out", error);
        Assert.DoesNotContain("damaged", error);
    }

    // with an image and captions, where the elements are not of that name
    private string Handmade(params HandmadeParquet.Element[] elements)
    {
        var path = Path.Combine(folder, $"{Guid.NewGuid():N}.parquet");
        HandmadeParquet.Element[] all = [.. new[] { Texts("image", "data:image/png;base64,AAAA"),
            Texts("brief_caption", "b"), Texts("detailed_caption", "d") }
                .Where(usual => elements.All(element => element.Name != usual.Name)), .. elements];
        HandmadeParquet.Write(path, all.Length - all.Sum(element => element.Children), all);
        return path;
    }

    [Theory]
    [InlineData(0, null)]
    [InlineData(3, "row 3 has no detailed_caption")]
    public void A_row_without_a_rationale_is_found_before_training(int row, string? message)
    {
        var made = WorldRows.Of(new WorldStream(new WorldConfig(), 5), 6).ToArray();
        if (message is not null)
        {
            made[row].Record["detailed_caption"] = null;
        }

        var path = Path.Combine(folder, "set.parquet");
        SftParquet.Write(path, made, 2);
        Assert.Equal(message is null ? null : (long?)row, SftParquet.Open(path).FirstWithout("detailed_caption"));
    }

    public void Dispose() => Directory.Delete(folder, true);
}

/// <summary>What it takes to refuse a damaged file: memory is counted by the process, and a file is read on threads of
/// the pool.</summary>
[Collection(typeof(NothingBeside))]
public sealed class ParquetMemoryTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("fuzz/parquet-4884-bytes-allocate-1342MB.parquet")]
    [InlineData("fuzz/parquet-one-byte-changed-hangs-SftParquet.Open.parquet")]
    public void A_footer_with_one_byte_changed_is_refused_in_no_time_and_memory(string name)
    {
        var (watch, before) = (Stopwatch.StartNew(), GC.GetTotalAllocatedBytes());
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(HandedIn.Path(name)).Rows().ToArray());
        Assert.Contains(Path.GetFileName(name), error.Message);
        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 100 << 20);
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30));
    }

    [Fact]
    public void Every_byte_of_a_footer_may_change_and_every_page_header()
    {
        var path = Path.Combine(folder, "set.parquet");
        SftParquet.Write(path, WorldRows.Of(new WorldStream(new WorldConfig(), 5), 4), 2);
        var (bytes, random, before) = (File.ReadAllBytes(path), new Random(4), GC.GetTotalAllocatedBytes());
        for (var trial = 0; trial < 500; trial++)
        {
            var damaged = (byte[])bytes.Clone();
            // footers lie at the end; page headers anywhere
            damaged[trial % 2 == 0 ? damaged.Length - 1 - random.Next(damaged.Length / 2)
                : random.Next(damaged.Length)] = (byte)random.Next(256);
            File.WriteAllBytes(path, damaged);
            var thrown = Record.Exception(() => SftParquet.Open(path).Rows().Count());
            Assert.True(thrown is null or UnusableFileException, $"trial {trial}: {thrown}");
        }

        Assert.InRange(GC.GetTotalAllocatedBytes() - before, 0, 4L << 30);
    }

    public void Dispose() => Directory.Delete(folder, true);
}
