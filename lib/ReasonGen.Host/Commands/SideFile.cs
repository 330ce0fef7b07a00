using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Host.Commands;

/// <summary>What other commands and programs left beside images and models. It is welcome where it is there, and never
/// a reason to stop: what cannot be used becomes a note.</summary>
internal static class SideFile
{
    private const int MostCount = 1_000_000;

    /// <summary>A text in a file; null where there is none.</summary>
    /// <param name="path">A JSON file.</param>
    /// <param name="what">What the text tells, for the note.</param>
    /// <param name="notes">Told why what is there is of no use.</param>
    /// <param name="names">The objects around the text, the outermost first, and its own name.</param>
    internal static string? Text(string path, string what, ICollection<string> notes, params string[] names) =>
        Value(path, what, notes, names, value => value.Value as string, "no text");

    /// <summary>Texts of a file's outermost object by their names, null where there is none; the file is read
    /// once.</summary>
    /// <inheritdoc cref="Text"/>
    internal static Func<string, string?> Texts(string path, string what, ICollection<string> notes)
    {
        var all = File.Exists(path) ? Noted(path, what, notes, () => Parsed(path)) : null;
        return name => all is null ? null
            : Noted(path, what, notes, () => Member(all, [name], value => value.Value as string, "no text"));
    }

    /// <summary>A whole number from 0 to a million in a file; null where there is none.</summary>
    /// <inheritdoc cref="Text"/>
    internal static int? Count(string path, string what, ICollection<string> notes, params string[] names) =>
        Value(path, what, notes, names, value => value.Value is long and >= 0 and <= MostCount and var count
            ? (int?)(long)count : null, $"no whole number from 0 to {MostCount}");

    private static T? Value<T>(string path, string what, ICollection<string> notes, string[] names,
        Func<JValue, T?> take, string otherwise) => !File.Exists(path) ? default
        : Noted(path, what, notes, () => Member(Parsed(path), names, take, otherwise));

    private static JToken Parsed(string path) => PlainJson.Parse(File.ReadAllText(FileKinds.NoPipe(path)));

    private static T? Member<T>(JToken? value, string[] names, Func<JValue, T?> take, string otherwise)
    {
        foreach (var name in names)
        {
            value = value is JObject inner ? inner[name] : throw new FormatException($"'{name}' lies in no object");
            if (value is null or { Type: JTokenType.Null })
            {
                return default;
            }
        }

        return value is JValue plain && take(plain) is { } taken ? taken
            : throw new FormatException($"'{names[^1]}' is {otherwise}");
    }

    private static T? Noted<T>(string path, string what, ICollection<string> notes, Func<T?> read)
    {
        try
        {
            return read();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException or FormatException)
        {
            notes.Add($"{what} could not be read in {path}: {e.Message.TrimEnd('.')}");
            return default;
        }
    }
}
