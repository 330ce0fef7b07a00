using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Host.Commands;
using ReasonGen.JanusPro;
using ReasonGen.Models;
using ReasonGen.Notebook;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Studies;
using TorchSharp;
using Xunit;
using static TorchSharp.torch;

namespace ReasonGen.Tests.Host;

/// <summary>train, merge and export as a user meets them: processes of their own on small models.</summary>
public sealed class TrainCommandTests : IDisposable
{
    private static readonly string[] FewSft = ["--steps", "3", "--set", "world.samplesPerStep=4", "--set",
        "run.validationSamples=4", "--set", "run.sampleImages=1"];

    private static readonly string[] FewGrpo = ["--steps", "2", "--set", "grpo.promptsPerStep=2", "--set",
        "grpo.promptsPerUpdate=1", "--set", "grpo.promptsPerRound=2", "--set", "grpo.rolloutsPerPrompt=3", "--set",
        "grpo.maxEmptySteps=9", "--set", "run.validationSamples=2", "--set", "run.sampleImages=1"];

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task The_detector_wants_prompts_that_say_what_they_ask_for()
    {
        File.WriteAllText(At("words.txt"), "a photo of a red circle\na photo of a cross\n");
        File.WriteAllText(At("asked.jsonl"),
            "{\"prompt\": \"a photo of a cross\", \"tag\": \"single_object\", \"include\": "
            + "[{\"class\": \"cross\", \"count\": 1}]}\n");
        string[] train = ["train", "grpo", "--model", "mini", "--judge", "0.5*detector,judge-small", "--out", At("o"),
            .. FewGrpo];
        foreach (var data in new string[][] { ["--data", At("words.txt")],
            ["--data", At("asked.jsonl"), "--validation", At("words.txt")] })
        {
            var (code, output) = await Reasongen.RunAsync([.. train, .. data]);
            Assert.True(code == 2 && output.Contains("looks for the objects") && output.Contains("words.txt"), output);
            Assert.False(Directory.Exists(At("o")));
        }
    }

