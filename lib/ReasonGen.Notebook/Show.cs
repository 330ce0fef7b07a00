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
            return $"<span title=\"{Style.Number(values[i])} {unit}\" style=\"background:rgba(230,159,0,{Style.Fixed(share)});border-radius:3px;padding:1px 4px;margin:1px;"
                + $"display:inline-block\">{Html.Escape(token)}<sub style=\"opacity:.6;font-size:9px\"> {Style.Number(Math.Round(values[i], 2))}</sub></span>";
        });
        return new($"<div style=\"{Style.Font};line-height:1.9\">{string.Concat(spans)}</div>");
    }

    /// <summary>A data frame as a table.</summary>
    public static Html Table(DataFrame frame, string title = "") => Table(frame.Columns.Select(column => column.Name).ToArray(),
        frame.Rows.Select(row => row.Select(cell => cell).ToArray()), title);

    /// <summary>Rows of cells as a table; numbers stand right-aligned.</summary>
    public static Html Table(IReadOnlyList<string> columns, IEnumerable<IReadOnlyList<object?>> rows, string title = "")
    {
        const string cell = "padding:4px 10px;border-bottom:1px solid rgba(127,127,127,.3)";
        var head = string.Concat(columns.Select(name => $"<th style=\"{cell};text-align:left\">{Html.Escape(name)}</th>"));
        var body = string.Concat(rows.Select(row => "<tr>" + string.Concat(row.Select(value => value is double or float or int or long
            ? $"<td style=\"{cell};text-align:right\">{Style.Number(Convert.ToDouble(value))}</td>"
            : $"<td style=\"{cell}\">{Html.Escape(value?.ToString() ?? "")}</td>")) + "</tr>"));
        var caption = title.Length == 0 ? "" : $"<caption style=\"text-align:left;font-weight:600;padding:4px 0\">{Html.Escape(title)}</caption>";
        return new($"<div style=\"overflow-x:auto\"><table style=\"{Style.Font};border-collapse:collapse;font-size:14px\">{caption}<thead><tr>{head}</tr></thead>"
            + $"<tbody>{body}</tbody></table></div>");
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
