using System.CommandLine;
using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Commands;
using ReasonGen.Qwen;
using ReasonGen.Setups;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What a user finds before anything is computed: help, completion, json, plain text where no terminal
/// is.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("run")]
    [InlineData("generate")]
    [InlineData("chat")]
    [InlineData("study")]
    [InlineData("caption")]
    [InlineData("inspect")]
    [InlineData("plan")]
    [InlineData("doctor")]
    [InlineData("completion")]
    public async Task Every_command_has_help_with_examples(string command)
    {
        var (code, output, error) = await Reasongen.RunApartAsync(command, "--help");
        Assert.Equal(0, code);
        Assert.Empty(error);
        Assert.Contains("Examples:", output);
        Assert.Contains($"reasongen {command}",
            output[output.IndexOf("Examples:", StringComparison.Ordinal)..output.IndexOf("Usage:",
                StringComparison.Ordinal)].Replace("-- completion", "reasongen completion"));
    }

    [Fact]
    public async Task The_list_of_commands_has_a_sentence_for_each()
    {
        var (code, output, _) = await Reasongen.RunApartAsync("--help");
        Assert.Equal(0, code);
        Assert.Contains("Exit codes:", output);
        Assert.DoesNotContain("Examples:", output);
        var (bare, same, _) = await Reasongen.RunApartAsync();
        Assert.Equal((2, output), (bare, same));
        var (_, version, _) = await Reasongen.RunApartAsync("--version");
        Assert.Matches(@"^\d+\.\d+\.\d+", version);
    }

    [Fact]
    public async Task Where_no_terminal_is_nothing_is_coloured()
    {
        foreach (var arguments in new[] { "doctor", "plan --model janus-7b", "--help", "plon" })
        {
            Assert.DoesNotContain("\u001b", (await Reasongen.RunAsync(arguments.Split(' '))).Output);
        }
    }

    [Fact]
    public async Task Scripts_read_json()
    {
        var (_, plan, _) = await Reasongen.RunApartAsync("plan", "--model", "janus-7b", "--judge", "7b", "--json");
        var setup = TrainingSetup.Janus7B.WithRows(80e9, QwenConfig.Qwen7B); // as train's on that GPU
        var made = MemoryPlan.Of(setup, TrainingStage.Grpo, QwenConfig.Qwen7B);
        Assert.Equal(made.PeakBytes, (double)JObject.Parse(plan)["peakBytes"]!, 1.0);
        Assert.Equal((32, 32), (setup.Rollout.RowsAtATime, (int)JObject.Parse(plan)["rowsAtATime"]!));
        Assert.True((bool)JObject.Parse(plan)["fits"]!["80 GB"]!);
        Assert.True((bool)JObject.Parse(plan)["fitsGpu"]! && (double)JObject.Parse(plan)["hours"]! > 0);
        Assert.True((double)JObject.Parse(plan)["hoursWithRefill"]! > (double)JObject.Parse(plan)["hours"]!);
        (_, plan, _) = await Reasongen.RunApartAsync("plan", "--model", "janus-7b", "--gpu", "rtx4090", "--ranks", "8",
            "--price", "3", "--json");
        Assert.False((bool)JObject.Parse(plan)["fitsGpu"]!);
        Assert.All(new[] { "tokensPerSecond", "stepSeconds", "hours", "cost", "hoursWithRefill", "costWithRefill" },
            name => Assert.Null((double?)JObject.Parse(plan)[name]));
        (_, plan, _) = await Reasongen.RunApartAsync("plan", "--model", "janus-1b", "--rows", "1e9", "--json");
        Assert.Equal(256, (int)JObject.Parse(plan)["rowsAtATime"]!); // of a round, as the text says
        var (_, held, _) = await Reasongen.RunApartAsync("inspect",
            Path.Combine(Study.DataFolder(), "checkpoints", "sft.safetensors"), "--json");
        var tensors = (JArray)JObject.Parse(held)["tensors"]!;
        Assert.Contains(tensors,
            tensor => (string?)tensor["name"] == "gen_aligner.layers.0.bias" && (long?)tensor["shape"]![0] == 96);

        var folder = Directory.CreateTempSubdirectory("reasongen").FullName;
        SmallNotebook.Write(Path.Combine(folder, "a.ipynb"), ("# Two", "markdown"), ("1 + 1", "code"),
            ("throw new Exception(\"deliberate\");", "code"));
        var (code, run, said) = await Reasongen.RunApartAsync("run", folder, "--out", folder, "--json");
        var outcome = JObject.Parse(run)["notebooks"]![0]!;
        Assert.Equal((1, false, 2), (code, (bool)outcome["ok"]!, (int)outcome["failedCell"]!));
        Assert.True(File.Exists((string?)JObject.Parse(run)["report"]));
        Assert.Contains("0 of 1 notebooks", said);
        Directory.Delete(folder, true);
    }

    [Theory]
    [InlineData("--count 1e3 --seed -2e3 --steps 1e2 --share 1e-5", 1000, -2000L, 100, 1e-5)]
    [InlineData("", 4, 1L, null, 0.5)]
    public void Numbers_are_read_as_those_of_settings(string line, int count, long seed, int? steps, double share)
    {
        var (command, options) = Numbers();
        var parsed = command.Parse(line);
        Assert.Empty(CommandLine.Mistakes(parsed));
        Assert.Equal((count, seed, steps, share), (parsed.GetValue(options.Count), parsed.GetValue(options.Seed),
            parsed.GetValue(options.Steps), parsed.GetValue(options.Share)));
    }

    [Theory]
    [InlineData("--count many", "--count is 'many'; it must be a whole number such as 1000 or 1e3.")]
    [InlineData("--steps 1.5", "--steps is '1.5'; it must be a whole number such as 1000 or 1e3.")]
    [InlineData("--share half", "--share is 'half'; it must be a number such as 0.5 or 1e-5.")]
    public void What_is_no_number_is_told_in_words(string line, string mistake) =>
        Assert.Equal([mistake], CommandLine.Mistakes(Numbers().Command.Parse(line)));

    [Theory]
    [InlineData("-- --x --y", "")]
    [InlineData("--x -- --x", "Unrecognized command or argument '--x'.")]
    [InlineData("word --y -- --x", "Unrecognized command or argument '--y'.")]
    public void What_follows_two_bare_dashes_is_left_alone(string line, string mistakes)
    {
        var command = new RootCommand { new Argument<string[]>("words") };
        Assert.Equal(mistakes, string.Join('\n', CommandLine.Mistakes(command.Parse(line))));
    }

    [Fact]
    public async Task Where_no_terminal_is_no_line_is_broken_or_filled_up()
    {
        var (_, json, _) = await Reasongen.RunApartAsync("doctor", "--json");
        var (_, doctor, _) = await Reasongen.RunApartAsync("doctor");
        foreach (var name in new[] { "Runtime", "libtorch sees", "libtorch", "Native library" })
        {
            Assert.Contains($"{name} {(string?)JObject.Parse(json)["facts"]![name]}",
                doctor.Split('\n').Select(line => string.Join(' ', line.Split(' ',
                    StringSplitOptions.RemoveEmptyEntries))));
        }

        var (_, plan, _) = await Reasongen.RunApartAsync("plan", "--model", "janus-7b", "--judge", "7b", "--gpu",
            "h200");
        var made = MemoryPlan.Of(TrainingSetup.Janus7B.WithRows(141e9, QwenConfig.Qwen7B), TrainingStage.Grpo,
            QwenConfig.Qwen7B);
        Assert.Contains("LoRA of rank 16 (alpha 32, scale 2), activations checkpointed, 128 rows sampled together",
            plan);
        Assert.Contains("It would fit one 80 GB GPU with --rows 32.", plan.ReplaceLineEndings(" "));
        Assert.All(made.Rows, row => Assert.Contains(plan.Split('\n'), line => line.EndsWith("  " + row.Why)));
        Assert.Matches("(?m)^On one .* An estimate by these figures, not a measurement.$", plan);
        Assert.DoesNotMatch("(?m) $", doctor + plan);
    }

    [Fact]
    public void Chat_does_not_offer_the_miniature()
    {
        static string Model(Command command) =>
            command.Options.Single(option => option.Name == "--model").Description!;
        Assert.DoesNotContain("mini", Model(ChatCommand.Create()));
        Assert.Contains("tiny", Model(ChatCommand.Create()));
        Assert.Contains("mini, the shipped miniature; or tiny", Model(GenerateCommand.Create()));
    }

    private static (RootCommand Command,
        (Option<int> Count, Option<long> Seed, Option<int?> Steps, Option<double> Share) Options) Numbers()
    {
        var count = new Option<int>("--count") { DefaultValueFactory = _ => 4 };
        var seed = new Option<long>("--seed") { DefaultValueFactory = _ => 1 };
        var steps = new Option<int?>("--steps");
        var share = new Option<double>("--share") { DefaultValueFactory = _ => 0.5 };
        var command = new RootCommand { count, seed, steps, share };
        CommandLine.ReadNumbers(command);
        return (command, (count, seed, steps, share));
    }

    [Theory]
    [InlineData("reasongen pl", "plan")]
    [InlineData("reasongen plan --mod", "--model")]
    [InlineData("reasongen plan --model janus-", "janus-1b janus-7b")]
    [InlineData("reasongen study rl-judge-", "rl-judge-large rl-judge-small")]
    [InlineData("reasongen run notebooks -p preset=s", "preset=smoke")]
    [InlineData("reasongen inspect ", "")] // the shell offers files
    public async Task Bash_completes(string line, string expected)
    {
        Assert.SkipUnless(File.Exists("/bin/bash"), "there is no bash here");
        var (_, script, _) = await Reasongen.RunApartAsync("completion", "bash");
        var start = new ProcessStartInfo("/bin/bash");
        var words = line.Split(' ');
        start.ArgumentList.Add("-c");
        start.ArgumentList.Add(
            $"{script}\nCOMP_LINE='{line}'; COMP_POINT={line.Length}; COMP_WORDS=({line.TrimEnd()} "
            + $"{(words[^1].Length == 0 ? "''" : "")}); COMP_CWORD={words.Length - 1}\n"
            + "_reasongen; echo \"${COMPREPLY[*]}\"; complete -p reasongen");
        var (_, output, error) = await Child.RunAsync(start);
        Assert.Equal("", error);
        Assert.Equal(expected, output.Split('\n')[0]);
        Assert.Contains("complete -o default -F _reasongen reasongen", output);
    }
}
