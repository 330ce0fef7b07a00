using ReasonGen.JanusPro;
using ReasonGen.Runs;
using ReasonGen.Setups;
using ReasonGen.Tests.Host;
using Xunit;

namespace ReasonGen.Tests.Runs;

public sealed class VerlExportTests : IDisposable
{
    private readonly TestFolder folder = new();

    public void Dispose() => folder.Dispose();

    [Fact]
    public void Settings_of_controllers_and_schedule_go_along()
    {
        var lines = Export("out", ("entropy.text.target", "1.5"), ("entropy.text.learningRate", "0.25"),
            ("entropy.image.bound", "0.5"), ("grpo.warmupSteps", "7"), ("grpo.weightDecay", "0.125"));

        const string adaptive = "actor_rollout_ref.actor.adaptive_entropy_coeff";
        Assert.All(new[]
        {
            $"{adaptive}.text.target_entropy=1.5", $"{adaptive}.text.lr=0.25", $"{adaptive}.image.target_entropy=7",
            $"{adaptive}.image.min_coeff=-0.5", $"{adaptive}.image.max_coeff=0.5",
            "actor_rollout_ref.actor.optim.lr_warmup_steps=7", "++actor_rollout_ref.actor.optim.weight_decay=0.125",
        }, line => Assert.Contains($"    {line} \\", lines));
    }

    [Theory]
    [InlineData("")]
    [InlineData("entropy.image.target=5 grpo.promptsPerStep=16 sft.learningRate=3e-5 lora.rank=4 run.steps=9")]
    [InlineData("grpo.seed=2 run.seed=3 run.keep=4", "grpo.seed", "run.keep", "run.seed")]
    [InlineData("grpo.temperature=0.5 rollout.temperature=0.5", "grpo.temperature", "rollout.temperature")]
    [InlineData("entropy.text.initialAlpha=0.001 grpo.promptsPerRound=20", "entropy.text.initialAlpha",
        "grpo.promptsPerRound")]
    [InlineData("rollout.guidanceScale=5", "rollout.guidanceScale")] // cfg_weight guides log-probs and updates too
    public void What_has_no_line_is_told(string set, params string[] told) =>
        Assert.Equal(told, VerlExport.WithoutLine(With([.. set.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(one => (one.Split('=')[0], one.Split('=')[1]))])).Select(one => one.Path).Order());

    [Theory]
    [InlineData("", "trainer.save_freq=100", "trainer.max_steps=400", "data.num_val_samples=256",
        "actor_rollout_ref.rollout.cot_generate=True")]
    [InlineData("run.checkpointEvery=0", "trainer.save_freq=400")]
    [InlineData("rollout.maxTextTokens=0", "actor_rollout_ref.rollout.cot_generate=False",
        "data.max_response_length=576")]
    [InlineData("run.validationSamples=5000", "data.num_val_samples=2948")] // of the script's own
    public void Settings_mean_there_what_they_mean_here(string set, params string[] expected)
    {
        var lines = Export("out", [.. set.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(one => (one.Split('=')[0], one.Split('=')[1]))]);
        Assert.All(expected, line => Assert.Contains($"    {line} \\", lines));
        Assert.DoesNotContain(lines, line => line.Contains("cfg_weight"));
    }

    [Theory]
    [InlineData(32, 8, 400, 3200)] // one batch, of which a step may want eight
    [InlineData(32 * 8, 8, 400, 400)]
    [InlineData(32 * 15 + 31, 8, 400, 400)] // what is left of an epoch is dropped
    [InlineData(32 * 16, 8, 401, 201)]
    [InlineData(32 * 16, 8, 1, 1)]
    [InlineData(32 * 16, 1, 400, 25)]
    public void Epochs_hold_all_steps(int prompts, int rounds, int steps, int expected)
    {
        folder.Write("many.txt", string.Concat(Enumerable.Repeat("a red apple\n", prompts)));
        var lines = Export("out", [folder.At("many.txt")], [], ("grpo.maxRounds", $"{rounds}"),
            ("run.steps", $"{steps}"));
        Assert.Contains($"    trainer.total_epochs={expected} \\", lines);
    }

    [Fact]
    public void Held_out_prompts_are_counted_as_the_trainer_keeps_them()
    {
        // a token a byte: the line with its end, and ten for the template, of 156
        folder.Write("held.txt", $"one\ntwo\n{new string('x', 145)}\n{new string('x', 146)}\n");
        Assert.Contains("    data.num_val_samples=3 \\", Export("out", [], [folder.At("held.txt")]));
        Assert.Contains("    data.num_val_samples=2 \\", Export("out", [], [folder.At("held.txt")],
            ("run.validationSamples", "2")));
    }

