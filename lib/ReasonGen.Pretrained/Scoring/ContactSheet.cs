using System.Globalization;
using System.Net;
using System.Text;
using ReasonGen.Rollouts;

namespace ReasonGen.Scoring;

/// <summary>All scored images on one page, with the reason of each verdict; it refers to the image files and needs no
/// network and no scripts.</summary>
public static class ContactSheet
{
    private const string Style =
        "body{font:14px "
            + "system-ui,sans-serif;margin:24px;color:#1d2430;background:#fff}h1{font-size:20px}h2{font-size:16px;"
        + "margin-top:28px}p.label{background:#fff4d6;border-left:4px solid #c98a00;padding:8px "
        + "12px;max-width:70em}.g{display:flex;flex-wrap:wrap;gap:14px}"
        + "figure{margin:0;width:200px}img{width:192px;height:192px;object-fit:contain;background:#eee;border:4px "
        + "solid #b3261e;border-radius:4px}"
        + ".y img{border-color:#1b7f3b}.n "
        + "img{border-color:#888;border-style:dashed}figcaption{font-size:12px;overflow-wrap:anywhere}"
        + "small{color:#5a6472;white-space:pre-line}b{font-variant-numeric:tabular-nums}";

    /// <summary>The page.</summary>
    /// <param name="report">Scores.</param>
    /// <param name="images">Folder of the images, as the page's own folder reaches it.</param>
    public static string Html(ScoreReport report, string images)
    {
        static string E(string text) => WebUtility.HtmlEncode(text);
        var html = new StringBuilder($"<!DOCTYPE html><html lang=\"en\"><meta "
            + $"charset=\"utf-8\"><title>{E(report.Benchmark)}</title><style>{Style}</style>"
            + $"<h1>{E(report.Benchmark)}: every image and its verdict</h1><p class=\"label\">{E(report.Label)}</p>");
        html.Append(CultureInfo.InvariantCulture,
            $"<p>overall <b>{report.Overall.Value * report.Scale:0.00}</b> ({report.Overall.Ends(report.Scale)}), ")
            .Append($"{report.Images.Count} images, {report.Unscored} not scored. A green frame is right, red is "
                + $"wrong, dashed grey was not scored.</p>");
        foreach (var problem in report.Problems)
        {
            html.Append($"<p>{E(problem)}</p>");
        }

        foreach (var task in report.Images.GroupBy(image => image.Task))
        {
            html.Append($"<h2>{E(task.Key)}</h2><div class=\"g\">");
            foreach (var image in task)
            {
                var kind = image.Score is not { } score ? "n" : score >= 0.5 ? "y" : "";
                var source = string.Join('/', $"{images}/{image.Image}".Split('/')
                    .Select(part => part is ".." or "." ? part : Uri.EscapeDataString(part)));
                html.Append($"<figure class=\"{kind}\"><img loading=\"lazy\" alt=\"{E(image.Prompt)}\" "
                    + $"src=\"{source}\"><figcaption><b>")
                    .Append(image.Score is { } value ? (value * report.Scale)
                        .ToString("0.#", CultureInfo.InvariantCulture) : "–")
                    .Append($"</b> {E(image.Prompt)}<br><small>{E(image.Reason)}</small></figcaption></figure>");
            }

            html.Append("</div>");
        }

        return html.Append("</html>\n").ToString();
    }
}
