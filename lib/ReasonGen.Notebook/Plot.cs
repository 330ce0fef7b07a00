using System.Globalization;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using Plotly.NET;
using Plotly.NET.CSharp;
using ReasonGen.Scoring;
using ReasonGen.Studies;
using ReasonGen.World;
using Chart = Plotly.NET.CSharp.Chart;

namespace ReasonGen.Notebook;

/// <summary>One named row of numbers.</summary>
public sealed record Series(string Name, double[] X, double[] Y)
{
    /// <summary>Length of an error bar above each value, for example a standard error; null draws none.</summary>
    public double[]? Errors { get; init; }

    /// <summary>Its length below each value; null for as much as above.</summary>
    public double[]? Below { get; init; }

    /// <summary>Whether a curve is drawn in dashes, so that one below it can be seen.</summary>
    public bool Dashed { get; init; }

    /// <summary>Values over 0, 1, 2, …</summary>
    public Series(string name, IEnumerable<double> y) : this(name, [], y.ToArray()) =>
        X = Enumerable.Range(0, Y.Length).Select(i => (double)i).ToArray();

    /// <summary>The same with an error bar at each value.</summary>
    /// <exception cref="ArgumentException">They are not as many as the values.</exception>
    public Series WithErrors(IEnumerable<double> errors) => this with
    {
        Errors = errors.ToArray() is var all && all.Length == Y.Length ? all
            : throw new ArgumentException($"series '{Name}' has {Y.Length} values and {all.Length} errors",
                nameof(errors)),
    };

    /// <summary>The same with an interval around each value, as its error bar; an interval with an end that is not
    /// finite has none.</summary>
    /// <exception cref="ArgumentException">There are not as many as values.</exception>
    public Series WithIntervals(IReadOnlyCollection<Interval> all) =>
        WithErrors(all.Select(of => double.IsFinite(of.Low) ? of.High - of.Value : double.NaN))
        with { Below = [.. all.Select(of => double.IsFinite(of.High) ? of.Value - of.Low : double.NaN)] };

    /// <summary>Means over a window that ends at each value.</summary>
    public Series Smooth(int window) => this with
    {
        Y = Y.Select((_, i) => Y[Math.Max(0, i - window + 1)..(i + 1)].Average()).ToArray(),
    };
}

/// <summary>Kinds of figure.</summary>
internal enum FigureKind
{
    Lines,
    Bars,
    Points,
}

/// <summary>A plot: Plotly's interactive chart, and a static drawing of the same numbers, so that nothing vanishes
/// where scripts do not run.</summary>
public sealed class Figure : IHtml
{
    private readonly FigureKind kind;
    private readonly IReadOnlyList<Series> series;
    private readonly IReadOnlyList<string>? names;
    private readonly string title, xTitle, yTitle;

    internal Figure(FigureKind kind, IReadOnlyList<Series> series, IReadOnlyList<string>? names, string title,
        string xTitle, string yTitle) =>
        (this.kind, this.series, this.names, this.title, this.xTitle, this.yTitle) =
            (kind, series, names, title, xTitle, yTitle);

    /// <summary>The Plotly.NET chart, to be changed at will.</summary>
    public GenericChart Chart()
    {
        var charts = series.Select(s => kind == FigureKind.Lines
            ? Plotly.NET.CSharp.Chart.Line<double, double, string>(x: s.X, y: s.Y, Name: s.Name)
            : kind == FigureKind.Points
                ? Plotly.NET.CSharp.Chart.Point<double, double, string>(x: s.X, y: s.Y, Name: s.Name)
            : Plotly.NET.CSharp.Chart.Column<double, string, string>(values: s.Y, Keys: new(names!, true),
                Name: s.Name));
        return Plotly.NET.CSharp.Chart.Combine(charts)
            .WithXAxisStyle<double, double, string>(TitleText: xTitle)
            .WithYAxisStyle<double, double, string>(TitleText: yTitle)
            .WithSize(Width: SvgChart.Width, Height: SvgChart.Height);
    }

    /// <summary>The same with more rows of numbers.</summary>
    public Figure With(params Series[] more) => new(kind, [.. series, .. more], names, title, xTitle, yTitle);

    /// <summary>The static drawing alone.</summary>
    public string ToSvg() => kind == FigureKind.Bars ? SvgChart.Bars(series, names!, title, xTitle, yTitle)
        : SvgChart.Lines(series, title, xTitle, yTitle, joined: kind == FigureKind.Lines);

    // The json waits beside the drawing; a page that holds plotly.js turns it into a chart and hides the drawing.
    // Written here, since Plotly.NET takes more than a tenth of a second for its own, most of it for a template that
    // the page does not use.
    public string ToHtml() => !series.Any(one => one.Y.Any(double.IsFinite))
        ? $"<p><b>{Html.Escape(title)}</b>: no values</p>"
        : $"<div class=\"rg-figure\"><div class=\"rg-static\">{ToSvg()}</div><script type=\"application/json\" "
        + $"class=\"rg-plotly\">{ToJson().Replace("</", "<\\/")}</script></div>";

