using System.Text;

namespace ReasonGen.Notebook;

/// <summary>Draws the static twin of a chart as SVG: axes, ticks, legend, curves or bars. Each value shows when pointed
/// at.</summary>
internal static class SvgChart
{
    internal const int Width = 720, Height = 360;
    private const int Left = 64, Right = 16, Top = 40, Bottom = 68;
    private const int PlotWidth = Width - Left - Right, PlotHeight = Height - Top - Bottom;

    internal static string Lines(IReadOnlyList<Series> series, string title, string xTitle, string yTitle, bool joined)
    {
        var points = series.SelectMany(s => s.X.Zip(s.Y)).Where(IsFinite).ToArray();
        var (xLow, xHigh) = Range(points.Select(p => p.First), false);
        var (yLow, yHigh) = Range(points.Select(p => p.Second).Concat(series.SelectMany(Reach)), true);
        double X(double x) => Left + (x - xLow) / (xHigh - xLow) * PlotWidth;
        double Y(double y) => Top + PlotHeight - (y - yLow) / (yHigh - yLow) * PlotHeight;
        var svg = Begin(title, xTitle, yTitle, yLow, yHigh);
        var colors = Style.ColorsOf(series.Select(one => one.Name));
        foreach (var x in Ticks(xLow, xHigh))
        {
            svg.Append(
                $"<text x='{Style.Fixed(X(x))}' y='{Top + PlotHeight + 16}' text-anchor='middle'>"
                + $"{Short(x)}</text>");
        }

        for (var i = 0; i < series.Count; i++)
        {
            var finite = series[i].X.Zip(series[i].Y).Where(IsFinite).ToArray();
            if (joined)
            {
                var path =
                    string.Join(' ', finite.Select(p => $"{Style.Fixed(X(p.First))},{Style.Fixed(Y(p.Second))}"));
                svg.Append(
                    $"<polyline fill='none' stroke='{colors[i]}' stroke-width='1.8' "
                    + $"{(series[i].Dashed ? "stroke-dasharray='6 5' " : "")}points='{path}'><title>"
                    + $"{Html.Escape(series[i].Name)}</title></polyline>");
            }

            foreach (var (x, y) in joined && finite.Length > 1 ? [] : finite) // one point makes no line
            {
                svg.Append(
                    $"<circle cx='{Style.Fixed(X(x))}' cy='{Style.Fixed(Y(y))}' r='2.5' "
                    + $"fill='{colors[i]}' fill-opacity='.7'/>");
            }

            for (var n = 0; n < (series[i].Errors?.Length ?? 0); n++)
            {
                var (low, high) = Ends(series[i], n);
                svg.Append(Bar(X(series[i].X[n]), Y(low), Y(high)));
            }
        }

        return End(svg, series, colors);
    }

    internal static string Bars(IReadOnlyList<Series> series, IReadOnlyList<string> names, string title, string xTitle,
        string yTitle)
    {
        var (yLow, yHigh) = Range(series.SelectMany(s => s.Y.Concat(Reach(s))).Append(0), true);
        double Y(double y) => Top + PlotHeight - (y - yLow) / (yHigh - yLow) * PlotHeight;
        double group = PlotWidth / (double)names.Count, bar = group * 0.8 / series.Count;
        var longest = names.Max(name => name.Length) * 6.2;
        var every = Math.Max(1, (int)Math.Ceiling(longest / group));
        var more = every > 2 ? (int)Math.Max(0, longest * 0.77 - 18) : 0; // room below for names that are turned
        var svg = Begin(title, xTitle, yTitle, yLow, yHigh, more);
        var colors = Style.ColorsOf(series.Select(one => one.Name));
        for (var n = 0; n < names.Count; n++)
        {
            // names too wide for one row stand in two; those too wide for two are turned
            var (x, y) = (Left + (n + 0.5) * group, Top + PlotHeight + (every == 2 && n % 2 == 1 ? 30 : 16));
            svg.Append(n % (int)Math.Ceiling(11 / group) > 0 ? ""
                : (every > 2 ? $"<text transform='translate({Style.Fixed(x + 4)} {y - 4}) rotate(-50)' "
                + "text-anchor='end'>" : $"<text x='{Style.Fixed(x)}' y='{y}' text-anchor='middle'>")
                + $"{Html.Escape(names[n])}</text>");
            for (var i = 0; i < series.Count; i++)
            {
                var value = series[i].Y[n];
                var (high, low) = (Math.Min(Y(value), Y(0)), Math.Max(Y(value), Y(0)));
                svg.Append(
                    $"<rect x='{Style.Fixed(Left + n * group + group * 0.1 + i * bar)}' y='"
                    + $"{Style.Fixed(high)}' width='{Style.Fixed(bar * 0.94)}' height='"
                    + $"{Style.Fixed(low - high)}' fill='{colors[i]}'><title>"
                    + Html.Escape($"{names[n]}, {series[i].Name}: {Style.Number(value)}{Error(series[i], n)}")
                    + "</title></rect>");
                if (series[i].Errors is not null)
                {
                    var (from, to) = Ends(series[i], n);
                    svg.Append(Bar(Left + n * group + group * 0.1 + (i + 0.47) * bar, Y(from), Y(to)));
                }
            }
        }

        return End(svg, series, colors, more);
    }

