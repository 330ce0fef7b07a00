using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>What a study finds in its folder, and what it is asked for: never something else than what was
/// meant.</summary>
public sealed class StudyFolderTests : IDisposable
{
    private static readonly StudyConfig Tiny =
        StudyConfig.Trial with { TokenizerSteps = 3, StepsPerSave = 1, RoundTripScenes = 2 };
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void A_tokenizer_killed_between_checkpoint_and_record_is_recorded()
    {
        using (new Study(Tiny, folder).ImageTokenizer().Model)
        {
        }

        File.Delete(Path.Combine(folder, "runs", "tokenizer.json"));
        var stage = new Study(Tiny, folder).ImageTokenizer();
        stage.Model.Dispose();
        Assert.Equal(3, stage.Record.Count);
    }

    [Fact]
    public void What_is_not_there_is_trained_where_it_is_asked_for_on_demand_alone()
    {
        var tiny = Tiny with { BaseSteps = 1, SftSteps = 1, JudgeSteps = 1 };
        Assert.Throws<UnusableFileException>(() => new Study(tiny, folder).Load("sft"));
        Assert.False(File.Exists(Path.Combine(folder, "runs", "tokenizer.json")));
        var study = new Study(tiny, folder) { TrainsOnDemand = true };
        Assert.Equal(3, study.Record("tokenizer").Count);
        study.Load("sft").Dispose();
        _ = study.LoadJudge("judge-small");
        Assert.Equal(1, new Study(tiny, folder).Record("judge-small").Count);
        Assert.Throws<ArgumentException>(() => study.Load("stf"));
    }

    [Fact]
    public void An_interrupted_tokenizer_goes_on_to_the_same_bits()
    {
        using (new Study(Tiny, Path.Combine(folder, "whole")).ImageTokenizer().Model)
        {
        }

        using var interrupt = new CancellationTokenSource();
        var cut = new Study(Tiny, Path.Combine(folder, "cut"))
        {
            Cancellation = () => interrupt.Token, OnStep = (record, _) => Cancel(record, interrupt),
        };
        Assert.ThrowsAny<OperationCanceledException>(() => cut.ImageTokenizer());
        var seen = 0;
        using (new Study(Tiny, Path.Combine(folder, "cut")) { OnStep = (_, _) => seen++ }.ImageTokenizer().Model)
        {
        }

        Assert.Equal(1, seen);
        byte[] Weights(string name) =>
            File.ReadAllBytes(Path.Combine(folder, name, "checkpoints", "tokenizer.safetensors"));
        Assert.Equal(Weights("whole"), Weights("cut"));
        Assert.Empty(Directory.GetFiles(Path.Combine(folder, "cut", "partial")));
    }

    [Fact]
    public void A_step_that_could_not_be_told_of_is_kept()
    {
        var seldom = Tiny with { StepsPerSave = 100 };
        var deaf = new Study(seldom, folder)
        {
            OnStep = (record, _) => _ = record.Count < 2 ? 0 : throw new IOException("the terminal is gone"),
        };
        Assert.Throws<IOException>(() => deaf.ImageTokenizer());
        var seen = 0;
        using (new Study(seldom, folder) { OnStep = (_, _) => seen++ }.ImageTokenizer().Model)
        {
        }

        Assert.Equal(1, seen);
    }

    [Theory]
    [InlineData(2, 3, "its seed was 1 and is 2")]
    [InlineData(1, 4, "TotalSteps was 3 and is 4")]
    public void An_interrupted_stage_of_other_settings_is_refused(long seed, int steps, string message)
    {
        using var interrupt = new CancellationTokenSource();
        var cut = new Study(Tiny, folder)
        {
            Cancellation = () => interrupt.Token, OnStep = (record, _) => Cancel(record, interrupt),
        };
        Assert.ThrowsAny<OperationCanceledException>(() => cut.ImageTokenizer());
        var thrown = Assert.Throws<UnusableFileException>(() =>
            new Study(Tiny with { Seed = seed, TokenizerSteps = steps }, folder).ImageTokenizer());
        Assert.Contains(message, thrown.Message);
        Assert.Contains("to begin the stage anew", thrown.Message);
    }

    [Fact]
    public void A_stage_that_another_process_makes_is_left_to_it()
    {
        using var other = ProcessLock.TryTake(Path.Combine(folder, "partial", ".tokenizer.lock"));
        Assert.Contains("another process is making the stage 'tokenizer'",
            Assert.Throws<UnusableFileException>(() => new Study(Tiny, folder).ImageTokenizer()).Message);
    }

