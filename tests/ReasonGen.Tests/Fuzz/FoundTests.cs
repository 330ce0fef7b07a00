using ReasonGen.Checkpoints;
using ReasonGen.Imaging;
using ReasonGen.JanusPro;
using ReasonGen.Judges.Clip;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Notebook;
using ReasonGen.Scoring;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Fuzz;

/// <summary>What damaged inputs brought to light, one by one.</summary>
public sealed class FoundTests : IDisposable
{
    // 24 by 16 pixels, of which the first frame lies at 30754, 2594 and is 11264 high
    private static readonly byte[] FarFrame = Convert.FromHexString(
        "47494638396118001000810000ff000000000000000000000021f904000a0000002c2278220a0000002c0000"
        + "0000180010008100ff000000"
        + "0000000000000008220001081c48b0a0c18308132a5cc8b0a1c38710234a"
        + "9c48b1a2c58b18336adc68ffff0000000000000000002c5b5d3b");

    private readonly TestFolder folder = new();

    public static TheoryData<string, Func<byte[], string, string?>> Decoders => new()
    {
        { "shown", (bytes, _) => { ImageFile.Decode(bytes, out var reason); return reason; } },
        { "scored", (bytes, _) => ScoredImage.Decode(bytes, upright: false) is null ? "pixels" : null },
        { "judged", (_, path) => Assert.Throws<UnusableFileException>(() => ImageReader.Read(path)).Message },
        { "detected", (_, path) => Assert.Throws<UnusableFileException>(() => DetectorImageFile.Read(path)).Message },
    };

    [Fact]
    public void Least_side_above_what_the_model_looks_at_is_refused()
    {
        folder.Write("preprocessor_config.json", """{ "min_size": 33 }""");
        var refusal = Assert.Throws<UnusableFileException>(() => ImageProcessor.Read(folder.Path, 32));
        Assert.Contains("'min_size' is 33, more than the 32 pixels", refusal.Message);
    }

    [Theory]
    [MemberData(nameof(Decoders), DisableDiscoveryEnumeration = true)]
    public void Sizes_that_the_file_makes_unlikely_are_refused_before_memory_is_taken(string name, Func<byte[], string,
        string?> refusal)
    {
        foreach (var image in new[] { FarFrame, Seeds.WithChunkSums(Declaring(30_000, 30_000)),
            Seeds.WithChunkSums(Declaring(5000, 5000)) })
        {
            var path = folder.At("image.png");
            File.WriteAllBytes(path, image);
            var before = GC.GetAllocatedBytesForCurrentThread();
            Assert.True(refusal(image, path) is { } reason && reason.Contains("pixels"),
                $"{name}: {refusal(image, path)}");
            Assert.InRange(GC.GetAllocatedBytesForCurrentThread() - before, 0, 1 << 20);
        }
    }

    [Fact]
    public void An_id_of_a_vocabulary_beyond_all_numbers_is_refused()
    {
        File.WriteAllText(folder.At("vocab.json"), "{\"a\": 99999999999999999999}");
        File.WriteAllText(folder.At("merges.txt"), "#version\n");
        Assert.Contains("which is no id", Assert.Throws<UnusableFileException>(() => ClipTokenizer.Load(folder.Path,
            ClipTextRules.HuggingFace)).Message);
    }

    [Theory]
    [InlineData("{\"size\": {\"height\": 2147483616, \"width\": 32}}")]
    [InlineData("{\"size\": {\"shortest_edge\": 1000000000, \"longest_edge\": 2000000000}}")]
    [InlineData("{\"image_std\": [0, 0, 0]}")]
    [InlineData("{\"size\": {\"shortest_edge\": 48, \"longest_edge\": 80}, \"size_divisor\": 7}")]
    public void A_detectors_preprocessor_of_sizes_that_nobody_means_is_refused(string json) =>
        Assert.Throws<UnusableFileException>(() =>
        new HuggingFaceImages(new ConfigSection("preprocessor_config.json", "",
            Newtonsoft.Json.Linq.JObject.Parse(json))).Prepare(new RgbImage(9, 5, new byte[135])));

    [Theory]
    [InlineData("{\"patch_size\": 65536, \"merge_size\": 65536}")]
    [InlineData("{\"min_pixels\": 2000000000}")]
    public void A_judges_preprocessor_of_sizes_that_nobody_means_is_refused(string json) =>
        Assert.Throws<UnusableFileException>(() =>
            ReasonGen.Qwen.QwenProcessor.FromJson(Newtonsoft.Json.Linq.JObject.Parse(json)));

