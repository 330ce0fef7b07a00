using ReasonGen.Host.Commands;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Tests.Devices;
using ReasonGen.Tests.Ranks;
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

    public void Dispose() => Directory.Delete(folder, true);
}
