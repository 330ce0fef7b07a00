using System.Net;
using System.Text;
using ReasonGen.Imaging;

namespace ReasonGen.Verification;

/// <summary>
/// The result of a verification as one page that can be sent with a report of a fault: no script, nothing from
/// elsewhere.
/// </summary>
public static class VerifyReport
{
    private const string Style = """
        body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 62rem; padding: 0 1rem; color: #222 }
        table { border-collapse: collapse; width: 100% } td,
            th { border-top: 1px solid #ddd; padding: .4rem .6rem; text-align: left; vertical-align: top }
        .Passed { color: #176b2c } .Missed { color: #b3261e; font-weight: 600 } .Skipped { color: #777 }
        figure { display: inline-block; margin: .3rem; width: 11rem } figure img { width: 100%; image-rendering: auto }
        figcaption, .details { font-size: 13px; color: #555 } .sum { font-size: 18px }
        """;

    /// <summary>What came out, in one sentence.</summary>
    public static string Sentence(string model, IReadOnlyList<VerifyCheck> checks, bool whole = true)
    {
        var (passed, missed) = (checks.Count(check => check.Outcome == VerifyOutcome.Passed),
            checks.Where(check => check.Outcome == VerifyOutcome.Missed).ToArray());
        var skipped = checks.Count - passed - missed.Length;
        var left = skipped == 0 ? "" : $", {skipped} had nothing to measure";
        return !whole ? $"{model}: interrupted after {checks.Count} checks, of which {missed.Length} missed their band."
            : missed.Length == 0 ? $"{model}: all {passed} checks passed{left}; this kit and these files give what "
                + "they should."
            : $"{model}: {missed.Length} of {passed + missed.Length} checks missed their band{left}; the first, "
                + $"\"{missed[0].Name}\", suggests "
                + $"{missed[0].Suggestion.TrimEnd('.')}.";
    }

    /// <summary>The page.</summary>
    /// <param name="sentence">Of <see cref="Sentence"/>.</param>
    /// <param name="checks">In their order.</param>
    /// <param name="facts">What ran where: names and values.</param>
    public static string Html(string sentence, IReadOnlyList<VerifyCheck> checks,
        IEnumerable<(string Name, string Value)> facts)
    {
        var page = new StringBuilder();
        page.Append("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>reasongen "
            + $"verify</title><style>{Style}</style>");
        page.Append($"<h1>reasongen verify</h1><p class=\"sum\">{Text(sentence)}</p><table>");
        page.Append("<tr><th>check<th>outcome<th>value<th>expected<th>what a miss suggests");
        foreach (var check in checks)
        {
            var outcome = check.Outcome.ToString();
            page.Append($"<tr><td><b>{Text(check.Name)}</b><br><span class=\"details\">{Text(check.What)}</span>");
            page.Append($"<td class=\"{outcome}\">{outcome.ToLowerInvariant()}");
            page.Append($"<td>{Text(check.Value)}<td>{Text(check.Band)}<td>{Text(check.Suggestion)}");
            if (check.Details.Count + check.Images.Count > 0)
            {
                page.Append("<tr><td colspan=\"5\" "
                    + $"class=\"details\">{string.Join("<br>", check.Details.Select(Text))}<div>");
                foreach (var (caption, image) in check.Images)
                {
                    page.Append($"<figure><img alt=\"{Text(caption)}\" "
                        + $"src=\"data:image/png;base64,{Convert.ToBase64String(Png.Encode(image))}\">"
                        + $"<figcaption>{Text(caption)}</figcaption></figure>");
                }

                page.Append("</div>");
            }
        }

        page.Append("</table><h2>Where</h2><table>");
        foreach (var (name, value) in facts)
        {
            page.Append($"<tr><td>{Text(name)}<td>{Text(value)}");
        }

        return page.Append("</table></html>\n").ToString();
    }

    private static string Text(string text) => WebUtility.HtmlEncode(text);
}
