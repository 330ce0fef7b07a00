using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Grpo;
using ReasonGen.Models;
using ReasonGen.Sft;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Checkpoints;

/// <summary>States of runs: a damaged or foreign one is refused before anything is changed.</summary>
public sealed class RunStateTests : IDisposable
{
    private static readonly Study Study = new(StudyConfig.Quick);
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    private string State => Path.Combine(folder, "state.safetensors");

    // bytes of the header's length, of its text, of the first and of the last tensor
    [Theory]
    [InlineData(0.0)]
    [InlineData(1e-5)]
    [InlineData(1e-4)]
    [InlineData(0.5)]
    [InlineData(0.999999)]
    public void One_changed_byte_is_refused_and_changes_nothing(double place)
    {
        using var model = Study.NewModel();
        using var trainer = Trainer(model, 5);
        trainer.Save(State);
        var bytes = File.ReadAllBytes(State);
        bytes[(int)(bytes.Length * place)] ^= 1;
        File.WriteAllBytes(State, bytes);
        Unchanged(model, () => trainer.Resume(State));
    }

    [Fact]
    public void A_state_without_a_checksum_is_refused()
    {
        using var model = Study.NewModel();
        using var trainer = Trainer(model, 5);
        trainer.Save(State);
        var tensors = Safetensors.Load(State);
        var metadata =
            SafetensorsHeader.Read(State).Metadata.Where(pair => pair.Key != "reasongen_checksum").ToDictionary();
        Safetensors.Save(State, tensors, metadata);
        Assert.Contains("no checksum", Unchanged(model, () => trainer.Resume(State)));
    }

    [Fact]
    public void A_found_state_that_is_no_json_is_refused()
    {
        using var model = Study.NewModel();
        using var trainer = Trainer(model, 5);
        var damaged = File.ReadAllText(Path.Combine(Path.GetDirectoryName(Study.DataFolder())!, "tests",
            "ReasonGen.Tests", "cases", "runstate-reasongen_state-NullReferenceException.json"));
        Safetensors.Save(State, new Dictionary<string, Tensor>(),
            new Dictionary<string, string> { ["reasongen_state"] = damaged });
        Unchanged(model, () => trainer.Resume(State));
    }

    [Fact]
    public void Another_length_of_run_is_named_and_changes_nothing()
    {
        using var model = Study.NewModel();
        using (var trainer = Trainer(model, 5))
        {
            trainer.Step();
            trainer.Save(State);
        }

        using var other = Study.NewModel();
        using var longer = Trainer(other, 6);
        Assert.Contains("TotalSteps was 5 and is 6", Unchanged(other, () => longer.Resume(State)));
    }

    [Theory]
    [InlineData(0.5, "brightness", "Entropy.text.Target was 1.0 and is 0.5")]
    [InlineData(1.0, "darkness", "Reward was \"brightness\" and is \"darkness\"")]
    public void An_arm_is_resumed_with_the_same_entropy_term_and_reward_alone(double target, string reward,
        string message)
    {
        using var model = Study.NewModel();
        GrpoTrainer New(double entropy, string name) =>
            Study.GrpoTrainer(model, new AdaptiveEntropyTerm(new() { Target = entropy }, new() { Target = 3 }),
                new LambdaReward(name, _ => 0));
        using (var trainer = New(1, "brightness"))
        {
            trainer.Save(State);
        }

        using var other = New(target, reward);
        Assert.Contains(message, Unchanged(model, () => other.Resume(State)));
    }

    [Fact]
    public void The_image_tokenizer_resumes_to_the_same_bits()
    {
        using var one = Study.Untrained();
        using (var trainer =
            Study.TokenizerTrainer(one, new VqTrainerConfig { TotalSteps = 4, ResetInterval = 1, ResetShare = 1 }))
        {
            _ = trainer.Steps(2).Last();
            trainer.Save(State);
            _ = trainer.Steps().Last();
        }

        using var two = Study.Untrained();
        using (var trainer =
            Study.TokenizerTrainer(two, new VqTrainerConfig { TotalSteps = 4, ResetInterval = 1, ResetShare = 1 }))
        {
            trainer.Resume(State);
            _ = trainer.Steps().Last();
            Assert.Equal(4, trainer.StepCount);
        }

        Assert.All(one.ImageTokenizer.named_parameters().Zip(two.ImageTokenizer.named_parameters()),
            pair => Golden.Equal(pair.First.parameter, pair.Second.parameter, pair.First.name));
    }

    [Fact]
    public void A_save_from_another_thread_waits_for_the_step_at_hand()
    {
        using var model = Study.NewModel();
        Thread? saver = null;
        SftTrainer trainer = null!;
        var batches = Study.Batches(model, "sft");
        using (trainer = new SftTrainer(model, step =>
        {
            saver = new Thread(() => trainer.Save(State));
            saver.Start();
            return batches.Rationale(step);
        }, Study.Tokenizer.Special.BeginOfImage, SftConfig.Mini(2)))
        {
            trainer.Step();
            saver!.Join();
            using var other = Study.NewModel();
            using var resumed = Trainer(other, 2);
            resumed.Resume(State);
            Assert.Equal(1, resumed.StepCount);
            Assert.All(model.TrainableParameters().Zip(other.TrainableParameters()),
                pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        }
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static SftTrainer Trainer(Janus model, int steps) => Study.SftTrainer(model, "sft", steps);

    private static string Unchanged(Janus model, Action resume)
    {
        var before = model.TrainableParameters().Select(p => p.Parameter.clone()).ToArray();
        var thrown = Assert.Throws<UnusableFileException>(resume);
        Assert.All(before.Zip(model.TrainableParameters()), pair => Golden.Equal(pair.First, pair.Second.Parameter));
        return thrown.Message;
    }
}
