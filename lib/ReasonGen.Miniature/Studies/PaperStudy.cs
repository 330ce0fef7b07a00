using System.Globalization;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Scoring;
using ReasonGen.World;

namespace ReasonGen.Studies;

/// <summary>A curve over the seeds of an arm.</summary>
/// <param name="Steps">Where the points are.</param>
/// <param name="Points">Mean over seeds, with Student's interval; without one for a single seed.</param>
public sealed record PaperCurve(double[] Steps, Interval[] Points);

/// <summary>One arm of the study: its runs with all the seeds there are.</summary>
public sealed class PaperArm
{
    private readonly IReadOnlyList<IReadOnlyDictionary<string, string>> rows, points;

    internal PaperArm(string name, IReadOnlyList<IReadOnlyDictionary<string, string>> rows,
        IReadOnlyList<IReadOnlyDictionary<string, string>> points, long steps) =>
        (Name, this.rows, this.points, RlSteps) = (name, rows, points, steps);

    /// <summary>As in the table of runs: "adaptive", "penalty-0.02", "none-flips-0.1", …</summary>
    public string Name { get; }

    /// <summary>Training seeds that were run.</summary>
    public IReadOnlyList<long> Seeds => [.. rows.Select(row => PaperStudy.Whole(row["seed"])).Distinct()];

    /// <summary>Whether there are curves: it was trained by rewards.</summary>
    public bool HasCurves => points.Count > 0;

    /// <summary>Steps of GRPO that its runs took; 0 where there is none, or it is not known.</summary>
    public long RlSteps { get; }

    /// <summary>Benchmark: mean of six tasks, then of seeds; 95 % over seeds and prompts.</summary>
    /// <param name="sampling">"t1", "t0.5" or "greedy".</param>
    /// <param name="task">One of the tasks, for that alone.</param>
    public Interval Score(string sampling = "t1", string? task = null) =>
        Within(SeedIntervals.Mean([.. Outcomes(sampling).Select(seed => task is null ? seed
            : seed with { Tasks = [seed.Tasks[Prompts.Tasks.ToList().IndexOf(task)]] })]));

    /// <summary>Benchmark: interquartile mean over all seeds' tasks; 95 % over seeds and prompts.</summary>
    /// <param name="sampling">"t1", "t0.5" or "greedy".</param>
    public Interval InterquartileMean(string sampling = "t1") =>
        Within(SeedIntervals.InterquartileMean(Outcomes(sampling)));

    /// <summary>How much better another arm is, paired by seed and prompt.</summary>
    /// <param name="other">The arm that is held against this one.</param>
    /// <param name="sampling">"t1", "t0.5" or "greedy".</param>
    /// <returns>Other minus this, and over how many seeds.</returns>
    /// <exception cref="ArgumentException">They have no seed in common.</exception>
    public (Interval Difference, int Seeds) To(PaperArm other, string sampling = "t1")
    {
        var (difference, seeds) = SeedIntervals.Difference(Outcomes(sampling), other.Outcomes(sampling));
        return (Within(difference, -1), seeds);
    }

    /// <summary>A measure of each seed by its name: plan_correct, image_follows_plan, layout_entropy, distinct_scenes,
    /// distinct_images or a task. NaN where there was nothing to measure.</summary>
    /// <param name="measure">Its name.</param>
    /// <param name="sampling">"t1", "t0.5" or "greedy"; the distinct ones are of temperature 1 in any case.</param>
    /// <exception cref="ArgumentException">There is no such measure.</exception>
    public IReadOnlyDictionary<long, double> Of(string measure, string sampling = "t1") =>
        PaperFiles.Measures.Contains(measure) || Prompts.Tasks.Contains(measure)
        ? Rows(sampling).ToDictionary(row => PaperStudy.Whole(row["seed"]), row => PaperStudy.Real(row[measure]))
        : throw new ArgumentException($"there is no measure '{measure}'; there are "
            + string.Join(", ", PaperFiles.Measures.Concat(Prompts.Tasks)), nameof(measure));

    /// <summary>Mean of a measure over seeds, with Student's interval, as far as the measure can go.</summary>
    /// <inheritdoc cref="Of(string, string)"/>
    public Interval Mean(string measure, string sampling = "t1") =>
        Possible(measure, SeedIntervals.Mean([.. Of(measure, sampling).Values]));

