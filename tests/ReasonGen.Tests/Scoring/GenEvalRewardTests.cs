using ReasonGen.Imaging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Scoring;

/// <summary>GenEval as a reward: Flow-GRPO's share worked out by hand, and its place among other rewards.</summary>
public sealed class GenEvalRewardTests
{
    private static readonly RgbImage Image = new(8, 8, new byte[192]);

    [Theory]
    [InlineData("dog red 0", 1, 1.0)] // as wanted: (1 + 1) / 2
    [InlineData("dog blue 0", 0, 0.5)] // (1 + 0) / 2
    [InlineData("", 0, 0.0)] // none: (0 + 0) / 2
    [InlineData("dog red 0, dog red 50", 1, 0.0)] // one too many: (0 + 0) / 2, while the verdict forgives extras
    [InlineData("dog red 0, dog red 20, dog red 40, dog red 60", 1, -1.0)] // (−2 + 0) / 2
    public void Colours(string boxes, double verdict, double share) =>
        Check(new("a red dog", "colors", [new("dog", 1, "red")]), boxes, verdict, share);

    [Theory]
    [InlineData("cat red 0, dog red 50", 1, 1.0)] // (1 + 1 + 1) / 3
    [InlineData("cat red 50, dog red 0", 0, 0.75)] // the wrong way round counts 0 and then 1, as in Flow-GRPO
    [InlineData("cat red 0", 0, 1 / 3.0)] // (1 + 0 + 0) / 3
    [InlineData("dog red 0", 0, 1 / 3.0)] // its target is missing: (0 + 1 + 0) / 3
    public void Places(string boxes, double verdict, double share) =>
        Check(new("a dog right of a cat", "position", [new("cat"), new("dog", 1, null, "right of")]), boxes, verdict,
            share);

    [Theory]
    [InlineData("dog red 0, dog red 50", 1, 1.0)]
    [InlineData("dog red 0", 0, 0.5)]
    [InlineData("dog red 0, dog red 30, dog red 60", 0, 0.5)]
    public void Counts(string boxes, double verdict, double share) =>
        Check(new("two dogs", "counting", [new("dog", 2)]), boxes, verdict, share);

    [Fact]
    public void What_the_judge_refuses_or_the_rules_do_not_know_has_no_reward_alone_or_in_a_sum()
    {
        RewardRequest Request(string text, params Clause[] include) => new(new(text, "colors", include), "", Image);
        RewardRequest[] requests = [Request("a free prompt"), Request("refused", new Clause("refused")),
            Request("a red dog", new Clause("dog", 1, "red"))];
        var reward = new GenEvalReward(new Stub());
        Assert.Equal([float.NaN, float.NaN, 1], reward.Score(requests));
        var sum = new EnsembleReward([(reward, 1), (new LambdaReward("half", _ => 0.5f), 2)]);
        Assert.Equal([float.NaN, float.NaN, 2], sum.Score(requests));
        Assert.EndsWith("this judge was the training reward",
            ScoreLabel.Of("GenEval", "boxes", new Stub(), sum.Name));
    }

    [Theory]
    [InlineData("GenEval", true, true)]
    [InlineData("geneval", true, true)]
    [InlineData("GenEval", false, false)]
    [InlineData("Qwen/the-stub", false, true)]
    [InlineData("CLIPScore by CLIP ViT-B/32 (OpenAI)", true, false)]
    [InlineData("-", true, false)]
    [InlineData("geneval-share", true, true)]
    [InlineData("geneval-share", false, false)]
    [InlineData("geneval-share,0.5*hps", true, true)]
    [InlineData("0.5 * hps, 2*geneval", true, true)]
    [InlineData("0.5*models/the-stub,hps", false, true)]
    [InlineData("clipscore,hps", true, false)]
    [InlineData("someone else, the stub of another", true, true)]
    [InlineData("another detector, colours by the", true, false)]
    public void The_label_says_where_the_judge_was_the_reward(string reward, bool official, bool said)
    {
        var label = ScoreLabel.Of("GenEval", "boxes", new Stub { Official = official }, reward);
        Assert.Equal(said, label.Contains("this judge was the training reward"));
        Assert.StartsWith(official ? "GenEval" : "GenEval's rules, boxes by the stub; not comparable", label);
        Assert.Equal(official, !label.Contains("rules"));
    }

    [Theory]
    [InlineData("gpt-4o-mini", "gpt-4o", false)]
    [InlineData("gpt-4o", "gpt-4o-mini", false)]
    [InlineData("gpt-4o", "gpt-4o-mini + 0.5 HPSv2.1", false)]
    [InlineData("gpt-4o", "gpt-4o + 0.5 HPSv2.1", true)]
    [InlineData("InternVL3-78B", "OpenGVLab/InternVL3-7", false)]
    [InlineData("Qwen/Qwen2.5-VL-7B-Instruct", "models/Qwen2.5-VL-7B-Instruct/", true)]
    [InlineData("Qwen2.5-VL-7B-Instruct", "judged by Qwen/Qwen2.5-VL-7B-Instruct", true)]
    [InlineData("the drawn world's exact detector", "detector", true)]
    public void The_label_tells_models_apart_whose_names_begin_alike(string judge, string reward, bool said) =>
        Assert.Equal(said, ScoreLabel.Of("GenEval", "boxes", new Stub { Name = judge }, reward)
            .Contains("was the training reward"));

    [Theory]
    [InlineData("clipscore", true)]
    [InlineData("0.5*clipscore,hps", true)]
    [InlineData("geneval-share", false)]
    public void The_label_knows_CLIPScore_by_the_name_that_train_takes(string reward, bool said) =>
        Assert.Equal(said, ScoreLabel.Of("T2I-CompBench", "scores",
            new Stub { Official = true, Name = "CLIP ViT-B/32 (OpenAI)" }, reward).Contains("was the training reward"));

    private static void Check(Prompt prompt, string boxes, double verdict, double share)
    {
        var request = new RewardRequest(prompt, "", Image);
        Assert.Equal(verdict, new GenEvalReward(new Stub(boxes)).Score([request])[0]);
        Assert.Equal(share, new GenEvalReward(new Stub(boxes), GenEvalRewardKind.Share).Score([request])[0], 1e-6);
    }

    // sees what it is told: "dog red 0" is a red dog at x = 0
    private sealed class Stub(string seen = "dog red 0") : IObjectJudge
    {
        public string Name { get; init; } = "the stub";

        public string Identity => Name;

        public bool Official { get; init; }

        public IReadOnlyList<string> Limits => [];

        public IReadOnlyList<Detection> Detect(RgbImage image, string file, IReadOnlyList<string> classes,
            CancellationToken cancel) => classes.Contains("refused")
            ? throw new OfficialStopException("none", "it is refused")
            : [.. seen.Split(", ", StringSplitOptions.RemoveEmptyEntries).Select(text => text.Split(' '))
                .Select((word, i) => new Detection(word[0], float.Parse(word[2]), 0, float.Parse(word[2]) + 10, 10,
                    0.99f - 0.001f * i) { Color = word[1] })];

        public IReadOnlyList<string?> Colors(RgbImage image, string file, IReadOnlyList<Detection> objects,
            string className, CancellationToken cancel) => [.. objects.Select(o => o.Color)];
    }
}
