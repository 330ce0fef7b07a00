using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Grpo;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Optimization;
using ReasonGen.Ranks;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Tests.Ranks;
using TorchSharp;
using Xunit;

namespace ReasonGen.Tests.Runs;

/// <summary>An unattended run on the tiny model: what it writes, and keeps.</summary>
public sealed class TrainingRunTests : TrainingRuns
{
    [Fact]
    public void What_a_run_writes_opens_and_tells_what_it_is()
    {
        Run(At("run"), TrainingStage.Grpo, lora: true, CancellationToken.None);
        var training = JObject.Parse(File.ReadAllText(At("run/model/training.json")));
        Assert.Equal(("grpo", 6, "bright"),
            ((string?)training["stage"], (int)training["step"]!, (string?)training["reward"]));
        using var opened = JanusPipeline.Open(At("run/model"), Cpu);
        using var start = JanusPipeline.Open(At("run/base"), Cpu);
        Assert.Contains(start.Model.TrainableParameters().Zip(opened.Model.TrainableParameters()),
            pair => !pair.First.Parameter.equal(pair.Second.Parameter).all().ToBoolean());
        JanusMerge.Write(At("run/model"), At("merged"), JanusLayout.Native);
        using var merged = JanusPipeline.Open(At("merged"), Cpu);
        Assert.All(opened.Model.TrainableParameters().Zip(merged.Model.TrainableParameters()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
        Assert.Contains("folder of a training run",
            Assert.Throws<UnusableFileException>(() => JanusPipeline.Open(At("run"), Cpu)).Message);
        var sheet = ImageFile.Read(At("run/samples/step-000000.png"));
        Assert.Equal((2 * 32, 3 * 32), (sheet.Width, sheet.Height));
        Assert.Contains("two cups", File.ReadAllText(At("run/samples/step-000000.txt")));
    }

    [Fact]
    public void Only_so_many_checkpoints_are_kept_and_the_best_stays()
    {
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, keep: 1);
        Assert.Equal("step-000006", Path.GetFileName(Assert.Single(Directory.GetDirectories(At("run/checkpoints")))));
        var rows = File.ReadAllLines(At("run/validation.csv")).Skip(1).Select(line => line.Split(',')).ToArray();
        Assert.Equal(["2", "4", "6"], rows.Select(row => row[0]));
        Assert.Equal(rows.MinBy(row => double.Parse(row[1]))![0], $"{RunFolder.StepOf(At("run/best"))}");
    }

    [Fact]
    public void A_folder_is_refused_while_another_run_is_in_it_or_where_it_was_begun_otherwise()
    {
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None);
        var error = Assert.Throws<UnusableFileException>(() => RunFolder.Open(At("run"),
            new() { ["sft"] = new JObject { ["learningRate"] = 1e-3 }, ["model"] = "other" }, [], []));
        Assert.Contains("sft.learningRate was 0.01 and is 0.001", error.Message);
        Assert.Contains("model was \"tiny\" and is \"other\"", error.Message);
        using (RunFolder.Open(At("run"), Identity(), [], []))
        {
            var held = Assert.Throws<UnusableFileException>(() => RunFolder.Open(At("run"), Identity(), [], []));
            Assert.Contains("another process", held.Message);
        }

        File.WriteAllText(Path.Combine(Directory.CreateDirectory(At("mine")).FullName, "thesis.txt"), "");
        Assert.Contains("holds other files",
            Assert.Throws<UnusableFileException>(() => RunFolder.Open(At("mine"), [], [], [])).Message);
        Assert.Equal(["thesis.txt"], Files("mine"));
    }

