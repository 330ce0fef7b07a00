using System.Collections;
using System.Reflection;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Core;
using ReasonGen.Rollouts;

namespace ReasonGen.Runs;

/// <summary>One setting of a tree of records.</summary>
/// <param name="Path">As it is written: <c>grpo.learningRate</c>.</param>
/// <param name="Property">The record's property, whose documentation is the setting's.</param>
/// <param name="Value">As it stands; null where an optional part is left out.</param>
public sealed record Setting(string Path, PropertyInfo Property, object? Value);

/// <summary>
/// Records of settings as a tree of named values, which files and command lines change and which is written as json.
/// The records alone say which
/// settings there are, of which type, and what they mean. Immutable: a change gives another tree.
/// </summary>
public sealed class Settings
{
    /// <summary>Of the records, but no setting: it is always the model's own.</summary>
    internal const string ModelsOwn = "rollout.imageTokens";

    /// <summary>An object without members.</summary>
    internal const string Empty = "{}";

    private readonly (string Name, object Record)[] roots;

    /// <param name="root">Its properties are the first names of a path.</param>
    /// <param name="sections">Records beside them, by name.</param>
    public Settings(object root, params (string Name, object Record)[] sections) => roots = [("", root), .. sections];

    private Settings((string Name, object Record)[] roots) => this.roots = roots;

    /// <summary>All settings in the order in which the records declare them; those of a part that is left out have its
    /// defaults' names and no value.</summary>
    public IEnumerable<Setting> All => roots.SelectMany(root => Below(root.Name, root.Record, root.Record.GetType()));

    /// <summary>The record of a type among the root and the sections.</summary>
    public T Get<T>() => (T)roots.First(root => root.Record is T).Record;

    /// <summary>The tree with one value changed.</summary>
    /// <param name="path">The setting, in any case.</param>
    /// <param name="text">The value: a number, true or false, a name, a list with commas or as json; null empties a
    /// list, and takes an optional part away; {} puts one in as it is by default.</param>
    /// <exception cref="ArgumentException">There is no such setting, with those of the nearest names; or the value is
    /// none of its type.</exception>
    public Settings With(string path, string text)
    {
        var names = path.Split('.');
        var at = Array.FindIndex(roots, root => root.Name.Length > 0
            && root.Name.Equals(names[0], StringComparison.OrdinalIgnoreCase));
        var (start, rest) = at < 0 ? (0, names) : (at, names[1..]);
        if (rest.Length == 0 && text == Empty)
        {
            return this;
        }

        var changed = roots.ToArray();
        changed[start].Record = Set(roots[start].Record, rest, path, text);
        return new(changed);
    }

    /// <summary>The tree with the values of a json object, such as <see cref="ToJson"/> writes; what it does not name
    /// stays. The number of image tokens, which earlier versions wrote, is left as it is.</summary>
    /// <exception cref="ArgumentException">As for <see cref="With(string, string)"/>.</exception>
    public Settings With(JObject json) =>
        Leaves(json).Aggregate(this, (tree, leaf) => tree.With(leaf.Path, leaf.Text));

    /// <summary>The values that a json object names, each with its path.</summary>
    internal static IEnumerable<(string Path, string Text)> Leaves(JToken value, string path = "") =>
        path.Equals(ModelsOwn, StringComparison.OrdinalIgnoreCase) ? []
            : value is not JObject { Count: var count } inner || (count == 0 && path.Length > 0)
            ? [(path, value is JValue { Value: string text } ? text : value.ToString(Formatting.None))]
            : inner.Properties().SelectMany(property =>
                Leaves(property.Value, path.Length == 0 ? property.Name : $"{path}.{property.Name}"));

    /// <summary>All values, by their paths; a part that is left out is null.</summary>
    public JObject ToJson()
    {
        var json = Json(roots[0].Record);
        foreach (var (name, record) in roots[1..])
        {
            json[name] = Json(record);
        }

        return json;
    }

    private static IEnumerable<Setting> Below(string path, object? record, Type type)
    {
        foreach (var property in Properties(type))
        {
            var name = path.Length == 0 ? Name(property) : $"{path}.{Name(property)}";
            var value = record is null ? null : property.GetValue(record);
            var below = IsRecord(property.PropertyType) ? Below(name, value, property.PropertyType)
                : [new Setting(name, property, value)];
            foreach (var setting in below)
            {
                yield return setting;
            }
        }
    }

    private object Set(object record, string[] names, string path, string text)
    {
        if (names.Length == 0 || Properties(record.GetType()).FirstOrDefault(property =>
            property.Name.Equals(names[0], StringComparison.OrdinalIgnoreCase)) is not { } found)
        {
            throw Unknown(path);
        }

