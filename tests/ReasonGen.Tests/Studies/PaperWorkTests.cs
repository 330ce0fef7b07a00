using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Models;
using ReasonGen.Studies;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Studies;

/// <summary>The paper's study in a few steps: made, interrupted, shared, gathered and read.</summary>
public sealed class PaperWorkTests : IDisposable
{
    private static readonly StudyConfig Tiny = StudyConfig.Trial with
    {
        TokenizerSteps = 2, BaseSteps = 2, SftSteps = 2, RlSteps = 2, RoundTripScenes = 2, BenchmarkPromptsPerTask = 2,
    };
    private static readonly string[] Runs = ["adaptive", "none-flips-0.1", "without-sft"];
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public void A_study_is_made_gathered_and_read()
    {
        var work = Work("all", 2, Runs);
        work.Run();
        Assert.Empty(work.Failed);
        var claims = Path.Combine(folder, "all", ".claims");
        Assert.Empty(Directory.GetFiles(claims));
        File.WriteAllText(Path.Combine(claims, "seed2-sft"), ""); // of a process that was killed at the end of its item
        work.Run();
        Assert.Empty(Directory.GetFiles(claims));
        Assert.Equal((work.Items.Count, true), (PaperFiles.Collect(work, folder).Items, PaperStudy.IsIn(folder)));
        var few = Work("all", 1, ["adaptive"]); // the folder holds more than was asked for now
        Assert.Equal(work.Items.Count, PaperFiles.Collect(few, folder, all: true).Items);

        var study = PaperStudy.Load(folder);
        Assert.Equal(["base", "sft", .. Runs], study.Arms.Order(Comparer<string>.Create((a, b) =>
            Order(a).CompareTo(Order(b)))));
        Assert.Single(study.Commits);
        Assert.All(study.Arms, arm => Assert.Equal([1, 2], study[arm].Seeds));
        foreach (var item in work.Items.Where(item => item.Run is not null))
        {
            var record = work.Recorded(item)!;
            var outcomes = study[item.Stage].Outcomes("greedy").Single(one => one.Seed == item.Seed);
            Assert.Equal(Prompts.Tasks.Select(task => record.Score("greedy").Tasks[task]),
                outcomes.Tasks.Select(task => task.Average()));
            Assert.Contains($"--run {item.Id}", record.Command);
        }

        Assert.Equal($"{work.Items.Count} of {work.Items.Count} done", new PaperTimes(work).ToGo());
        // nothing stands on the model of a run
        foreach (var (stage, kept) in new[] { ("adaptive", true), ("sft", false) })
        {
            File.Delete(Path.Combine(folder, "all", "seed1", "checkpoints", stage + ".safetensors"));
            Assert.Equal(kept, work.Recorded(work.Items.Single(item => item.Id == $"seed1/{stage}")) is not null);
        }

        var adaptive = study["adaptive"];
        Assert.Equal(2, adaptive.Curve("ground_entropy").Points.Length);
        Assert.InRange(adaptive.Curve("image_entropy").Points[0].Value, 0.1, 6);
        Assert.Equal(2, study["base"].To(adaptive).Seeds);
        Assert.Equal(2, adaptive.Of("distinct_scenes").Count);
        Assert.Equal(0.1, (double)study.Settings("none-flips-0.1")["reward"]!["flips"]!);
        Assert.Contains("no curves", Assert.Throws<ArgumentException>(() => study["sft"].Curve("reward")).Message);
        Assert.Contains("no arm 'nonsense'", Assert.Throws<ArgumentException>(() => study["nonsense"]).Message);

        int Order(string arm) => Array.IndexOf(["base", "sft", .. Runs], arm);
    }

