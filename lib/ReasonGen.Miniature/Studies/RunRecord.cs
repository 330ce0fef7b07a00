using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;

namespace ReasonGen.Studies;

/// <summary>
/// A run that was really made: a row of numbers a step, and what it takes to make it again. On disk a <c>.csv</c> with
/// the rows beside a
/// <c>.json</c> with the rest.
/// </summary>
public sealed class RunRecord
{
    private readonly List<string> columns = [];
    private readonly List<double[]> rows = [];

    /// <param name="name">File name without ending, for example "sft".</param>
    /// <param name="seed">The seed the run was made with.</param>
    /// <param name="command">The command that makes it again.</param>
    public RunRecord(string name, long seed, string command) => (Name, Seed, Command) = (name, seed, command);

    public string Name { get; }

    public long Seed { get; }

    public string Command { get; }

    /// <summary>Revision of the code that made the run.</summary>
    public string Commit { get; private set; } = CurrentCommit;

    /// <summary>Operating system, processors, runtime and GPU it was made on.</summary>
    public string Machine { get; private set; } = $"{RuntimeInformation.OSDescription}, "
        + $"{Environment.ProcessorCount} processors, {RuntimeInformation.FrameworkDescription}";

    /// <summary>Every setting of the run.</summary>
    public JObject Settings { get; set; } = [];

    /// <summary>What was measured once, at the end.</summary>
    public JObject Results { get; set; } = [];

    /// <summary>Wall-clock seconds of the whole run.</summary>
    public double Seconds { get; set; }

    public IReadOnlyList<string> Columns => columns;

    /// <summary>Rows recorded.</summary>
    public int Count => rows.Count;

    /// <summary>One column, a value a row.</summary>
    /// <exception cref="ArgumentException">There is no such column.</exception>
    public double[] this[string column] =>
        columns.IndexOf(column) is >= 0 and var index ? rows.Select(row => row[index]).ToArray()
        : throw new ArgumentException($"run '{Name}' has no column '{column}'; it has {string.Join(", ", columns)}");

    /// <summary>One recorded benchmark.</summary>
    /// <param name="sampling">"t1" (temperature 1), "t0.5" or "greedy".</param>
    /// <exception cref="ArgumentException">There is no such benchmark in this run.</exception>
    public BenchmarkResult Score(string sampling = "t1") =>
        Results[sampling] is JObject score && Results["prompts_per_task"] is { } prompts
        ? BenchmarkResult.FromJson(score, (int)prompts)
        : throw new ArgumentException($"run '{Name}' has no benchmark '{sampling}'; its results are {Names(Results)}",
            nameof(sampling));

    /// <summary>One recorded number by its path, for example "round_trip_plain" or "sft.accuracy"; NaN where it could
    /// not be measured.</summary>
    /// <exception cref="ArgumentException">There is no such number in this run.</exception>
    public double Result(string path)
    {
        JToken? at = Results;
        foreach (var name in path.Split('.'))
        {
            at = (at as JObject)?[name];
        }

        return at?.Type switch
        {
            JTokenType.Float or JTokenType.Integer => (double)at,
            JTokenType.Null => double.NaN,
            _ => throw new ArgumentException($"run '{Name}' has no number '{path}'; its results are {Names(Results)}",
                nameof(path)),
        };
    }

    private static string Names(JObject results) =>
        string.Join(", ", results.Properties().Select(one => one.Name).DefaultIfEmpty("none"));

    /// <summary>The revision this assembly was built from, or "unknown" outside a checkout.</summary>
    public static string CurrentCommit { get; } =
        typeof(RunRecord).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
        ?.InformationalVersion.Split('+') is [_, var revision, ..] ? revision : "unknown";

    /// <summary>Adds a row; the first one names the columns.</summary>
    public void Add(params ReadOnlySpan<(string Column, double Value)> values)
    {
        var names = new string[values.Length];
        var row = new double[values.Length];
        for (var i = 0; i < values.Length; i++)
        {
            (names[i], row[i]) = values[i];
        }

        if (columns.Count == 0)
        {
            columns.AddRange(names);
        }
        else if (!columns.SequenceEqual(names))
        {
            throw new ArgumentException(
                $"run '{Name}' has columns {string.Join(", ", columns)}, not {string.Join(", ", names)}");
        }

        rows.Add(row);
    }

    /// <summary>Drops rows from <paramref name="count"/> on: what a resumed run will make again.</summary>
    public void TruncateTo(int count) => rows.RemoveRange(Math.Min(count, rows.Count), Math.Max(0, rows.Count - count));

    /// <summary>The newest value of a column.</summary>
    public double Last(string column) => rows[^1][columns.IndexOf(column)];

