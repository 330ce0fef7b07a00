using ReasonGen.Models;
using ReasonGen.Runs;
using ReasonGen.Setups;
using Xunit;

namespace ReasonGen.Tests.Runs;

/// <summary>An unattended run that was broken off, and what stands in its folder from others, ends with the same
/// bits.</summary>
[Collection(typeof(NothingBeside))]
public sealed class TrainingRunBitsTests : TrainingRuns
{
    [Theory]
    [InlineData(TrainingStage.Sft, false)]
    [InlineData(TrainingStage.Sft, true)]
    [InlineData(TrainingStage.Grpo, false)]
    [InlineData(TrainingStage.Grpo, true)]
    public void A_run_that_was_broken_off_ends_with_the_same_bits(TrainingStage stage, bool lora)
    {
        Run(At("whole"), stage, lora, CancellationToken.None);
        using (var stop = new CancellationTokenSource())
        {
            Assert.Throws<OperationCanceledException>(() => Run(At("cut"), stage, lora, stop.Token, done =>
            {
                if (done == 3)
                {
                    stop.Cancel();
                }
            }));
        }

        Assert.False(Directory.Exists(At("cut/model")));
        Run(At("cut"), stage, lora, CancellationToken.None);
        string[] files = [.. Files("whole").Where(file => !file.StartsWith("events"))];
        Assert.Equal(files, Files("cut").Where(file => !file.StartsWith("events")));
        Assert.All(files, file => Assert.Equal(Content("whole", file), Content("cut", file)));
        Assert.Equal(["step-000002", "step-000004", "step-000006"],
            Directory.GetDirectories(At("whole/checkpoints")).Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData(1e-2)]
    [InlineData(2e-2)]
    public void A_run_begun_anew_takes_nothing_of_the_one_before_for_its_own(double rate)
    {
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None);
        var before = Content("run", "model/model.safetensors");
        File.Delete(At("run/state.safetensors"));
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, rate: rate);
        Run(At("whole"), TrainingStage.Sft, lora: false, CancellationToken.None, rate: rate);
        string[] files = [.. Files("whole").Where(file => !file.StartsWith("events"))];
        Assert.Equal(files, Files("run").Where(file => !file.StartsWith("events") && !file.StartsWith("earlier-1/")));
        Assert.All(files, file => Assert.Equal(Content("whole", file), Content("run", file)));
        Assert.Equal(before, Content("run/earlier-1", "model/model.safetensors"));
        Assert.True(File.Exists(At("run/earlier-1/run.json")));
    }

    [Fact]
    public void A_model_of_another_run_is_not_taken_for_what_this_one_ends_with()
    {
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None);
        var model = Content("run", "model/model.safetensors");
        Run(At("other"), TrainingStage.Sft, lora: false, CancellationToken.None, rate: 2e-2);
        Directory.Delete(At("run/model"), true);
        Directory.Move(At("other/model"), At("run/model"));
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None);
        Assert.Equal(model, Content("run", "model/model.safetensors"));
    }

    [Fact]
    public void A_finished_run_that_is_given_more_steps_goes_on()
    {
        Run(At("run"), TrainingStage.Grpo, lora: false, CancellationToken.None, steps: 4);
        Run(At("run"), TrainingStage.Grpo, lora: false, CancellationToken.None, steps: 6);
        Run(At("whole"), TrainingStage.Grpo, lora: false, CancellationToken.None);
        Assert.Equal(Content("whole", "model/model.safetensors"), Content("run", "model/model.safetensors"));
        Assert.Equal(6, RunFolder.StepOf(At("run/model")));
    }
}
