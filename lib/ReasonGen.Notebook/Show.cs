using System.Globalization;
using Microsoft.Data.Analysis;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.World;
using static TorchSharp.torch;

namespace ReasonGen.Notebook;

/// <summary>What a cell shows besides plots: images, tokens, tables.</summary>
public static class Show
{
    /// <summary>Images in rows, enlarged without smoothing.</summary>
    /// <param name="images">At least one.</param>
    /// <param name="captions">One an image, or null.</param>
    /// <param name="right">Whether each is right, which frames it green or red; or null.</param>
    /// <param name="columns">Images a row.</param>
    /// <param name="scale">Screen pixels a pixel.</param>
    /// <param name="title">Heading, or empty.</param>
    public static ImageGrid Images(IReadOnlyList<RgbImage> images, IReadOnlyList<string>? captions = null,
        IReadOnlyList<bool>? right = null,
        int columns = 8, int scale = 3, string title = "") =>
        new(images.Select((image, i) => new Tile(image, captions?[i] ?? "", right?[i])).ToArray(), columns, scale,
            title);

    /// <summary>Images framed by the exact detector's verdict on each: green where it satisfies its prompt, red where
    /// not.</summary>
    /// <param name="prompts">At least one.</param>
    /// <param name="images">As many of each prompt, those of one prompt side by side.</param>
    /// <param name="captions">One an image; by default its prompt, once for those side by side.</param>
    /// <param name="columns">Images a row.</param>
    /// <param name="scale">Screen pixels a pixel.</param>
    /// <param name="title">Heading, or empty.</param>
    /// <exception cref="ArgumentException">The images are not as many for each prompt.</exception>
    public static ImageGrid Judged(IReadOnlyList<Prompt> prompts, IReadOnlyList<RgbImage> images,
        IReadOnlyList<string>? captions = null,
        int columns = 8, int scale = 3, string title = "")
    {
        var each = prompts.Count == 0 ? 0 : images.Count / prompts.Count;
        if (each == 0 || each * prompts.Count != images.Count)
        {
            throw new ArgumentException($"{images.Count} images are not as many for each of {prompts.Count} prompts",
                nameof(images));
        }

        captions ??= [.. images.Select((_, i) => i % each == 0 ? prompts[i / each].Text : "")];
        bool[] right = [.. images.Select((image, i) => Detector.Check(image, prompts[i / each]).Correct)];
        return Images(images, captions, right, columns, scale, title);
    }

    /// <summary>Images with a box around each thing that the detector sees, and its colour and shape below.</summary>
    public static ImageGrid Boxes(IReadOnlyList<RgbImage> images, int columns = 6, int scale = 5, string title = "") =>
        new(
    [
        .. images.Select(image => (image, seen: Detector.Detect(image))).Select(one =>
            new Tile(one.image, string.Join(", ", one.seen.Select(thing => $"{thing.Color} {thing.Class}")))
            {
                Boxes = [.. one.seen.Select(WorldScoring.Box)
                    .Select(box => ((int)box.X1, (int)box.Y1, (int)box.X2, (int)box.Y2))],
            }),
    ], columns, scale, title);

    /// <summary>Images with values laid over them, for example the entropy of each image token. Below each stands from
    /// where to where its values go.</summary>
    public static ImageGrid Heat(IReadOnlyList<RgbImage> images, IReadOnlyList<double[]> values,
        IReadOnlyList<string>? captions = null,
        int columns = 4, int scale = 5, string title = "") =>
        new(images.Select((image, i) => new Tile(image, $"{captions?[i]} {Style.Number(values[i].Min())} to "
            .TrimStart() + Style.Number(values[i].Max()), null, values[i])).ToArray(), columns, scale, title);

    /// <summary>Tokens on a background that grows with their value; the value shows when pointed at.</summary>
    public static Html Tokens(IReadOnlyList<string> tokens, IReadOnlyList<double> values, string unit = "nats")
    {
        var high = Math.Max(values.DefaultIfEmpty(0).Max(), 1e-9);
        var spans = tokens.Select((token, i) =>
        {
            var share = Math.Clamp(values[i] / high, 0, 1);
            // opaque, so that dark pages can be read
            var ground = string.Join(',',
                new[] { (255, 230), (252, 159),
                    (243, 0) }.Select(pair => Style.Fixed(pair.Item1 + share * (pair.Item2 - pair.Item1))));
            return $"<span title=\"{Style.Number(values[i])} {unit}\" style=\"background:rgb({ground});color:#1d2430;"
                + $"border-radius:3px;padding:1px "
                + $"5px;margin:1px;display:inline-block\">{Html.Escape(token)}<sub style=\"opacity:.6;font-size:9px\">"
                + $" {Style.Number(Math.Round(values[i], 2))}</sub></span>";
        });
        return new($"<div style=\"{Style.Font};line-height:1.9\">{string.Concat(spans)}</div>");
    }