    /// <summary>Takes over the rows and the time of an interrupted run, to go on from there.</summary>
    internal void Continue(RunRecord before)
    {
        Seconds = before.rows.Sum(row => row[before.columns.IndexOf("seconds")]);
        columns.Clear();
        columns.AddRange(before.columns);
        rows.Clear();
        rows.AddRange(before.rows);
    }

    /// <summary>Tells where it is made: a GPU's last digits are not a CPU's.</summary>
    internal RunRecord On(ComputeTarget target)
    {
        Machine += target.IsCpu ? "" : $", {target.Gpu?.Name ?? target.Device.ToString()}";
        return this;
    }

    /// <summary>Writes both files, each whole or not at all.</summary>
    /// <exception cref="UnusableFileException">They cannot be written; what was there is intact.</exception>
    public void Save(string folder)
    {
        var lines = rows.Select(row =>
            string.Join(',', row.Select(value => value.ToString("G6", CultureInfo.InvariantCulture))));
        var table = string.Join(',', columns) + "\n" + string.Concat(lines.Select(line => line + "\n"));
        var json = new JObject
        {
            ["name"] = Name, ["seed"] = Seed, ["commit"] = Commit, ["command"] = Command, ["machine"] = Machine,
            ["seconds"] = Math.Round(Seconds, 1), ["settings"] = Settings, ["results"] = Results,
        };
        try
        {
            using var files = new AtomicFiles(folder);
            files.Write(Name + ".csv", file => file.Write(Encoding.UTF8.GetBytes(table)));
            files.Write(Name + ".json",
                file => file.Write(Encoding.UTF8.GetBytes(json.ToString(Formatting.Indented) + "\n")));
            files.Commit(); // the json last: a run is recorded when it is there
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(Path.Combine(folder, Name),
                $"the run could not be recorded: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written; what was saved before is intact", e);
        }
    }

    /// <summary>Reads both files.</summary>
    /// <param name="folder">Where they are.</param>
    /// <param name="name">Their name without ending.</param>
    /// <param name="remedy">What to do where they cannot be read.</param>
    /// <exception cref="UnusableFileException">One is missing or damaged.</exception>
    public static RunRecord Load(string folder, string name,
        string remedy = "restore the file from the repository, or record the run again with 'reasongen study'")
    {
        var path = Path.Combine(folder, name + ".json");
        try
        {
            using var reader = new JsonTextReader(new StringReader(File.ReadAllText(path)))
            {
                DateParseHandling = DateParseHandling.None,
            };
            var json =
                JObject.Load(reader, new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
            if (reader.Read())
            {
                throw new FormatException("something follows its closing brace");
            }

            T Member<T>(string member) =>
                json[member] is JValue { Value: T value } ? value : json[member] is T inner ? inner
                : throw new FormatException(
                    $"its '{member}' is {json[member]?.ToString(Formatting.None) ?? "missing"}");
            var record = new RunRecord(Member<string>("name"), Member<long>("seed"), Member<string>("command"))
            {
                Commit = Member<string>("commit"), Machine = Member<string>("machine"),
                Settings = Member<JObject>("settings"), Results = Member<JObject>("results"),
                Seconds = json["seconds"] is JValue { Value: long whole } ? whole : Member<double>("seconds"),
            };
            path = Path.Combine(folder, name + ".csv");
            record.ReadRows(File.ReadAllText(path));
            return record;
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            throw new UnusableFileException(path, $"the recorded run cannot be read: {e.Message.TrimEnd('.')}", remedy,
                e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw new UnusableFileException(path, $"the recorded run cannot be read: {e.Message.TrimEnd('.')}", remedy,
                e);
        }
    }

    private void ReadRows(string text)
    {
        string[] lines = text.ReplaceLineEndings("\n").Split('\n');
        if (lines.Length < 2 || lines[^1].Length > 0)
        {
            throw new FormatException($"its last line, {lines.Length}, is cut short");
        }

        columns.AddRange(lines[0].Length == 0 ? [] : lines[0].Split(','));
        if (columns.Count != columns.Distinct().Count() || columns.Any(string.IsNullOrWhiteSpace))
        {
            throw new FormatException($"its first line does not name the columns, each once: {lines[0]}");
        }

        foreach (var (number, line) in lines[1..^1].Index())
        {
            var cells = line.Split(',');
            if (cells.Length != columns.Count)
            {
                throw new FormatException(
                    $"line {number + 2} has {cells.Length} cells, and there are {columns.Count} columns");
            }

            rows.Add(
                [.. cells.Select((cell, i) =>
                    double.TryParse(cell, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) ? value
                : throw new FormatException(
                    $"line {number + 2}: its '{columns[i]}' is '{cell}', which is no number"))]);
        }
    }
}