    /// <summary>Mean of the last quarter of a curve, of each seed.</summary>
    /// <inheritdoc cref="Over{T}(string, Func{double[], T})"/>
    public IReadOnlyDictionary<long, double> Late(string column) =>
        Over(column, curve => curve.TakeLast((curve.Length + 3) / 4).Average());

    /// <summary>Mean of <see cref="Late"/> over seeds, with Student's interval, as far as the column can go.</summary>
    /// <inheritdoc cref="Over{T}(string, Func{double[], T})"/>
    public Interval End(string column) => Possible(column, SeedIntervals.Mean([.. Late(column).Values]));

    /// <summary>What is taken from the curve of each seed: a number, or all its points.</summary>
    /// <param name="column">As for <see cref="Curve"/>.</param>
    /// <param name="of">Takes it from the points.</param>
    /// <typeparam name="T">Of what is taken.</typeparam>
    /// <exception cref="ArgumentException">There is no such column, or the arm has no curves.</exception>
    public IReadOnlyDictionary<long, T> Over<T>(string column, Func<double[], T> of) => Points(column)
        .GroupBy(point => PaperStudy.Whole(point["seed"])).ToDictionary(seed => seed.Key,
            seed => of([.. seed.Select(point => PaperStudy.Real(point[column]))]));

    /// <summary>The same arm with the seeds that another has, too: means of other seeds are not to be held against each
    /// other.</summary>
    public PaperArm Beside(PaperArm other)
    {
        var common = other.Seeds.ToHashSet();
        bool Is(IReadOnlyDictionary<string, string> row) => common.Contains(PaperStudy.Whole(row["seed"]));
        return new(Name, [.. rows.Where(Is)], [.. points.Where(Is)], RlSteps);
    }

    /// <summary>A column over the steps: mean over seeds and band, as far as the column can go.</summary>
    /// <param name="column">reward (of the first round of a step, by the judge), judged and detector (of all rounds),
    /// fooled, missed, plan, follows, scenes, text_entropy, image_entropy, deciding_entropy, ground_entropy,
    /// text_alpha, image_alpha, kl or groups.</param>
    /// <exception cref="ArgumentException">There is no such column, or the arm has no curves.</exception>
    public PaperCurve Curve(string column)
    {
        var steps = Points(column).GroupBy(point => PaperStudy.Real(point["step"])).OrderBy(step => step.Key).ToArray();
        return new([.. steps.Select(step => step.Key)], [.. steps.Select(step =>
            Possible(column, SeedIntervals.Mean([.. step.Select(point => PaperStudy.Real(point[column]))])))]);
    }

    /// <summary>Verdicts of each seed on the benchmark's prompts, task by task.</summary>
    /// <param name="sampling">"t1", "t0.5" or "greedy".</param>
    public IReadOnlyList<SeedOutcomes> Outcomes(string sampling) => [.. Rows(sampling).Select(row =>
    {
        var prompts = (int)PaperStudy.Whole(row["prompts_per_task"]);
        var right = Bits.Read(row["right"], prompts * Prompts.Tasks.Count);
        return new SeedOutcomes(PaperStudy.Whole(row["seed"]),
            [.. right.Chunk(prompts).Select(task => task.Select(one => one ? 1.0 : 0).ToArray())]);
    })];

    private IReadOnlyList<IReadOnlyDictionary<string, string>> Points(string column) =>
        PaperFiles.CurveColumns.Contains(column) && points.Count > 0 ? points
        : throw new ArgumentException(points.Count == 0 ? $"'{Name}' has no curves"
            : $"there is no curve '{column}'; there are {string.Join(", ", PaperFiles.CurveColumns)}", nameof(column));

    private IReadOnlyDictionary<string, string>[] Rows(string sampling) => PaperFiles.Samplings.Contains(sampling)
        ? [.. rows.Where(row => row["sampling"] == sampling)]
        : throw new ArgumentException(
            $"there is no sampling '{sampling}'; there are {string.Join(", ", PaperFiles.Samplings)}",
            nameof(sampling));

    private static Interval Possible(string column, Interval of) => column switch
    {
        "text_alpha" or "image_alpha" or "kl" => of,
        "groups" => Within(of, most: GrpoConfig.Mini.PromptsPerStep),
        "layout_entropy" => Within(of, most: Math.Log(WorldConfig.Places.Count)),
        _ => Within(of, most: column.EndsWith("entropy") ? double.PositiveInfinity : 1),
    };

