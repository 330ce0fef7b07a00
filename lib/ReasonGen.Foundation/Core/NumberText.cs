using System.Globalization;
using System.Numerics;

namespace ReasonGen.Core;

/// <summary>Numbers as people give them to a command: 1e3 is a whole number; 1.5 is none, and 1,000 and what does not
/// fit its type are no numbers.</summary>
public static class NumberText
{
    private const NumberStyles Style =
        NumberStyles.AllowLeadingSign | NumberStyles.AllowDecimalPoint | NumberStyles.AllowExponent;

    /// <summary>A whole number; null where the text is none of this type.</summary>
    public static T? Whole<T>(string text) where T : struct, IBinaryInteger<T>, IMinMaxValue<T> =>
        text.Length < 40 && decimal.TryParse(text, Style, CultureInfo.InvariantCulture, out var number)
            && number == decimal.Truncate(number)
            && number >= decimal.CreateChecked(T.MinValue) && number <= decimal.CreateChecked(T.MaxValue)
            ? T.CreateChecked(number) : null;

    /// <summary>A finite number; null where the text is none, or so small that this type makes 0 of it.</summary>
    public static T? Fraction<T>(string text) where T : struct, INumber<T> =>
        T.TryParse(text, Style, CultureInfo.InvariantCulture, out var number) && T.IsFinite(number)
            && !(T.IsZero(number) && text.ToLowerInvariant().Split('e')[0].Any(c => c is >= '1' and <= '9')) ? number
            : null;
}
