namespace ReasonGen.Studies;

/// <summary>How often a word stands in rationales.</summary>
/// <param name="Word">The word.</param>
/// <param name="PerHundred">Occurrences in a hundred rationales: above 100 where a word stands more than once on
/// average (the paper's figure 7).</param>
/// <param name="Share">Share of rationales that have it at all, in percent.</param>
public sealed record WordCount(string Word, double PerHundred, double Share);

/// <summary>Word statistics of rationales (paper figure 7: 1000 rationales, words above 20 %, "a", "an" and "the" left
/// out).</summary>
public static class WordFrequency
{
    private static readonly string[] Articles = ["a", "an", "the"];

    /// <summary>Words above a threshold, most frequent first.</summary>
    /// <param name="rationales">At least one.</param>
    /// <param name="threshold">Occurrences per hundred rationales that a word must pass. Default 20.</param>
    public static IReadOnlyList<WordCount> Count(IReadOnlyList<string> rationales, double threshold = 20)
    {
        var words = rationales
            .Select(text =>
                text.ToLowerInvariant().Split((char[])[' ', '\n', '\t', ',', '.', ';', ':', '!', '?', '(', ')', '"'],
            StringSplitOptions.RemoveEmptyEntries).Where(word => !Articles.Contains(word)).ToArray()).ToArray();
        return [.. words.SelectMany(text => text).GroupBy(word => word)
            .Select(group =>
                new WordCount(group.Key, 100.0 * group.Count() / rationales.Count,
                    100.0 * words.Count(text => text.Contains(group.Key)) / rationales.Count))
            .Where(word => word.PerHundred > threshold).OrderByDescending(word => word.PerHundred)
            .ThenBy(word => word.Word, StringComparer.Ordinal)];
    }
}