    /// <summary>A table of things: a row each, and a column for each named value.</summary>
    public static Html Table<T>(IEnumerable<T> items, params (string Column, Func<T, object?> Value)[] columns) =>
        Table([.. columns.Select(column => column.Column)],
            items.Select(item => (IReadOnlyList<object?>)[.. columns.Select(column => column.Value(item))]));

    /// <summary>A tensor of one or two dimensions as a table: blue below zero, orange above, the stronger the
    /// larger.</summary>
    /// <param name="values">[rows, columns] or [columns]; of any type and device.</param>
    /// <param name="name">What it is called; its shape and type stand beside it.</param>
    /// <param name="rows">A name for each row, or null.</param>
    /// <param name="most">Rows and columns shown; the rest is counted.</param>
    /// <exception cref="ArgumentException">It has another number of dimensions.</exception>
    public static Html Tensor(Tensor values, string name = "", IReadOnlyList<string>? rows = null, int most = 16)
    {
        if (values.dim() is not (1 or 2))
        {
            throw new ArgumentException(
                $"a tensor of {values.dim()} dimensions is no table; take a part of it, such as t[0]", nameof(values));
        }

        using var scope = TorchSharp.torch.NewDisposeScope();
        var table = values.dim() == 1 ? values.unsqueeze(0) : values;
        var (height, width) = ((int)Math.Min(table.shape[0], most), (int)Math.Min(table.shape[1], most));
        var part =
            table.narrow(0, 0, height).narrow(1, 0, width).to(TorchSharp.torch.ScalarType.Float64).cpu().contiguous();
        var numbers = part.data<double>().ToArray();
        var high = Math.Max(numbers.Where(double.IsFinite).Select(Math.Abs).DefaultIfEmpty(0).Max(), 1e-12);
        string Cell(double value)
        {
            var share = double.IsFinite(value) ? Math.Abs(value) / high : 0;
            var (red, green, blue) = value < 0 ? (120, 176, 230) : (245, 176, 90);
            var ground =
                string.Join(',', new[] { red, green, blue }.Select(to => Style.Fixed(255 + share * (to - 255))));
            return $"<td style=\"padding:3px "
                + $"7px;text-align:right;background:rgb({ground});color:#1d2430\">{Style.Number(value)}</td>";
        }

        var lines = Enumerable.Range(0, height)
            .Select(row => $"<tr><th style=\"padding:3px 8px;text-align:left;font-weight:400\">"
            + $"{Html.Escape(rows?[row] ?? "")}</th>"
            + $"{string.Concat(numbers[(row * width)..((row + 1) * width)].Select(Cell))}</tr>");
        var left = (table.shape[0] - height, table.shape[1] - width);
        var rest = left is (0, 0) ? "" : $"; {left.Item1} rows and {left.Item2} columns more";
        // above the table and no caption of it, which would be broken to the width of few columns
        return new(
            $"<div style=\"overflow-x:auto;{Style.Font};font-size:13px\"><div style=\"padding:4px 0\">"
            + $"<b>{Html.Escape(name)}</b> [{string.Join(" × ", values.shape)}] {values.dtype}{rest}</div>"
            + $"<table style=\"{Style.Font};border-collapse:collapse;font-size:13px;"
            + $"font-variant-numeric:tabular-nums\"><tbody>{string.Concat(lines)}</tbody></table></div>");
    }

    /// <summary>A data frame as a table.</summary>
    public static Html Table(DataFrame frame, string title = "") =>
        Table(frame.Columns.Select(column => column.Name).ToArray(),
        frame.Rows.Select(row => row.Select(cell => cell).ToArray()), title);

    /// <summary>The first rows of a data frame, and how many more there are.</summary>
    internal static Html Head(DataFrame frame, int most)
    {
        var table = Table([.. frame.Columns.Select(column => column.Name)],
            frame.Rows.Take(most).Select(row => row.Select(cell => cell).ToArray()));
        return frame.Rows.Count <= most ? table : new(table.Text + FormattableString.Invariant(
            $"<div style=\"{Style.Font}\">… {frame.Rows.Count - most:#,0} rows more; Show.Table shows all</div>"));
    }

