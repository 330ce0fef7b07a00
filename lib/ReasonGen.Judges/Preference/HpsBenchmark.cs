// The table of HPSv2's benchmark (hpsv2/evaluation.py) and its two accuracies (src/training/train.py).
//   style: mean and population deviation of the means of groups of 80 images;   Average: mean over all images.   All
//   in 100 times the score.
using System.Globalization;

namespace ReasonGen.Judges.Preference;

/// <summary>Scores of a benchmark to its table, scores of one prompt to agreement with people.</summary>
public static class HpsBenchmark
{
    private const int GroupSize = 80;

    /// <summary>100 · mean and deviation of one style's scores, in the order of its prompts.</summary>
    /// <exception cref="ArgumentException">There are none.</exception>
    public static (double Mean, double Deviation) Style(IReadOnlyList<float> scores)
    {
        if (scores.Count == 0)
        {
            throw new ArgumentException("a style without scores has no mean", nameof(scores));
        }

        var groups = scores.Chunk(GroupSize).Select(group => 100 * group.Average(score => (double)score)).ToArray();
        var mean = groups.Average();
        return (mean, Math.Sqrt(groups.Average(group => (group - mean) * (group - mean))));
    }

    /// <summary>The lines as the reference prints them: styles in the given order, then the average over all
    /// images.</summary>
    public static string[] Table(string model, IReadOnlyList<(string Style, IReadOnlyList<float> Scores)> styles)
    {
        static string Digits(double value, string format) => value.ToString(format, CultureInfo.InvariantCulture);
        return
        [
            .. styles.Select(row => Style(row.Scores) is var (mean, deviation)
                ? $"{model} {row.Style,-15} {Digits(mean, "F2")} \t {Digits(deviation, "F4")}" : ""),
            $"{model} {"Average",-15} "
            + $"{Digits(100 * styles.SelectMany(row => row.Scores).Average(score => (double)score), "F2")} \t",
        ];
    }

    /// <summary>Ranks by score, 0 for the highest; of equal scores the first comes first (the reference leaves their
    /// order open).</summary>
    public static int[] Ranking(IReadOnlyList<float> scores)
    {
        var order = Enumerable.Range(0, scores.Count).OrderByDescending(i => scores[i]).ToArray();
        return [.. Enumerable.Range(0, scores.Count).Select(i => Array.IndexOf(order, i))];
    }

    /// <summary>1 − inverted pairs / all pairs; a pair of one human rank is never inverted (inversion_score).</summary>
    /// <param name="ranking">Ranks by score, 0 for the best.</param>
    /// <param name="human">Ranks by people, the lowest for the best.</param>
    public static double InversionScore(IReadOnlyList<int> ranking, IReadOnlyList<int> human)
    {
        var pairs = Pairs(ranking.Count, human.Count);
        return 1 - pairs.Count(pair =>
            Math.Sign(ranking[pair.A] - ranking[pair.B]) * Math.Sign(human[pair.A] - human[pair.B]) < 0)
            / (double)pairs.Length;
    }

    /// <summary>Pairs in people's order among the pairs of different human rank; equal scores are in no order
    /// (calc_ImageReward).</summary>
    public static double PairAccuracy(IReadOnlyList<float> scores, IReadOnlyList<int> human)
    {
        var pairs = Array.FindAll(Pairs(scores.Count, human.Count), pair => human[pair.A] != human[pair.B]);
        return pairs.Count(pair => human[pair.A] < human[pair.B] ? scores[pair.A] > scores[pair.B]
            : scores[pair.A] < scores[pair.B]) / (double)pairs.Length;
    }

    private static (int A, int B)[] Pairs(int count, int other) => count != other || count < 2
        ? throw new ArgumentException($"{count} scores and {other} human ranks form no pairs")
        : [.. Enumerable.Range(0, count).SelectMany(a => Enumerable.Range(a + 1, count - a - 1).Select(b => (a, b)))];
}
