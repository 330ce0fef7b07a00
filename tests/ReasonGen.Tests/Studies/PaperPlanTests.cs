using Newtonsoft.Json;
using ReasonGen.Imaging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>The table of the paper's study, what flips verdicts, and what is looked at.</summary>
public sealed class PaperPlanTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(5)]
    public void Each_item_comes_once_and_after_what_it_stands_on(int seeds)
    {
        var items = PaperPlan.Items(seeds);
        var seen = new HashSet<string>();
        Assert.All(items, item =>
        {
            Assert.All(item.Needs, stage => Assert.Contains(new PaperItem(item.Seed, stage).Id, seen));
            Assert.True(seen.Add(item.Id), item.Id);
        });
        Assert.Equal(seeds, items.Count(item => item.Stage == "adaptive"));
        Assert.Equal(Math.Min(seeds, PaperPlan.SeedsOfMaps), items.Count(item => item.Stage == "none-flips-0.1"));
        Assert.Equal(1, items.Count(item => item.Stage == "none-long"));
        Assert.Equal("seed1/adaptive", items.First(item => item.Run is not null).Id);
    }

    [Fact]
    public void Seeds_begin_where_they_are_told_to()
    {
        string[] Ids(int first) => [.. PaperPlan.Items(4, first: first).Select(item =>
            $"{item.Seed - first} {item.Stage}")];
        Assert.Equal(Ids(1), Ids(6));
        Assert.Throws<ArgumentOutOfRangeException>(() => PaperPlan.Items(1, first: 0));
        Assert.All(PaperPlan.Items(3), item => Assert.Equal(item, PaperPlan.Find(item.Id, 3)));
        Assert.Equal(7, PaperPlan.Find("seed7/none-long", 7)!.Seed);
        Assert.All(["seed4/none", "seed0/none", "seed-1/none", "seed+1/none", "seed01/none", "seed1/non", "none",
            "seed1/none/none"], id => Assert.Null(PaperPlan.Find(id, 3)));
    }

    [Fact]
    public void Copies_of_codes_stand_on_foundations_of_their_own()
    {
        var found = PaperPlan.Find("seed6/none-codes-4", 6)!;
        Assert.Equal((4, 0.0), (found.Run!.CodeCopies, found.Run.Alpha));
        Assert.Equal(["tokenizer", "base-codes-4", "sft-codes-4"], found.Needs);
        Assert.Equal(["seed6/tokenizer", "seed6/base-codes-4", "seed6/sft-codes-4", "seed6/none-codes-4"],
            PaperPlan.WithNeeds([found]).Select(item => item.Id));
        Assert.Equal(["tokenizer", "base-codes-4"], PaperPlan.Find("seed6/sft-codes-4", 6)!.Needs);
        Assert.Equal(["tokenizer"], PaperPlan.Find("seed6/base-codes-4", 6)!.Needs);
        string[] tries = [.. PaperPlan.Figure6.Select(run => run.Name)];
        Assert.Equal("none-codes-4", tries[Array.IndexOf(tries, "none-long") + 1]);
        Assert.Equal(["none-codes-4"], PaperPlan.Items(5).Where(item => item.Run?.CodeCopies > 1)
            .Select(item => item.Stage)); // of one seed
        Assert.Equal("sft-codes-4", (string?)found.Run.Settings(StudyConfig.Full)["start"]);
    }

    [Fact]
    public void No_two_runs_are_the_same_experiment()
    {
        StudyRun[] runs = [.. PaperPlan.Arms, .. PaperPlan.Noise, .. PaperPlan.Map, .. PaperPlan.Figure6];
        Assert.Equal(runs.Length, runs.Select(run => JsonConvert.SerializeObject(run with
        {
            Name = "", Part = StudyPart.Arms,
        })).Distinct().Count());
        Assert.Equal(runs.Length, runs.Select(run => run.Name).Distinct().Count());
        Assert.All(runs, run => run.Grpo(StudyConfig.Full).Validate());
        Assert.All(runs, run => run.Grpo(StudyConfig.Trial).Validate());
    }

    [Theory]
    [InlineData(StudyPart.Noise, 3)]
    [InlineData(StudyPart.Figure6, 3)]
    [InlineData(StudyPart.Map, 3)]
    public void A_part_alone_has_the_foundations_and_its_own_runs(StudyPart part, int seeds)
    {
        var items = PaperPlan.Items(5, [part]);
        Assert.All(items, item => Assert.True(item.Run is null || item.Run.Part == part));
        Assert.Equal(seeds, items.Count(item => item.Stage == "sft"));
    }

    [Fact]
    public void Without_errors_the_reward_is_the_detectors()
    {
        var requests = Requests(40);
        Assert.Equal(new DetectorReward().Score(requests), Reward(default).Score(requests));
    }

    [Fact]
    public void Verdicts_are_flipped_as_often_as_is_said_and_the_same_each_time()
    {
        var requests = Requests(1000);
        var truth = new DetectorReward().Score(requests);
        var reward = Reward(new(0.3, 0.1));
        var judged = reward.Score(requests);
        double Share(float of) => judged.Zip(truth).Count(pair => pair.Second == of && pair.First != of)
            / (double)truth.Count(value => value == of);
        Assert.Equal(0.3, Share(0), 0.08);
        Assert.Equal(0.1, Share(1), 0.05);
        Assert.Equal(judged, Reward(new(0.3, 0.1)).Score(requests));
        Assert.NotEqual(new DetectorReward().Name, reward.Name); // a state is resumed with the same errors alone
        var seen = reward.Take();
        Assert.Equal(judged.Average(), seen.Judged, 6);
        Assert.Equal(truth.Average(), seen.Right, 6);
        Assert.Equal(seen.Judged - seen.Right, seen.Fooled - seen.Missed, 6);
        Assert.Equal(1, seen.Plan); // as they were written
        Assert.Equal(default, reward.Take());
    }

    [Fact]
    public void Error_rates_of_a_judge_are_those_of_its_verdicts()
    {
        var random = new Random(5);
        bool[] truth = [.. Enumerable.Range(0, 500).Select(_ => random.NextDouble() < 0.4)],
            verdicts = [.. truth.Select(right => random.NextDouble() < 0.2 ? !right : right)];
        var errors = JudgeErrors.Of(JudgeQuality.Of(verdicts, truth));
        Assert.Equal(verdicts.Zip(truth).Count(p => p is { First: true, Second: false })
            / (double)truth.Count(right => !right), errors.FalsePositives, 9);
        Assert.Equal(verdicts.Zip(truth).Count(p => p is { First: false, Second: true })
            / (double)truth.Count(right => right), errors.FalseNegatives, 9);
        Assert.Equal(new(0, 1), JudgeErrors.Of(JudgeQuality.Of([false, false], [true, false]))); // never says yes
        Assert.Equal(new(1, 1),
            JudgeErrors.Of(JudgeQuality.Of([true, true, false, false], [false, false, true, true])));
    }

    [Fact]
    public void Tiles_that_decide_are_those_of_the_square_round_a_thing()
    {
        // the centre of the upper left cell is pixel 8: pixels 3 to 13, tiles 0 to 3
        var tiles = EntropyProbe.DecidingTiles([new("circle", "red", 8, 8), new("cross", "blue", 25, 25)]);
        Assert.Equal(16 + 9, tiles.Count(tile => tile)); // 20 to 30: tiles 5 to 7
        Assert.True(tiles[0] && tiles[3 * 8 + 3] && tiles[5 * 8 + 5] && tiles[7 * 8 + 7]);
        Assert.False(tiles[4 * 8 + 4] || tiles[4]);
        Assert.DoesNotContain(true, EntropyProbe.DecidingTiles([]));
    }

    // every second image belongs to another prompt
    private static RewardRequest[] Requests(int count) => [.. Enumerable.Range(0, count).Select(i =>
    {
        Prompt prompt = Prompts.Draw(new Random(i)), other = Prompts.Draw(new Random(i + 5000));
        var scene = Scene.For(prompt, new Random(i));
        return new RewardRequest(i % 2 == 0 ? prompt : other,
            Rationales.Write(Scene.For(i % 2 == 0 ? prompt : other, new Random(i)), new Random(i)),
            Renderer.Render(scene, new WorldConfig { Texture = Texture.Plain }, i));
    })];

    private static ObservedReward Reward(JudgeErrors errors) => new(null, errors, 8, () => new Random(3));
}