    /// <summary>Rows of cells as a table; numbers stand right-aligned, with as many decimals as their column needs,
    /// whole ones with all their digits.</summary>
    public static Html Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<object?>> rows, string title = "")
    {
        const string cell = "padding:4px 8px;border-bottom:1px solid rgba(127,127,127,.3)";
        var all = rows.ToArray();
        var kinds = columns.Select((_, i) => Column.Of(all.Select(row => i < row.Count ? row[i] : null))).ToArray();
        // names are not broken
        static string Whole(string text) => text.Length <= 18 ? ";white-space:nowrap" : ";min-width:10em";
        var head = string.Concat(columns.Select((name, i) =>
            $"<th style=\"{cell};text-align:{(kinds[i].Numeric ? "right" : "left")}{Whole(name)}\">"
            + $"{Html.Escape(name)}</th>"));
        string Cell(object? value, Column kind)
        {
            var text = Column.IsNumber(value) ? kind.Text(value!) : value?.ToString() ?? "";
            var side = Column.IsNumber(value) || kind.Numeric ? "right" : "left"; // Jupyter's own is right for all
            return $"<td style=\"{cell};text-align:{side}{Whole(text)}\">{Html.Escape(text)}</td>";
        }

        var body = string.Concat(
            all.Select(row =>
                "<tr>" + string.Concat(row.Select((value, i) => Cell(value, i < kinds.Length ? kinds[i] : default)))
                + "</tr>"));
        if (all.Length == 0)
        {
            body = $"<tr><td style=\"{cell};text-align:left\" colspan=\"{columns.Count}\"><i>no rows</i></td></tr>";
        }

        var caption = title.Length == 0 ? ""
            : $"<caption style=\"text-align:left;font-weight:600;padding:4px 0\">{Html.Escape(title)}</caption>";
        var header = columns.All(name => name.Length == 0) ? "" : $"<thead><tr>{head}</tr></thead>";
        return new(
            $"<div style=\"overflow-x:auto\"><table style=\"{Style.Font};border-collapse:collapse;font-size:14px;"
            + $"font-variant-numeric:tabular-nums\">{caption}{header}<tbody>{body}</tbody></table></div>");
    }

    /// <summary>How the numbers of a column are written: with the same decimals, unless one of them needs an
    /// exponent.</summary>
    private readonly record struct Column(bool Numeric, int Decimals)
    {
        internal static Column Of(IEnumerable<object?> values)
        {
            var all = values.Where(value => value is not null and not "" and not "–").ToArray();
            var numbers = all.Where(IsNumber).Select(Convert.ToDouble).Where(double.IsFinite).ToArray();
            var texts = numbers.Select(Style.Number).ToArray();
            var decimals = texts.Select(text => text.IndexOf('.') is >= 0 and var point ? text.Length - point - 1 : 0)
                .DefaultIfEmpty(0).Max();
            var whole = all.Any(IsWhole) || texts.Any(text => text.Contains('e'));
            return new(numbers.Length * 2 >= all.Length && numbers.Length > 0,
                whole ? 0 : Math.Min(decimals, numbers.Any(value => Math.Abs(value) >= 0.1) ? 3 : 4));
        }

        internal static bool IsNumber(object? value) => value is double or float or decimal || IsWhole(value);

        // a double would round what has more than 15 digits
        internal string Text(object value) => value is not (double or float)
            ? ((IFormattable)value).ToString(null, CultureInfo.InvariantCulture)
            : Convert.ToDouble(value) is var number && Decimals > 0 && double.IsFinite(number)
                ? Scoring.Decimals.Of(number, Decimals) : Style.Number(number);

        private static bool IsWhole(object? value) =>
            value is int or long or uint or ulong or short or ushort or byte or sbyte;
    }

    /// <summary>Steps one after the other, as boxes that arrows join.</summary>
    /// <param name="steps">A name, and words below it; a line break begins a new line.</param>
    public static Html Flow(params ReadOnlySpan<(string Name, string Text)> steps)
    {
        const int wide = 196, gap = 26, line = 17;
        var height = 30 + line;
        var svg = "";
        for (var i = 0; i < steps.Length; i++)
        {
            var lines = steps[i].Text.Split('\n');
            height = Math.Max(height, 34 + line * lines.Length);
            var x = i * (wide + gap);
            var words = string.Concat(
                lines.Select((text, n) =>
                    $"<text x='{x + wide / 2}' y='{44 + n * line}' text-anchor='middle' "
                    + $"fill='#45505f'>{Html.Escape(text)}</text>"));
            svg += $"<rect x='{x + 1}' y='1' width='{wide - 2}' height='HEIGHT' rx='7' fill='#eef4fa' "
                + $"stroke='{Style.Colors[0]}'/><text x='{x + wide / 2}' y='24' text-anchor='middle' "
                + $"font-weight='600' font-size='14'>{Html.Escape(steps[i].Name)}</text>{words}"
                + (i == 0 ? ""
                    : $"<path d='M{x - gap + 3} 30h{gap - 8}m-6 -5l6 5l-6 5' fill='none' "
                        + "stroke='currentColor' stroke-width='1.6'/>"); // between boxes lies the page, light or dark
        }

        var width = steps.Length * (wide + gap) - gap;
        return new(
            $"<div style=\"overflow-x:auto\"><svg xmlns='http://www.w3.org/2000/svg' viewBox='0 "
            + $"0 {width} {height + 2}' role='img' aria-label='steps' "
            + $"style='width:100%;min-width:{width * 2 / 3}px;max-width:{width}px' font-size='12.5' fill='#1d2430' "
            + $"font-family='system-ui,Segoe "
            + $"UI,Roboto,Arial,sans-serif'>{svg.Replace("HEIGHT", $"{height}")}</svg></div>");
    }

    /// <summary>Several things below one another.</summary>
    public static Html Stack(params ReadOnlySpan<IHtml> parts)
    {
        var html = "";
        foreach (var part in parts)
        {
            html += $"<div style=\"margin-bottom:12px\">{part.ToHtml()}</div>";
        }

        return new(html);
    }
}
