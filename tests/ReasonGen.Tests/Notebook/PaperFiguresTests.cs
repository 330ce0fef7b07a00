using ReasonGen.Host.Notebooks;
using ReasonGen.Notebook;
using ReasonGen.Studies;
using ReasonGen.Tests.Studies;
using Xunit;

namespace ReasonGen.Tests.Notebook;

/// <summary>Figures, tables and the report's summary of a study with several seeds, and of single runs.</summary>
public sealed class PaperFiguresTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public PaperFiguresTests() => SyntheticStudy.Write(folder, new("base", 0.2), new("sft", 0.6), new("sft-long", 0.7),
        new("adaptive", 0.9), new("none", 0.9, Seeds: 1));

    [Fact]
    public void Figures_of_a_study_say_how_many_seeds_and_have_error_bars()
    {
        var arms = PaperStudy.Load(folder).Only("base", "sft-long", "adaptive", "no such arm");
        Assert.Equal(["base", "sft-long", "adaptive"], arms.Arms);
        foreach (var svg in new[] { arms.Scores("Scores").ToSvg(), arms.ByTask("Scores").ToSvg() })
        {
            Assert.Contains(">Scores (5 seeds)<", svg);
            Assert.Contains("sft-long", svg);
            Assert.Contains("stroke='#444'", svg); // an error bar
        }

        var mixed = PaperStudy.Load(folder).Only("adaptive", "none").Curves("Reward", "reward", "share").ToSvg();
        Assert.All([">Reward (1 to 5 seeds)<", ">adaptive (5)<", ">none (1)<"], what => Assert.Contains(what, mixed));
        Assert.Contains(">believed<", PaperStudy.Load(folder).Columns("Both", "share", "adaptive",
            ("reward", "believed"), ("detector", "true")).ToSvg());
        Assert.Equal(5, PaperStudy.Load(folder).Measured("sft", "sft.accuracy").Count);
        Assert.Empty(PaperStudy.Load(folder).Measured("sft", "sft.recall"));
        Assert.Contains("Means of 5 seeds", arms.Ends(("reward", "reward")).ToHtml());
        Assert.Contains("no values", arms.Columns("Gone", "share", "none", ("reward", "reward")).ToHtml());
    }

    [Fact]
    public void Figures_tables_and_the_summary_say_how_many_steps_RL_took()
    {
        var study = SyntheticStudy.Load(folder, new("base", 0.2), new("sft", 0.6), new("adaptive", 0.9) { Steps = 120 },
            new("none-long", 0.9) { Steps = 600 });
        Assert.Contains(">Scores (5 seeds, 120 RL steps)<", study.Only("base", "adaptive").Scores("Scores").ToSvg());
        Assert.Contains(">Reward (5 seeds, 120 to 600 RL steps)<",
            study.Only("adaptive", "none-long").Curves("Reward", "reward", "share").ToSvg());
        Assert.Contains(">Scores (5 seeds)<", study.Only("base", "sft").Scores("Scores").ToSvg());
        Assert.Contains("Means of 5 seeds, 600 RL steps, with", study.Only("none-long").Results().ToHtml());
        Assert.Contains("Differences of 5 seeds, 120 RL steps, with",
            study.Differences(("adaptive", "sft"), ("sft", "base")).ToHtml());
        Assert.Equal(120, study.Common("sft", "adaptive")["adaptive"].RlSteps);
        Assert.Contains("over prompts and training seeds: 5 seeds, 120 RL steps.", Summary(folder));
        Assert.Contains("Its arms have 120 RL steps", Summary(folder));
    }

    [Fact]
    public void Arms_beside_each_other_have_the_seeds_that_all_have()
    {
        var study = SyntheticStudy.Load(folder, new("adaptive", 0.9), new("none", 0.9, Seeds: 3, FirstSeed: 2),
            new("base", 0.2, Seeds: 2, FirstSeed: 5));
        var common = study.Common("adaptive", "none", "no such arm");
        Assert.All(common.Arms, arm => Assert.Equal([2L, 3, 4], common[arm].Seeds));
        Assert.Empty(study.Common("none", "base").Arms);
        var evidence = new PaperEvidence(study, new(StudyConfig.Quick));
        Assert.All(["adaptive", "none"], arm => Assert.Equal([2L, 3, 4], evidence["adaptive", "none"][arm].Seeds));
        Assert.Equal(5, evidence["adaptive"]["adaptive"].Seeds.Count);
        Assert.Equal([5L, 6], evidence["none", "base"]["base"].Seeds); // no seed has both
    }

    [Fact]
    public void Differences_are_worded_by_their_intervals()
    {
        var html = PaperStudy.Load(folder).Differences(("adaptive", "sft"), ("sft", "adaptive"), ("none", "sft"),
            ("adaptive", "no such arm")).ToHtml();
        Assert.Contains(">adaptive − sft<", html);
        Assert.Contains(">more<", html);
        Assert.Contains(">less<", html);
        Assert.Contains(">more, by prompts alone<", html);
        Assert.DoesNotContain("no such arm", html);
    }

    [Fact]
    public void Figures_of_single_runs_say_so()
    {
        var arms = new PaperEvidence(PaperStudy.Empty, new(StudyConfig.Quick))["base", "sft", "sft-long", "adaptive"];
        Assert.Equal(["base", "sft", "adaptive"], arms.Arms);
        Assert.Contains(">Scores (single runs, 200 RL steps)<", arms.Scores("Scores").ToSvg());
        Assert.Contains("Means of single runs, 200 RL steps", arms.Results().ToHtml());
        Assert.Contains("0.243 [0.2", arms.Results().ToHtml());
        Assert.Contains(">0.948<", arms.Plans().ToHtml());
        Assert.Contains(">Reward (single runs, 200 RL steps)<",
            arms.Only("adaptive").Curves("Reward", "reward", "share").ToSvg());
    }

    [Fact]
    public void The_summary_has_intervals_and_says_what_they_rest_on()
    {
        var html = Summary(folder);
        Assert.Matches(@"<b>9\d\.\d %</b><span>[89]\d\.\d to 9\d\.\d</span>", html);
        Assert.Contains("over prompts and training seeds: 5 seeds", html);
        Assert.Contains("<span class=\"note\">5 seeds</span>", html);
        Assert.Contains("a single run", html); // judges are not in that study
        Assert.Contains("has 21 runs of its own", html);
    }

    [Fact]
    public void A_study_of_one_seed_is_called_single_runs()
    {
        SyntheticStudy.Write(folder, new("base", 0.2, 1), new("sft", 0.6, 1), new("adaptive", 0.9, 1));
        Assert.Contains("images: single runs.", Summary(folder));
        Assert.Contains("Means of single runs", PaperStudy.Load(folder).Results().ToHtml());
    }

    [Fact]
    public void An_interval_that_ends_at_1_has_a_shorter_bar_above()
    {
        SyntheticStudy.Write(folder, new SyntheticStudy.Arm("base", 0.95, Seeds: 2) { Spread = 0.02 });
        var json = PaperStudy.Load(folder).Scores("Scores").ToHtml();
        Assert.Contains("\"symmetric\":false", json);
        Assert.Equal(1, PaperStudy.Load(folder)["base"].Score().High);
    }

    [Fact]
    public void The_summary_goes_on_without_a_study_that_cannot_be_read()
    {
        File.AppendAllText(Path.Combine(folder, "paper-results.csv"), "torn");
        var html = Summary(folder);
        Assert.Contains("is cut short", html);
        Assert.Contains("<b>24.3 %</b>", html);
        Assert.Contains("base 0.243 [", html);
        Assert.Matches("base</td>.*>0\\.243<", html);
    }

    [Theory]
    [InlineData(6, 27)]
    [InlineData(30, 12)]
    public void Every_bar_has_its_name(int bars, int letters)
    {
        string[] names = [.. Enumerable.Range(10, bars).Select(i => $"{new string('w', letters - 2)}{i}")];
        var svg = Plot.Bars("t", "x", "y", names, new Series("s", names.Select(_ => 1.0))).ToSvg();
        Assert.All(names, name => Assert.Contains($">{name}</text>", svg));
    }

    private static string Summary(string paper) =>
        ReportSummary.Of(new([], new Dictionary<string, string> { ["paper"] = paper }, "reasongen run", false));

    public void Dispose() => Directory.Delete(folder, true);
}