    private static bool IsFinite((double X, double Y) point) => double.IsFinite(point.X) && double.IsFinite(point.Y);

    // both ends of the error bars
    private static IEnumerable<double> Reach(Series one) =>
        one.Errors is null ? [] : one.Y.SelectMany((_, n) => new[] { Ends(one, n).Low, Ends(one, n).High });

    private static (double Low, double High) Ends(Series one, int n) =>
        (one.Y[n] - (one.Below ?? one.Errors!)[n], one.Y[n] + one.Errors![n]);

    private static string Error(Series one, int n) => one.Errors is null ? "" : one.Below is null
        ? $" ± {Style.Number(one.Errors[n])}"
        : $" [{Style.Number(Ends(one, n).Low)}, {Style.Number(Ends(one, n).High)}]";

    private static string Bar(double x, double low, double high) => !double.IsFinite(x + low + high) ? ""
        : $"<path d='M{Style.Fixed(x)} {Style.Fixed(low)}V{Style.Fixed(high)}M{Style.Fixed(x - 3)} "
            + $"{Style.Fixed(low)}h6M{Style.Fixed(x - 3)} {Style.Fixed(high)}h6' fill='none' stroke='#444'/>";

    private static StringBuilder Begin(string title, string xTitle, string yTitle, double yLow, double yHigh,
        int more = 0)
    {
        var svg = new StringBuilder(
            $"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {Width} {Height + more}' role='img' "
            + $"aria-label='{Html.Escape(title)}' style='max-width:{Width}px;width:100%;background:#fff' "
            + $"font-size='12' fill='#333' font-family='system-ui,Segoe UI,Roboto,Arial,sans-serif'>");
        svg.Append($"<text x='{Left}' y='18' font-size='14' font-weight='600'>{Html.Escape(title)}</text>");
        svg.Append(
            $"<text x='{Left + PlotWidth / 2}' y='{Top + PlotHeight + 45 + more}' text-anchor='middle'>"
            + $"{Html.Escape(xTitle)}</text>");
        svg.Append(
            $"<text transform='translate(14 {Top + PlotHeight / 2}) rotate(-90)' "
            + $"text-anchor='middle'>{Html.Escape(yTitle)}</text>");
        foreach (var y in Ticks(yLow, yHigh))
        {
            var at = Style.Fixed(Top + PlotHeight - (y - yLow) / (yHigh - yLow) * PlotHeight);
            svg.Append(
                $"<line x1='{Left}' x2='{Left + PlotWidth}' y1='{at}' y2='{at}' stroke='#e4e4e4'/><text "
                + $"x='{Left - 8}' y='{at}' dy='4' text-anchor='end'>{Short(y)}</text>");
        }

        svg.Append($"<path d='M{Left} {Top}V{Top + PlotHeight}H{Left + PlotWidth}' fill='none' stroke='#888'/>");
        return svg;
    }

    private static string End(StringBuilder svg, IReadOnlyList<Series> series, string[] colors, int more = 0)
    {
        var x = (double)Left;
        for (var i = 0; i < series.Count; i++)
        {
            svg.Append(
                $"<rect x='{Style.Fixed(x)}' y='{Height - 14 + more}' width='12' height='8' fill='{colors[i]}'/><text "
                + $"x='{Style.Fixed(x + 16)}' y='{Height - 6 + more}'>{Html.Escape(series[i].Name)}</text>");
            x += 34 + series[i].Name.Length * 6.6;
        }

        return svg.Append("</svg>").ToString();
    }

    private static (double Low, double High) Range(IEnumerable<double> values, bool margin)
    {
        var (low, high) = (double.MaxValue, double.MinValue);
        foreach (var value in values.Where(double.IsFinite))
        {
            (low, high) = (Math.Min(low, value), Math.Max(high, value));
        }

        (low, high) = low > high ? (0, 1) : high - low < 1e-12 ? (low - 0.5, high + 0.5) : (low, high);
        var room = margin ? (high - low) * 0.05 : 0;
        return (low >= 0 && low - room < 0 ? 0 : low - room, high + room);
    }

    private static IEnumerable<double> Ticks(double low, double high)
    {
        var raw = (high - low) / 5;
        var power = Math.Pow(10, Math.Floor(Math.Log10(raw)));
        var step = new[] { 1, 2, 5, 10 }.Select(factor => factor * power).First(candidate => candidate >= raw);
        for (var i = Math.Ceiling(low / step - 1e-9); i * step <= high + 1e-9 * step; i++)
        {
            yield return Math.Round(i * step, 10);
        }
    }

    // as Plotly writes them: longer ones would run into the axis' title
    private static string Short(double value) => Math.Abs(value) >= 1e6 ? $"{Style.Fixed(value / 1e6)}M"
        : Math.Abs(value) >= 1e5 ? $"{Style.Fixed(value / 1e3)}k" : Style.Number(value);
}
