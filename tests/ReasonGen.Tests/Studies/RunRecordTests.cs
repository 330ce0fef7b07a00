using ReasonGen.Checkpoints;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>Recorded runs that were damaged, cut short or are another's are never read as if they were whole.</summary>
public sealed class RunRecordTests : IDisposable
{
    private static readonly string Cases =
        Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "tests", "ReasonGen.Tests", "cases");
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public RunRecordTests()
    {
        Directory.CreateDirectory(Path.Combine(folder, "runs"));
        foreach (var ending in new[] { ".csv", ".json" })
        {
            File.Copy(Path.Combine(Study.DataFolder(), "runs", "rl-fixed" + ending),
                Path.Combine(folder, "runs", "rl-fixed" + ending));
        }
    }

    [Fact]
    public void All_that_ships_is_whole_and_of_the_settings_it_claims()
    {
        var study = new Study(StudyConfig.Quick);
        Assert.All(Study.Foundations.Concat(Study.Judges).Concat(Study.Arms).Concat(Study.JudgeArms),
            stage => Assert.Equal(stage, study.Record(stage).Name));
        Assert.All(Study.JudgeArms, arm => Assert.Equal(2, Study.RecordOfSeed(arm, 2).Seed));
    }

    [Theory]
    [InlineData("runcsv-last-line-torn-loads-then-IndexOutOfRange.csv", "its last line, 5, is cut short")]
    [InlineData("runjson-seed-10pow20-OverflowException.json", "'seed' is 1E+308")]
    public void A_damaged_file_that_was_found_is_refused(string name, string message)
    {
        File.Copy(Path.Combine(Cases, name), Path.Combine(folder, "runs", "rl-fixed" + Path.GetExtension(name)),
            overwrite: true);
        Refused(message);
    }

    [Theory]
    [InlineData("\n1,", "\n1,9,", "line 3 has 15 cells, and there are 14 columns")]
    [InlineData("\n1,", "\n", "line 3 has 13 cells")]
    [InlineData("\n1,", "\n7,", "line 3: 'step' is 7, where there should be 1")]
    [InlineData("\n1,", "\none,", "line 3: its 'step' is 'one'")]
    [InlineData("\n1,", "\nNaN,", "line 3: 'step' is NaN")]
    [InlineData("\n1,", "\n1e400,", "line 3: 'step' is Infinity")]
    [InlineData("step,reward", "step,step", "each once")]
    [InlineData("step,reward", "step,prize", "it lacks the columns reward")]
    [InlineData("step,reward", "step,", "each once")]
    public void A_changed_table_is_refused_with_the_line(string what, string by, string message)
    {
        var path = Path.Combine(folder, "runs", "rl-fixed.csv");
        var text = File.ReadAllText(path);
        var at = text.IndexOf(what, StringComparison.Ordinal);
        File.WriteAllText(path, text[..at] + by + text[(at + what.Length)..]);
        Refused(message);
    }

    [Theory]
    [InlineData(1, "it holds 1 steps of a run of 200")]
    [InlineData(199, "it holds 199 steps of a run of 200")]
    public void A_table_cut_at_the_end_of_a_line_is_refused(int rows, string message)
    {
        var path = Path.Combine(folder, "runs", "rl-fixed.csv");
        File.WriteAllText(path, string.Concat(File.ReadLines(path).Take(rows + 1).Select(line => line + "\n")));
        Refused(message);
    }

    [Theory]
    [InlineData("\"name\": \"rl-fixed\"", "\"name\": \"rl-none\"", "it is the record of 'rl-none'")]
    [InlineData("\"steps\": 200", "\"steps\": 300", "it holds 200 steps of a run of 300")]
    [InlineData("\"entropy\": \"rl-fixed\"", "\"entropy\": \"rl-none\"", "entropy was \"rl-none\" and is \"rl-fixed\"")]
    [InlineData("\"LearningRate\": 0.0005", "\"LearningRate\": 0.1", "grpo.LearningRate was 0.1 and is 0.0005")]
    [InlineData("\"seed\": 1", "\"seed\": [1]", "its 'seed' is [1]")]
    [InlineData("\"seed\": 1", "\"seed\": null", "its 'seed' is null")]
    [InlineData("\"seconds\": ", "\"later\": ", "its 'seconds' is missing")]
    [InlineData("\"results\": {", "\"results\": {}, \"other\": {", "its results lack 't1.mean'")]
    [InlineData("\"settings\": {", "\"settings\": 3, \"other\": {", "its 'settings' is 3")]
    [InlineData("{", "", "cannot be read")]
    public void A_changed_description_is_refused(string what, string by, string message)
    {
        var path = Path.Combine(folder, "runs", "rl-fixed.json");
        var text = File.ReadAllText(path);
        var at = text.IndexOf(what, StringComparison.Ordinal);
        File.WriteAllText(path, text[..at] + by + text[(at + what.Length)..]);
        Refused(message);
    }

    [Fact]
    public void A_run_of_another_seed_is_not_taken_for_this_one() =>
        Assert.Contains("its seed was 1 and is 2",
            Assert.Throws<UnusableFileException>(() =>
                new Study(StudyConfig.Full with { Seed = 2 }, folder).Record("rl-fixed")).Message);

    public void Dispose() => Directory.Delete(folder, true);

    private void Refused(string message) =>
        Assert.Contains(message,
            Assert.Throws<UnusableFileException>(() =>
                new Study(StudyConfig.Quick, folder).Record("rl-fixed")).Message);
}
