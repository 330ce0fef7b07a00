using System.Text.Json.Serialization;
using Newtonsoft.Json.Linq;
using Parquet.Serialization;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>SFT data in the published schema: what is written is read, what is damaged is refused.</summary>
public sealed class SftParquetTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private static readonly WorldStream Stream = new(new WorldConfig(), 1);

    [Fact]
    public void The_shipped_sample_is_what_the_kit_writes()
    {
        var path = Path.Combine(Study.DataFolder(), "sft-sample.parquet");
        Assert.InRange(new FileInfo(path).Length, 1, 200_000);
        var set = SftParquet.Open(path);
        var rows = set.Rows().ToArray();
        var made = WorldRows.Of(Stream, rows.Length).ToArray();
        Assert.Equal(64, rows.Length);
        for (var i = 0; i < rows.Length; i++)
        {
            Assert.Equal(made[i].ImagePath, rows[i].ImagePath);
            Assert.True(JToken.DeepEquals(made[i].Record, rows[i].Record), rows[i].Record.ToString());
            var image = ImageFile.Decode(rows[i].Image)!;
            Assert.Equal(Stream[i].Image(Stream.Config).Rgb, image.Rgb);
            Assert.True(Detector.Check(image, Stream[i].Prompt).Correct);
        }
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(10, 4)]
    [InlineData(8, 4)]
    public void What_is_written_is_read_row_group_by_row_group(int count, int perGroup)
    {
        var made = WorldRows.Of(Stream, count).ToArray();
        made[0] = made[0] with { ImagePath = null };
        ((JObject)made[0].Record["augmented_prompts"]!).Remove("tags");
        var path = Path.Combine(folder, "new", "set.parquet");
        Assert.Equal(count, SftParquet.Write(path, made, perGroup));
        var set = SftParquet.Open(path);
        Assert.Equal(made.Chunk(perGroup).Select(group => group.Length), set.GroupRows);
        var read = set.Rows().ToArray();
        Assert.Equal(made.Select(row => row.ImagePath), read.Select(row => row.ImagePath));
        Assert.Equal(made.Select(row => row.Image), read.Select(row => row.Image));
        Assert.Equal(made.Select(row => row.Record.ToString()), read.Select(row => row.Record.ToString()));
        Assert.Equal(made[^1].Image, set.ReadGroup(set.GroupRows.Count - 1)[^1].Image);
        Assert.Single(Directory.GetFiles(Path.GetDirectoryName(path)!));
    }

    [Fact]
    public void Rows_are_written_as_they_come()
    {
        var (made, size) = (0, new List<int>());
        IEnumerable<SftRow> Rows()
        {
            foreach (var row in WorldRows.Of(Stream, 12))
            {
                made++;
                yield return row;
                size.Add((int)Directory.GetFiles(folder).Sum(file => new FileInfo(file).Length));
            }
        }

        Assert.Equal(12, SftParquet.Write(Path.Combine(folder, "set.parquet"), Rows(), 2));
        Assert.True(size[8] > size[1], "the first row groups were written before the last rows were asked for");
    }

    [Fact]
    public void A_failure_while_writing_leaves_the_old_file()
    {
        var path = Path.Combine(folder, "set.parquet");
        SftParquet.Write(path, WorldRows.Of(Stream, 3));
        var before = File.ReadAllBytes(path);
        Assert.Throws<InvalidOperationException>(() =>
            SftParquet.Write(path,
                WorldRows.Of(Stream, 5).Select((row, i) => i < 4 ? row : throw new InvalidOperationException()), 2));
        Assert.Equal(before, File.ReadAllBytes(path));
        Assert.Single(Directory.GetFiles(folder));
        var blocked = Path.Combine(path, "below", "set.parquet"); // a file is in the way of the folder
        Assert.Contains("cannot be written",
            Assert.Throws<UnusableFileException>(() => SftParquet.Write(blocked, WorldRows.Of(Stream, 1))).Message);
    }

    [Fact]
    public void Lists_and_images_stored_as_text_are_understood()
    {
        var made = WorldRows.Of(Stream, 2).ToArray();
        var path = Path.Combine(folder, "legacy.parquet");
        Write(path, made.Select(row => new LegacyRow
        {
            Image = "data:image/png;base64," + Convert.ToBase64String(row.Image), Brief = "b", Detailed = "d",
            Extra = 7,
            Augmented = new() { Short = "s", Paraphrases = "['one way', \"another\"]" },
        }));
        var read = SftParquet.Open(path).Rows().ToArray();
        Assert.Equal(made.Select(row => row.Image), read.Select(row => row.Image));
        Assert.Equal(7, (int)read[0].Record["extra"]!);
        Assert.Equal("another", PromptAugmentation.Prompt(read[0].Record, ["paraphrases"], (_, high) => high));
    }

    [Fact]
    public void A_file_of_another_writer_is_read()
    {
        // six rows of the sample, written by DuckDB 1.5 (zstd, data pages v2): no path in the first, no varied_captions
        // in the second, no tags in the third
        var set = SftParquet.Open(Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "tests", "ReasonGen.Tests",
            "Data", "duckdb.parquet"));
        var made = WorldRows.Of(Stream, 6).ToArray();
        var read = set.Rows().ToArray();
        Assert.Equal(made.Select(row => row.Image), read.Select(row => row.Image));
        Assert.Equal(made.Select((row, i) => i == 0 ? null : row.ImagePath), read.Select(row => row.ImagePath));
        ((JObject)made[1].Record["augmented_prompts"]!).Remove("varied_captions");
        ((JObject)made[2].Record["augmented_prompts"]!).Remove("tags");
        foreach (var (expected, actual) in made.Zip(read))
        {
            expected.Record["number"] = actual.Record["number"]; // a further column is kept
            Assert.True(JToken.DeepEquals(expected.Record, actual.Record), actual.Record.ToString());
        }

        Assert.Equal(6, (int)read[5].Record["number"]!);
    }

    [Theory]
    [InlineData(0.0)]
    [InlineData(0.1)]
    [InlineData(0.5)]
    [InlineData(0.999)]
    public void A_truncated_file_is_refused(double kept)
    {
        var path = Path.Combine(folder, "set.parquet");
        SftParquet.Write(path, WorldRows.Of(Stream, 20));
        var bytes = File.ReadAllBytes(path);
        File.WriteAllBytes(path, bytes[..(int)(bytes.Length * kept)]);
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(path));
        Assert.StartsWith(path, error.Message);
        Assert.Contains("cannot be read as parquet", error.Message);
        Assert.DoesNotContain('\n', error.Message);
    }

    [Fact]
    public void Damage_inside_is_refused_or_harmless_but_never_another_exception()
    {
        var path = Path.Combine(folder, "set.parquet");
        SftParquet.Write(path, WorldRows.Of(Stream, 20), 5);
        var bytes = File.ReadAllBytes(path);
        var (random, refused) = (new Random(3), 0);
        for (var i = 0; i < 60; i++)
        {
            var damaged = (byte[])bytes.Clone();
            random.NextBytes(damaged.AsSpan(random.Next(damaged.Length - 16), 16));
            File.WriteAllBytes(path, damaged);
            try
            {
                Assert.NotEmpty(SftParquet.Open(path).Rows());
            }
            catch (UnusableFileException)
            {
                refused++;
            }
        }

        Assert.InRange(refused, 1, 60);
    }

    [Fact]
    public void A_row_whose_stored_list_is_damaged_is_named_before_training()
    {
        var path = Path.Combine(folder, "torn.parquet");
        Write(path, new[] { "A dog's ball near a cat's bowl", "['one way', 'ano" }.Select(text => new LegacyRow
        {
            Image = "data:image/png;base64,AAAA", Brief = "b", Detailed = "d",
            Augmented = new() { Short = "s", Paraphrases = text },
        }));
        var set = SftParquet.Open(path);
        Assert.Null(set.FirstWithout("augmented_prompts.short_caption"));
        Assert.Contains("row 1 cannot be trained on", Assert.Throws<UnusableFileException>(() =>
            set.FirstWithout("augmented_prompts.short_caption", "augmented_prompts.paraphrases")).Message);
        Assert.Equal("A dog's ball near a cat's bowl",
            PromptAugmentation.Prompt(set.Rows().First().Record, ["paraphrases"], (low, _) => low));
    }

    [Fact]
    public void A_list_where_a_text_belongs_is_told_before_training_and_lists_of_wordings_are_read()
    {
        var path = Path.Combine(folder, "lists.parquet");
        Write(path, [new ListedRow
        {
            Image = "data:image/png;base64,AAAA", Brief = "b", Detailed = ["d"],
            Augmented = new() { Short = ["s"], Tags = ["t"] },
        }]);
        var set = SftParquet.Open(path);
        Assert.Null(set.FirstWithout("augmented_prompts.tags"));
        foreach (var column in (string[])["detailed_caption", "augmented_prompts.short_caption"])
        {
            var error = Assert.Throws<UnusableFileException>(() => set.FirstWithout(column)).Message;
            Assert.Contains($"its column {column} is a list where a text belongs. Write one text a row", error);
            Assert.DoesNotContain("..", error);
        }
    }

    [Fact]
    public void Missing_columns_and_images_are_named()
    {
        var path = Path.Combine(folder, "poor.parquet");
        Write(path, [new PoorRow { Brief = "b", Detailed = "d" }]);
        var error = Assert.Throws<UnusableFileException>(() => SftParquet.Open(path));
        Assert.Contains("it has no column image, augmented_prompts; it has brief_caption, detailed_caption",
            error.Message);

        Write(path,
            [new LegacyRow { Image = "data:image/png;base64,AAAA", Brief = "b", Detailed = "d", Augmented = new() },
                new LegacyRow { Image = "not base64!", Augmented = new() }]);
        Assert.Contains("row 1 holds no image",
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(path).Rows().ToArray()).Message);
        Assert.Contains("there is no such file",
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(Path.Combine(folder, "none.parquet"))).Message);
        Assert.Contains("there is no such file",
            Assert.Throws<UnusableFileException>(() => SftParquet.Open(folder)).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static void Write<T>(string path, IEnumerable<T> rows)
        where T : class, new()
    {
        using var file = File.Create(path);
        ParquetSerializer.SerializeAsync(rows, file).GetAwaiter().GetResult();
    }

    private class PoorRow
    {
        [JsonPropertyName("brief_caption")]
        public string? Brief { get; set; }

        [JsonPropertyName("detailed_caption")]
        public string? Detailed { get; set; }
    }

    private sealed class ListedRow
    {
        [JsonPropertyName("image")]
        public string? Image { get; set; }

        [JsonPropertyName("brief_caption")]
        public string? Brief { get; set; }

        [JsonPropertyName("detailed_caption")]
        public List<string>? Detailed { get; set; }

        [JsonPropertyName("augmented_prompts")]
        public ListedPrompts? Augmented { get; set; }

        internal sealed class ListedPrompts
        {
            [JsonPropertyName("short_caption")]
            public List<string>? Short { get; set; }

            [JsonPropertyName("tags")]
            public List<string>? Tags { get; set; }
        }
    }

    private sealed class LegacyRow
    {
        [JsonPropertyName("image")]
        public string? Image { get; set; }

        [JsonPropertyName("brief_caption")]
        public string? Brief { get; set; }

        [JsonPropertyName("detailed_caption")]
        public string? Detailed { get; set; }

        [JsonPropertyName("extra")]
        public int Extra { get; set; }

        [JsonPropertyName("augmented_prompts")]
        public LegacyPrompts? Augmented { get; set; }

        internal sealed class LegacyPrompts
        {
            [JsonPropertyName("short_caption")]
            public string? Short { get; set; }

            [JsonPropertyName("paraphrases")]
            public string? Paraphrases { get; set; }
        }
    }
}