    // a share, unless something else is said
    private static Interval Within(Interval of, double least = 0, double most = 1) =>
        new(of.Value, Math.Max(least, of.Low), Math.Min(most, of.High));
}

/// <summary>The recorded study of the paper, as <c>reasongen study paper --collect</c> gathered it.</summary>
public sealed class PaperStudy
{
    private const int MostPrompts = 1_000_000; // of a task
    private const string Restore =
        "restore the file from the repository, or gather it again with 'reasongen study paper --collect'";

    private readonly Dictionary<string, PaperArm> arms;

    internal PaperStudy(Dictionary<string, PaperArm> arms, IReadOnlyList<JObject> runs) =>
        (this.arms, Runs) = (arms, runs);

    /// <summary>Names of all arms that have a benchmark, "base" and "sft" among them, in the order of their
    /// making.</summary>
    public IReadOnlyList<string> Arms => [.. arms.Keys];

    /// <summary>Of every run: seed, run, part, commit, command, machine, seconds, settings; of tokenizers and judges
    /// their results.</summary>
    public IReadOnlyList<JObject> Runs { get; }

    /// <summary>Whether these are single runs in place of a study.</summary>
    public bool OfSingleRuns => Runs.Count == 0;

    /// <summary>Revisions of the code that made the runs. Those of one seed may be of several: its first models and
    /// what was trained from them later.</summary>
    public IReadOnlyList<string> Commits => [.. Runs.Select(run => (string)run["commit"]!).Distinct()];

    /// <summary>Machines that the runs were made on.</summary>
    public IReadOnlyList<string> Machines =>
        [.. Runs.Select(run => (string?)run["machine"]).OfType<string>().Distinct()];

    /// <summary>Whether arms were run, all of them.</summary>
    public bool Has(params ReadOnlySpan<string> names)
    {
        foreach (var name in names)
        {
            if (!arms.ContainsKey(name))
            {
                return false;
            }
        }

        return true;
    }

    /// <summary>These arms alone, of those there are.</summary>
    public PaperStudy Only(params ReadOnlySpan<string> names) =>
        new(names.ToArray().Distinct().Where(arms.ContainsKey).ToDictionary(name => name, name => arms[name]), Runs);

    /// <summary>These arms alone, each with the seeds that all of them have, so that their means stand beside each
    /// other.</summary>
    public PaperStudy Common(params ReadOnlySpan<string> names)
    {
        var some = Only(names);
        PaperArm Least(PaperArm arm) => some.arms.Values.Aggregate(arm, (found, other) => found.Beside(other));
        return new(some.arms.Values.Select(Least).Where(arm => arm.Seeds.Count > 0).ToDictionary(arm => arm.Name),
            Runs);
    }

    /// <summary>An arm by its name.</summary>
    /// <exception cref="ArgumentException">It was not run.</exception>
    public PaperArm this[string arm] => arms.TryGetValue(arm, out var found) ? found
        : throw new ArgumentException($"the study has no arm '{arm}'; it has {string.Join(", ", arms.Keys)}",
            nameof(arm));

    /// <summary>A number of each seed that was measured of a tokenizer or judge.</summary>
    /// <param name="run">Its name.</param>
    /// <param name="path">Of the number among the results: "sft.accuracy".</param>
    public IReadOnlyDictionary<long, double> Measured(string run, string path) => Runs
        .Where(one => (string?)one["run"] == run && one["seed"] is JValue { Value: long }
            && one.SelectToken($"results.{path}") is JValue { Value: double or long })
        .DistinctBy(one => (long)one["seed"]!)
        .ToDictionary(one => (long)one["seed"]!, one => (double)one.SelectToken($"results.{path}")!);

    /// <summary>Settings of a run; of its first seed.</summary>
    /// <exception cref="ArgumentException">It was not run.</exception>
    public JObject Settings(string run) =>
        Runs.FirstOrDefault(one => (string?)one["run"] == run)?["settings"] as JObject
        ?? throw new ArgumentException($"the study has no run '{run}'", nameof(run));

    /// <summary>Whether a folder holds a study.</summary>
    public static bool IsIn(string folder) => File.Exists(Path.Combine(folder, PaperFiles.Runs));

    /// <summary>The study that ships; without any arm where none does.</summary>
    /// <exception cref="UnusableFileException">A file is damaged.</exception>
    public static PaperStudy Recorded() =>
        IsIn(Path.Combine(Study.DataFolder(), "runs")) ? Load() : Empty;

