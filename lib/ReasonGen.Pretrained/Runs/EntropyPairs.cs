using Newtonsoft.Json.Linq;
using ReasonGen.Grpo;

namespace ReasonGen.Runs;

/// <summary>
/// Pairs of controllers that take turns with the micro-batches: of n pairs each sees an n-th of them, so that α moves
/// an n-th as fast as that of one pair. The paper's eight GPUs had a pair each; here it is eight pairs on whatever and
/// however many GPUs.
/// </summary>
/// <param name="count">How many; at least 1.</param>
/// <param name="pair">Makes a pair.</param>
public sealed class EntropyPairs(int count, Func<AdaptiveEntropyTerm> pair) : IEntropyStrategy
{
    private const string Turn = "turn", Pairs = "pairs";
    private AdaptiveEntropyTerm[] pairs = [.. Enumerable.Range(0, count).Select(_ => pair())];
    private int turn;

    public string Name => pairs[0].Name;

    public JObject Settings => new(pairs[0].Settings) { [Pairs] = count };

    public EntropyCoefficients Next(double textEntropy, double imageEntropy)
    {
        var used = pairs[turn].Next(textEntropy, imageEntropy);
        turn = (turn + 1) % count;
        return used;
    }

    public JObject SaveState() => new()
    {
        [Turn] = turn, [Pairs] = new JArray(pairs.Select(one => one.SaveState())),
    };

    public void RestoreState(JObject state)
    {
        var (at, states) = ((int)state[Turn]!, state[Pairs]!.Cast<JObject>().ToArray());
        if (states.Length != count || at < 0 || at >= count)
        {
            throw new FormatException(
                $"it holds {states.Length} pairs of controllers, of which {at} is next, and there are {count}");
        }

        (pairs, turn) = ([.. states.Select(one =>
        {
            var restored = pair();
            restored.RestoreState(one); // throws before anything is changed
            return restored;
        })], at);
    }
}
