using System.Runtime.CompilerServices;

namespace ReasonGen.Core;

/// <summary>Ranges of settings: each is refused by its own name, in the same words everywhere.</summary>
internal static class SettingRange
{
    /// <summary>Refuses a setting that is out of its range; what is no finite number is in none.</summary>
    /// <param name="settings">The record that it is of.</param>
    /// <param name="value">The setting.</param>
    /// <param name="holds">Whether it is in its range.</param>
    /// <param name="range">The range, in words.</param>
    /// <param name="name">The setting's name.</param>
    /// <exception cref="ArgumentException">It is out of range.</exception>
    internal static void Require(object settings, double value, bool holds, string range,
        [CallerArgumentExpression(nameof(value))] string name = "")
    {
        if (!holds || !double.IsFinite(value))
        {
            var finite = double.IsFinite(value) ? "" : ", and finite";
            throw new ArgumentException(FormattableString.Invariant(
                $"{settings.GetType().Name}.{name} is {value}; it must be {range}{finite}"));
        }
    }
}
