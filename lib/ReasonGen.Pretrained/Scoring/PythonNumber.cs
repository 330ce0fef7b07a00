// Numbers as the official scripts read and print them (Python 3.9, NumPy 1.23), since their files are compared byte for
// byte.
using System.Globalization;
using System.Numerics;
using System.Text;
using System.Text.RegularExpressions;
using ReasonGen.Core;
using ReasonGen.Tokenizers;

namespace ReasonGen.Scoring;

/// <summary>Python's texts of numbers, and NumPy's sums.</summary>
public static partial class PythonNumber
{
    /// <summary>repr(float): the shortest digits that read back as the same double; 1e-05, 1e+16, 1.0, nan,
    /// inf.</summary>
    public static string Repr(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }

        var shortest = value.ToString("R", CultureInfo.InvariantCulture).TrimStart('-');
        var mark = shortest.IndexOf('E');
        var plain = mark < 0 ? shortest : shortest[..mark];
        var digits = plain.Replace(".", "").TrimStart('0').TrimEnd('0');
        digits = digits.Length == 0 ? "0" : digits;
        var sign = double.IsNegative(value) ? "-" : "";
        var exponent = value == 0 ? 0 : Exponent(plain, mark < 0 ? 0 : int.Parse(shortest[(mark + 1)..],
            CultureInfo.InvariantCulture));
        if (exponent is < -4 or >= 16)
        {
            var rest = digits.Length > 1 ? "." + digits[1..] : "";
            return $"{sign}{digits[0]}{rest}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
        }

