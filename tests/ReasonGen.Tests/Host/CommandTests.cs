using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Studies;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>The command as a user meets it: a process of its own, judged by output and exit code.</summary>
public sealed class CommandTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    public async Task Numbers_look_the_same_where_the_environment_asks_for_another_culture()
    {
        ProcessStartInfo plan = new("dotnet", [Reasongen.Assembly, "plan", "--model", "janus-1b"]);
        plan.Environment["DOTNET_SYSTEM_GLOBALIZATION_INVARIANT"] = "0";
        plan.Environment["LC_ALL"] = "de_DE.UTF-8";
        var (code, output, error) = await Child.RunAsync(plan);
        Assert.SkipWhen(error.Contains("ICU package"), "the system knows no cultures");
        Assert.True(code == 0, output + error);
        Assert.Matches(@"The peak of \d+\.\d GiB", output);
    }

    [Theory]
    [InlineData("run nowhere", 2, "there is no file or folder 'nowhere'")]
    [InlineData("run {0}", 2, "holds no notebook")]
    [InlineData("run {0}/damaged.ipynb", 2, "is damaged")]
    [InlineData("run {0}/good.ipynb -p colour=red", 2, "no notebook has a parameter 'colour'")]
    [InlineData("run {0}/good.ipynb -p size", 2, "-p wants name=value")]
    [InlineData("run {0}/good.ipynb -p size=big", 2, "is a whole number (int) such as 1000 or 1e3")]
    [InlineData("run {0}/placed.ipynb --device cpu -p device=cpu,bf16", 2,
        "--device says cpu and -p device= says cpu,bf16; say it once")]
    [InlineData("run {0}/placed.ipynb --device cpu -p device=cpu", 0, "1 of 1 notebooks ran through")]
    [InlineData("frobnicate", 2, "frobnicate")]
    [InlineData("plon", 2, "Did you mean 'plan'?")]
    [InlineData("plan --modle janus-7b", 2, "Did you mean '--model'?")]
    [InlineData("study --sede 2", 2, "Did you mean '--seed'?")]
    [InlineData("plan", 2, "See 'reasongen plan --help'.")]
    [InlineData("completion tcsh", 2, "'fish'")]
    [InlineData("study paper --seeds 0", 2, "--seeds is 0")]
    [InlineData("study paper --first-seed 0", 2, "--first-seed is 0")]
    [InlineData("study paper --first-seed 1000000 --seeds 2", 2, "--seeds is 2; it must be at least 1 and at most 1")]
    [InlineData("study paper --add", 2, "--add goes with --collect")]
    [InlineData("study paper --run seed2/nonsense --list", 2, "no run 'seed2/nonsense'")]
    [InlineData("study paper --jobs 1000", 2, "at most 64")]
    [InlineData("study paper --only nois", 2, "there is no part 'nois'")]
    [InlineData("study paper --run seed1/nonsense", 2, "there is no run 'seed1/nonsense'")]
    [InlineData("study paper --run seed1/none --only arms", 2, "--only has nothing to choose: give one of the two")]
    [InlineData("study paper --run seed1/none --seeds 5", 2, "--seeds has nothing to choose")]
    [InlineData("study paper --list --collect {0}/a", 2, "give one of the two")]
    [InlineData("study paper --out {0}/none --collect {0}/a", 1, "nothing was gathered, and {0}/a is as it was")]
    [InlineData("study nonsense", 2, "there is no stage 'nonsense'")]
    [InlineData("plan --model janus-70b", 2, "there is no model 'janus-70b'")]
    [InlineData("plan --model janus-7b --stage base", 2, "there is no stage 'base'")]
    [InlineData("plan --model janus-7b --judge 70b", 2, "there is no judge '70b'")]
    [InlineData("plan --model janus-7b --lora -3", 2, "--lora is -3")]
    [InlineData("plan --model janus-7b --stage sft --judge 7b", 2, "has no judge")]
    [InlineData("plan --model janus-7b --stage sft --rows 8", 2, "--rows is of rollouts, which sft has none of")]
    [InlineData("plan --model janus-7b --judge 7b", 0, "fits one 80 GB GPU")]
    [InlineData("plan --model janus-7b --stage sft --lora 0", 0, "It would fit one 80 GB GPU with --lora 16")]
    [InlineData("plan --model janus-7b --gpu rtx4090", 0, "It does not fit one rtx4090 (24 GB).")]
    [InlineData("plan --model janus-7b --judge 7b --gpu a100", 0, "It fits one a100 (80 GB).")]
    [InlineData("plan --model janus-7b --ranks 8", 0, "estimated for one GPU only")]
    [InlineData("plan --model janus-7b --gpu h200", 0, "of which a driver may tell more or less")]
    [InlineData("study --help", 0, "artifacts/study/full-seed<seed>, with --trial trial-seed<seed> there")]
    [InlineData("plan --model janus-7b", 0, "400 steps: ")]
    [InlineData("plan --model janus-7b --judge 7b", 0, " with one round of rollouts a step, where the rewards")]
    [InlineData("plan --model janus-7b --price 2", 0, " at 2 an hour) with a second one of ")]
    [InlineData("plan --model janus-1b --stage sft", 0, "1,790 steps: ")]
    public async Task Bad_input_is_answered_in_a_sentence(string arguments, int exitCode, string message)
    {
        var given = string.Format(arguments, folder).Split(' ');
        if (arguments.Contains("damaged"))
        {
            File.WriteAllText(Path.Combine(folder, "damaged.ipynb"), "{ \"cells\": [ ");
        }
        else if (arguments.Contains("good"))
        {
            Write("good.ipynb", "1");
        }
        else if (arguments.Contains("placed"))
        {
            SmallNotebook.Write(Path.Combine(folder, "placed.ipynb"), ("string device = \"\";", "parameters"),
                ("// Lab.Start(preset, 1, device)\n1", "code"));
        }

        var (code, output) = await Reasongen.RunAsync([.. given,
            .. given[0] == "run" ? new[] { "--out", Path.Combine(folder, "out") } : []]);
        Assert.True(code == exitCode, output);
        Assert.Contains(message.Replace("{0}", folder), output);
        Assert.DoesNotContain("   at ", output);
    }

    [Fact]
    public async Task A_failing_cell_ends_its_notebook_and_no_other()
    {
        Write("a.ipynb", "Console.WriteLine(\"before\");", "throw new Exception(\"deliberate\");",
            "Console.WriteLine(\"never\");");
        Write("b.ipynb", "size * 2");
        var (code, output) =
            await Reasongen.RunAsync("run", folder, "-p", "size=21", "--out", Path.Combine(folder, "out"));
        Assert.Equal(1, code);
        Assert.Contains("cell 3 failed", output);
        Assert.Contains("deliberate", output);
        Assert.Contains("1 of 2 notebooks ran through", output);
        var report = File.ReadAllText(Path.Combine(folder, "out", "report.html"));
        Assert.Contains("42", report);
        Assert.DoesNotContain("src=\"http", report);
        var executed = JObject.Parse(File.ReadAllText(Path.Combine(folder, "out", "notebooks", "a.ipynb")));
        Assert.Equal("error", (string?)executed["cells"]![3]!["outputs"]![0]!["output_type"]);
    }

    [Fact]
    public async Task The_command_in_the_report_makes_it_again_and_folders_are_meant_from_where_it_is_called()
    {
        Directory.CreateDirectory(Path.Combine(folder, "own", "a model"));
        Directory.CreateDirectory(Path.Combine(folder, "notebooks"));
        SmallNotebook.Write(Path.Combine(folder, "notebooks", "a.ipynb"),
            ("string model = \"\"; string device = \"\";", "parameters"),
            ("// as Lab.Start(preset, 1) does\n$\"{device}: {System.IO.Directory.Exists(model)}\"", "code"));
        var (code, output, error) = await Child.RunAsync(new("dotnet", [Reasongen.Assembly, "run", "notebooks", "-p",
            "model=own/a model", "-p", "device=a telephone", "--device", "cpu", "--trust", "--out", "look"])
        {
            WorkingDirectory = folder,
        });
        Assert.True(code == 0, output + error);
        var report = System.Net.WebUtility.HtmlDecode(File.ReadAllText(Path.Combine(folder, "look", "report.html")));
        Assert.Contains("a telephone: True", report);
        Assert.Contains("run notebooks -p 'model=own/a model' -p 'device=a telephone' --device cpu --out look --trust",
            report);
    }

    [Fact]
    public async Task Packages_are_restored_and_one_that_is_not_there_is_named()
    {
        // in the package cache, since these tests are built with it, and not among what the command ships
        var there = new DirectoryInfo(Path.GetFullPath(Path.Combine(NuGetFolder(), "xunit.v3.assert"))).GetDirectories()
            .Max(folder => folder.Name);
        Write("a.ipynb",
            $"#r \"nuget: xunit.v3.assert, {there}\"\nXunit.Assert.Equal(2, size - 1); "
            + $"Xunit.Assert.NotNull(typeof(Xunit.Assert).Assembly.Location)");
        Write("b.ipynb", "#r \"nuget: There.Is.No.Such.Package.Anywhere, 1.0.0\"");
        Write("c.ipynb", "#r \"nuget: a b\"");
        var (_, output) = await Reasongen.RunAsync("run", folder, "--out", Path.Combine(folder, "out"));
        Assert.Contains("a.ipynb  ok", output);
        Assert.Contains("There.Is.No.Such.Package.Anywhere, 1.0.0\" could not be restored", output);
        Assert.Contains("it must be #r \"nuget: Name\"", output);
    }

    [Fact]
    public async Task Packages_lie_in_the_users_folder_though_it_is_not_there_yet()
    {
        Assert.SkipUnless(OperatingSystem.IsLinux(), "the folder is named by a variable on Linux only");
        Write("a.ipynb", "#r \"nuget: There.Is.No.Such.Package.Anywhere, 1.0.0\"");
        File.WriteAllText(Path.Combine(folder, "file"), "");
        async Task<string> Run(string data) => (await Child.RunAsync(new("dotnet",
            [Reasongen.Assembly, "run", folder, "--out", Path.Combine(folder, "out")])
        {
            Environment = { ["XDG_DATA_HOME"] = Path.Combine(folder, data) },
        })).Output;
        Assert.Contains("where packages are restored, cannot be written", await Run("file/data"));
        Assert.Contains("could not be restored", await Run("data"));
        Assert.False(Directory.Exists(Path.Combine(folder, "reasongen")));
        Assert.Single(Directory.GetDirectories(Path.Combine(folder, "data", "reasongen", "packages")));
    }

    [Theory]
    [InlineData("file/home", 2, "cannot be written to {0}/file/home/")]
    [InlineData("home", 0, "installed {0}/home/")]
    public async Task The_kernel_is_written_to_the_users_folder_or_nowhere(string home, int exitCode, string message)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no variable names the user's folder there");
        File.WriteAllText(Path.Combine(folder, "file"), "");
        var here = Directory.CreateDirectory(Path.Combine(folder, "here")).FullName;
        var (code, output, error) = await Child.RunAsync(new("dotnet", [Reasongen.Assembly, "kernel", "install"])
        {
            WorkingDirectory = here,
            Environment =
            {
                ["HOME"] = Path.Combine(folder, home), ["XDG_DATA_HOME"] = null, ["JUPYTER_DATA_DIR"] = null,
            },
        });
        Assert.True(code == exitCode, output + error);
        Assert.Contains(string.Format(message, folder), output + error);
        Assert.Empty(Directory.GetFileSystemEntries(here));
    }

    [Fact]
    public async Task A_kernel_of_the_user_keeps_the_notebooks_name_from_an_environment_too()
    {
        var theirs = Path.Combine(folder, "user", "kernels", ".net-csharp");
        var environment = Path.Combine(folder, "env");
        Directory.CreateDirectory(theirs);
        File.WriteAllText(Path.Combine(theirs, "kernel.json"), """{"argv":["dotnet","interactive"]}""");
        var (code, output, error) = await Child.RunAsync(new("dotnet", [Reasongen.Assembly, "kernel", "install",
            "--prefix", environment])
        {
            Environment = { ["JUPYTER_DATA_DIR"] = Path.Combine(folder, "user") },
        });
        Assert.True(code == 0, output + error);
        Assert.Contains($"belongs to another kernel ({theirs})", output);
        Assert.Equal("reasongen", Path.GetFileName(Assert.Single(Directory.GetDirectories(
            Path.Combine(environment, "share", "jupyter", "kernels")))));
    }

    private static string NuGetFolder() =>
        Environment.GetEnvironmentVariable("NUGET_PACKAGES") is { Length: > 0 } set ? set
        : Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".nuget", "packages");

    [Fact]
    public async Task Doctor_finds_nothing_missing()
    {
        var (code, output) = await Reasongen.RunAsync("doctor", "--json");
        Assert.True(code == 0, output);
        Assert.Empty((JArray)JObject.Parse(output)["missing"]!);
    }

    [Theory]
    [InlineData("notebooks")]
    [InlineData("notebooks/solutions")]
    public async Task Every_notebook_of_the_kit_runs_in_smoke(string within)
    {
        var notebooks = Path.Combine(Path.GetDirectoryName(ReasonGen.Studies.Study.DataFolder())!, within);
        var (code, output) =
            await Reasongen.RunAsync("run", notebooks, "-p", "preset=smoke", "--out", Path.Combine(folder, "out"));
        Assert.True(code == 0, output);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private void Write(string name, params string[] cells) =>
        SmallNotebook.Write(Path.Combine(folder, name),
            [("int size = 3;", "parameters"), .. cells.Select(cell => (cell, "code"))]);
}