        var copy = record.GetType().GetMethod("<Clone>$")!.Invoke(record, null)!;
        found.SetValue(copy, (IsRecord(found.PropertyType), names) switch
        {
            (false, [_]) => Value(found, path, text),
            (true, [_]) when text == "null" && IsOptional(found) => null,
            (true, [_]) when text == Empty => found.GetValue(record) ?? Activator.CreateInstance(found.PropertyType)!,
            (true, [_, .. var rest]) when rest.Length > 0 =>
                Set(found.GetValue(record) ?? Activator.CreateInstance(found.PropertyType)!, rest, path, text),
            _ => throw Unknown(path),
        });
        return copy;
    }

    private ArgumentException Unknown(string path)
    {
        if (path.Equals(ModelsOwn, StringComparison.OrdinalIgnoreCase))
        {
            return new($"{ModelsOwn} is no setting: an image has as many tokens as its model makes; leave it out");
        }

        var names = All.Select(setting => setting.Path).ToArray();
        var last = path[(path.LastIndexOf('.') + 1)..];
        string[] near = [.. NearestNames.Of(path, names, 3).Concat(names.Where(name =>
            NearestNames.Of(last, [name[(name.LastIndexOf('.') + 1)..]]).Length > 0)).Distinct().Take(4)];
        string[] below = [.. names.Where(name => name.StartsWith(path + ".", StringComparison.OrdinalIgnoreCase))
            .Take(4)];
        var hint = below.Length > 0 ? $"it is a group; set one of its own, such as {string.Join(", ", below)}"
            : near.Length > 0 ? $"did you mean {string.Join(" or ", near)}?" : "--help-settings lists them all";
        return new($"there is no setting '{path}': {hint}");
    }

    private static object? Value(PropertyInfo property, string path, string text)
    {
        var type = Nullable.GetUnderlyingType(property.PropertyType) ?? property.PropertyType;
        object? value = type == typeof(string) ? text
            : type == typeof(bool) ? bool.TryParse(text, out var flag) ? flag : null
            : type == typeof(int) ? NumberText.Whole<int>(text)
            : type == typeof(long) ? NumberText.Whole<long>(text)
            : type == typeof(double) ? NumberText.Fraction<double>(text)
            : type.IsEnum ? Enum.GetNames(type)
            .FirstOrDefault(name => name.Equals(text, StringComparison.OrdinalIgnoreCase)) is { } name
                ? Enum.Parse(type, name) : null
            : text == "null" ? Array.Empty<string>() : Texts(text);
        return value ?? throw new ArgumentException($"{path} is {Meaning(type)}, not '{text}'");
    }

    // ["a", "b"], or a,b
    private static string[]? Texts(string text)
    {
        if (text == Empty)
        {
            return null;
        }

        if (!text.TrimStart().StartsWith('['))
        {
            return text.Split(',', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        }

        try
        {
            return JArray.Parse(text).All(item => item.Type == JTokenType.String) ? JArray.Parse(text)
                .ToObject<string[]>() : null;
        }
        catch (JsonException)
        {
            return null;
        }
    }

    /// <summary>What a value of a setting is, in words.</summary>
    internal static string Meaning(Type type) => type == typeof(string) ? "a text" : type == typeof(bool)
        ? "true or false"
        : type == typeof(int) || type == typeof(long) ? "a whole number such as 1000 or 1e3"
        : type == typeof(double) ? "a number such as 0.5 or 1e-5"
        : type.IsEnum ? $"one of {string.Join(", ", Enum.GetNames(type))}" : "a list of texts, with commas or as json";

    private static JObject Json(object record) =>
        new(Properties(record.GetType()).Select(property => new JProperty(Name(property),
        property.GetValue(record) switch
        {
            null => JValue.CreateNull(),
            Enum value => value.ToString(),
            IEnumerable list and not string => new JArray(list.Cast<object>()),
            { } value when IsRecord(property.PropertyType) => Json(value),
            { } value => JToken.FromObject(value),
        })));

    // what a with-expression could change
    private static IEnumerable<PropertyInfo> Properties(Type type) =>
        type.GetProperties(BindingFlags.Public | BindingFlags.Instance)
        .Where(property => property.CanWrite && property.GetIndexParameters().Length == 0
            && (type != typeof(RolloutConfig) || property.Name != nameof(RolloutConfig.ImageTokens)))
        .OrderBy(property => property.MetadataToken);

    private static bool IsRecord(Type type) => type.IsClass && type.GetMethod("<Clone>$") is not null;

    private static bool IsOptional(PropertyInfo property) =>
        new NullabilityInfoContext().Create(property).WriteState == NullabilityState.Nullable;

    /// <summary>A property's name as it is written in a path.</summary>
    internal static string Name(string property) => char.ToLowerInvariant(property[0]) + property[1..];

    private static string Name(PropertyInfo property) => Name(property.Name);
}