    [Fact]
    public void What_is_told_of_other_seeds_stays_where_it_is_asked_for()
    {
        SmallStudy.Write(folder); // "base" of seeds 1 and 2
        var work = new PaperWork(Tiny, Path.Combine(folder, "two"),
            PaperPlan.WithNeeds(PaperPlan.Items(2, first: 2).Where(item => item.Stage == "none")));
        work.Run();
        PaperWork Of(string name, int seeds) => new(Tiny, Path.Combine(folder, name),
            PaperPlan.WithNeeds(PaperPlan.Items(seeds).Where(item => item.Stage == "none")));
        foreach (var from in new[] { work, work, Of("two", 3) }) // again, or with a seed that is not there
        {
            Assert.Equal((0, 0), PaperFiles.Collect(Of("nowhere", 3), folder)); // nothing finished changes nothing
            Assert.Equal(work.Items.Count, PaperFiles.Collect(from, folder, add: true).Items);
            var study = PaperStudy.Load(folder);
            Assert.Equal([1, 2, 3], study["base"].Seeds);
            Assert.Equal([2, 3], study["none"].Seeds);
            Assert.Equal(1 + work.Items.Count, study.Runs.Count);
            Assert.Equal(1, study["base"].Of("single_object")[1]);
            Assert.Equal(SmallStudy.Results.Split('\n')[..2],
                File.ReadLines(Path.Combine(folder, PaperFiles.Results)).Take(2));
        }

        var fresh = Path.Combine(folder, "fresh");
        _ = PaperFiles.Collect(work, fresh, add: true); // there is nothing to add to
        Assert.Equal([2, 3], PaperStudy.Load(fresh)["base"].Seeds);
        _ = PaperFiles.Collect(work, folder);
        Assert.Equal([2, 3], PaperStudy.Load(folder)["base"].Seeds);
    }

    [Fact]
    public void Copies_of_codes_are_made_told_of_and_gathered()
    {
        Work("codes", 1, ["none"]).Run();
        var work = Work("codes", 1, ["none", "none-codes-4"]);
        var times = new PaperTimes(work);
        Assert.True(times.Known); // of those without copies
        Assert.Equal(["base-codes-4", "sft-codes-4", "none-codes-4"], times.Open.Select(item => item.Stage));
        Assert.All(times.Open, item => Assert.InRange(times.Of(item), 0.001, 600));
        work.Run();
        Assert.Empty(work.Failed);

        // a command that asked for the others gathers these, too
        Assert.Equal(7, PaperFiles.Collect(Work("codes", 1, ["none"]), folder, all: true).Items);
        var study = PaperStudy.Load(folder);
        Assert.Equal(["base", "base-codes-4", "none", "none-codes-4", "sft", "sft-codes-4"], study.Arms.Order());
        Assert.Equal(["none", "none-codes-4"], study.Arms.Order().Where(arm => study[arm].HasCurves));
        foreach (var stage in study.Arms)
        {
            var codes = study.Settings(stage)["codes"];
            Assert.Equal(stage.EndsWith("-codes-4") ? (4, NearEqualCodes.Spread) : null,
                codes is null ? default((int, double)?) : ((int)codes["copies"]!, (double)codes["spread"]!));
            using var model = Made(stage);
            Assert.Equal(codes is null ? 320 : 1280, model.CodebookSize);
        }

        Assert.Equal("sft-codes-4", (string?)study.Settings("none-codes-4")["start"]);
        Assert.All(work.Items.Skip(1), item => Assert.Contains($"--run {item.Id}", work.Recorded(item)!.Command));
        var sft = study.Settings("sft");
        sft["codes"] = study.Settings("sft-codes-4")["codes"];
        Assert.Equal(sft, study.Settings("sft-codes-4"), JToken.EqualityComparer);

        Janus Made(string stage)
        {
            var made = new Study(Tiny, Path.Combine(folder, "codes", "seed1"));
            return stage.StartsWith("none")
                ? made.Run(PaperPlan.Find($"seed1/{stage}", 1)!.Run!).Model : made.Load(stage);
        }
    }

