using System.Globalization;
using ReasonGen.Scoring;
using ReasonGen.Studies;

namespace ReasonGen.Notebook;

/// <summary>Shows something now and gives back how to replace it later: what a kernel's <c>display</c>
/// offers.</summary>
public delegate Action<object> LiveOutput(object first);

/// <summary>
/// Progress of long loops inside a cell: a line with rate and remaining time, curves that grow, images that refresh,
/// all in one place. Showing takes at most a fiftieth of the time of the work (<see cref="UpdateBudget"/>), except
/// where the work ends within seconds. The last state is shown whatever happens, and is what a saved notebook keeps.
/// </summary>
public sealed class Live(LiveOutput output)
{
    // of a recorded stage, the first it has
    private static readonly string[] Curves = ["reward", "squared_error", "token_accuracy", "loss"];

    private static readonly AsyncLocal<CancellationToken> Token = new();
    private readonly LiveOutput output = first => KernelBridge.Current?.Display(first) ?? output(first);

    /// <summary>
    /// Set by whoever runs the cell, for that cell and before it starts; in another kernel it is that kernel's own
    /// (<see cref="KernelBridge"/>). A loop looks at it before each item and, when it is cancelled, shows its last
    /// state and throws <see cref="OperationCanceledException"/>; models, trainers and everything else keep what the
    /// finished items left them, and the loop can be run again.
    /// </summary>
    public static CancellationToken Cancellation
    {
        get => Token.Value is { CanBeCanceled: true } token ? token : KernelBridge.Current?.Cancellation() ?? default;
        set => Token.Value = value;
    }

    /// <summary>How long showing took, all loops together.</summary>
    public TimeSpan Overhead { get; private set; }

    /// <summary>Passes items through and shows how far it is; with curves of one or more numbers of each
    /// item.</summary>
    /// <param name="items">The work: each item is made when it is asked for.</param>
    /// <param name="total">How many items there will be.</param>
    /// <param name="label">What is being done.</param>
    /// <param name="curves">Named numbers of an item to draw over the steps; none draws nothing.</param>
    /// <exception cref="OperationCanceledException"><see cref="Cancellation"/> was cancelled.</exception>
    public List<T> Run<T>(IEnumerable<T> items, int total, string label,
        params (string Name, Func<T, double> Value)[] curves) =>
        Run(items, total, label, null, curves);

    /// <summary>The same, with something that is looked at anew below the curves, for example images of the model as it
    /// is now.</summary>
    /// <param name="items">The work: each item is made when it is asked for.</param>
    /// <param name="total">How many items there will be.</param>
    /// <param name="label">What is being done.</param>
    /// <param name="look">What to show of the newest item; null shows nothing. Its time counts against the budget, so a
    /// slow one is asked for seldom.</param>
    /// <param name="curves">Named numbers of an item to draw over the steps; none draws nothing.</param>
    /// <exception cref="OperationCanceledException"><see cref="Cancellation"/> was cancelled.</exception>
    public List<T> Run<T>(IEnumerable<T> items, int total, string label, Func<T, IHtml?>? look,
        params (string Name, Func<T, double> Value)[] curves)
    {
        var display = new LiveDisplay(output, label, total, [.. curves.Select(curve => curve.Name)]);
        var done = new List<T>();
        var state = "stopped";
        try
        {
            Cancellation.ThrowIfCancellationRequested();
            foreach (var item in items)
            {
                done.Add(item);
                display.Add([.. curves.Select(curve => curve.Value(item))], look is null ? null : () => look(item));
                Cancellation.ThrowIfCancellationRequested();
            }

            state = "";
        }
        catch (OperationCanceledException)
        {
            state = "interrupted";
            throw;
        }
        finally
        {
            display.End(state);
            Overhead += display.Spent;
        }

        return done;
    }

    /// <summary>Shows a stage that a study trains: line and curve, fed by <see cref="Study.OnStep"/>. A run has a
    /// record of its own, and is shown in the cell that runs it, also where one before it was broken off.</summary>
    public Action<RunRecord, int> Follow()
    {
        LiveDisplay? display = null;
        RunRecord? shown = null;
        return (record, total) =>
        {
            var curve = Curves.FirstOrDefault(record.Columns.Contains);
            if (!ReferenceEquals(record, shown))
            {
                shown = record;
                display = new LiveDisplay(output, record.Name, total, curve is null ? [] : [curve],
                    resumedAt: record.Count - 1);
            }

            display!.Add(curve is null ? [] : [record.Last(curve)], null);
            if (record.Count >= total)
            {
                display.End("");
                Overhead += display.Spent;
                shown = null;
            }
        };
    }
}

