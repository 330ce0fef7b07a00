using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Imaging;
using ReasonGen.Judges.Images;
using ReasonGen.Judges.Mask2Former;
using ReasonGen.Notebook;
using ReasonGen.Served;
using ReasonGen.Studies;
using ReasonGen.Tests.Studies;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;

namespace ReasonGen.Tests.Fuzz;

/// <summary>Training data, images, prompts and recorded runs.</summary>
internal static class DataTargets
{
    private static readonly string Runs = Path.Combine(Study.DataFolder(), "runs");

    internal static FuzzTarget[] All { get; } =
    [
        FuzzTarget.OfFile("parquet", "set.parquet", Parquets, path =>
        {
            var set = SftParquet.Open(path);
            _ = set.FirstWithout("detailed_caption", "augmented_prompts.tags");
            _ = set.Rows().Take(20).Count();
        }) with { Memory = (64 << 20, 1000), Share = 0.5 },
        new("image", () => [.. Images(), .. Seeds.Golden("geneval/images/*")], folder => input =>
        {
            _ = ImageFile.Measure(input);
            _ = ImageFile.Decode(input.Length % 2 == 0 ? input : Seeds.WithChunkSums(input));
            _ = ScoredImage.Decode(input, upright: true);
            _ = ImageFile.Upright(input);
        }) { Refusals = [typeof(FormatException)], Memory = (256 << 20, 100_000) },
        FuzzTarget.OfFile("judged-image", "image.png", Images, path =>
        {
            var bytes = File.ReadAllBytes(path);
            File.WriteAllBytes(path, bytes.Length % 4 == 0 ? bytes : Seeds.WithChunkSums(bytes));
            _ = ImageReader.Read(path).Upright();
        }) with { Memory = (256 << 20, 100_000) },
        FuzzTarget.OfFile("detected-image", "image.png", Images, path => _ = DetectorImageFile.Read(path))
            with { Memory = (256 << 20, 100_000) },
        FuzzTarget.OfFile("geneval-prompts", "prompts.jsonl", () => [Seeds.Lines("geneval/metadata.jsonl", 5)],
            Prompts),
        FuzzTarget.OfFile("prompts", "prompts.txt", () => [Seeds.Utf8("a red apple\ntwo blue cubes\n"), [0xFF, 0xFE,
            .. System.Text.Encoding.Unicode.GetBytes("a dog\r\na cat")], Seeds.Utf8("{\"prompt\": \"x\"}")], Prompts),
        FuzzTarget.OfFile("dpg-prompts", "00.txt", () => [Seeds.Utf8("A photo of two apples.\n")], path =>
            _ = ImageSuite.Dpg(Path.GetDirectoryName(path)!, "out", 4).Items.Count),
        FuzzTarget.OfFile("settings-of-images", "generation.json", () =>
            [Seeds.Utf8("{\"settings\": {\"seed\": 1, \"prompts_sha256\": \"b\"}, \"about\": {\"version\": \"1\"}}")],
            path =>
            ImageSuite.Single("a dog", Path.GetDirectoryName(path)!, 1).Begin(new JObject { ["seed"] = 1 }, [])),
        FuzzTarget.OfFile("run-table", "rl-fixed.csv", () => [.. RunFile(".csv")], path => Record(path, ".json")),
        FuzzTarget.OfFile("run-record", "rl-fixed.json", () => [.. RunFile(".json")], path => Record(path, ".csv")),
        FuzzTarget.OfFile("study-results", "paper-results.csv", () => [Seeds.Utf8(SmallStudy.Results)], Paper),
        FuzzTarget.OfFile("study-curves", "paper-curves.csv", () => [Seeds.Utf8(SmallStudy.Curves)], Paper),
        FuzzTarget.OfFile("study-runs", "paper-runs.json", () => [Seeds.Utf8(SmallStudy.Runs)], Paper),
        FuzzTarget.OfFile("journal", "journal.jsonl", () =>
            [Seeds.Written("""{"task":"t","hash":"ab","captions":{"brief_caption":"x"}}""",
                """{"task":"t","hash":"cd","refused":"y"}""")],
            path => _ = CaptionJournal.Read(path, "t")),
        new("captions", Captions, folder => input => _ = Captioner.Read(System.Text.Encoding.UTF8.GetString(input)))
        {
            Refusals = [typeof(FormatException)], Tokens = ["</think>", "```json", "\"brief_caption\":",
                "\"augmented_prompts\":{}", "\"tags\":[]"], Memory = (64 << 20, 4000),
        },
    ];

    private static IReadOnlyList<byte[]> Parquets()
    {
        using var folder = new Host.TestFolder();
        var rows = WorldRows.Of(new WorldStream(new WorldConfig(), 1), 3).ToArray();
        SftParquet.Write(folder.At("set.parquet"), rows, 2);
        return [File.ReadAllBytes(folder.At("set.parquet")), .. new[] { "null-wordings.parquet",
            "prompts-as-json-text.parquet", "pages-v2.parquet" }.Select(name =>
            File.ReadAllBytes(HandedIn.Path(name)))];
    }

    private static IReadOnlyList<byte[]> Images() =>
        [.. Directory.GetFiles(HandedIn.Path("images")).Order(StringComparer.Ordinal).Select(File.ReadAllBytes),
        Png.Encode(new RgbImage(5, 4, new byte[60])), .. Seeds.Golden("clip/images/0.png")];

    private static void Prompts(string path)
    {
        var suite = ImageSuite.GenEval(path, "out", 2);
        _ = suite.Items.Sum(item => item.Images.Count());
    }

    // a few lines, so that the edits fall where something stands
    private static IEnumerable<byte[]> RunFile(string ending) => [File.ReadAllBytes(Path.Combine(Runs, "rl-fixed"
        + ending)),
        ending == ".csv" ? Seeds.Utf8("step,reward\n1,0.5\n2,0.25\n") : File.ReadAllBytes(Path.Combine(Runs,
            "sft.json"))];

    private static void Record(string path, string other)
    {
        var sound = Path.ChangeExtension(path, other);
        if (!File.Exists(sound))
        {
            File.Copy(Path.Combine(Runs, Path.GetFileName(sound)), sound);
        }

        var record = RunRecord.Load(Path.GetDirectoryName(path)!, "rl-fixed");
        record.TruncateTo(3);
        _ = record.Columns.Sum(column => record[column].Length);
    }

    private static void Paper(string path)
    {
        var folder = Path.GetDirectoryName(path)!;
        SmallStudy.Write(folder);
        var study = PaperStudy.Load(folder);
        foreach (var arm in study.Arms)
        {
            _ = study[arm].Seeds.Count + study[arm].Of("distinct_scenes").Count + study[arm].Outcomes("t1").Count;
        }

        _ = study.Commits.Count;
    }

    private static IReadOnlyList<byte[]> Captions()
    {
        var record = WorldRows.Of(new WorldStream(new WorldConfig(), 1), 1).Single().Record.ToString();
        return [Seeds.Utf8(record),
            Seeds.Utf8($"<think>{{\"brief_caption\"}} hm</think>Here it is:\n```json\n{record}\n```")];
    }
}