    [Theory]
    [InlineData("a cup\\r\\n\\non a table", "a cup on a table")]
    [InlineData("a\\u2028b\\u0085c\\fd", "a b c d")]
    public void A_prompt_of_several_lines_is_one_line(string text, string line)
    {
        folder.Write("many.jsonl", string.Concat(Enumerable.Repeat($$"""{"prompt": "{{text}}"}""" + "\n", 32)));
        Export("out", [folder.At("many.jsonl")], []);
        Assert.Equal(Enumerable.Repeat(line, 32), File.ReadAllText(folder.At("out", "prompts", "many.txt"))
            .TrimEnd('\n').Split('\n'));
    }

    [Theory]
    [InlineData(31, 0, "of 31 prompts to train on the reference's trainer keeps 31, those of up to 146 tokens, and "
        + "needs at least 32; give more or shorter ones, or lower grpo.promptsPerStep, and with it "
        + "grpo.promptsPerUpdate, of which it must be a multiple")]
    [InlineData(31, 9, "of 40 prompts to train on the reference's trainer keeps 31")]
    [InlineData(0, 1, "of 1 prompts held out the reference's trainer keeps 0")]
    public void Prompts_that_the_trainer_would_fail_with_are_refused(int many, int longer, string message)
    {
        folder.Write("few.txt", string.Concat(Enumerable.Repeat("a cup\n", many))
            + string.Concat(Enumerable.Repeat(new string('x', 146) + "\n", longer)));
        string[] few = [folder.At("few.txt")];
        Assert.Contains(message, Assert.Throws<ArgumentException>(() =>
            many > 0 ? Export("out", few, []) : Export("out", [], few)).Message);
        Assert.False(Directory.Exists(folder.At("out")));
    }

    [Fact]
    public async Task A_shell_reads_paths_with_blanks_as_they_are()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "the script is for a Linux machine");
        var lines = Export("janus of mine");

        var (code, output, _) = await Child.RunAsync(new("bash", ["-c",
            string.Join('\n', lines.Take(2)) + "\nprintf '%s\\n' \\\n" + string.Join('\n', lines.Skip(2)) + "\n"]));

        Assert.Equal(0, code);
        Assert.Equal([$"actor_rollout_ref.model.path={folder.At("janus of mine", "janus-model")}",
            $"data.train_files=[{folder.At("janus of mine", "prompts", "some prompts.txt")}]"],
            output.Split('\n')[..2]);
    }

    [Theory]
    [InlineData("a,b")]
    [InlineData("a[1]")]
    [InlineData("a\"b")]
    [InlineData("a'b")]
    [InlineData("a$HOME")]
    [InlineData("a=b")]
    [InlineData("ü", "'ü' (U+00FC)")]
    [InlineData("a#b", "'#' (U+0023)")]
    [InlineData("~a")]
    [InlineData("a&b")]
    [InlineData("a!b")]
    [InlineData("a;b")]
    [InlineData("a<b")]
    [InlineData("a^b")]
    [InlineData("😀", "'😀' (U+1F600)")]
    [InlineData("a\nb", "(U+000A)")]
    public void Paths_that_the_script_would_misread_are_refused(string name, string told = "would misread")
    {
        var message = Assert.Throws<ArgumentException>(() => Export(name)).Message;
        Assert.StartsWith($"'{folder.At(name)}", message);
        Assert.Contains(told, message);
        Assert.False(Directory.Exists(folder.At(name)));
    }

    private string[] Export(string output, params (string Path, string Value)[] set)
    {
        folder.Write("some prompts.txt", string.Concat(Enumerable.Repeat("a red apple\n", 32)));
        return Export(output, [folder.At("some prompts.txt")], [], set);
    }

    private string[] Export(string output, string[] train, string[] validation,
        params (string Path, string Value)[] set)
    {
        VerlExport.Write(TinyJanus.Write(folder.At("model")), train, validation, With(set).Get<RunConfig>(),
            folder.At(output));
        return File.ReadAllLines(folder.At(output, "janus_rl.settings"));
    }

    private static Settings With((string Path, string Value)[] set) =>
        set.Aggregate(new Settings(RunConfig.Preset("paper")), (all, one) => all.With(one.Path, one.Value));
}
