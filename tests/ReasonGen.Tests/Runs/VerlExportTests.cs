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
    public void What_has_no_line_is_told(string set, params string[] told) =>
        Assert.Equal(told, VerlExport.WithoutLine(With([.. set.Split(' ', StringSplitOptions.RemoveEmptyEntries)
            .Select(one => (one.Split('=')[0], one.Split('=')[1]))])).Select(one => one.Path).Order());

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
    public void Paths_that_the_script_would_misread_are_refused(string name)
    {
        Assert.Contains("would misread", Assert.Throws<ArgumentException>(() => Export(name)).Message);
        Assert.False(Directory.Exists(folder.At(name)));
    }

    private string[] Export(string output, params (string Path, string Value)[] set)
    {
        folder.Write("some prompts.txt", "a red apple\n");
        VerlExport.Write(TinyJanus.Write(folder.At("model")), [folder.At("some prompts.txt")], [],
            With(set).Get<RunConfig>(), folder.At(output));
        return File.ReadAllLines(folder.At(output, "janus_rl.settings"));
    }

    private static Settings With((string Path, string Value)[] set) =>
        set.Aggregate(new Settings(RunConfig.Preset("paper")), (all, one) => all.With(one.Path, one.Value));
}
