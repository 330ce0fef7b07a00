using System.Globalization;

namespace ReasonGen.Scoring;

/// <summary>Numbers as they are shown, everywhere alike: rounded half away from zero on the decimal value, so that a
/// mean of 0.2425 (in binary a little less) is not 0.242 in one place and 24.3 % in another.</summary>
public static class Decimals
{
    /// <summary>A difference of shares: "+0.711", "−0.020".</summary>
    public const string Signed = "+0.000;−0.000;0.000";

    private const double Exact = 1e12; // below it fifteen digits hold all that is shown

    /// <summary>A number with so many decimals; "–" for one that is none.</summary>
    /// <param name="value">Any.</param>
    /// <param name="decimals">In [0, 12].</param>
    /// <param name="format">.NET's, of no more decimals; null for just so many.</param>
    public static string Of(double value, int decimals, string? format = null)
    {
        format ??= $"F{decimals}";
        return !double.IsFinite(value) ? "–"
            : Math.Abs(value) >= Exact ? value.ToString(format, CultureInfo.InvariantCulture)
            : Math.Round((decimal)Math.Round(value, 12), decimals, MidpointRounding.AwayFromZero)
                .ToString(format, CultureInfo.InvariantCulture);
    }

    /// <summary>"0.843 [0.801, 0.880]"; of one seed the value alone.</summary>
    /// <param name="of">A share, or a difference of shares.</param>
    /// <param name="signed">Whether it is a difference, whose sign is always shown.</param>
    /// <param name="alone">What stands for the brackets of one seed.</param>
    public static string Text(this Interval of, bool signed = false, string alone = " (one seed)")
    {
        string Number(double value) => Of(value, 3, signed ? Signed : null);
        return !double.IsFinite(of.Value) ? "–" : Number(of.Value)
            + (double.IsNaN(of.Low) ? alone : $" [{Number(of.Low)}, {Number(of.High)}]");
    }

    /// <summary>What an interval of a difference says: "more", "less", or that the two are not told apart.</summary>
    public static string Says(this Interval difference) => double.IsNaN(difference.Low) ? "one seed: nothing is said"
        : difference.Low > 0 ? "more" : difference.High < 0 ? "less" : "not told apart";

    /// <summary>The same of a difference over seeds: one seed says nothing of others, whatever its prompts
    /// say.</summary>
    public static string Says(this (Interval Difference, int Seeds) of) =>
        (of.Seeds > 1 ? of.Difference : of.Difference with { Low = double.NaN }).Says();
}