        return sign + (exponent < 0 ? $"0.{new string('0', -exponent - 1)}{digits}"
            : digits.Length <= exponent + 1 ? $"{digits.PadRight(exponent + 1, '0')}.0"
                : $"{digits[..(exponent + 1)]}.{digits[(exponent + 1)..]}");
    }

    /// <summary>A number in JSON as Python writes it: <see cref="Repr"/>, but NaN, Infinity, -Infinity.</summary>
    public static string Json(double value) => double.IsNaN(value) ? "NaN"
        : double.IsInfinity(value) ? value > 0 ? "Infinity" : "-Infinity" : Repr(value);

    /// <summary>format(value, ".{digits}f"): the double's exact decimal value, rounded half to even.</summary>
    public static string Fixed(double value, int digits)
    {
        if (!double.IsFinite(value))
        {
            return Repr(value);
        }

        var bits = BitConverter.DoubleToInt64Bits(value);
        var exponent = (int)((bits >> 52) & 0x7FF);
        BigInteger numerator = (bits & 0xFFFFFFFFFFFFFL) | (exponent == 0 ? 0 : 1L << 52), denominator = 1;
        var shift = Math.Max(exponent, 1) - 1075;
        (numerator, denominator) = shift >= 0 ? (numerator << shift, denominator) : (numerator, denominator << -shift);
        var whole = BigInteger.DivRem(numerator * BigInteger.Pow(10, digits), denominator, out var rest);
        var half = (rest * 2).CompareTo(denominator);
        var text = (whole + (half > 0 || (half == 0 && !whole.IsEven) ? 1 : 0)).ToString(CultureInfo.InvariantCulture)
            .PadLeft(digits + 1, '0');
        return (double.IsNegative(value) ? "-" : "") + (digits == 0 ? text : $"{text[..^digits]}.{text[^digits..]}");
    }

    /// <summary>format(share, ".2%"): times 100 in double, then two digits.</summary>
    public static string Percent(double share) => Fixed(share * 100, 2) + "%";

    /// <summary>float(text).</summary>
    /// <exception cref="OfficialStopException">ValueError: it is no number.</exception>
    public static double Float(string text)
    {
        var plain = Plain(text);
        return FloatForm().IsMatch(plain) ? double.Parse(plain.Replace("_", ""), NumberStyles.Float,
            CultureInfo.InvariantCulture)
            : plain.TrimStart('+', '-').ToLowerInvariant() switch
            {
                "inf" or "infinity" when Signed(plain) => plain[0] == '-' ? double.NegativeInfinity
                    : double.PositiveInfinity,
                "nan" when Signed(plain) => double.NaN,
                _ => throw new OfficialStopException("ValueError", $"could not convert string to float: '{text}'"),
            };
    }

    /// <summary>int(text).</summary>
    /// <exception cref="OfficialStopException">ValueError: it is no whole number.</exception>
    public static BigInteger Int(string text) => IntForm().IsMatch(Plain(text))
        ? BigInteger.Parse(Plain(text).Replace("_", "").TrimStart('+'), NumberStyles.AllowLeadingSign,
            CultureInfo.InvariantCulture)
        : throw new OfficialStopException("ValueError", $"invalid literal for int() with base 10: '{text}'");

    /// <summary>str.isdigit(): not empty, and digits alone, superscripts and those of other scripts too.</summary>
    public static bool IsDigits(string text) => text.Length > 0 && text.EnumerateRunes()
        .All(rune => CharUnicodeInfo.GetDigitValue(rune.ToString(), 0) >= 0);

    /// <summary>How many decimal digits of any script (the pattern \d) a text begins with, in UTF-16 units.</summary>
    public static int LeadingDigits(string text) => text.EnumerateRunes()
        .TakeWhile(rune => Rune.GetUnicodeCategory(rune) == UnicodeCategory.DecimalDigitNumber)
            .Sum(rune => rune.Utf16SequenceLength);

    /// <summary>A slice [:count] of so many items: from the end where the count is negative.</summary>
    public static int SliceEnd(int length, int count) => count < 0 ? Math.Max(0, length + count)
        : Math.Min(length, count);

    /// <summary>numpy.sum.</summary>
    public static double Sum(ReadOnlySpan<double> values) => NumpySum.Of(values);

    /// <summary>numpy.mean; NaN of nothing.</summary>
    public static double Mean(IEnumerable<double> values) => values.ToArray() is { Length: > 0 } all
        ? Sum(all) / all.Length : double.NaN;

    // Place of the first digit that is not 0.
    private static int Exponent(string plain, int exponent)
    {
        var point = plain.IndexOf('.') is >= 0 and var at ? at : plain.Length;
        var first = plain.AsSpan().IndexOfAnyExcept('0', '.');
        return exponent + (first < point ? point - first - 1 : point - first);
    }

    private static bool Signed(string text) => text.Length > 0
        && (text.Length == 1 || !"+-".Contains(text[0]) || !"+-".Contains(text[1]));

    // Without white space at the ends, digits of other scripts as 0 to 9.
    private static string Plain(string text) => string.Concat(PythonText.Strip(text).EnumerateRunes()
        .Select(rune =>
        Rune.GetUnicodeCategory(rune) == UnicodeCategory.DecimalDigitNumber
            ? CharUnicodeInfo.GetDecimalDigitValue(rune.ToString(), 0).ToString(CultureInfo.InvariantCulture)
                : rune.ToString()));

    [GeneratedRegex(@"^[+-]?([0-9]+(_[0-9]+)*(\.([0-9]+(_[0-9]+)*)?)?|\.[0-9]+(_[0-9]+)*)"
        + @"([eE][+-]?[0-9]+(_[0-9]+)*)?\z")]
    private static partial Regex FloatForm();

    [GeneratedRegex(@"^[+-]?[0-9]+(_[0-9]+)*\z")]
    private static partial Regex IntForm();
}

/// <summary>A place where the official script stops: the kind of its Python error, and the cause.</summary>
/// <param name="kind">Name of the Python exception, such as KeyError.</param>
/// <param name="cause">What is wrong.</param>
public class OfficialStopException(string kind, string cause)
    : InvalidOperationException($"{cause} (the official script stops here: {kind})")
{
    public string Kind => kind;

    public string Cause => cause;
}

/// <summary>Boxes that were kept of an image are not those that are found in it now, as on another device: the image is
/// to be judged anew (<see cref="CachedObjects.Forget"/>).</summary>
public sealed class KeptBoxException(string cause) : OfficialStopException("none", cause);