    [Fact]
    public void A_step_that_could_not_be_told_of_is_kept()
    {
        Assert.Throws<IOException>(() => Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None,
            done => _ = done < 3 ? 0 : throw new IOException("the terminal is gone")));
        var told = new List<long>();
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, told.Add);
        Assert.Equal([4, 5, 6], told);
    }

    [Theory]
    [InlineData(TrainingStage.Sft, false)]
    [InlineData(TrainingStage.Grpo, false)]
    [InlineData(TrainingStage.Grpo, true)] // nothing is saved of weights that are of no step
    public void Steps_before_one_that_failed_are_kept_where_it_changed_nothing(TrainingStage stage, bool torn)
    {
        var (reached, calls) = (0L, 0);
        void Fail() => _ = reached < 3 ? 0 : throw new IOException("it is gone");
        Assert.Equal("it is gone", Assert.Throws<IOException>(() => Run(At("run"), stage, lora: false,
            CancellationToken.None, done => reached = done, saveEvery: 100, reward: _ => calls++ % 2,
            reading: torn ? null : Fail, weighing: torn ? Fail : null)).Message);
        Assert.Equal(!torn, File.Exists(At("run/state.safetensors")));
        var told = new List<long>();
        Run(At("run"), stage, lora: false, CancellationToken.None, told.Add, saveEvery: 100, reward: _ => calls++ % 2);
        Assert.Equal(torn ? [1, 2, 3, 4, 5, 6] : [4, 5, 6], told);
    }

    [Fact]
    public void Steps_on_the_way_to_a_loss_that_is_not_finite_are_not_saved()
    {
        Assert.Throws<NonFiniteLossException>(() => Run(At("run"), TrainingStage.Sft, lora: false,
            CancellationToken.None, rate: 1e30, saveEvery: 100));
        Assert.False(File.Exists(At("run/state.safetensors")));
    }

    [Fact]
    public void A_run_that_was_killed_on_another_host_is_taken_over_after_a_while()
    {
        var claim = Path.Combine(Directory.CreateDirectory(At("run/.claims")).FullName, "train");
        File.WriteAllText(claim, $"far-away\n1\n{DateTime.UtcNow:O}\n");
        File.SetLastWriteTimeUtc(claim, DateTime.UtcNow.AddSeconds(-118));
        var told = new List<string>();
        RunFolder.Open(At("run"), Identity(), [], [], told.Add).Dispose();
        Assert.Contains("A process on far-away was training in", Assert.Single(told));
    }

    [Fact]
    public void A_checkpoint_that_cannot_be_removed_ends_no_run_and_counts_as_none()
    {
        var told = new List<string>();
        using var run = RunFolder.Open(At("run"), Identity(), [], [], told.Add);
        var delete = run.Delete;
        run.Delete = _ => throw new IOException("Directory not empty");
        foreach (var (path, step) in new[] { (run.Checkpoint(1), 1), (run.Checkpoint(2), 2), (run.Best, 1),
            (run.Better, 2) })
        {
            RunFolder.Fill(path, made => Directory.CreateDirectory(made), new() { ["step"] = step });
        }

        run.Prune(1);
        run.Prune(1);
        run.TakeBetter();
        Assert.Equal([null, 2, null, 2], new[] { run.Checkpoint(1), run.Checkpoint(2), run.Best, run.Better }
            .Select(RunFolder.StepOf));
        Assert.Equal(2, told.Count(line => line.Contains("could not be removed: Directory not empty. What is left")));
        Assert.Equal(2, told.Count);
        run.Delete = delete;
        run.TakeBetter();
        Assert.Equal((2, false), (RunFolder.StepOf(run.Best), Directory.Exists(run.Better)));
    }

    [Fact]
    public void The_best_checkpoint_is_never_ahead_of_the_state()
    {
        var kept = new List<long?>();
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None,
            _ => kept.Add(RunFolder.StepOf(At("run/best"))), saveEvery: 4);
        Assert.Equal([null, null, null, null, 4, 4], kept);
        Assert.False(Directory.Exists(At("run/best-next")));
    }

    [Theory]
    [InlineData(2, 3, 2, 2)] // killed before the state was saved that knows of the better one
    [InlineData(2, 3, 3, 3)] // killed after that
    [InlineData(null, 3, 3, 3)]
    [InlineData(3, null, 2, null)] // an earlier version replaced it too early
    [InlineData(null, 3, null, null)]
    public void A_run_that_goes_on_has_the_best_checkpoint_that_its_table_tells_of(int? best, int? next, int? known,
        int? kept)
    {
        foreach (var (name, step) in new[] { ("run/best", best), ("run/best-next", next) }.Where(one => one.Item2 > 0))
        {
            Directory.CreateDirectory(At(name));
            File.WriteAllText(At($"{name}/training.json"), new JObject { ["step"] = step }.ToString());
        }

        Directory.CreateDirectory(At("run"));
        File.WriteAllText(At("run/run.json"), """{"identity":{}}""");
        File.WriteAllText(At("run/state.safetensors"), "");
        var told = new List<string>();
        using var run = RunFolder.Open(At("run"), [], [], [], told.Add);
        run.SettleBest(known);
        Assert.Equal((kept, false), ((int?)RunFolder.StepOf(run.Best), Directory.Exists(run.Better)));
        Assert.Equal(best is not null && kept is null, File.Exists(At("run/earlier-1/best/training.json")));
        Assert.Equal(Directory.Exists(At("run/earlier-1")) ? 1 : 0, told.Count);
    }

    [Theory]
    [InlineData(4)]
    [InlineData(6)]
    public void A_best_checkpoint_that_could_not_be_written_is_made_up_for(int steps)
    {
        Assert.Throws<IOException>(() => Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None,
            steps: steps, exporting: path => _ = Path.GetFileName(path) == "best-next"
                && Directory.CreateDirectory(path) is not null && Directory.Exists(At("run/best"))
                ? throw new IOException("no space left") : 0));
        Assert.Equal(2, RunFolder.StepOf(At("run/best")));
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, steps: steps);
        Assert.Equal(4, RunFolder.StepOf(At("run/best")));
        Assert.False(Directory.Exists(At("run/best-next")) || Directory.Exists(At("run/earlier-1")));
    }

    [Fact]
    public void What_was_left_of_a_checkpoint_that_was_being_removed_is_removed()
    {
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, keep: 1);
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(At("run/checkpoints/step-000002")).FullName,
            "model.safetensors"), "");
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, keep: 1);
        Assert.Equal("step-000006", Path.GetFileName(Assert.Single(Directory.GetDirectories(At("run/checkpoints")))));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_run_that_finds_too_few_groups_is_saved_and_goes_on_when_it_may_do_with_fewer(bool inOneStep)
    {
        var (calls, equal) = (0, false);
        float Score(RewardRequest _) => equal ? 0 : calls++ % 2; // differs in each group of three
        void Go(Func<GrpoConfig, GrpoConfig> settings, Action<long> stepped) => Run(At("run"), TrainingStage.Grpo,
            lora: false, CancellationToken.None, stepped, saveEvery: 100, grpo: settings, reward: Score);
        Assert.Throws<TooFewGroupsException>(() => Go(config => config with
        {
            FailOnTooFewGroups = inOneStep, MaxEmptySteps = inOneStep ? 9 : 1,
        }, done => equal = done == 3));
        var told = new List<long>();
        Go(config => config, told.Add);
        Assert.Equal([4, 5, 6], told);
    }

    [Fact]
    public void Settings_that_say_when_to_give_up_may_be_others_when_a_run_goes_on()
    {
        static JObject With(double rate, bool fail) => new()
        {
            ["grpo"] = new JObject { ["learningRate"] = rate, ["failOnTooFewGroups"] = fail, ["maxEmptySteps"] = 3 },
        };
        RunFolder.Open(At("run"), With(1, true), [], []).Dispose();
        File.WriteAllText(At("run/state.safetensors"), "");
        RunFolder.Open(At("run"), With(1, false), [], []).Dispose();
        Assert.EndsWith("begun otherwise: grpo.learningRate was 1.0 and is 2.0. Repeat that command, or choose another "
            + "folder.", Assert.Throws<UnusableFileException>(() => RunFolder.Open(At("run"), With(2, true), [], []))
            .Message);
    }

    [Fact]
    public void Who_began_a_run_stays_told_and_who_goes_on_is_added_when_the_state_is_accepted()
    {
        void Go(string command, int steps, double rate = 1e-2) => Run(At("run"), TrainingStage.Grpo, lora: false,
            CancellationToken.None, steps: steps, grpo: config => config with { LearningRate = rate },
            command: command);
        Go("first", 2);
        var begun = File.ReadAllText(At("run/run.json"));
        Assert.Throws<UnusableFileException>(() => Go("refused", 4, 2e-2)); // by the state, not by the folder
        Assert.Equal(begun, File.ReadAllText(At("run/run.json")));
        Go("second", 3);
        Go("third", 4);
        var run = JObject.Parse(File.ReadAllText(At("run/run.json")));
        Assert.Equal("first", (string?)run["about"]!["command"]);
        Assert.Equal([("second", 2), ("third", 3)],
            run["sessions"]!.Select(one => ((string?)one["about"]!["command"], (int)one["step"]!)));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(0.1)]
    public void Divergence_from_the_reference_is_recorded_where_there_is_a_KL_term(double weight)
    {
        Run(At("run"), TrainingStage.Grpo, lora: false, CancellationToken.None,
            grpo: config => config with { KlWeight = weight });
        var rows = File.ReadAllLines(At("run/metrics.csv")).Select(line => line.Split(',')).ToArray();
        var column = Array.IndexOf(rows[0], "kl_reference");
        Assert.Equal(weight > 0, column >= 0);
        Assert.Equal(weight > 0, rows.Skip(1).Any(row => column >= 0 && double.Parse(row[column]) > 0));
        Assert.Equal(Enumerable.Range(0, 6).Select(step => $"{step}"), rows.Skip(1).Select(row => row[0]));
    }

    [Fact]
    public void A_run_begun_when_image_tokens_were_a_setting_goes_on()
    {
        static JObject With(JObject rollout) => new() { ["rollout"] = rollout };
        RunFolder.Open(At("run"), With(new() { ["maxTextTokens"] = 36, ["imageTokens"] = 64 }), [], []).Dispose();
        File.WriteAllText(At("run/state.safetensors"), "");
        RunFolder.Open(At("run"), With(new() { ["maxTextTokens"] = 36 }), [], []).Dispose();
    }

    [Theory]
    [InlineData("run/.writing-1-0011223344.tmp")] // killed as it wrote run.json
    [InlineData("run/.claims/train", "run/settings.json")] // killed before, by a version that wrote it second
    public void A_run_that_was_killed_in_its_first_moment_begins_again(params string[] left)
    {
        foreach (var file in left)
        {
            Directory.CreateDirectory(Path.GetDirectoryName(At(file))!);
            File.WriteAllText(At(file), "");
        }

        RunFolder.Open(At("run"), Identity(), [], []).Dispose();
        Assert.True(File.Exists(At("run/run.json")));
    }

    [Fact]
    public void Settings_of_something_else_are_not_written_over()
    {
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(At("mine")).FullName, "settings.json"), "{}");
        Assert.Contains("holds other files",
            Assert.Throws<UnusableFileException>(() => RunFolder.Open(At("mine"), [], [], [])).Message);
    }

    [Fact]
    public void A_better_checkpoint_that_waits_is_kept_where_the_state_was_removed()
    {
        RunFolder.Open(At("run"), Identity(), [], []).Dispose();
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(At("run/best-next")).FullName, "training.json"),
            """{"step":3}""");
        RunFolder.Open(At("run"), Identity(), [], []).Dispose();
        Assert.Equal(3, RunFolder.StepOf(At("run/earlier-1/best-next")));
    }

    [Theory]
    [InlineData("a", "b", true)]
    [InlineData("a", "a", false)]
    [InlineData(null, "b", false)] // an earlier version did not say
    [InlineData("a", null, false)]
    public void Numbers_of_other_held_out_data_are_set_aside(string? was, string? now, bool aside)
    {
        Assert.Throws<IOException>(() => Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None,
            done => _ = done < 4 ? 0 : throw new IOException("the terminal is gone"), validation: was));
        Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, validation: now);
        Assert.Equal(aside ? ["4", "6"] : ["2", "4", "6"],
            File.ReadAllLines(At("run/validation.csv")).Skip(1).Select(line => line.Split(',')[0]));
        Assert.Equal((aside, aside), (File.Exists(At("run/earlier-1/validation.csv")),
            File.Exists(At("run/earlier-1/best/training.json"))));
        Assert.Equal(4, RunFolder.StepOf(At("run/best")));
        Assert.Equal(now ?? was, (string?)JObject.Parse(File.ReadAllText(At("run/run.json")))["validation"]);
    }

    [Fact]
    public void The_first_of_several_ranks_is_heard_of_while_it_writes()
    {
        var heard = ThreadGroup.Run(2, ranks =>
        {
            var writes = 0;
            Run(At("run"), TrainingStage.Sft, lora: false, CancellationToken.None, steps: 2, among: ranks,
                exporting: _ =>
                {
                    ((ThreadGroup)ranks).ExpectHeard();
                    writes++;
                });
            return writes;
        });
        Assert.Equal([3, 0], heard); // the best, a checkpoint, and what the run ends with
    }

    [Fact]
    public void Ranks_that_read_the_saved_state_are_heard_of_meanwhile()
    {
        Run(At("run"), TrainingStage.Grpo, lora: false, CancellationToken.None, steps: 1);
        var heard = ThreadGroup.Run(2, ranks =>
        {
            var read = 0;
            Run(At("run"), TrainingStage.Grpo, lora: false, CancellationToken.None, steps: 1, among: ranks,
                restoring: () =>
                {
                    ((ThreadGroup)ranks).ExpectHeard();
                    read++;
                });
            return read;
        });
        Assert.Equal([1, 1], heard);
    }

    [Fact]
    public async Task A_folder_that_another_rank_writes_is_waited_for_until_it_is_seen()
    {
        using var followed = RunFolder.Follow(At("run"));
        using var same = RunFolder.Open(At("other"), Identity(), [], []);
        Assert.False(followed.Shows(same.Fingerprint, TimeSpan.Zero));
        var writing = Task.Run(async () =>
        {
            await Task.Delay(1000, TestContext.Current.CancellationToken);
            RunFolder.Open(At("run"), Identity(), [], []).Dispose();
        }, TestContext.Current.CancellationToken);
        Assert.True(followed.Shows(same.Fingerprint, TimeSpan.FromMinutes(1)));
        await writing;
    }
}
