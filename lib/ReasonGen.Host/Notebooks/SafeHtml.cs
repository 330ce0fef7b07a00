using AngleSharp;
using AngleSharp.Dom;
using AngleSharp.Html.Dom;
using Ganss.Xss;
using System.Text.RegularExpressions;
using ReasonGen.JanusPro;

namespace ReasonGen.Host.Notebooks;

/// <summary>
/// HTML of a notebook as a page may take it over: it runs nothing, fetches nothing and reaches no other part of the
/// page (of what it paints the page's styles cut off what lies beyond the cell). Drawings, tables, images within it and
/// the numbers of figures stay.
/// </summary>
internal sealed partial class SafeHtml
{
    private const int Deepest = 200; // elements within one another; browsers give up soon after
    private const int Longest = 8 << 20, MostElements = 100_000; // of one output

    // gone with what they hold; other elements that are not known here leave their content behind
    private const string Gone = "script, style, iframe, frame, frameset, object, embed, applet, template, noscript, "
        + "noembed, noframes, xmp, plaintext, math, foreignObject, annotation-xml, title:not(svg title), base, link, "
        + "meta, portal, fencedframe";

    private static readonly string[] Drawing =
    [
        "svg", "g", "defs", "symbol", "use", "title", "desc", "path", "rect", "circle", "ellipse", "line", "polyline",
        "polygon", "text", "tspan", "textPath",
        "image", "clipPath", "mask", "marker", "pattern", "linearGradient", "radialGradient", "stop", "switch", "view",
    ];

    private static readonly string[] DrawingAttributes =
    [
        "viewBox", "xmlns", "version", "preserveAspectRatio", "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "rx",
        "ry", "fx", "fy", "d", "dx", "dy", "points",
        "transform", "fill", "fill-opacity", "fill-rule", "stroke", "stroke-width", "stroke-opacity", "stroke-linecap",
        "stroke-linejoin", "stroke-dasharray",
        "stroke-dashoffset", "stroke-miterlimit", "opacity", "clip-path", "clip-rule", "mask", "marker-start",
        "marker-mid", "marker-end", "markerWidth",
        "markerHeight", "refX", "refY", "orient", "offset", "stop-color", "stop-opacity", "gradientUnits",
        "gradientTransform", "spreadMethod", "patternUnits",
        "patternTransform", "clipPathUnits", "maskUnits", "font-family", "font-size", "font-weight", "font-style",
        "text-anchor", "dominant-baseline",
        "letter-spacing", "textLength", "lengthAdjust", "rotate", "visibility", "display", "vector-effect",
        "shape-rendering", "text-rendering", "color",
    ];

    // beginnings of classes that mean nothing, or the kit's figures
    private static readonly string[] Marks = ["rg-", "dni-", "language-"];
    private const string Style = "data-safe-style"; // where styles wait while the rest is sanitised
    private readonly SafeStyle styles = new();
    private readonly HtmlSanitizer sanitizer = new() { KeepChildNodes = true };
    private readonly List<string> leftOut = [];
    private int count; // of pieces, for the ids in them

    /// <summary>What is put before the name that a link within the page leads to, where the piece itself has no such
    /// id: whoever lays out the page replaces it.</summary>
    internal string Fragments { get; set; } = "";

    /// <summary>What became of the ids in the pieces so far, the first of each.</summary>
    internal Dictionary<string, string> Anchors { get; } = [];

    internal SafeHtml()
    {
        sanitizer.AllowedTags.UnionWith([.. Drawing, "details", "summary", "progress", "meter", "figure", "figcaption",
            "image", "source", "audio", "video", "span", "time"]);
        // the page's styles mean its own
        sanitizer.AllowedTags.ExceptWith(["form", "input", "button", "select", "option", "textarea", "keygen", "style",
            "script", "html", "head", "body", "nav", "main"]);
        sanitizer.AllowedAttributes.UnionWith([.. DrawingAttributes, "id", "class", "role", "open", "hidden",
            "controls", "loop", "aria-label", "aria-hidden", "aria-labelledby", "xlink:href", Style]);
        sanitizer.AllowedAttributes.ExceptWith(["style", "name", "action", "method", "target", "tabindex", "accesskey",
            "draggable", "contenteditable", "srcset", "background", "usemap", "longdesc"]);
        sanitizer.UriAttributes.UnionWith(["xlink:href", "poster"]);
        sanitizer.AllowedSchemes.UnionWith(["data", "mailto"]);
        sanitizer.FilterUrl += (_, url) => url.SanitizedUrl = Url(url.Tag, url.OriginalUrl);
    }