    [Theory]
    [InlineData("train sft --model mini", 2, "wants --model and --out")]
    [InlineData("train sft --model mini --out {0}/o --set grpo.learnigRate=1", 2, "did you mean grpo.learningRate")]
    [InlineData("train sft --model mini --out {0}/o --set grpo.learningRate", 2, "write a name and a value")]
    [InlineData("train sft --model mini --out {0}/o --set sft.learningRate=fast", 2, "is a number")]
    [InlineData("train sft --model mini --out {0}/o --set sft.learningRate=-1", 2, "it must be above 0")]
    [InlineData("train sft --model mini --out {0}/o --set lora.rank=4", 2, "is trained whole")]
    [InlineData("train sft --model mini --out {0}/o --set world.samplesPerStep=0", 2, "SamplesPerStep is 0")]
    [InlineData("train grpo --model mini --out {0}/o --set rollout.imageTokens=9", 2, "is no setting")]
    [InlineData("train grpo --model mini --out {0}/o --set judge.timeout=0", 2, "Timeout is 0; it must be above 0")]
    [InlineData("train grpo --model mini --out {0}/o --set judge.tries=0", 2, "Tries is 0; it must be at least 1")]
    [InlineData("train grpo --model mini --out {0}/o --set judge.longestOutage=-1", 2, "it must be at least 0")]
    [InlineData("train sft --model mini --out {0}/o --preset big", 2, "there is no preset 'big'")]
    [InlineData("train sft --model mini --out {0}/o --config {0}/none.json", 2, "none.json")]
    [InlineData("train sft --model {0}/none --out {0}/o", 2, "there is no such folder")]
    [InlineData("train sft --model tiny --out {0}/o", 2, "--data is missing")]
    [InlineData("train sft --model tiny --data {0}/none.parquet --out {0}/o", 2, "there is no such file")]
    [InlineData("train sft --model tiny --data {0}/prompts.txt {0}/none --validation {0}/prompts.txt --out {0}/o", 2,
        "none: there is no such file or folder")]
    [InlineData("train sft --model tiny --data {0}/prompts.txt --validation {0}/prompts.txt {0}/none --out {0}/o", 2,
        "none: there is no such file or folder")]
    [InlineData("train sft --model tiny --data {0}/prompts.txt --stpes 3 --out {0}/o", 2, "Did you mean '--steps'?")]
    [InlineData("train grpo --model tiny --data {0}/prompts.txt --out {0}/o", 2, "needs a reward")]
    [InlineData("train grpo --model mini --judge wisdom --out {0}/o", 2, "there is no such reward")]
    [InlineData("train grpo --model mini --judge heavy*detector --out {0}/o", 2, "'heavy' is no weight")]
    [InlineData("train grpo --model mini --judge hps --weights {0} --out {0}/o", 2, "HPS_v2.1_compressed.pt")]
    [InlineData("train grpo --model mini --judge https://somewhere/v1 --out {0}/o", 2, "--judge-model")]
    [InlineData("train grpo --model mini --judge-model m --out {0}/o --dry-run", 2,
        "--judge-model goes with an endpoint in --judge (https://…/v1) and has no effect with --judge detector")]
    [InlineData("train grpo --model mini --weights {0} --out {0}/o --dry-run", 2,
        "--weights goes with a benchmark's own model in --judge (geneval, ")]
    [InlineData("train grpo --model mini --judge detector,https://a/v1 --judge-model m --any-model --out {0}/o", 2,
        "--any-model goes with a benchmark's own model")]
    [InlineData("train grpo --model mini --judge detector,0.5*https://a/v1 --judge-model m --out {0}/o --dry-run", 0,
        "200 steps of 16 prompts")]
    [InlineData(
        "train grpo --model tiny --data {0}/prompts.txt --judge http://127.0.0.1:9/v1 --judge-model m --out {0}/o", 2,
        "the prompt 'an <image> of a cat' holds <image>")]
    [InlineData("train grpo --model mini --data {0}/prompts.txt --judge judge-small --out {0}/o", 2,
        "the prompt 'an <image> of a cat' holds <image>")]
    [InlineData("train grpo --model mini --out {0}", 2, "holds other files")]
    [InlineData("train grpo --model mini --out {0}/o --dry-run", 0, "200 steps of 16 prompts")]
    [InlineData("train grpo --model mini --out {0}/o --set grpo.klWeight=0.01 --dry-run", 0, "reference")]
    [InlineData("train grpo --model mini --judge detector,2*detector --out {0}/o", 2,
        "two parts are called 'detector'")]
    [InlineData("train grpo --model mini --judge 0*detector --out {0}/o", 2, "one of them other than 0")]
    [InlineData("train grpo --model tiny --data world --judge {0} --out {0}/o", 2, "config.json")]
    [InlineData("train grpo --model mini --out {0}/o --steps 1e3 --dry-run", 0, "1000 steps of 16 prompts")]
    [InlineData("train sft --preset janus-7b --help-settings", 0, "lora.rank = 16")]
    [InlineData("train sft --preset janus-1b --set lora.rank=8 --help-settings", 0, "sft.learningRate = 0.0001")]
    [InlineData("train grpo --preset janus-7b --set lora=null --help-settings", 0, "grpo.learningRate = 5E-06")]
    [InlineData("train sft --preset janus-1b --set lora.rank=8 --set SFT.LearningRate=3e-5 --help-settings", 0,
        "sft.learningRate = 3E-05")]
    [InlineData("merge {0}/none --out {0}/o", 2, "none")]
    [InlineData("train grpo --model mini --out {0}/o --set rollout.guidanceScale=2 --dry-run", 0,
        "rollout.guidanceScale is 2, which guides sampling alone")]
    [InlineData("export verl --model tiny --out {0}/o --set nothing=1", 2, "there is no setting 'nothing'")]
    [InlineData("export verl --model none --out {0}/o --set rollout.maxTextTokens=0", 2, "grpo.ignoreBeginOfImage")]
    public async Task Bad_input_is_answered_before_anything_is_made(string arguments, int exitCode, string message)
    {
        File.WriteAllText(At("prompts.txt"), "a red apple\nan <image> of a cat\n");
        var (code, output) = await Reasongen.RunAsync(string.Format(arguments, folder).Split(' '));
        Assert.True(code == exitCode, output);
        Assert.Contains(message, output);
        Assert.DoesNotContain("   at ", output);
        Assert.False(Path.Exists(At("o")));
        Assert.Equal(["prompts.txt"], Directory.GetFileSystemEntries(folder).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("https://here/v1,https://there/v1", "two parts are called 'm'")]
    [InlineData("{0}/a/judge,0.5*{0}/b/judge", "two parts are called 'judge'")]
    [InlineData("detector,{0}/bare", "bare: the folder holds no checkpoint")]
    [InlineData("{0}/unworded", "tokenizer.json")]
    public async Task A_judge_that_cannot_be_loaded_is_told_of_before_the_run_has_a_folder(string judge, string message)
    {
        foreach (var name in new[] { "a/judge", "b/judge", "bare", "unworded" })
        {
            TinyJudge(At(name));
        }

        File.Delete(Directory.GetFiles(At("bare"), "*.safetensors").Single());
        File.Delete(At("unworded/tokenizer.json"));
        var (code, output) = await Reasongen.RunAsync("train", "grpo", "--model", "mini", "--judge",
            string.Format(judge, folder), "--judge-model", "m", "--out", At("o"));
        Assert.True(code == 2, output);
        Assert.Contains(message, output);
        Assert.False(Directory.Exists(At("o")));
    }

    [Theory]
    [InlineData("run/model", "judge", "--model")]
    [InlineData("start", "link", "--judge")]
    public async Task A_model_that_the_run_would_move_away_is_refused_before_that(string model, string judge,
        string option)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "not everybody may make links there");
        File.WriteAllText(At("prompts.txt"), "a red apple\n");
        TinyJanus.Write(At("start"));
        TinyJudge(At("judge"));
        TinyJudge(At("run/model"));
        Directory.CreateSymbolicLink(At("link"), At("run"));
        File.WriteAllText(At("run/run.json"), "{}");
        var (code, output) = await Reasongen.RunAsync("train", "grpo", "--model", At(model), "--data",
            At("prompts.txt"), "--judge", At(judge == "link" ? "link/model" : judge), "--out", At("run"));
        Assert.True(code == 2, output);
        Assert.Contains($"{option} leads to", output);
        Assert.Equal(["model", "run.json"], Directory.GetFileSystemEntries(At("run")).Select(Path.GetFileName).Order());
    }

    [Theory]
    [InlineData(TrainingStage.Sft)]
    [InlineData(TrainingStage.Grpo)]
    public async Task The_drawn_world_is_refused_for_a_model_of_larger_images_before_it_is_loaded(TrainingStage stage)
    {
        JanusFiles.SaveConfig(JanusConfig.Pro1B, At("large"), JanusLayout.Original, ScalarType.BFloat16);
        var (code, output) = await Reasongen.RunAsync("train", $"{stage}".ToLowerInvariant(), "--model", At("large"),
            "--data", "world", "--out", At("o"));
        Assert.True(code == 2, output);
        Assert.Contains("the drawn world has images of 32 pixels a side, this model draws 384", output);
        Assert.False(Directory.Exists(At("o")));
    }

    [Fact]
    public void Held_out_prompts_are_drawn_from_the_whole_of_sorted_files()
    {
        Prompt[] files = [.. Enumerable.Range(0, 500).Select(i => new Prompt($"{i}", "", []))];
        var drawn = TrainData.Shuffled(files, 1);
        Assert.Equal(drawn, TrainData.Shuffled(files, 1));
        Assert.Equal(files, drawn.OrderBy(prompt => int.Parse(prompt.Text)));
        Assert.InRange(drawn.Take(250).Count(prompt => int.Parse(prompt.Text) >= 250), 80, 170);
    }

    [Fact]
    public async Task The_miniature_is_fine_tuned_then_reinforced_and_draws()
    {
        Succeeded(await Reasongen.RunAsync(["train", "sft", "--model", "mini", "--out", At("sft"), .. FewSft]));
        var rewarded = await Reasongen.RunAsync(["train", "grpo", "--model", At("sft/model"), "--judge",
            "detector,0.5*judge-small", "--out", At("rl"), .. FewGrpo]);
        Succeeded(rewarded);
        var training = JObject.Parse(File.ReadAllText(At("rl/model/training.json")));
        Assert.Equal("detector + 0.5 judge-small", (string?)training["reward"]);
        Assert.Equal(2, (int)training["settings"]!["run"]!["steps"]!);
        var about = JObject.Parse(File.ReadAllText(At("rl/run.json")))["about"]!;
        Assert.All([training, about],
            one => Assert.Equal((1, "cpu,fp32"), ((int)one["ranks"]!, (string?)one["device"])));
        Assert.Contains("reward: judge-small", File.ReadLines(At("rl/metrics.csv")).First());
        Succeeded(await Reasongen.RunAsync("generate", "--model", At("rl/model"), "--prompt", "a photo of a red circle",
            "--count", "1", "--out", At("images")));
        Assert.True(File.Exists(At("images/0000.png")));
        Lab.Open(At("rl/best")).Dispose();

        var (code, output) = await Reasongen.RunAsync(["train", "grpo", "--model", "mini", "--judge", "detector",
            "--out", At("rl"), .. FewGrpo, "--set", "grpo.clipRange=0.3"]);
        Assert.Equal(2, code);
        Assert.Contains("grpo.clipRange was 0.2 and is 0.3", output);
        Assert.Contains("reward was", output);
        Assert.Contains("model was", output);
    }

    [Fact]
    public async Task Additions_trained_on_parquet_are_trained_on_by_prompts_merged_and_handed_over()
    {
        File.Copy(Path.Combine(Study.DataFolder(), "sft-sample.parquet"), At("set.parquet"));
        File.WriteAllText(At("prompts.txt"), $"a red apple\ntwo cups\n{new string('x', 500)}\n");
        Succeeded(await Reasongen.RunAsync("train", "sft", "--model", "tiny", "--data", At("set.parquet"),
            "--validation", At("set.parquet"), "--out", At("sft"), "--set", "lora.rank=3", "--set",
            "data.samplesPerStep=2", "--set", "data.maxTokens=1280", "--steps", "2", "--set",
            "run.validationSamples=2", "--set", "run.sampleImages=1"));
        Assert.True(File.Exists(At("sft/model/adapter_config.json")));
        TinyJudge(At("judge"));
        var (code, output) = await Reasongen.RunAsync(["train", "grpo", "--model", At("sft/model"), "--data",
            At("prompts.txt"), "--judge", At("judge"), "--out", At("rl"), "--set", "judge.maxTokens=4", .. FewGrpo]);
        Succeeded((code, output));
        Assert.Contains("1 longer than 156 tokens are left out", output);
        Assert.Equal("judge", (string?)JObject.Parse(File.ReadAllText(At("rl/model/training.json")))["reward"]);

        Succeeded(await Reasongen.RunAsync("merge", At("rl/model"), "--layout", "native", "--out", At("merged")));
        Assert.Equal("janus", JanusFiles.ModelType(At("merged")));
        Assert.True(File.Exists(At("merged/training.json")) && File.Exists(At("merged/tokenizer.json")));
        TinyJanus.Write(At("plain"));
        Assert.Equal(2, (await Reasongen.RunAsync("merge", At("nothing"), "--out", At("merged"))).Code);
        Assert.True(File.Exists(At("merged/training.json"))); // what is refused leaves all as it was
        Succeeded(await Reasongen.RunAsync("merge", At("plain"), "--out", At("merged")));
        Assert.False(File.Exists(At("merged/training.json"))); // it told of the other model
        Succeeded(await Reasongen.RunAsync("merge", At("rl/model"), "--layout", "native", "--out", At("merged")));
        (code, output) = await Reasongen.RunAsync("export", "verl", "--model", At("rl/model"), "--data",
            At("prompts.txt"), "--set", "grpo.learningRate=1e-6", "--set", "run.seed=2", "--set",
            "grpo.promptsPerStep=2", "--set", "grpo.promptsPerUpdate=1", "--out", At("verl"));
        Succeeded((code, output));
        Assert.Contains("and so not handed over: run.seed.", output);
        Assert.Equal(JanusLayout.Original, JanusFiles.Check(At("verl/janus-model")));
        Assert.Equal("a red apple\ntwo cups\n" + new string('x', 500) + "\n",
            File.ReadAllText(At("verl/prompts/prompts.txt")));
        var lines = File.ReadAllLines(At("verl/janus_rl.settings"));
        Assert.Contains($"MODEL_PATH='{At("verl/janus-model")}'", lines);
        Assert.Contains($"    data.train_files=\"[{At("verl/prompts/prompts.txt")}]\" \\", lines);
        Assert.Contains("    actor_rollout_ref.actor.optim.lr=1E-06 \\", lines);
        using Janus merged = JanusFiles.Load(At("merged"), Cpu), handed = JanusFiles.Load(At("verl/janus-model"), Cpu);
        Assert.All(merged.TrainableParameters().Zip(handed.TrainableParameters()),
            pair => Golden.Equal(pair.First.Parameter, pair.Second.Parameter, pair.First.Name));
    }

    [Fact]
    public async Task A_run_that_is_told_to_end_saves_its_state_and_goes_on()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no signal can be sent to another process there");
        string[] command = ["train", "sft", "--model", "mini", "--out", At("run"),
            .. FewSft[2..], "--steps", "4000",
            "--set", "run.sampleEvery=0"];
        using var run = Child.Start(new("dotnet", [Reasongen.Assembly, .. command])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        });
        while (await run.StandardOutput.ReadLineAsync() is { } line && !line.Contains("s a step"))
        {
        }

        var second = await Reasongen.RunAsync(command);
        Assert.Equal(2, second.Code);
        Assert.Contains("another process is training there", second.Output);
        run.Signal("TERM");
        var (code, _, error) = await run.EndAsync();
        Assert.True(code == 143, error);
        Assert.Contains("A second signal ends it at once", error);
        Assert.Contains("the same command goes on from there", error);
        Assert.NotEmpty(SafetensorsHeader.Read(At("run/state.safetensors")).Entries);
        Assert.False(Directory.Exists(At("run/model")));
    }

    [Fact]
    public async Task A_run_that_goes_on_keeps_its_rows_at_a_time_and_tells_of_other_held_out_data()
    {
        string[] command = ["train", "grpo", "--model", "mini", "--judge", "detector", "--out", At("rl"), .. FewGrpo];
        Succeeded(await Reasongen.RunAsync([.. command, "--set", "rollout.rowsAtATime=4", // as a GPU chooses it
            "--set", "grpo.promptsPerRefill=2"])); // as a preset that has changed since
        var on = await Reasongen.RunAsync([.. command, "--set", "run.steps=3", "--set", "run.validationSamples=3"]);
        Succeeded(on);
        Assert.Contains($"what came of it is in {At("rl/earlier-1")} now", on.Output);
        Assert.Equal(4, (int)RunFolder.BegunAs(At("rl"))!["rollout"]!["rowsAtATime"]!);
        var fewer = await Reasongen.RunAsync([.. command, "--set", "run.steps=1", "--set", "run.validationSamples=3"]);
        Succeeded(fewer);
        Assert.Contains("3 steps are done, more than the 1 asked for", fewer.Output);
        Assert.Contains($"The model is in {At("rl/model")}, as it is after step 3", fewer.Output);
        Assert.DoesNotContain("Goes on", fewer.Output);
        var (code, output) = await Reasongen.RunAsync([.. command, "--set", "rollout.rowsAtATime=8"]);
        Assert.True(code == 2, output);
        Assert.Contains("rollout.rowsAtATime was 4 and is 8", output);
    }

    [Fact]
    public async Task A_run_begun_anew_says_where_the_one_before_is()
    {
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(At("run/model")).FullName, "training.json"),
            "{\"step\":3}");
        File.WriteAllText(At("run/run.json"), "{}");
        var (code, output) = await Reasongen.RunAsync(["train", "sft", "--model", "mini", "--out", At("run"),
            .. FewSft]);
        Succeeded((code, output));
        Assert.Contains($"What an earlier run left in {At("run")} is in {At("run/earlier-1")} now", output);
        Assert.Equal("{\"step\":3}", File.ReadAllText(At("run/earlier-1/model/training.json")));
        Assert.Equal(3, RunFolder.StepOf(At("run/model")));
    }

    [Fact]
    public async Task A_log_on_a_full_disk_does_not_end_a_run_but_is_told_of()
    {
        Assert.SkipUnless(File.Exists("/bin/bash") && File.Exists("/dev/full"), "there is no full device here");
        string[] command = [Reasongen.Assembly, "train", "sft", "--model", "mini", "--out", At("run"), .. FewSft];
        var (code, _, error) = await Child.RunAsync(new("/bin/bash",
            ["-c", $"exec dotnet {string.Join(' ', command.Select(word => $"'{word}'"))} >/dev/full"]));
        Assert.True(code == 2, error);
        Assert.Contains("standard output: it could not be written", error);
        Assert.Equal(3, RunFolder.StepOf(At("run/model")));
    }

    public void Dispose() => Directory.Delete(folder, true);

    private static ComputeTarget Cpu { get; } = new(CPU, ScalarType.Float32);

    // a Janus of noise, which boxes nothing: all rewards are 0
    private static void TinyJudge(string folder) => TinyJanus.Write(folder, seed: 5);

    private static void Succeeded((int Code, string Output) ended) =>
        Assert.True(ended.Code == 0, $"exit code {ended.Code}\n{ended.Output}");

    private string At(string name) => Path.Combine(folder, name);
}
