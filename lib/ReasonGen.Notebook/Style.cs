using System.Globalization;
using ReasonGen.Scoring;

namespace ReasonGen.Notebook;

/// <summary>Colours and numbers, the same in every figure.</summary>
internal static class Style
{
    /// <summary>Series colours that colour-blind readers can tell apart (Okabe and Ito).</summary>
    internal static readonly string[] Colors = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9",
        "#7F7F7F", "#000000"];

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