    private string ToJson()
    {
        static JArray Numbers(IEnumerable<double> values) => // six digits, as in the recorded runs
            new(values.Select(value =>
                double.IsFinite(value) ? new JRaw(value.ToString("G6", CultureInfo.InvariantCulture))
                    : JValue.CreateNull()));
        static JObject Axis(string text) => new() { ["title"] = new JObject { ["text"] = text } };
        string[] legend = [.. series.Select(one => one.Name)], colors = Style.ColorsOf(legend);
        var traces = series.Select((one, i) =>
        {
            var trace = kind == FigureKind.Bars
                ? new JObject
                {
                    ["type"] = "bar", ["name"] = one.Name, ["x"] = new JArray(names!), ["y"] = Numbers(one.Y),
                }
                : new JObject
                {
                    ["type"] = "scatter", ["mode"] = kind == FigureKind.Lines ? "lines" : "markers",
                    ["name"] = one.Name,
                    ["x"] = Numbers(one.X), ["y"] = Numbers(one.Y),
                };
            if (Style.HasArm(legend)) // otherwise the page's own, which are the same and change with its theme
            {
                trace["marker"] = new JObject { ["color"] = colors[i] }; // of lines and error bars, too
            }

            if (one.Dashed)
            {
                trace["line"] = new JObject { ["dash"] = "dash" };
            }

            if (one.Errors is { } errors)
            {
                var bars = new JObject { ["type"] = "data", ["array"] = Numbers(errors) };
                if (one.Below is { } below)
                {
                    (bars["symmetric"], bars["arrayminus"]) = (false, Numbers(below));
                }

                trace["error_y"] = bars;
            }

            return trace;
        });
        var figure = new JObject
        {
            ["data"] = new JArray(traces),
            ["layout"] = new JObject { ["xaxis"] = Axis(xTitle), ["yaxis"] = Axis(yTitle) },
        };
        return figure.ToString(Formatting.None);
    }
}

/// <summary>Plots in one line.</summary>
public static class Plot
{
    /// <summary>Curves.</summary>
    public static Figure Lines(string title, string xTitle, string yTitle, params Series[] series) =>
        new(FigureKind.Lines, series, null, title, xTitle, yTitle);

    /// <summary>Bars beside one another: a group a name, a bar a series.</summary>
    public static Figure Bars(string title, string xTitle, string yTitle, IReadOnlyList<string> names,
        params Series[] series) =>
        new(FigureKind.Bars, series, names, title, xTitle, yTitle);

    /// <summary>Points that no line joins.</summary>
    public static Figure Points(string title, string xTitle, string yTitle, params Series[] series) =>
        new(FigureKind.Points, series, null, title, xTitle, yTitle);

    /// <summary>Scores by task, a bar for each model with its standard error.</summary>
    public static Figure Tasks(string title, params (string Name, BenchmarkResult Score)[] models) =>
        Bars(title, "task", "share of right images", [.. Prompts.Tasks], [.. models.Select(model =>
            new Series(model.Name, Prompts.Tasks.Select(task => model.Score.Tasks[task]))
                .WithErrors(Prompts.Tasks.Select(model.Score.TaskError)))]);

    /// <summary>A column of a recorded run as a curve.</summary>
    /// <param name="run">The run.</param>
    /// <param name="column">One of its columns.</param>
    /// <param name="name">In the legend; by default the column's.</param>
    /// <param name="smooth">Steps that each value is the mean of; 1 leaves them as they are.</param>
    /// <exception cref="ArgumentException">There is no such column.</exception>
    public static Series Curve(this RunRecord run, string column, string? name = null, int smooth = 1) =>
        new Series(name ?? column.Replace('_', ' '), run[column]).Smooth(smooth);

    /// <summary>How often values fall into each of so many equal bins. Those that are not finite are left out, and
    /// counted below the axis.</summary>
    /// <exception cref="ArgumentException">None of them is finite.</exception>
    public static Figure Histogram(string title, string xTitle, IReadOnlyList<double> values, int bins = 20)
    {
        double[] finite = [.. values.Where(double.IsFinite)];
        if (finite.Length == 0)
        {
            throw new ArgumentException(values.Count == 0 ? $"the histogram '{title}' has no values"
                : $"none of the {values.Count} values of the histogram '{title}' is finite", nameof(values));
        }

        double low = finite.Min(), width = Math.Max(finite.Max() - low, 1e-9) / bins;
        var counts = new double[bins];
        foreach (var value in finite)
        {
            counts[Math.Min(bins - 1, (int)((value - low) / width))]++;
        }

        var left = values.Count - finite.Length;
        return Bars(title, left == 0 ? xTitle : $"{xTitle} ({left} of {values.Count} not finite, left out)", "count",
            counts.Select((_, i) => Style.Number(Math.Round(low + (i + 0.5) * width, 2))).ToArray(),
            new Series("count", counts));
    }
}