    /// <summary>A piece of HTML made safe.</summary>
    /// <param name="html">The piece.</param>
    /// <param name="within">What sets this piece's ids apart from the page's and other pieces'.</param>
    /// <param name="headings">Ids of headings, which are the page's own and stay.</param>
    /// <param name="attached">An image attached to the cell, as a data address by its name in an address.</param>
    /// <returns>HTML, which names what was left out of it.</returns>
    internal string Of(string html, string within, HashSet<string> headings, Func<string, string?> attached)
    {
        if (html.Length > Longest || html.AsSpan().Count('<') > MostElements)
        {
            return $"<p class=\"note\">Left out: an output of {html.Length:#,0} characters, which would make this "
                + $"page too large; it is in the executed copy.</p>";
        }

        if (Depth(html) > Deepest)
        {
            return $"<p class=\"note\">HTML of more than {Deepest} elements within one another; this is its "
                + $"text.</p><pre>{Notebook.Html.Escape(html[..Math.Min(html.Length, 5000)])}</pre>";
        }

        leftOut.Clear();
        var document = (IHtmlDocument)sanitizer.HtmlParserFactory().ParseDocument("<!doctype html><html><body>" + html);
        KeepFigures(document);
        foreach (var image in document.QuerySelectorAll("img[src^='attachment:']"))
        {
            var name = image.GetAttribute("src")!;
            image.SetAttribute("src", attached(name["attachment:".Length..]) ?? name);
        }

        foreach (var element in document.QuerySelectorAll(Gone).ToArray())
        {
            if (element is IHtmlStyleElement && !Elsewhere().IsMatch(element.TextContent))
            {
                element.Remove(); // the page has its own, and .NET's formatters put one beside every value
                continue;
            }

            var source = element.GetAttribute("src") ?? element.GetAttribute("data") ?? element.GetAttribute("href");
            LeaveOut(source is { Length: > 0 } && !source.StartsWith("data:") ? source : $"<{element.LocalName}>");
            element.Remove();
        }

        foreach (var anchor in document.QuerySelectorAll("a[name]:not([id])"))
        {
            anchor.SetAttribute("id", anchor.GetAttribute("name")!); // as it was written before ids
        }

        foreach (var poster in document.QuerySelectorAll("[poster], [srcset]"))
        {
            LeaveOut(poster.GetAttribute("poster") ?? poster.GetAttribute("srcset")!);
        }

        foreach (var styled in document.QuerySelectorAll($"[style], [{Style}]"))
        {
            styled.SetAttribute(Style, styles.Of(styled.GetAttribute("style") ?? ""));
            styled.RemoveAttribute("style");
        }

        sanitizer.SanitizeDom(document, document.Body);
        Finish(document, $"{within}-{++count}-", headings);
        var safe = document.Body!.ChildNodes.ToHtml(sanitizer.OutputFormatter);
        return leftOut.Count == 0 ? safe
            : safe + Note(string.Join(", ", leftOut.Distinct().Take(5))
                + (leftOut.Distinct().Count() is > 5 and var all ? $" and {all - 5} more" : ""));
    }

    private static string Note(string what) =>
        $"<p class=\"note\">Left out: {Notebook.Html.Escape(what)}. This page runs no scripts of a notebook and "
        + $"fetches nothing; <code>run --trust</code> keeps them.</p>";

    // the numbers of a figure wait in a script that is none; as text of an element they say the same
    private static void KeepFigures(IHtmlDocument document)
    {
        foreach (var script in document.QuerySelectorAll(".rg-figure > script.rg-plotly[type='application/json']")
            .ToArray())
        {
            var numbers = document.CreateElement("span");
            numbers.ClassName = "rg-plotly";
            numbers.SetAttribute("hidden", "");
            numbers.TextContent = script.TextContent;
            var figure = script.ParentElement!;
            script.Replace(numbers);
            foreach (var other in figure.QuerySelectorAll("script").ToArray())
            {
                other.Remove(); // draws the same numbers
            }
        }
    }