/// <summary>What one loop shows: a line, and below it curves and a look at the newest item, which are renewed when the
/// budget allows.</summary>
internal sealed class LiveDisplay
{
    private const int DrawnPoints = 400, KeptPoints = 1000; // while it runs, and at the end
    private readonly string label;
    private readonly int total, resumedAt;
    private readonly string[] names;
    private readonly List<double>[] values;
    private readonly List<TimeSpan> times = [];
    private readonly UpdateBudget budget = new(), bodyBudget = new();
    private readonly Action<object> update;
    private Func<IHtml?>? look;
    private Html body = new("");

    internal LiveDisplay(LiveOutput output, string label, int total, string[] names, int resumedAt = 0)
    {
        (this.label, this.total, this.names, this.resumedAt) = (label, total, names, resumedAt);
        values = [.. names.Select(_ => new List<double>())];
        update = output(Line(""));
    }

    internal TimeSpan Spent => budget.Spent;

    internal void Add(double[] numbers, Func<IHtml?>? newest)
    {
        times.Add(budget.Elapsed);
        foreach (var (value, list) in numbers.Zip(values))
        {
            list.Add(value);
        }

        look = newest;
        if (budget.Allows)
        {
            budget.Spend(() =>
            {
                if (bodyBudget.Allows && (names.Length > 0 || look is not null))
                {
                    bodyBudget.Spend(() => body = Body(interactive: false));
                }

                update(Show.Stack(Line(""), body));
            });
        }
    }

    internal void End(string state) => budget.Spend(() =>
    {
        body = Body(interactive: true);
        update(Show.Stack(Line(state), body));
    });

    private Html Body(bool interactive)
    {
        List<IHtml> parts = [];
        if (names.Length > 0 && times.Count > 1)
        {
            var figure = Plot.Lines(label, "step", "",
                [.. names.Select((name, i) => Thin(name, values[i], interactive ? KeptPoints : DrawnPoints))]);
            parts.Add(interactive ? figure : new Html(figure.ToSvg()));
        }

        if (look?.Invoke() is { } seen)
        {
            parts.Add(seen);
        }

        return Show.Stack([.. parts]);
    }

    // means of neighbours, so that a long run is drawn as fast as a short one
    private Series Thin(string name, List<double> all, int most)
    {
        var width = Math.Max(1, (all.Count + most - 1) / most);
        var (x, y) = (new double[(all.Count + width - 1) / width], new double[(all.Count + width - 1) / width]);
        for (var i = 0; i < x.Length; i++)
        {
            var count = Math.Min(width, all.Count - i * width);
            (x[i], y[i]) = (resumedAt + i * width + (count - 1) / 2.0, all.GetRange(i * width, count).Average());
        }

        return new Series(name, x, y);
    }

    private Html Line(string state)
    {
        var (done, elapsed) = (resumedAt + times.Count, budget.Elapsed);
        var half = times.Count / 2; // the rate of the newer half, since first steps are slow
        var rate = times.Count == 0 ? 0
            : (times.Count - half)
                / Math.Max((elapsed - (half == 0 ? TimeSpan.Zero : times[half - 1])).TotalSeconds, 1e-9);
        var speed = rate == 0 ? "" : rate >= 1 ? Text($", {rate:0.0} a second") : Text($", {1 / rate:0.0} s each");
        var rest = state.Length > 0 ? ", " + state
            : rate == 0 || done >= total ? "" : $", {Clock(TimeSpan.FromSeconds((total - done) / rate))} to go";
        var name = Html.Escape(label);
        return new(
            $"<div style=\"{Style.Font};font-variant-numeric:tabular-nums\"><progress "
            + $"max=\"{total}\" value=\"{done}\" aria-label=\"{name}\"></progress>"
            + $" {name}: {done} of {total} in "
            + $"{(elapsed.TotalSeconds < 100 ? Text($"{elapsed.TotalSeconds:0.0} s") : Clock(elapsed))}{speed}"
            + $"{rest}</div>");
    }

    private static string Clock(TimeSpan time) =>
        time.ToString(time.TotalHours >= 1 ? @"h\:mm\:ss" : @"m\:ss", CultureInfo.InvariantCulture);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

/// <summary>
/// Decides when a display may be renewed: not more than a few times a second, and only while all renewals with the one
/// to come, taken to cost as much as the last, stay within a hundredth of the time the work took. The other hundredth
/// is for the last state, which is shown in any case.
/// </summary>
internal sealed class UpdateBudget
{
    private const int Share = 100;
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(400);
    private readonly System.Diagnostics.Stopwatch watch = System.Diagnostics.Stopwatch.StartNew();
    private TimeSpan cost = TimeSpan.FromMilliseconds(20), ended; // the first one is dear: its code is compiled

    internal TimeSpan Elapsed => watch.Elapsed;

    /// <summary>What renewals took so far.</summary>
    internal TimeSpan Spent { get; private set; }

    internal bool Allows => watch.Elapsed - ended >= Interval && (Spent + cost) * Share <= watch.Elapsed - Spent;

    internal void Spend(Action renew)
    {
        var start = watch.Elapsed;
        renew();
        ended = watch.Elapsed;
        cost = ended - start;
        Spent += cost;
    }
}
