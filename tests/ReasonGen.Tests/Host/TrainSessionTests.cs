using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Host.Commands;
using ReasonGen.Ranks;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Tests.Devices;
using ReasonGen.Tests.Ranks;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>A run of several ranks as the command puts it together.</summary>
public sealed class TrainSessionTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void A_rank_that_loads_its_judge_is_heard_of_meanwhile()
    {
        Assert.Equal("it was heard of", Assert.Throws<IOException>(() => ThreadGroup.Run(2, ranks =>
        {
            var slow = new RewardPart("slow", "slow", 1, "slow", _ =>
            {
                if (ranks.Rank == 0)
                {
                    return new DetectorReward();
                }

                ((ThreadGroup)ranks).ExpectHeard();
                throw new IOException("it was heard of");
            });
            var session = new TrainSession(TrainingStage.Grpo, TrainModel.Find("mini", TrainingStage.Grpo),
                new Settings(RunConfig.Preset("mini"), ("world", new WorldBatchConfig())), [TrainData.DrawnWorld], [],
                [slow], TestDevice.Cpu, ranks);
            using var run = session.Open(Path.Combine(folder, "run"), []);
            return session.Run(run, CancellationToken.None);
        })).Message);
    }

    [Theory]
    [InlineData(TrainingStage.Sft, "data.samplesPerStep", "8", true)]
    [InlineData(TrainingStage.Sft, "data.promptDropout", "1", true)]
    [InlineData(TrainingStage.Sft, "data.wordings", "tags", true)]
    [InlineData(TrainingStage.Sft, "data.seed", "77", true)]
    [InlineData(TrainingStage.Sft, "data.maxTokens", "99", false)] // refuses rows, no more
    [InlineData(TrainingStage.Sft, "run.saveEvery", "99", false)]
    [InlineData(TrainingStage.Grpo, "judge.maxTokens", "99", true)]
    [InlineData(TrainingStage.Grpo, "judge.concurrent", "9", false)]
    [InlineData(TrainingStage.Grpo, "judge.tries", "9", false)]
    [InlineData(TrainingStage.Grpo, "judge.timeout", "9", false)]
    [InlineData(TrainingStage.Grpo, "judge.longestWait", "9", false)]
    [InlineData(TrainingStage.Grpo, "judge.longestOutage", "9", false)]
    public void A_run_goes_on_with_the_settings_that_decide_its_numbers_alone(TrainingStage stage, string setting,
        string value, bool decide)
    {
        var begun = new Settings(RunConfig.Preset("mini"), ("world", new WorldBatchConfig()));
        JObject Identity(Settings all) => new TrainSession(stage, TrainModel.Find("tiny", stage), all,
            [Path.Combine(Study.DataFolder(), "sft-sample.parquet")], [], stage == TrainingStage.Sft ? []
                : [new("detector", "detector", 1, "detector", _ => new DetectorReward())], TestDevice.Cpu,
            Alone.Group).Identity();
        var earlier = Identity(begun); // which had settings of samples in settings.json alone
        earlier.Properties().Where(one => one.Name.StartsWith(RunFolder.OfSamples)).ToList()
            .ForEach(one => one.Remove());
        foreach (var (i, identity) in new[] { Identity(begun), earlier }.Index())
        {
            var run = Path.Combine(folder, $"{i}");
            RunFolder.Open(run, identity, begun.ToJson(), []).Dispose();
            File.WriteAllText(Path.Combine(run, "state.safetensors"), "");
            RunFolder.Open(run, Identity(begun), begun.ToJson(), []).Dispose();
            var error = Record.Exception(() =>
                RunFolder.Open(run, Identity(begun.With(setting, value)), begun.ToJson(), []).Dispose());
            Assert.Equal(decide, error is UnusableFileException);
            Assert.Contains(decide ? $"{setting} was " : "", $"{error?.Message}");
        }
    }

    [Theory]
    [InlineData(TrainingStage.Sft, "run.validationSamples=4 data.samplesPerStep=2", "spread 4 of ")]
    [InlineData(TrainingStage.Sft, "run.validationSamples=9999 data.samplesPerStep=7", "exactly {rows} of ")]
    [InlineData(TrainingStage.Sft, "data.samplesPerStep={rows} sft.microBatchSamples=7 run.validationSamples=9999",
        "exactly {rows} of ")]
    [InlineData(TrainingStage.Sft, "run.validationSamples=9999 data.samplesPerStep=1", "{rows} of ")]
    [InlineData(TrainingStage.Grpo, "run.validationSamples=2", "2 of ")]
    [InlineData(TrainingStage.Grpo, "run.validationSamples=256", "3 of ")]
    public void What_a_run_is_validated_with_is_written_as_it_is_measured(TrainingStage stage, string changes,
        string begins)
    {
        var all = new Settings(RunConfig.Preset("mini"), ("world", new WorldBatchConfig()));
        var (set, prompts) = (Path.Combine(Study.DataFolder(), "sft-sample.parquet"), Path.Combine(folder, "p.txt"));
        var rows = $"{SftParquet.Open(set).Count}";
        foreach (var change in changes.Replace("{rows}", rows).Split(' ').Select(change => change.Split('=')))
        {
            all = all.With(change[0], change[1]);
        }

        File.WriteAllText(prompts, "a cat\na dog\na cup\n");
        var run = Path.Combine(folder, "run");
        string[] data = [stage == TrainingStage.Sft ? set : prompts];
        new TrainSession(stage, TrainModel.Find("tiny", stage), all, data, data, [], TestDevice.Cpu, Alone.Group)
            .Open(run, []).Dispose();
        Assert.StartsWith(begins.Replace("{rows}", rows),
            (string?)JObject.Parse(File.ReadAllText(Path.Combine(run, "run.json")))["validation"]);
    }

    public void Dispose() => Directory.Delete(folder, true);
}
