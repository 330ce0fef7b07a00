using System.Text.RegularExpressions;

namespace ReasonGen.Host.Notebooks;

/// <summary>Ids in a page, made from names: letters, digits and dashes, each once.</summary>
/// <param name="start">What all of them begin with.</param>
/// <param name="taken">Ids that are not to be given.</param>
internal sealed partial class ReportIds(string start, params IEnumerable<string> taken)
{
    private readonly HashSet<string> given = [.. taken];
    private readonly Dictionary<string, int> copies = [];

    internal string For(string name)
    {
        var plain = start + Plain(name);
        plain = plain.Length == 0 ? "notebook" : plain;
        var id = plain;
        while (!given.Add(id))
        {
            var copy = copies[plain] = copies.GetValueOrDefault(plain, 1) + 1;
            id = $"{plain}-{copy}";
        }

        return id;
    }

    /// <summary>A name as it stands in an id.</summary>
    internal static string Plain(string name) => Other().Replace(name, "-").Trim('-');

    [GeneratedRegex(@"[^\p{L}\p{N}]+")]
    private static partial Regex Other();
}
