using System.Text.RegularExpressions;
using Ganss.Xss;

namespace ReasonGen.Host.Notebooks;

/// <summary>
/// Styles of single elements, declaration by declaration: names and functions that are known, values that hold nothing
/// but words, numbers and colours. Not by a parser of CSS, which takes two milliseconds an element and drops what is
/// newer than itself.
/// </summary>
internal sealed partial class SafeStyle
{
    private static readonly HashSet<string> Properties =
        new(HtmlSanitizerDefaults.AllowedCssProperties.Except(["position", "z-index"]).Concat(
    [
        "image-rendering", "object-fit", "aspect-ratio", "fill", "fill-opacity", "stroke", "stroke-width",
        "stroke-opacity", "stroke-dasharray", "text-anchor", "opacity", "max-width",
        "min-width", "max-height", "min-height", "box-shadow", "display", "gap", "row-gap", "column-gap", "overflow-x",
        "overflow-y", "font-variant-numeric", "font-feature-settings",
        "grid-template-columns", "grid-template-rows", "grid-column", "grid-row", "justify-items", "justify-content",
        "align-items", "flex", "flex-wrap", "flex-direction",
        "border-radius", "stop-color", "stop-opacity", "dominant-baseline", "vertical-align", "overflow-wrap",
        "word-break", "tab-size", "accent-color",
    ]), StringComparer.OrdinalIgnoreCase);

    private static readonly HashSet<string> Functions = new(
    [
        "rgb", "rgba", "hsl", "hsla", "hwb", "lab", "lch", "oklab", "oklch", "color-mix", "calc", "min", "max",
        "minmax", "clamp", "repeat", "fit-content", "linear-gradient",
        "radial-gradient", "conic-gradient", "repeating-linear-gradient", "translate", "translatex", "translatey",
        "rotate", "scale", "scalex", "scaley", "skew", "matrix",
    ], StringComparer.OrdinalIgnoreCase);

    private readonly Dictionary<string, string> known = [];

    /// <summary>What may stay of a style; empty where nothing may.</summary>
    internal string Of(string style) => known.TryGetValue(style, out var safe) ? safe
        : known[style] = string.Join(';', style.Split(';').Select(one => one.Trim()).Where(IsSafe));

    private static bool IsSafe(string declaration) =>
        Declaration().Match(declaration) is { Success: true } match && Properties.Contains(match.Groups[1].Value)
        && match.Groups[2].Value is var value && !Leaves(match.Groups[1].Value, value)
        && value.Count(c => c == '"') % 2 == 0
        && value.Count(c => c == '\'') % 2 == 0
        && Function().Matches(value)
            .All(call => call.Groups[1].Value is "" || Functions.Contains(call.Groups[1].Value));

    // a margin below zero takes the whole cell with it, to where others stand; what else moves is cut off at its edge
    private static bool Leaves(string property, string value) =>
        property.StartsWith("margin", StringComparison.OrdinalIgnoreCase) && value.AsSpan().ContainsAny('-', '(');

    [GeneratedRegex(@"\A([a-z-]+)\s*:\s*([A-Za-z0-9 #.,%()'""+*/!_-]+)\z", RegexOptions.IgnoreCase)]
    private static partial Regex Declaration();

    [GeneratedRegex(@"([A-Za-z0-9_-]*)\s*\(")]
    private static partial Regex Function();
}
