using ReasonGen.Core;
using ReasonGen.Grpo;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Grpo;

/// <summary>One step's arithmetic, worked out on paper.</summary>
public sealed class GrpoByHandTests
{
    [Fact]
    public void Advantages_of_one_right_rollout_in_four_are_three_halves_and_minus_one_half()
    {
        // mean 1/4; deviations 3/4, -1/4 (three times); variance (9 + 3)/16 / 3 = 1/4, so the standard deviation is 1/2
        var advantages = GroupAdvantage.Compute(tensor(new float[] { 1, 0, 0, 0 }).unsqueeze(0)).Values();
        Assert.Equal([1.5f, -0.5f, -0.5f, -0.5f], advantages.Select(value => MathF.Round(value, 4)));
    }

    // n times the same fp32 number; whether the deviation that numpy finds is above 0, from its order of additions
    [Theory]
    [InlineData(0.7f, 8, false)]    // one after the other 6e-8 would be left
    [InlineData(0.01f, 8, false)]
    [InlineData(0.99f, 8, false)]
    [InlineData(0.2f, 10, false)]
    [InlineData(0.9f, 10, true)]    // one after the other nothing would be left
    [InlineData(0.45f, 10, true)]
    [InlineData(0.82f, 12, true)]
    [InlineData(0.7f, 16, false)]
    [InlineData(0.05f, 16, false)]
    [InlineData(0.11f, 6, true)]    // fewer than eight are added in order
    [InlineData(0.05f, 7, true)]
    [InlineData(0.09f, 136, false)] // more than 128 by halves
    [InlineData(0.01f, 256, false)]
    [InlineData(0.05f, 256, true)]
    [InlineData(1f, 8, false)]
    public void Group_of_equal_rewards_is_kept_where_numpy_finds_a_deviation(float reward, int n, bool kept) =>
        Assert.Equal(kept, GroupFilter.Keeps(Enumerable.Repeat(reward, n).ToArray()));

    [Fact]
    public void Group_whose_last_reward_differs_is_kept() =>
        Assert.True(GroupFilter.Keeps([0.7f, 0.7f, 0.7f, 0.7f, 0.7f, 0.7f, 0.7f, 0.7f, 0.3f]));

    [Theory]
    [InlineData(1.5, 1.5, -1.8, 1)]    // clipped: a good token is not pushed beyond 1.2
    [InlineData(1.1, 1.5, -1.65, 0)]   // within the range: -1.5 * 1.1
    [InlineData(0.5, 1.5, -0.75, 0)]   // a good token that fell is pulled back in full
    [InlineData(0.5, -0.5, 0.4, 1)]    // a bad one is not pushed below 0.8
    [InlineData(1.5, -0.5, 0.75, 0)]
    public void Policy_loss_of_one_token_is_the_worse_of_clipped_and_unclipped(
        double ratio, double advantage, double loss, double clipFraction)
    {
        var logProbs = tensor(new[] { (float)Math.Log(ratio) }).unsqueeze(0);
        var parts = PolicyLoss.Compute(logProbs, zeros(1, 1), full(1, 1, advantage), ones(1, 1), 0.2);
        Assert.Equal(loss, parts.Loss.ToDouble(), 1e-6);
        Assert.Equal(clipFraction, parts.ClipFraction, 1e-6);
        Assert.Equal(-Math.Log(ratio), parts.ApproxKl, 1e-6);
    }

    [Fact]
    public void Policy_loss_gives_a_clipped_token_no_gradient()
    {
        var logProbs = tensor(new[] { (float)Math.Log(1.5), 0f }).unsqueeze(0).requires_grad_();
        PolicyLoss.Compute(logProbs, zeros(1, 2), full(1, 1, 1.5), ones(1, 2), 0.2).Loss.backward();
        Assert.Equal([0f, -0.75f], logProbs.grad!.Values()); // -A ρ / 2 tokens
    }

    [Fact]
    public void Entropy_controller_raises_alpha_by_its_rate_where_entropy_is_above_the_target()
    {
        // ψ = 0: the gradient is -cosh 0 · (3 - 2) = -1, and Adam's first step is the learning rate, whatever the
        // gradient
        var controller = new EntropyController(new() { Target = 2, LearningRate = 5e-5 });
        Assert.Equal(0, controller.Alpha);
        Assert.Equal(0, controller.Update(3), 1e-9); // the loss uses α from before
        Assert.Equal(5e-5, controller.Alpha, 1e-9);
        controller.Update(1);
        Assert.True(controller.Alpha < 5e-5, "entropy below the target lowers α again");
    }

    [Fact]
    public void Entropy_controller_that_starts_beyond_its_bound_is_within_it_after_a_micro_batch()
    {
        var term = new AdaptiveEntropyTerm(new() { Target = 2, Bound = 0.01, InitialAlpha = 5 }, new() { Target = 7 });
        Assert.Equal(5, term.Next(2, 7).Text, 1e-5); // as in the reference, which bounds it after each step alone
        Assert.Equal(0.01, term.Next(2, 7).Text, 1e-7);
    }
}

internal static class HandValues
{
    internal static float[] Values(this Tensor tensor) => ReasonGen.Core.TensorValues.Values<float>(tensor);
}
