using System.Diagnostics;

namespace ReasonGen.Notebook;

/// <summary>Shows something now and gives back how to replace it later: what a kernel's <c>display</c> offers.</summary>
public delegate Action<object> LiveOutput(object first);

/// <summary>Progress of long loops inside a cell: a line with rate and remaining time, and curves that grow, at a few updates a second at most.</summary>
public sealed class Live(LiveOutput output)
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    private static readonly AsyncLocal<CancellationToken> Token = new();

    /// <summary>Set by whoever runs the cell, for that cell; a loop stops at its next item, with what it has.</summary>
    public static CancellationToken Cancellation
    {
        get => Token.Value;
        set => Token.Value = value;
    }

    /// <summary>Passes items through and shows how far it is; with curves of one or more numbers of each item.</summary>
    /// <param name="items">The work: each item is made when it is asked for.</param>
    /// <param name="total">How many items there will be.</param>
    /// <param name="label">What is being done.</param>
    /// <param name="curves">Named numbers of an item to draw over the steps; none draws nothing.</param>
    public List<T> Run<T>(IEnumerable<T> items, int total, string label, params (string Name, Func<T, double> Value)[] curves)
    {
        var watch = Stopwatch.StartNew();
        var done = new List<T>();
        var update = output(Line(label, 0, total, TimeSpan.Zero));
        var last = watch.Elapsed;
        foreach (var item in items)
        {
            done.Add(item);
            Cancellation.ThrowIfCancellationRequested();
            if (watch.Elapsed - last > Interval || done.Count == 1)
            {
                update(Picture(done, total, label, watch.Elapsed, curves));
                last = watch.Elapsed;
            }
        }

        update(Picture(done, total, label, watch.Elapsed, curves));
        return done;
    }

    /// <summary>Shows a stage that a study trains: a line a second with the newest numbers.</summary>
    public Action<Studies.RunRecord, int> Follow()
    {
        Action<object>? update = null;
        var (name, last) = ("", Stopwatch.StartNew());
        return (record, total) =>
        {
            if (record.Name != name)
            {
                (name, update) = (record.Name, output(Line(record.Name, 0, total, TimeSpan.Zero)));
            }

            if (last.Elapsed > Interval || record.Count == total)
            {
                update!(Line(record.Name, record.Count, total, TimeSpan.FromSeconds(record.Seconds)));
                last.Restart();
            }
        };
    }

    private static IHtml Picture<T>(List<T> done, int total, string label, TimeSpan elapsed, (string Name, Func<T, double> Value)[] curves)
    {
        var line = Line(label, done.Count, total, elapsed);
        return curves.Length == 0 || done.Count < 2 ? line
            : Show.Stack(line, Plot.Lines(label, "step", "", curves.Select(curve => new Series(curve.Name, done.Select(curve.Value))).ToArray()));
    }

    private static Html Line(string label, int done, int total, TimeSpan elapsed)
    {
        var rate = done / Math.Max(elapsed.TotalSeconds, 1e-9);
        var rest = done == 0 || done >= total ? "" : $", {TimeSpan.FromSeconds((total - done) / rate):m\\:ss} to go";
        var speed = done == 0 ? "" : rate >= 1 ? $", {rate:0.0} a second" : $", {1 / rate:0.0} s each";
        return new($"<div style=\"{Style.Font}\"><progress max=\"{total}\" value=\"{done}\"></progress> {Html.Escape(label)}: {done} of {total} in {elapsed.TotalSeconds:0.0} s{speed}{rest}</div>");
    }
}