    [Theory]
    [InlineData("\"Images\": null")]
    [InlineData("\"Images\": [null]")]
    [InlineData("\"Images\": [{\"Task\": null, \"Prompt\": \"p\", \"Image\": \"i\", \"Score\": 1, \"Reason\": \"\"}]")]
    [InlineData("\"Images\": [], \"Categories\": null")]
    [InlineData("\"Images\": [], \"Notes\": [null]")]
    public void Scores_with_null_in_place_of_a_value_are_refused(string member)
    {
        var path = folder.Write("score.json",
            $"{{\"Benchmark\": \"b\", \"Label\": \"l\", \"Judge\": \"j\", {member}}}");
        Assert.Contains("holds no scores", Assert.Throws<UnusableFileException>(() => ScoreReport.Read(path)).Message);
    }

    [Theory]
    [InlineData("\\u0001first-tokens {\"Text\",")]
    [InlineData("\\u0001first-tokens null")]
    [InlineData("\\u0001first-tokens {\"Text\": \"x\", \"Tokens\": null, \"LogProbabilities\": []}")]
    [InlineData("\\u0001first-tokens {\"Text\": \"x\", \"Tokens\": [null], \"LogProbabilities\": [0]}")]
    public void An_answer_that_begins_like_a_joined_one_is_its_own_words(string answer)
    {
        answer = answer.Replace("\\u0001", "\u0001");
        var split = ServedReply.Split(answer);
        Assert.Equal(answer, split.Text);
        Assert.Empty(split.First);
    }

    [Theory]
    [InlineData("{\"tag\": \"\\ud800\", \"prompt\": \"p\"}")]
    [InlineData("{\"\\uDC00\": [], \"prompt\": \"p\"}")]
    [InlineData("[[\"\\ud83d\"]]")]
    public void Half_a_character_in_a_benchmarks_file_is_refused(string json) =>
        Assert.Contains("half of a character", Assert.Throws<OfficialStopException>(() =>
            PythonJson.Parse(json)).Message);

    [Fact]
    public void Half_a_character_in_results_is_refused_with_its_line() =>
        Assert.Contains("line 2 is no row of results", Assert.Throws<UnusableFileException>(() =>
        GenEvalResults.Parse("{\"tag\": \"a\"}\n{\"tag\": \"\\ud800\"}\n")).Message);

    [Fact]
    public void A_whole_character_in_two_halves_is_read() => Assert.Equal("😀",
        PythonJson.Parse("\"\\ud83d\\ude00\"").GetString());

    [Theory]
    [InlineData("{\"filename\": \"a.png\", \"details\": \"{\"}")]
    [InlineData("{\"filename\": \"a.png\", \"details\": \"{\\\"dog\\\": [[1, 2, 3]]}\"}")]
    public void Detections_whose_details_are_damaged_are_refused_with_their_line(string line) =>
        Assert.Contains("line 1 holds no detections", Assert.Throws<UnusableFileException>(() =>
            DetectionFile.Read(folder.Write("d.jsonl", line))).Message);

    [Fact]
    public void Annotations_that_name_a_column_twice_are_read_by_the_first()
    {
        string[] columns = ["Input.index", "Input.caption", "Input.object_0_name", "Input.object_1_name",
            "Answer.task-count-0", "Answer.task-count-1",
            "Answer.task-color-0", "Answer.task-color-1", "Answer.task-position-x", "Answer.task-position-y"];
        var path = folder.Write("annotations.csv",
            $"{string.Join(',', columns)},Answer.task-count-0\n7,p,dog,,1,,,,,,5\n");
        var metadata = new Dictionary<string,
            System.Text.Json.JsonElement> { ["p"] = PythonJson.Parse(
                """{"tag": "single_object", "include": [{"class": "dog", "count": 1}]}""") };
        Assert.Equal(1, GenEvalAnnotations.Read(path, metadata).Images.Single().Yes);
    }

    public void Dispose() => folder.Dispose();

    // a PNG that declares a size and holds next to nothing
    private static byte[] Declaring(int width, int height)
    {
        var png = Png.Encode(new RgbImage(1, 1, new byte[3]));
        System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(16), width);
        System.Buffers.Binary.BinaryPrimitives.WriteInt32BigEndian(png.AsSpan(20), height);
        return png;
    }
}