    // links lead anywhere, when they are followed; everything else stays within the page
    private string? Url(IElement element, string url)
    {
        var plain = url.Trim();
        var link = element.LocalName is "a" or "area";
        if (plain.StartsWith('#') || (!link && Image().IsMatch(plain)))
        {
            return plain;
        }

        if (link && Uri.TryCreate(plain, UriKind.Absolute, out var target)
            && target.Scheme is "http" or "https" or "mailto")
        {
            return plain;
        }

        LeaveOut(plain.Length > 200 ? plain[..200] + "…" : plain);
        return null;
    }

    private void LeaveOut(string what) => leftOut.Add(what);

    private void Finish(IHtmlDocument document, string prefix, HashSet<string> headings)
    {
        foreach (var image in document.Body!.QuerySelectorAll("img:not([src])").ToArray())
        {
            image.Replace(document.CreateTextNode(image.GetAttribute("alt") ?? "")); // its words stay
        }

        var own = new HashSet<string>();
        foreach (var named in document.Body!.QuerySelectorAll("[id]").Select(element => element.Id!)
            .Where(id => !headings.Contains(id)))
        {
            own.Add(named);
            Anchors.TryAdd(named, prefix + named);
        }

        foreach (var element in document.Body!.QuerySelectorAll("*"))
        {
            if (element.GetAttribute(Style) is { } style)
            {
                element.RemoveAttribute(Style);
                if (style.Length > 0)
                {
                    element.SetAttribute("style", style);
                }
            }

            foreach (var attribute in element.Attributes.ToArray())
            {
                if (attribute.Name == "class")
                {
                    attribute.Value =
                        string.Join(' ', attribute.Value.Split(' ').Where(name => Marks.Any(name.StartsWith)));
                }
                else if (attribute.Name == "id")
                {
                    attribute.Value = element is IHtmlHeadingElement && headings.Remove(attribute.Value)
                        ? attribute.Value : prefix + attribute.Value;
                }
                else if (attribute.Name is "href" or "xlink:href" && attribute.Value.StartsWith('#'))
                {
                    var isOwn = element.LocalName is not "a" || own.Contains(attribute.Value[1..]);
                    attribute.Value = "#" + (isOwn ? prefix : Fragments) + attribute.Value[1..];
                }
                else if (attribute.Name != "style" && Elsewhere().IsMatch(attribute.Value))
                {
                    LeaveOut(attribute.Value);
                    element.RemoveAttribute(attribute.Name);
                }
                else if (attribute.Value.Contains("url(#"))
                {
                    attribute.Value = attribute.Value.Replace("url(#", $"url(#{prefix}");
                }
            }
        }
    }

    // How deep elements lie within one another at most: those that end by themselves are not counted. Looked at before
    // anything is built, since what walks a tree does so by recursion.
    private static int Depth(string html)
    {
        var (depth, deepest) = (0, 0);
        for (var i = 0; (i = html.IndexOf('<', i)) >= 0 && i + 1 < html.Length; i++)
        {
            var closing = html[i + 1] == '/';
            var start = i + (closing ? 2 : 1);
            var end = start;
            while (end < html.Length && end - start < 16 && char.IsAsciiLetterOrDigit(html[end]))
            {
                end++;
            }

            if (end > start && !Closed.Contains(html[start..end].ToLowerInvariant()))
            {
                depth = Math.Max(0, depth + (closing ? -1 : 1));
                deepest = Math.Max(deepest, depth);
            }

            i = end - 1 > i ? end - 1 : i;
        }

        return deepest;
    }

    private static readonly HashSet<string> Closed =
    [
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
        "p", "li", "dt", "dd", "tr", "td", "th",
        "thead", "tbody", "tfoot", "option", "path", "rect", "circle", "ellipse", "line", "polyline", "polygon", "use",
        "stop", "image",
    ];

    [GeneratedRegex(@"\A(?:data:(?:image|audio|video)/[a-z0-9.+-]+[;,])", RegexOptions.IgnoreCase)]
    private static partial Regex Image();

    // a paint or a clip of a drawing that is none of its own; in text, which has no attributes, the same words are
    // words
    [GeneratedRegex(@"@import|\burl\s*\((?!#)", RegexOptions.IgnoreCase)]
    private static partial Regex Elsewhere();
}