    /// <summary>A study without any arm.</summary>
    public static PaperStudy Empty { get; } = new([], []);

    /// <summary>Reads a study.</summary>
    /// <param name="folder">Holds the three files; by default where the recorded one ships.</param>
    /// <exception cref="UnusableFileException">A file is missing or damaged.</exception>
    public static PaperStudy Load(string? folder = null)
    {
        folder = folder is null ? Path.Combine(Study.DataFolder(), "runs") : Path.GetFullPath(folder);
        var results = Once(Path.Combine(folder, PaperFiles.Results), PaperFiles.ResultColumns,
            row => row["sampling"]);
        var curves = Once(Path.Combine(folder, PaperFiles.Curves), PaperFiles.PointColumns,
            row => $"step {row["step"]}").ToLookup(row => row["run"]);
        var runs = Read(Path.Combine(folder, PaperFiles.Runs), text =>
            JObject.Parse(text)["runs"] is JArray all && all.All(IsDescription) ? all.Cast<JObject>().ToArray()
            : throw new FormatException("it has no list of runs, each with its name and revision"));
        long Steps(string arm) => runs.FirstOrDefault(run => (string)run["run"]! == arm)?["settings"] is JObject found
            && found["steps"] is JValue { Value: long steps } ? steps : 0;
        return new(results.GroupBy(row => row["run"]).ToDictionary(group => group.Key,
            group => new PaperArm(group.Key, [.. group], [.. curves[group.Key]], Steps(group.Key))), runs);
    }

    internal static long Whole(string text) => long.Parse(text, CultureInfo.InvariantCulture);

    internal static double Real(string text) =>
        text.Length == 0 ? double.NaN : double.Parse(text, CultureInfo.InvariantCulture);

    // a table with one row of each seed, run and what a function names
    private static IReadOnlyDictionary<string, string>[] Once(string path, string[] columns,
        Func<IReadOnlyDictionary<string, string>, string> of)
    {
        var rows = Table(path, columns);
        return rows.CountBy(row => $"{row["run"]}, seed {row["seed"]}, {of(row)}").FirstOrDefault(one => one.Value > 1)
            is { Value: > 1, Key: var twice }
            ? throw new UnusableFileException(path, $"it tells twice of {twice}", Restore) : rows;
    }

    private static IReadOnlyDictionary<string, string>[] Table(string path, string[] columns) => Read(path, text =>
    {
        var lines = text.ReplaceLineEndings("\n").Split('\n');
        if (lines is not [_, .., ""] || !lines[0].Split(',').SequenceEqual(columns))
        {
            throw new FormatException(lines is [.., ""] ? $"its columns are not {string.Join(", ", columns)}"
                : $"its last line, {lines.Length}, is cut short");
        }

        return lines[1..^1].Select((line, i) =>
        {
            var cells = line.Split(',');
            if (cells.Length != columns.Length)
            {
                throw new FormatException(
                    $"line {i + 2} has {cells.Length} cells, and there are {columns.Length} columns");
            }

            var row = columns.Zip(cells).ToDictionary();
            foreach (var (column, cell) in row)
            {
                _ = column is "run" or "sampling" or "right" ? 0 : Real(cell);
            }

            _ = Whole(row["seed"]);
            if (row.TryGetValue("right", out var bits))
            {
                _ = Whole(row["prompts_per_task"]) is >= 1 and <= MostPrompts and var prompts
                    ? Bits.Read(bits, (int)prompts * Prompts.Tasks.Count)
                    : throw new FormatException($"line {i + 2} tells of {row["prompts_per_task"]} prompts a task");
            }

            return (IReadOnlyDictionary<string, string>)row;
        }).ToArray();
    });

    private static bool IsDescription(JToken run) =>
        run is JObject && run["run"] is JValue { Value: string } && run["commit"] is JValue { Value: string };

    private static T Read<T>(string path, Func<string, T> parse)
    {
        try
        {
            return parse(File.ReadAllText(path));
        }
        catch (Exception e) when (e is FormatException or OverflowException or JsonException or InvalidCastException
            or ArgumentException || FileKinds.IsAboutFile(e))
        {
            throw new UnusableFileException(path, $"the recorded study cannot be read: {e.Message.TrimEnd('.')}",
                Restore, e);
        }
    }
}
