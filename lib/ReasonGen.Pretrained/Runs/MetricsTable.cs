using System.Globalization;
using System.Text;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using static TorchSharp.torch.utils;

namespace ReasonGen.Runs;

/// <summary>
/// The numbers of a run, a row a step: a .csv that is always whole, and the same as events for TensorBoard. The table
/// is what is resumed from; events
/// are written from it anew when a run goes on, so that none stands there twice.
/// </summary>
public sealed class MetricsTable
{
    private readonly string path;
    private readonly string? prefix;
    private readonly TorchSharp.Modules.SummaryWriter? events;
    private readonly List<string> columns = ["step"];
    private readonly List<double[]> rows = [];

    /// <summary>Opens a table with the rows before a step; those from there on will be made again.</summary>
    /// <param name="path">The .csv; its first column is "step".</param>
    /// <param name="steps">Steps that are done.</param>
    /// <param name="events">Takes the same numbers; null for none.</param>
    /// <param name="prefix">Begins the names of its curves.</param>
    /// <exception cref="UnusableFileException">The file is damaged.</exception>
    internal MetricsTable(string path, long steps, TorchSharp.Modules.SummaryWriter? events, string? prefix = null)
    {
        (this.path, this.events, this.prefix) = (path, events, prefix);
        if (steps > 0 && File.Exists(path))
        {
            var lines = TextFile.Read(path).TrimEnd().Split('\n');
            columns.AddRange(lines[0].Split(',').Skip(1));
            foreach (var (i, line) in lines.Skip(1).Index())
            {
                double[] row = [.. line.Split(',')
                    .Select(value => double.TryParse(value, CultureInfo.InvariantCulture, out var number) ? number
                    : throw Damaged($"line {i + 2} holds '{value}'"))];
                rows.Add(row.Length == columns.Count ? row
                    : throw Damaged($"line {i + 2} holds {row.Length} numbers, not {columns.Count}"));
            }

            rows.RemoveAll(row => row[0] >= steps);
            rows.ForEach(Report);
        }

        UnusableFileException Damaged(string what) =>
            new(path, what, "restore the file, or begin the run anew in another folder");
    }

    /// <summary>Rows, a number a column; the first is the step.</summary>
    public IReadOnlyList<double[]> Rows => rows;

    /// <summary>Names of the columns.</summary>
    public IReadOnlyList<string> Columns => columns;

    /// <summary>The newest number of a column.</summary>
    public double Last(string column) => rows[^1][columns.IndexOf(column)];

    /// <summary>Adds a row; columns that are new are added, and empty (NaN) in the rows before.</summary>
    public void Add(long step, IEnumerable<(string Name, double Value)> values)
    {
        var named = values.Prepend(("step", (double)step)).ToArray();
        foreach (var (name, _) in named.Where(value => !columns.Contains(value.Item1)))
        {
            columns.Add(name);
            for (var i = 0; i < rows.Count; i++)
            {
                rows[i] = [.. rows[i], double.NaN];
            }
        }

        var row = Enumerable.Repeat(double.NaN, columns.Count).ToArray();
        foreach (var (name, value) in named)
        {
            row[columns.IndexOf(name)] = value;
        }

        rows.Add(row);
        Report(row);
    }

    /// <summary>Writes the .csv.</summary>
    /// <exception cref="UnusableFileException">It cannot be written; the one before stays.</exception>
    public void Save()
    {
        var text = new StringBuilder(string.Join(',', columns)).Append('\n');
        rows.ForEach(row => text.AppendJoin(',', row.Select(value => value.ToString("R", CultureInfo.InvariantCulture)))
            .Append('\n'));
        try
        {
            AtomicFile.Write(path, text.ToString());
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(path, $"it cannot be written: {e.Message.TrimEnd('.')}",
                "free space or choose a folder that can be written; the run goes on from what was saved before", e);
        }
    }

    private void Report(double[] row)
    {
        for (var i = 1; i < row.Length; i++)
        {
            if (double.IsFinite(row[i]))
            {
                events?.add_scalar(prefix is null ? columns[i] : $"{prefix}/{columns[i]}", (float)row[i], (int)row[0]);
            }
        }
    }
}
