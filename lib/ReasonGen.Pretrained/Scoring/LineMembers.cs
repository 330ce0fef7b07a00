using System.Text.Json;

namespace ReasonGen.Scoring;

/// <summary>Members of a line of json that others wrote. What is of another kind is told by its name.</summary>
internal static class LineMembers
{
    /// <summary>A member; null where there is none, or it is null.</summary>
    internal static JsonElement? Member(this JsonElement json, string name) => json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    /// <summary>A member that must be there; it may be null.</summary>
    /// <exception cref="FormatException">There is none.</exception>
    internal static JsonElement Need(this JsonElement json, string name) => json.ValueKind == JsonValueKind.Object
        && json.TryGetProperty(name, out var value) ? value
        : throw new FormatException($"it has no \"{name}\"");

    /// <summary>A text.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    internal static string Text(this JsonElement value, string name) => value.ValueKind == JsonValueKind.String
        ? value.Text() : throw Strange(value, name, "a text");

    /// <summary>A number.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    internal static double Number(this JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Number ? value.GetDouble() : throw Strange(value, name, "a number");

    /// <summary>A whole number; 64.0 is one, as Python's json writes what was computed.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    internal static int Whole(this JsonElement value, string name) => value.ValueKind == JsonValueKind.Number
        && value.GetDouble() is var number && number == (int)number ? (int)number
            : throw Strange(value, name, "a whole number");

    /// <summary>A list.</summary>
    /// <exception cref="FormatException">It is something else.</exception>
    internal static JsonElement[] List(this JsonElement value, string name) =>
        value.ValueKind == JsonValueKind.Array ? [.. value.EnumerateArray()] : throw Strange(value, name, "a list");

    /// <summary>That a member is of another kind.</summary>
    internal static FormatException Strange(JsonElement value, string name, string wanted)
    {
        var (raw, longest) = (value.GetRawText(), 60);
        return new($"\"{name}\" is {(raw.Length > longest ? raw[..longest] + "…" : raw)}, where {wanted} belongs");
    }
}
