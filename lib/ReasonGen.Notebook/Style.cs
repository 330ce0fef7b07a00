using System.Globalization;
using System.Text.RegularExpressions;
using ReasonGen.Scoring;

namespace ReasonGen.Notebook;

/// <summary>Colours and numbers, the same in every figure.</summary>
internal static class Style
{
    /// <summary>Series colours that colour-blind readers can tell apart (Okabe and Ito).</summary>
    internal static readonly string[] Colors = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
        "#7F7F7F", "#000000"];

    // arms of the study as legends name them, after RL that of the method: each has one colour in all figures
    private static readonly Dictionary<string, string> Arms = new(StringComparer.OrdinalIgnoreCase)
    {
        ["base"] = "#7F7F7F", ["SFT"] = "#56B4E9", ["sft-long"] = "#0072B2", ["without-SFT"] = "#CC79A7",
        ["none"] = "#D55E00", ["penalty-0.02"] = "#E69F00", ["adaptive"] = "#009E73", ["rl-adaptive"] = "#009E73",
        ["after-RL"] = "#009E73", ["RL"] = "#009E73", ["large-judge"] = "#9467BD", ["small-judge"] = "#A65628",
    };

    /// <summary>Whether one of the names is that of an arm, which has a colour of its own.</summary>
    internal static bool HasArm(IEnumerable<string> names) => names.Any(name => Arms.ContainsKey(Arm(name)));

    /// <summary>A colour for each name of a legend: an arm's own, for others those that are left, in order.</summary>
    internal static string[] ColorsOf(IEnumerable<string> names)
    {
        string?[] own = [.. names.Select(name => Arms.GetValueOrDefault(Arm(name)))];
        string[] left = [.. Colors.Except(own.OfType<string>())];
        var next = 0;
        return [.. own.Select(color => color ?? left[next++ % left.Length])];
    }

    // without the number of its seeds
    private static string Arm(string name) => Regex.Replace(name, @" \(\d[^)]*\)$", "").Replace(' ', '-');

    internal const string Font =
        "font-family:system-ui,-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,sans-serif";

    internal const string Right = "#2e9e5b", Wrong = "#c8452f";

    internal static string Number(double value) => !double.IsFinite(value) ? "–"
        : value == Math.Floor(value) && Math.Abs(value) < 1e6
            ? Decimals.Of(value, 0)
        : Math.Abs(value) >= 100 ? Decimals.Of(value, 1, "0.#")
        : Math.Abs(value) >= 0.01 ? Decimals.Of(value, 3, "0.###")
        : Math.Abs(value) >= 0.001 ? Decimals.Of(value, 4, "0.####")
        : value.ToString("0.##e0", CultureInfo.InvariantCulture);

    internal static string Fixed(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);
}
