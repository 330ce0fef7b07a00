using System.Globalization;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>
/// A study in three files: <c>paper-results.csv</c> (a row a run and way of sampling), <c>paper-curves.csv</c> (means
/// over some steps of each run) and <c>paper-runs.json</c> (what it takes to make each run again).
/// </summary>
public static class PaperFiles
{
    internal const string Results = "paper-results.csv", Curves = "paper-curves.csv", Runs = "paper-runs.json";
    private const int PointsOfCurve = 24;

    internal static readonly string[] Samplings = ["t1", "t0.5", "greedy"];

    internal static readonly string[] Measures =
        ["plan_correct", "image_follows_plan", "layout_entropy", "distinct_scenes", "distinct_images"];

    internal static readonly string[] CurveColumns =
    [
        "reward", "judged", "detector", "fooled", "missed", "plan", "follows", "scenes", "text_entropy",
        "image_entropy", "deciding_entropy", "ground_entropy", "text_alpha", "image_alpha", "kl", "groups",
    ];

    internal static readonly string[] ResultColumns =
        ["seed", "run", "sampling", .. Prompts.Tasks, .. Measures, "prompts_per_task", "right"];

    internal static readonly string[] PointColumns = ["seed", "run", "step", .. CurveColumns];

    /// <summary>Gathers all that is finished; where nothing is, the files stay as they are.</summary>
    /// <param name="work">Whose items are looked at.</param>
    /// <param name="target">Folder of the three files, each of which is written whole or not at all.</param>
    /// <param name="add">Whether what they tell of other seeds than those that are gathered stays in them. A seed is of
    /// one machine and one study, whole: its runs began from the same weights.</param>
    /// <param name="all">Whether everything that is finished in the folder of the work is gathered, and not its items
    /// alone.</param>
    /// <returns>How many items were gathered, and how many bytes the files have; 0 where nothing is finished.</returns>
    /// <exception cref="UnusableFileException">An item is damaged or was made with other settings, or the files cannot
    /// be written, or not be added to.</exception>
    public static (int Items, long Bytes) Collect(PaperWork work, string target, bool add = false, bool all = false)
    {
        var items = all ? work.Items.Concat(Others(work.Folder)).DistinctBy(item => item.Id) : work.Items;
        (PaperItem Item, RunRecord Record)[] finished = [.. items.Select(item => (item, work.Recorded(item)!))
            .Where(one => one.Item2 is not null)];
        if (finished.Length == 0)
        {
            return (0, 0);
        }

        var seeds = finished.Select(one => one.Item.Seed).ToHashSet();
        var kept = add && PaperStudy.IsIn(target) ? PaperStudy.Load(target) : null;
        StringBuilder Table(string file, string[] columns) => new StringBuilder($"{string.Join(',', columns)}\n")
            .AppendJoin("", (kept is null ? [] : File.ReadAllLines(Path.Combine(target, file)).Skip(1))
                .Where(line => !seeds.Contains(PaperStudy.Whole(line.Split(',')[0]))).Select(line => line + "\n"));
        var (results, curves) = (Table(Results, ResultColumns), Table(Curves, PointColumns));
        var runs = new JArray(kept?.Runs.Where(run => run["seed"] is not JValue { Value: long seed }
            || !seeds.Contains(seed)) ?? []);
        foreach (var (item, record) in finished)
        {
            var scored = record.Results["t1"] is JObject;
            runs.Add(Description(item, record, scored));
            foreach (var sampling in scored ? Samplings : [])
            {
                var right = record.Score(sampling).Right ?? throw new UnusableFileException(record.Name,
                    "its record does not tell which images were right: an earlier version of the kit made it",
                    "make the run again in another folder");
                results.Append(Row(item.Stage, record, sampling, right)).Append('\n');
            }

            if (item.Run is { LongSft: false })
            {
                curves.AppendJoin("", Points(item.Stage, record).Select(line => line + "\n"));
            }
        }

        try
        {
            using var files = new AtomicFiles(target);
            foreach (var (name, text) in new[]
            {
                (Results, results.ToString()), (Curves, curves.ToString()), // the json last: then all is there
                (Runs, new JObject { ["runs"] = runs }.ToString(Formatting.Indented) + "\n"),
            })
            {
                files.Write(name, file => file.Write(Encoding.UTF8.GetBytes(text)));
            }

            files.Commit();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(target, $"the study could not be gathered there: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written; what was there before is intact", e);
        }

        return (finished.Length, new[] { Results, Curves,
            Runs }.Sum(name => new FileInfo(Path.Combine(target, name)).Length));
    }

    // all that there may be of the seeds in a study's folder
    private static IEnumerable<PaperItem> Others(string folder) => !Directory.Exists(folder) ? []
        : Directory.GetDirectories(folder, "seed*").Select(path => Path.GetFileName(path)["seed".Length..])
            .Where(name => int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var seed)
                && seed >= 1 && name == $"{seed}")
            .Select(int.Parse).Order().SelectMany(seed => PaperPlan.Items(1, first: seed));

    // tokenizer and judges have no benchmark: what was measured of them is kept here
    private static JObject Description(PaperItem item, RunRecord record, bool scored)
    {
        var description = new JObject
        {
            ["seed"] = item.Seed, ["run"] = item.Stage, ["part"] = item.Run?.Part.ToString().ToLowerInvariant(),
            ["commit"] = record.Commit, ["command"] = record.Command, ["machine"] = record.Machine,
            ["seconds"] = Math.Round(record.Seconds, 1), ["settings"] = record.Settings,
        };
        if (!scored)
        {
            description["results"] = record.Results;
        }

        return description;
    }

    internal static string Row(string arm, RunRecord record, string sampling, IReadOnlyList<bool> right)
    {
        var score = record.Score(sampling);
        double Measured(string name) => record.Results[name] is null ? double.NaN : record.Result(name);
        double[] measures =
        [
            score.PlanCorrect, score.ImageFollowsPlan, score.LayoutEntropy, Measured("distinct_scenes"),
            Measured("distinct_images"),
        ];
        return string.Join(',', [$"{record.Seed}", arm, sampling, .. Prompts.Tasks.Select(task =>
            Number(score.Tasks[task])), .. measures.Select(Number), $"{score.PromptsPerTask}", Bits.Write(right)]);
    }

    // each point is the mean of some steps, and stands at their middle
    internal static IEnumerable<string> Points(string arm, RunRecord record)
    {
        var points = Math.Min(PointsOfCurve, record.Count);
        double[][] columns = [.. CurveColumns.Select(column => record.Columns.Contains(column) ? record[column]
            : column is "judged" or "detector" ? record["reward"] // no judge but the detector
            : [.. Enumerable.Repeat(double.NaN, record.Count)])];
        for (var point = 0; point < points; point++)
        {
            var (start, end) = (point * record.Count / points, (point + 1) * record.Count / points);
            yield return string.Join(',', [$"{record.Seed}", arm, Number((start + end - 1) / 2.0),
                .. columns.Select(column => Number(column[start..end].Average()))]);
        }
    }

    // not a number: nothing
    private static string Number(double value) =>
        double.IsFinite(value) ? value.ToString("G4", CultureInfo.InvariantCulture) : "";
}
