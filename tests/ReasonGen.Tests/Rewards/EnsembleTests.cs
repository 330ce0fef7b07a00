using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.Imaging;
using ReasonGen.Models;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Rewards;

/// <summary>Rewards of several parts, and rewards that could not be had, as GRPO meets them.</summary>
public sealed class EnsembleTests
{
    [Fact]
    public void The_sum_is_weighted_and_the_parts_are_kept()
    {
        var reward =
            new EnsembleReward([(By("a", i => i), 1), (By("b", i => 1), 0.5), (By("watched", i => float.NaN), 0)]);
        Assert.Equal([0.5f, 1.5f, 2.5f], reward.Score(Requests(3)));
        Assert.Equal("a + 0.5 b", reward.Name);
        Assert.Equal(["a", "b", "watched"], reward.Parts.Select(part => part.Name));
        Assert.Equal([0f, 1, 2], reward.Parts[0].Rewards);
    }

    [Fact]
    public void An_unknown_part_makes_the_sum_unknown() =>
        Assert.Equal([1f, float.NaN],
            new EnsembleReward([(By("a", i => 1), 1), (By("b", i => i == 1 ? float.NaN : 0), 1)]).Score(Requests(2)));

    [Fact]
    public void A_reward_from_one_lambda_joins_an_ensemble() =>
        Assert.Equal([3f],
            new EnsembleReward([(new LambdaReward("width", request => request.Image.Width), 2),
                (By("a", _ => 1), 1)]).Score(Requests(1)));

    [Fact]
    public void Parts_that_cannot_be_added_are_refused()
    {
        Assert.Contains("two parts are called 'a'",
            Assert.Throws<ArgumentException>(() =>
                new EnsembleReward([(By("a", _ => 1), 1), (By("a", _ => 1), 1)])).Message);
        Assert.Throws<ArgumentException>(() => new EnsembleReward([]));
        Assert.Throws<ArgumentException>(() => new EnsembleReward([(By("a", _ => 1), 0)]));
        Assert.Throws<ArgumentException>(() => new EnsembleReward([(By("a", _ => 1), double.NaN)]));
        Assert.Contains("gave 1 values for 2 images",
            Assert.Throws<InvalidOperationException>(() =>
                new EnsembleReward([(new Short(), 1)]).Score(Requests(2))).Message);
    }

    [Fact]
    public void A_group_with_an_unknown_reward_is_dropped_counted_and_replaced()
    {
        // prompt 1 has a hole in the first round; prompts 0 and 2 differ; prompt 3 is all equal
        var reward = new EnsembleReward(
            [(By("judge", (prompt, i) => prompt == 1 && i % 2 == 1 ? float.NaN : prompt == 3 ? 1 : i % 2), 1),
                (By("detector", (_, _) => 0.25f), 0)]);
        var config = new GrpoConfig { PromptsPerStep = 4, PromptsPerUpdate = 1, RolloutsPerPrompt = 2, MaxRounds = 2 };
        var collector =
            new RolloutCollector(new BlankRollouts(), reward, i => new Prompt(i.ToString(), "", []), config);
        var collected = collector.Collect();
        var groups = collected.Groups;
        Assert.Equal(["0", "2", "4", "5"], groups.Select(group => group.Prompt.Text));
        Assert.All(groups, group => Assert.DoesNotContain(float.NaN, group.Rewards));
        Assert.Equal(8, collected.Rollouts!.Count);
        Assert.Equal(1, collected.SkippedGroups);
        Assert.Equal((0 + 1 + 0 + 1 + 1 + 1) / 6.0, collected.Reward, 6); // over the groups that are known
        Assert.Equal(0.25, collected.RewardParts["detector"], 6);
        Assert.Equal((0 + 1 + 0 + 0 + 1 + 1 + 1) / 7.0, collected.RewardParts["judge"], 6);
        collected.Rollouts!.Dispose();
    }

