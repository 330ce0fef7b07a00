using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Checkpoints;

/// <summary>Names what differs between the settings a run was made with and those of now.</summary>
internal static class SettingsDifference
{
    /// <summary>A sentence part for each value that differs, with its path; empty where all agree.</summary>
    internal static IReadOnlyList<string> Of(JToken? was, JToken? now, string words = "{0} was {1} and is {2}") =>
        [.. Find(was, now, "").Select(found => string.Format(words, found.Path, found.Was, found.Now))];

    /// <summary>The same over what both have: an earlier version of the kit may have had other settings.</summary>
    internal static IReadOnlyList<string> OfCommon(JObject was, JObject now) => Of(Common(was, now), Common(now, was));

    private static IEnumerable<(string Path, string Was, string Now)> Find(JToken? was, JToken? now, string path) =>
        (was, now) switch
        {
            (JObject one, JObject other) =>
                one.Properties().Select(p => p.Name).Union(other.Properties().Select(p => p.Name))
                .SelectMany(name => Find(one[name], other[name], path.Length == 0 ? name : $"{path}.{name}")),
            _ when JToken.DeepEquals(was, now) => [],
            _ => [(path.Length == 0 ? "it" : path, Text(was), Text(now))],
        };

    private static JObject Common(JObject some, JObject other) =>
        new(some.Properties().Where(p => other.ContainsKey(p.Name))
        .Select(p =>
            new JProperty(p.Name,
                p.Value is JObject inner && other[p.Name] is JObject beside ? Common(inner, beside)
                    : p.Value.DeepClone())));

    private static string Text(JToken? value) => value?.ToString(Formatting.None) ?? "not set";
}
