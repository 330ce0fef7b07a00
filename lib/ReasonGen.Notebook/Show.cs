using Microsoft.Data.Analysis;
using ReasonGen.Core;

namespace ReasonGen.Notebook;

/// <summary>What a cell shows besides plots: pictures, tokens, tables.</summary>
public static class Show
{
    /// <summary>Pictures in rows, enlarged without smoothing.</summary>
    /// <param name="pictures">At least one.</param>
    /// <param name="captions">One a picture, or null.</param>
    /// <param name="right">Whether each is right, which frames it green or red; or null.</param>
    /// <param name="columns">Pictures a row.</param>
    /// <param name="scale">Screen pixels a pixel.</param>
    /// <param name="title">Heading, or empty.</param>
    public static PictureGrid Pictures(IReadOnlyList<Picture> pictures, IReadOnlyList<string>? captions = null, IReadOnlyList<bool>? right = null,
        int columns = 8, int scale = 3, string title = "") =>
        new(pictures.Select((picture, i) => new Tile(picture, captions?[i] ?? "", right?[i])).ToArray(), columns, scale, title);

    /// <summary>Pictures with values laid over them, for example the entropy of each image token.</summary>
    public static PictureGrid Heat(IReadOnlyList<Picture> pictures, IReadOnlyList<double[]> values, IReadOnlyList<string>? captions = null,
        int columns = 4, int scale = 5, string title = "") =>
        new(pictures.Select((picture, i) => new Tile(picture, captions?[i] ?? "", null, values[i])).ToArray(), columns, scale, title);

    /// <summary>Tokens on a background that grows with their value; the value shows when pointed at.</summary>
    public static Html Tokens(IReadOnlyList<string> tokens, IReadOnlyList<double> values, string unit = "nats")
    {
        var high = Math.Max(values.DefaultIfEmpty(0).Max(), 1e-9);
        var spans = tokens.Select((token, i) =>
        {
            var share = Math.Clamp(values[i] / high, 0, 1);
            var ground = string.Join(',', new[] { (255, 230), (252, 159), (243, 0) }.Select(pair => Style.Fixed(pair.Item1 + share * (pair.Item2 - pair.Item1)))); // opaque, so that dark pages can be read
            return $"<span title=\"{Style.Number(values[i])} {unit}\" style=\"background:rgb({ground});color:#1d2430;border-radius:3px;padding:1px 5px;margin:1px;"
                + $"display:inline-block\">{Html.Escape(token)}<sub style=\"opacity:.6;font-size:9px\"> {Style.Number(Math.Round(values[i], 2))}</sub></span>";
        });
        return new($"<div style=\"{Style.Font};line-height:1.9\">{string.Concat(spans)}</div>");
    }

    /// <summary>A data frame as a table.</summary>
    public static Html Table(DataFrame frame, string title = "") => Table(frame.Columns.Select(column => column.Name).ToArray(),
        frame.Rows.Select(row => row.Select(cell => cell).ToArray()), title);

    /// <summary>Rows of cells as a table; numbers stand right-aligned, with as many decimals as their column needs.</summary>
    public static Html Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<object?>> rows, string title = "")
    {
        const string cell = "padding:4px 8px;border-bottom:1px solid rgba(127,127,127,.3)";
        var all = rows.ToArray();
        var kinds = columns.Select((_, i) => Column.Of(all.Select(row => i < row.Count ? row[i] : null))).ToArray();
        static string Whole(string text) => text.Length <= 18 ? ";white-space:nowrap" : ";min-width:10em"; // names are not broken
        var head = string.Concat(columns.Select((name, i) =>
            $"<th style=\"{cell};text-align:{(kinds[i].Numeric ? "right" : "left")}{Whole(name)}\">{Html.Escape(name)}</th>"));
        string Cell(object? value, Column kind)
        {
            var text = Column.IsNumber(value) ? kind.Text(Convert.ToDouble(value)) : value?.ToString() ?? "";
            return $"<td style=\"{cell}{(Column.IsNumber(value) || kind.Numeric ? ";text-align:right" : "")}{Whole(text)}\">{Html.Escape(text)}</td>";
        }

        var body = string.Concat(all.Select(row => $"<tr>{string.Concat(row.Select((value, i) => Cell(value, i < kinds.Length ? kinds[i] : default)))}</tr>"));
        var caption = title.Length == 0 ? "" : $"<caption style=\"text-align:left;font-weight:600;padding:4px 0\">{Html.Escape(title)}</caption>";
        var header = columns.All(name => name.Length == 0) ? "" : $"<thead><tr>{head}</tr></thead>";
        return new($"<div style=\"overflow-x:auto\"><table style=\"{Style.Font};border-collapse:collapse;font-size:14px;font-variant-numeric:tabular-nums\">{caption}{header}"
            + $"<tbody>{body}</tbody></table></div>");
    }

    /// <summary>How the numbers of a column are written: with the same decimals, unless one of them needs an exponent.</summary>
    private readonly record struct Column(bool Numeric, int Decimals)
    {
        internal static Column Of(IEnumerable<object?> values)
        {
            var all = values.Where(value => value is not null and not "" and not "–").ToArray();
            var numbers = all.Where(IsNumber).Select(Convert.ToDouble).Where(double.IsFinite).ToArray();
            var texts = numbers.Select(Style.Number).ToArray();
            var decimals = texts.Select(text => text.IndexOf('.') is >= 0 and var point ? text.Length - point - 1 : 0).DefaultIfEmpty(0).Max();
            var whole = all.Any(value => value is int or long) || texts.Any(text => text.Contains('e'));
            return new(numbers.Length * 2 >= all.Length && numbers.Length > 0,
                whole ? 0 : Math.Min(decimals, numbers.Any(value => Math.Abs(value) >= 0.1) ? 3 : 4));
        }

        internal static bool IsNumber(object? value) => value is double or float or int or long;

        internal string Text(double value) => Decimals > 0 && double.IsFinite(value)
            ? value.ToString("F" + Decimals, System.Globalization.CultureInfo.InvariantCulture) : Style.Number(value);
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