    [Fact]
    public void Iterations_without_any_known_reward_end_the_run_with_the_cause()
    {
        var config = new GrpoConfig
        {
            PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 2, MaxRounds = 1, MaxEmptySteps = 2,
        };
        var collector = new RolloutCollector(new BlankRollouts(), By("a", _ => float.NaN),
            i => new Prompt(i.ToString(), "", []), config);
        using var model = new ReasonGen.Models.Janus(ReasonGen.Models.JanusConfig.Mini(10), ComputeTarget.Default);
        using var trainer = new GrpoTrainer(model, collector, new NoEntropyTerm(), 3);
        var step = trainer.Step();
        Assert.Equal((0, 2, 0.0), (step.Groups, step.SkippedGroups, step.ZeroVarianceFraction));
        Assert.True(double.IsNaN(step.Reward));
        Assert.Contains("2 groups were left out because of an unavailable reward",
            Assert.Throws<TooFewGroupsException>(() => trainer.Step()).Message);
    }

    [Fact]
    public void Without_the_filter_an_unknown_reward_is_dropped_all_the_same()
    {
        var config = new GrpoConfig
        {
            PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 2, MaxRounds = 1, FilterGroups = false,
        };
        var collector = new RolloutCollector(new BlankRollouts(), By("a", (prompt, _) => prompt == 0 ? float.NaN : 1),
            i => new Prompt(i.ToString(), "", []), config);
        var collected = collector.Collect();
        var groups = collected.Groups;
        Assert.Equal("1", Assert.Single(groups).Prompt.Text);
        Assert.Equal(1, collected.ZeroVarianceFraction);
        collected.Rollouts!.Dispose();
    }

    [Fact]
    public void A_reward_that_fails_leaves_the_iteration_to_be_made_again()
    {
        var broken = true;
        var reward =
            By("a", (_, i) => broken ? throw new EndpointException("http://here/v1", "it is away", "Start it") : i % 2);
        var config = new GrpoConfig { PromptsPerStep = 2, PromptsPerUpdate = 1, RolloutsPerPrompt = 2 };
        var collector =
            new RolloutCollector(new BlankRollouts(), reward, i => new Prompt(i.ToString(), "", []), config);
        Assert.Throws<EndpointException>(() => collector.Collect());
        Assert.Equal(0, collector.NextPrompt);
        broken = false;
        var collected = collector.Collect();
        var groups = collected.Groups;
        Assert.Equal(["0", "1"], groups.Select(group => group.Prompt.Text));
        collected.Rollouts!.Dispose();
    }

    private static RewardRequest[] Requests(int count) =>
        [.. Enumerable.Range(0, count)
            .Select(_ => new RewardRequest(new Prompt("0", "", []), "", new RgbImage(1, 1, [0, 0, 0])))];

    private static IReward By(string name, Func<int, float> score) => By(name, (_, i) => score(i));

    private static IReward By(string name, Func<int, int, float> score) => new Scripted(name, score);

    private sealed class Scripted(string name, Func<int, int, float> score) : IReward
    {
        public string Name => name;

        public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) =>
            [.. requests.Select((request, i) => score(int.Parse(request.Prompt.Text), i))];
    }

    private sealed class Short : IReward
    {
        public string Name => "short";

        public float[] Score(IReadOnlyList<RewardRequest> requests, CancellationToken cancel = default) => [1];
    }

    private sealed class BlankRollouts : IRolloutSource
    {
        public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
        {
            Tensor Zeros(int columns) => zeros(prompts.Count * rolloutsPerPrompt, columns, ScalarType.Int64);
            return new(1, Zeros(3), Zeros(3), Zeros(3), Zeros(3), Zeros(1),
                zeros(prompts.Count * rolloutsPerPrompt, 2));
        }

        public string[] Rationales(RolloutBatch rollouts) => [.. Enumerable.Repeat("", rollouts.Count)];

        public RgbImage[] Images(RolloutBatch rollouts) =>
            [.. Enumerable.Repeat(new RgbImage(1, 1, [0, 0, 0]), rollouts.Count)];
    }
}