    [Fact]
    public void An_output_that_is_a_file_is_refused_before_training()
    {
        var file = Path.Combine(folder, "file");
        File.WriteAllText(file, "mine");
        var steps = 0;
        Assert.Contains("nothing can be kept there",
            Assert.Throws<UnusableFileException>(() =>
                new Study(Tiny, file) { OnStep = (_, _) => steps++ }.ImageTokenizer()).Message);
        Assert.Equal((0, "mine"), (steps, File.ReadAllText(file)));
    }

    [Theory]
    [InlineData("rl-fxed")]
    [InlineData("")]
    [InlineData("base")]
    public void An_unknown_arm_has_no_entropy_term(string arm) =>
        Assert.Contains("there is no arm", Assert.Throws<ArgumentException>(() => Study.Entropy(arm)).Message);

    [Theory]
    [InlineData(0)]
    [InlineData(-1)]
    public void Steps_below_one_are_refused(int steps)
    {
        Assert.Contains($"TokenizerSteps is {steps}",
            Assert.Throws<ArgumentException>(() => new Study(Tiny with { TokenizerSteps = steps }, folder)).Message);
        Assert.Contains($"TotalSteps = {steps}",
            Assert.Throws<ArgumentException>(() =>
                new ReasonGen.Studies.VqTrainerConfig { TotalSteps = steps }.Validate()).Message);
    }

    [Fact]
    public void Foundations_that_are_missing_where_they_should_be_taken_from_are_named()
    {
        var from = Shipped("tokenizer");
        Assert.Contains("does not hold the stage 'base'",
            Assert.Throws<UnusableFileException>(() => new Study(Tiny, folder).CopyFoundations(from, ["sft"])).Message);
        Assert.Contains("nothing would be taken",
            Assert.Throws<ArgumentException>(() =>
                new Study(Tiny, folder).CopyFoundations(from, ["tokenizer"])).Message);
        Assert.False(Directory.Exists(Path.Combine(folder, "checkpoints")));
    }

    [Fact]
    public void Judges_that_are_not_needed_may_be_missing_and_are_told() =>
        Assert.Equal(Study.Judges,
            new Study(Tiny, folder).CopyFoundations(Shipped("tokenizer", "base", "sft"), ["rl-none"]));

    [Theory]
    [InlineData("checkpoints/base.safetensors", 1000, "")]
    [InlineData("runs/base.csv", 1000, "cut short")]
    [InlineData("runs/base.json", 100, "cannot be read")]
    public void A_torn_foundation_is_not_taken(string file, int bytes, string message)
    {
        var from = Shipped("tokenizer", "base", "sft");
        File.WriteAllBytes(Path.Combine(from, file), File.ReadAllBytes(Path.Combine(from, file))[..bytes]);
        Assert.Contains(message,
            Assert.Throws<UnusableFileException>(() => new Study(Tiny, folder).CopyFoundations(from, ["sft"])).Message);
        Assert.False(File.Exists(Path.Combine(folder, file)));
    }

    [Fact]
    public void Weights_of_another_stage_or_model_are_not_taken()
    {
        var from = Shipped("tokenizer", "base", "sft");
        string Weights(string stage) => Path.Combine(from, "checkpoints", stage + ".safetensors");
        File.Copy(Weights("sft"), Weights("base"), overwrite: true);
        Assert.Contains("holds the weights of stage 'sft'",
            Assert.Throws<UnusableFileException>(() => new Study(Tiny, folder).CopyFoundations(from, ["sft"])).Message);
        Safetensors.Save(Weights("base"),
            new Dictionary<string, TorchSharp.torch.Tensor> { ["x"] = TorchSharp.torch.ones(2) });
        Assert.Contains("do not fit the model",
            Assert.Throws<UnusableFileException>(() => new Study(Tiny, folder).CopyFoundations(from, ["sft"])).Message);
    }

    [Fact]
    public void Other_weights_that_are_there_are_not_taken_for_those_asked_for()
    {
        using (new Study(Tiny, folder).ImageTokenizer().Model)
        {
        }

        var thrown = Assert.Throws<UnusableFileException>(() =>
            new Study(Tiny, folder).CopyFoundations(Study.DataFolder(), ["base"]));
        Assert.Contains("is there already, and differs", thrown.Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static void Cancel(RunRecord record, CancellationTokenSource interrupt)
    {
        if (record.Count == 2)
        {
            interrupt.Cancel();
        }
    }

    // a folder with some of the shipped stages
    private string Shipped(params string[] stages)
    {
        var from = Path.Combine(folder, "from");
        foreach (var file
        in stages.SelectMany(stage =>
            new[] { $"checkpoints/{stage}.safetensors", $"runs/{stage}.csv", $"runs/{stage}.json" }))
        {
            Directory.CreateDirectory(Path.GetDirectoryName(Path.Combine(from, file))!);
            File.Copy(Path.Combine(Study.DataFolder(), file), Path.Combine(from, file));
        }

        return from;
    }
}
