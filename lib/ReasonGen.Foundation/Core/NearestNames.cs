namespace ReasonGen.Core;

/// <summary>What somebody may have meant who misspelt a name.</summary>
public static class NearestNames
{
    /// <summary>The names nearest to a word, the nearest first; none where none is near.</summary>
    /// <param name="word">What was written.</param>
    /// <param name="names">What there is.</param>
    /// <param name="count">At most so many.</param>
    public static string[] Of(string word, IEnumerable<string> names, int count = 1) =>
        [.. names.Select(name => (Name: name, Far: Distance(word, name)))
            .Where(pair => pair.Far <= Math.Max(1, word.Length / 3))
            .OrderBy(pair => pair.Far).Take(count).Select(pair => pair.Name)];

    // insertions, deletions and exchanges between two words
    private static int Distance(string one, string other)
    {
        var row = Enumerable.Range(0, other.Length + 1).ToArray();
        for (var i = 1; i <= one.Length; i++)
        {
            var (before, diagonal) = (row[0] = i, i - 1);
            for (var j = 1; j <= other.Length; j++)
            {
                var cost = Math.Min(Math.Min(row[j], before) + 1, diagonal + (one[i - 1] == other[j - 1] ? 0 : 1));
                (diagonal, row[j], before) = (row[j], cost, cost);
            }
        }

        return row[^1];
    }
}
