using ReasonGen.Core;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Evaluation;

public sealed class EvaluationTests
{
    [Fact]
    public void Words_are_counted_per_hundred_rationales_without_articles()
    {
        var words = WordFrequency.Count(["The soft, soft light of a scene.", "A calm scene"], threshold: 20);
        Assert.Equal(new WordCount("scene", 100, 100), words.Single(word => word.Word == "scene"));
        Assert.Equal(new WordCount("soft", 100, 50), words.Single(word => word.Word == "soft"));
        Assert.DoesNotContain(words, word => word.Word is "a" or "the");
        Assert.DoesNotContain(WordFrequency.Count(["x y", "x"], threshold: 60), word => word.Word == "y");
    }

    [Fact]
    public void A_policy_that_draws_the_scene_scores_one_and_one_that_draws_nothing_scores_nought()
    {
        var right = Benchmark.Run(new Painter(true), 5);
        Assert.Equal(1, right.Mean);
        Assert.Equal(0, right.StandardError);
        Assert.Equal(1, right.PlanCorrect);
        Assert.Equal(1, right.ImageFollowsPlan);
        Assert.InRange(right.LayoutEntropy, 0.8, Math.Log(4) + 1e-9);
        Assert.Equal(0, Benchmark.Run(new Painter(false), 2).Mean);
        Assert.Equal(6, right.Tasks.Count);
    }

    /// <summary>Draws what is asked, or nothing.</summary>
    private sealed class Painter(bool able) : IRolloutSource
    {
        private Scene[] scenes = [];

        public RolloutBatch Generate(IReadOnlyList<Prompt> prompts, int rolloutsPerPrompt, long seed)
        {
            scenes = prompts.Select((prompt, i) => Scene.For(prompt, Seeds.Random(seed, i))).ToArray();
            return new(1, zeros(1, 2), zeros(1, 2), zeros(1, 2), zeros(1, 2), zeros(1, 1), zeros(1, 1));
        }

        public string[] Rationales(RolloutBatch rollouts) =>
            scenes.Select((scene, i) => ReasonGen.World.Rationales.Write(scene, Seeds.Random(i))).ToArray();

        public RgbImage[] Images(RolloutBatch rollouts) =>
            scenes.Select((scene, i) => Renderer.Render(able ? scene : new Scene([]), new WorldConfig(), i)).ToArray();
    }
}
