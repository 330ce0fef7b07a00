using System.Globalization;
using ReasonGen.Imaging;

namespace ReasonGen.Verification;

/// <summary>How a check ended.</summary>
public enum VerifyOutcome
{
    /// <summary>The value lies in its band.</summary>
    Passed,

    /// <summary>It does not.</summary>
    Missed,

    /// <summary>There was nothing to measure, and the check says why.</summary>
    Skipped,
}

/// <summary>Where a right model's value lies; both ends included.</summary>
/// <param name="Least">Lower end; minus infinity for none.</param>
/// <param name="Most">Upper end; infinity for none.</param>
public readonly record struct VerifyBand(double Least, double Most)
{
    /// <summary>So much or more.</summary>
    public static VerifyBand AtLeast(double least) => new(least, double.PositiveInfinity);

    /// <summary>So much or less.</summary>
    public static VerifyBand AtMost(double most) => new(double.NegativeInfinity, most);

    /// <summary>Near a value that was recorded.</summary>
    public static VerifyBand Near(double value, double tolerance) => new(value - tolerance, value + tolerance);

    /// <summary>Whether it lies in the band; NaN lies in none.</summary>
    public bool Holds(double value) => value >= Least && value <= Most;

    public override string ToString() => double.IsInfinity(Most) ? $"at least {Number(Least)}"
        : double.IsInfinity(Least) ? $"at most {Number(Most)}" : $"{Number(Least)} to {Number(Most)}";

    internal static string Number(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);
}

/// <summary>One check of a model: what was measured, the band it should lie in, and what a miss suggests.</summary>
/// <param name="Name">A few words.</param>
/// <param name="What">What was done, in a sentence.</param>
/// <param name="Outcome">How it ended.</param>
/// <param name="Value">What was measured, with its unit; why, where it was skipped.</param>
/// <param name="Band">What was expected.</param>
/// <param name="Suggestion">What a miss points to; empty where it was none.</param>
public sealed record VerifyCheck(string Name, string What, VerifyOutcome Outcome, string Value, string Band,
    string Suggestion)
{
    /// <summary>Images that belong to it, with a line about each.</summary>
    public IReadOnlyList<(string Caption, RgbImage Image)> Images { get; init; } = [];

    /// <summary>What was said or asked, a line each.</summary>
    public IReadOnlyList<string> Details { get; init; } = [];

    internal static VerifyCheck Of(string name, string what, double value, string unit, VerifyBand band,
        string suggestion) =>
        new(name, what, band.Holds(value) ? VerifyOutcome.Passed : VerifyOutcome.Missed,
            VerifyBand.Number(value) + unit, band + unit, band.Holds(value) ? "" : suggestion);

    internal static VerifyCheck Skip(string name, string what, string why) =>
        new(name, what, VerifyOutcome.Skipped, why, "", "");
}
