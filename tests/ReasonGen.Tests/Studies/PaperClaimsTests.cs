using ReasonGen.Checkpoints;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>What is said of the paper's claims, from single runs, a study that is not finished, and one that
/// is.</summary>
public sealed class PaperClaimsTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void Without_a_study_single_runs_speak_and_say_so()
    {
        var claims = PaperClaims.Of(new(PaperStudy.Empty, new Study(StudyConfig.Quick)));
        var first = claims[0];
        Assert.Contains("base 0.243 [", first.Ours);
        Assert.Equal(("a single run", ClaimOutcome.Yes), (first.Rests, first.Outcome));
        Assert.InRange(first.Difference!.Value.Value, 0.71, 0.712);
        // two standard errors, as if the prompts were others
        Assert.InRange(first.Difference!.Value.High - first.Difference!.Value.Low, 0.044, 0.056);
        Assert.Equal("2 seeds of RL alone", Of(claims, "With a judge that is too small RL is worse").Rests);
        Assert.Equal(("no recorded run", ClaimOutcome.NotMeasured, "–"), (Of(claims, "more steps").Ours,
            Of(claims, "more steps").Outcome, Of(claims, "more steps").Seen));
        Assert.Contains("reward", Of(claims, "Fixed penalty").Ours);
        Assert.DoesNotContain("[", Of(claims, "Fixed penalty").Ours);
    }

    [Theory]
    [InlineData(0.2, 0.9, ClaimOutcome.Yes, "yes")]
    [InlineData(0.6, 0.6, ClaimOutcome.NotToldApart, "not told apart")]
    [InlineData(0.9, 0.2, ClaimOutcome.No, "no")]
    public void Over_seeds_the_interval_decides(double low, double high, ClaimOutcome outcome, string word)
    {
        var claim = Claims(new("base", low), new("adaptive", high))[0];
        Assert.Equal((outcome, word, "5 seeds"), (claim.Outcome, claim.Seen, claim.Rests));
    }

    [Fact]
    public void A_study_of_one_seed_is_a_single_run()
    {
        var claim = Claims(new("base", 0.2, Seeds: 1), new("adaptive", 0.9, Seeds: 1))[0];
        Assert.Equal(("a single run", ClaimOutcome.Yes), (claim.Rests, claim.Outcome));
    }

    [Fact]
    public void Two_seeds_that_lie_apart_tell_little() => Assert.Equal(ClaimOutcome.NotToldApart,
        Claims(new("base", 0.4, Seeds: 2) { Spread = 0 }, new("adaptive", 0.6, Seeds: 2) { Spread = 0.05 })[0].Outcome);

    [Fact]
    public void Arms_that_the_study_lacks_leave_a_claim_to_single_runs()
    {
        var claims = Claims(new("base", 0.2), new("adaptive", 0.9));
        Assert.Equal("5 seeds", claims[0].Rests);
        Assert.Contains("SFT 0.641 [", Of(claims, "improves on SFT").Ours);
        Assert.Equal("a single run", Of(claims, "improves on SFT").Rests);
        Assert.Equal("a single run", Of(claims, "No entropy term").Rests);
    }

    [Fact]
    public void The_control_counts_where_it_was_run()
    {
        var claim = Of(Claims(new("adaptive", 0.9), new("sft-long", 0.7)), "10 more steps for each of RL");
        Assert.Equal(("5 seeds", ClaimOutcome.Yes), (claim.Rests, claim.Outcome));
    }

    [Theory]
    [InlineData(0.9, "yes", "")]
    [InlineData(0.7, "yes", "; greedy not told apart")]
    [InlineData(0.4, "yes", "; greedy no")]
    public void What_a_lower_temperature_says_otherwise_stands_in_the_row(double greedy, string seen, string said)
    {
        var claim = Of(Claims(new("adaptive", 0.9) { Greedy = greedy }, new("sft-long", 0.7)), "more steps for each");
        Assert.Equal(seen, claim.Seen);
        Assert.EndsWith("]" + said, claim.Ours);
    }

    [Theory]
    [InlineData(0.9, 0.9, "yes")]
    [InlineData(0.9, 0.6, "partly")]
    [InlineData(0.6, 0.6, "not told apart")]
    [InlineData(0.6, 0.3, "no")]
    public void Under_judges_that_err_all_that_both_arms_were_run_with_counts(double usual, double fast, string seen)
    {
        var claim = Of(Claims(new("none-flips-0.1", 0.6), new("adaptive-flips-0.1", usual), new("none-flips-0.3", 0.6),
            new("none-flips-0.2-rate-2", 0.6), new("adaptive-flips-0.2-rate-2", fast, Seeds: 3),
            new("none-flips-0.5", 0.2, Seeds: 1), new("adaptive-flips-0.5", 0.9, Seeds: 1)), "judges that err");
        Assert.Equal((seen, "3 to 5 seeds"), (claim.Seen, claim.Rests));
        Assert.Matches(@"^share of wrong verdicts 0\.1: [^;]+; 0\.5: [^;]+\], one seed; "
            + @"0\.2 at 2 × the learning rate: [^;]+$", claim.Ours);
    }

    [Fact]
    public void Means_are_of_the_seeds_that_both_arms_have()
    {
        var claims =
            Claims(new("base", 0.2, Seeds: 3), new("adaptive", 0.9, Seeds: 5), new("sft", 0.5, 2, FirstSeed: 8));
        Assert.Equal("3 seeds", claims[0].Rests);
        Assert.Equal("no seed has both runs", Of(claims, "improves on SFT").Ours);
    }

    [Theory]
    [InlineData(3, 4, 0.9, 0.5, 0, "yes")]
    [InlineData(3, 4, 0.5, 0.9, 0, "partly")]
    [InlineData(3, 2, 0.5, 0.9, 0, "no")]
    [InlineData(3, 3, 0.86, 0.81, 0.03, "partly")]
    [InlineData(3, 3, 0.8, 0.8, 0.03, "not told apart")]
    public void Figure_6_is_read_from_curves_of_each_seed(double early, double late, double first, double last,
        double spread, string seen)
    {
        var claim = Of(Claims(new SyntheticStudy.Arm("none", 0.9)
        {
            Spread = spread, Entropy = at => early + at * (late - early), Reward = at => first + at * (last - first),
        }), "No entropy term");
        Assert.Equal((seen, "5 seeds"), (claim.Seen, claim.Rests));
        Assert.Contains("rises", claim.Ours);
        Assert.Contains("[", claim.Ours);
    }

    [Theory]
    [InlineData(1.5, 0.25, 0.5, 0.7, 0.9, "yes")]
    [InlineData(0.6, 0.25, 0.5, 0.7, 0.9, "partly")]
    [InlineData(1.5, 0.1, 0.5, 0.7, 0.9, "partly")]
    [InlineData(2.4, 0.5, 0.5, 0.9, 0.7, "no")]
    public void Adaptive_entropy_is_held_against_its_targets_and_growth_against_both_halves(double image, double text,
        double first, double middle, double last, string seen)
    {
        var claim = Of(Claims(new SyntheticStudy.Arm("adaptive", 0.9)
        {
            Spread = 0.001, Entropy = _ => image, Text = text,
            Reward = at => at < 0.5 ? first + 2 * at * (middle - first) : middle + (2 * at - 1) * (last - middle),
        }), "Adaptive entropy loss");
        Assert.Equal(seen, claim.Seen);
    }

    [Fact]
    public void An_interval_ends_where_what_is_measured_ends()
    {
        var arm = SyntheticStudy.Load(folder, new SyntheticStudy.Arm("none", 0.9, Seeds: 2)
        {
            Spread = 0.04, Entropy = _ => 0.1,
        })["none"];
        Assert.Equal(1, arm.Mean("plan_correct").High);
        Assert.All(arm.Curve("reward").Points, point => Assert.InRange(point.High, point.Value, 1));
        Assert.All(arm.Curve("image_entropy").Points, point => Assert.InRange(point.Low, 0, point.Value));
    }

    [Fact]
    public void A_damaged_single_run_is_said_in_the_row()
    {
        Directory.CreateDirectory(Path.Combine(folder, "runs"));
        foreach (var ending in new[] { ".csv", ".json" })
        {
            File.Copy(Path.Combine(Study.DataFolder(), "runs", "rl-fixed" + ending),
                Path.Combine(folder, "runs", "rl-fixed" + ending));
        }

        File.AppendAllText(Path.Combine(folder, "runs", "rl-fixed.csv"), "torn");
        var claims = PaperClaims.Of(new(PaperStudy.Empty, new Study(StudyConfig.Quick, folder)));
        Assert.Contains("is cut short", Of(claims, "Fixed penalty").Ours);
        Assert.Equal("no recorded run", Of(claims, "No entropy term").Ours);
    }

    [Fact]
    public void What_is_trained_here_is_not_mixed_with_what_ships() =>
        Assert.Empty(PaperEvidence.Of(new Study(StudyConfig.Full, folder)).Paper.Arms);

    [Fact]
    public void A_folder_without_a_study_is_refused() => Assert.Throws<UnusableFileException>(() =>
        PaperEvidence.Of(new Study(StudyConfig.Quick), Path.Combine(folder, "nothing")));

    private IReadOnlyList<PaperClaim> Claims(params ReadOnlySpan<SyntheticStudy.Arm> arms) =>
        PaperClaims.Of(new(SyntheticStudy.Load(folder, arms), new Study(StudyConfig.Quick)));

    private static PaperClaim Of(IReadOnlyList<PaperClaim> claims, string claim) =>
        claims.Single(one => one.Claim.Contains(claim));

    public void Dispose() => Directory.Delete(folder, true);
}
