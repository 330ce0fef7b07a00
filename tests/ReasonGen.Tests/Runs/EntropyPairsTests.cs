using Newtonsoft.Json.Linq;
using ReasonGen.Grpo;
using ReasonGen.Runs;
using Xunit;

namespace ReasonGen.Tests.Runs;

/// <summary>Pairs of controllers that take turns, held against lone ones.</summary>
public sealed class EntropyPairsTests
{
    private const int Count = 3;
    private static readonly EntropyControllerConfig Text = new() { Target = 2, LearningRate = 0.01, Bound = 1 },
        Image = new() { Target = 7, LearningRate = 0.01, Bound = 1 };

    private static AdaptiveEntropyTerm Pair() => new(Text, Image);

    private static (double, double) Entropies(int microBatch) =>
        (2 + Math.Sin(microBatch), 7 - Math.Cos(2 * microBatch));

    [Fact]
    public void Each_pair_learns_from_its_own_micro_batches_alone()
    {
        var together = new EntropyPairs(Count, Pair);
        var alone = Enumerable.Range(0, Count).Select(_ => Pair()).ToArray();
        for (var m = 0; m < 4 * Count; m++)
        {
            var (text, image) = Entropies(m);
            Assert.Equal(alone[m % Count].Next(text, image), together.Next(text, image));
        }
    }

    [Fact]
    public void A_state_goes_on_in_the_middle_of_a_turn()
    {
        EntropyPairs whole = new(Count, Pair), cut = new(Count, Pair), rest = new(Count, Pair);
        for (var m = 0; m < 5; m++)
        {
            Assert.Equal(whole.Next(3, 6), cut.Next(3, 6));
        }

        rest.RestoreState(JObject.Parse(cut.SaveState().ToString()));
        Assert.All(Enumerable.Range(5, 2 * Count), m =>
        {
            var (text, image) = Entropies(m);
            Assert.Equal(whole.Next(text, image), rest.Next(text, image));
        });
        Assert.Contains("3 pairs", Assert.Throws<FormatException>(() =>
            new EntropyPairs(Count + 1, Pair).RestoreState(cut.SaveState())).Message);
    }

    [Theory]
    [InlineData("paper", 8)]
    [InlineData("janus-7b", 8)]
    [InlineData("mini", 1)]
    public void Presets_of_the_paper_have_a_pair_for_each_of_its_gpus(string preset, int pairs)
    {
        var entropy = RunConfig.Preset(preset).Entropy;
        Assert.Equal(pairs, entropy.Pairs);
        Assert.Equal(pairs > 1 ? (int?)pairs : null, (int?)entropy.Build().Settings["pairs"]);
        Assert.Null((entropy with { PerRank = true }).Build().Settings["pairs"]);
        Assert.Throws<ArgumentException>(() => (entropy with { Pairs = 0 }).Build());
    }
}