    [Theory]
    [InlineData("none-flips-0.1", "sft")]
    [InlineData("none-codes-4", "sft-codes-4")]
    public void An_interrupted_study_goes_on_to_the_same_bits_and_repeats_nothing(string run, string foundation)
    {
        Work("whole", 1, [run]).Run();
        // at each begin of an item, and in the middle of the steps of one
        for (var ends = false; !ends;)
        {
            using var interrupt = new CancellationTokenSource();
            var begun = 0;
            var cut = Work("cut", 1, [run], interrupt.Token, line =>
            {
                if (line.EndsWith("begins") && ++begun == 2)
                {
                    interrupt.Cancel();
                }
            });
            var before = cut.Items.Where(item => cut.Recorded(item) is not null).ToDictionary(item => item.Id,
                item => File.GetLastWriteTimeUtc(RecordOf(item)));
            ends = Record.Exception(cut.Run) is null;
            Assert.All(before, done => Assert.Equal(done.Value,
                File.GetLastWriteTimeUtc(RecordOf(cut.Items.Single(item => item.Id == done.Key)))));
        }

        foreach (var file in new[] { $"checkpoints/{run}.safetensors", $"checkpoints/{foundation}.safetensors" })
        {
            Assert.Equal(File.ReadAllBytes(Path.Combine(folder, "whole", "seed1", file)),
                File.ReadAllBytes(Path.Combine(folder, "cut", "seed1", file)));
        }

        string RecordOf(PaperItem item) => Path.Combine(folder, "cut", "seed1", "runs", item.Stage + ".json");
    }

    [Fact]
    public void What_another_process_is_at_is_left_to_it()
    {
        using var other = ProcessLock.TryTake(Path.Combine(folder, "shared", ".claims", "seed1-tokenizer"));
        using var interrupt = new CancellationTokenSource();
        var told = new List<string>();
        var work = Work("shared", 2, ["adaptive"], interrupt.Token, line =>
        {
            told.Add(line);
            interrupt.Cancel(); // it has come past the first one
        });
        Assert.Equal("seed1/tokenizer", work.Items[0].Id);
        Assert.ThrowsAny<OperationCanceledException>(work.Run);
        Assert.Equal(["seed2/tokenizer: begins"], told);
        Assert.False(Directory.Exists(Path.Combine(folder, "shared", "seed1")));
    }

    [Fact]
    public void Finished_runs_of_other_lengths_are_refused()
    {
        var one = Tiny with { RlSteps = 1 };
        Work("a", 1, ["sft-long"], config: one).Run();
        Assert.Contains("TotalSteps was", Assert.Throws<UnusableFileException>(
            Work("a", 1, ["sft-long"]).Run).Message);
    }

    [Theory]
    [InlineData("paper-results.csv", "seed,run", "run,seed", "its columns are not")]
    [InlineData("paper-results.csv", ",2,fff\n", ",2,ff\n", "2 verdicts")]
    [InlineData("paper-results.csv", "1,base,t1", "one,base,t1", "'one'")]
    [InlineData("paper-curves.csv", "\n", "", "cut short")]
    [InlineData("paper-curves.csv", "1,base,1,", "1,base,0,", "tells twice of base, seed 1, step 0")]
    [InlineData("paper-runs.json", "\"runs\"", "\"walks\"", "no list of runs")]
    [InlineData("paper-results.csv", ",2,fff\n", ",0,\n", "0 prompts a task")]
    [InlineData("paper-results.csv", "2,base,t1", "1,base,t1", "tells twice of base, seed 1, t1")]
    [InlineData("paper-runs.json", "\"base\"", "7", "no list of runs")]
    [InlineData("paper-runs.json", "}\n", "", "cannot be read")]
    public void Damaged_files_are_named(string file, string what, string by, string message)
    {
        SmallStudy.Write(folder);
        Assert.Equal(1, PaperStudy.Load(folder)["base"].Score().Value);
        var path = Path.Combine(folder, file);
        File.WriteAllText(path, File.ReadAllText(path).Replace(what, by));
        var thrown = Assert.Throws<UnusableFileException>(() => PaperStudy.Load(folder));
        Assert.Contains(message, thrown.Message);
        Assert.Contains(file, thrown.Message);
    }

    private PaperWork Work(string name, int seeds, string[] runs, CancellationToken cancel = default,
        Action<string>? tell = null, StudyConfig? config = null) => new(config ?? Tiny, Path.Combine(folder, name),
        PaperPlan.WithNeeds(PaperPlan.Items(seeds).Where(item => runs.Contains(item.Stage))))
        {
            Cancel = cancel, Tell = tell ?? (_ => { }), CommandOf = item => $"study paper --run {item.Id}",
        };

    public void Dispose() => Directory.Delete(folder, true);
}
