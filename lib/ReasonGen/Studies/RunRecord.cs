using System.Globalization;
using System.Reflection;
using System.Runtime.InteropServices;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;

namespace ReasonGen.Studies;

/// <summary>
/// A run that was really made: a row of numbers a step, and what it takes to make it again. On disk a <c>.csv</c> with the rows beside a
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

    /// <summary>Operating system, processors and runtime it was made on.</summary>
    public string Machine { get; private set; } = $"{RuntimeInformation.OSDescription}, {Environment.ProcessorCount} processors, {RuntimeInformation.FrameworkDescription}";

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
    public double[] this[string column] => columns.IndexOf(column) is >= 0 and var index ? rows.Select(row => row[index]).ToArray()
        : throw new ArgumentException($"run '{Name}' has no column '{column}'; it has {string.Join(", ", columns)}");

    /// <summary>The revision this assembly was built from, or "unknown" outside a checkout.</summary>
    public static string CurrentCommit { get; } = typeof(RunRecord).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()
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
            throw new ArgumentException($"run '{Name}' has columns {string.Join(", ", columns)}, not {string.Join(", ", names)}");
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

    /// <summary>Writes both files, each whole or not at all.</summary>
    public void Save(string folder)
    {
        Directory.CreateDirectory(folder);
        var lines = rows.Select(row => string.Join(',', row.Select(value => value.ToString("G6", CultureInfo.InvariantCulture))));
        Replace(Path.Combine(folder, Name + ".csv"), string.Join(',', columns) + "\n" + string.Concat(lines.Select(line => line + "\n")));
        var json = new JObject
        {
            ["name"] = Name, ["seed"] = Seed, ["commit"] = Commit, ["command"] = Command, ["machine"] = Machine,
            ["seconds"] = Math.Round(Seconds, 1), ["settings"] = Settings, ["results"] = Results,
        };
        Replace(Path.Combine(folder, Name + ".json"), json.ToString(Formatting.Indented) + "\n");
    }

    /// <summary>Reads both files.</summary>
    /// <exception cref="CheckpointException">One is missing or damaged.</exception>
    public static RunRecord Load(string folder, string name)
    {
        var path = Path.Combine(folder, name + ".json");
        try
        {
            var json = JObject.Parse(File.ReadAllText(path));
            var record = new RunRecord((string)json["name"]!, (long)json["seed"]!, (string)json["command"]!)
            {
                Commit = (string)json["commit"]!, Machine = (string)json["machine"]!, Seconds = (double)json["seconds"]!,
                Settings = (JObject)json["settings"]!, Results = (JObject)json["results"]!,
            };
            path = Path.Combine(folder, name + ".csv");
            var lines = File.ReadAllLines(path);
            record.columns.AddRange(lines[0].Split(',', StringSplitOptions.RemoveEmptyEntries));
            record.rows.AddRange(lines.Skip(1).Select(line => line.Split(',').Select(cell => double.Parse(cell, CultureInfo.InvariantCulture)).ToArray()));
            return record;
        }
        catch (Exception e) when (e is IOException or JsonException or FormatException or ArgumentNullException or IndexOutOfRangeException)
        {
            throw new CheckpointException(path, $"the recorded run cannot be read: {e.Message}",
                $"restore the file from the repository, or record the run again with 'reasongen study'");
        }
    }

    private static void Replace(string path, string text)
    {
        File.WriteAllText(path + ".tmp", text);
        File.Move(path + ".tmp", path, overwrite: true);
    }
}
