using System.Diagnostics;
using System.Globalization;
using System.Text.RegularExpressions;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Studies;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>
/// Commands that are killed (SIGKILL) at random moments and started again: what they make in the end is, bit for bit,
/// what an uninterrupted run makes, and nothing else lies there. REASONGEN_KILLS=200 kills each command so often; the
/// normal tests do it once.
/// </summary>
public sealed class KillTests(ITestOutputHelper report) : IDisposable
{
    private static readonly int Kills = int.TryParse(Environment.GetEnvironmentVariable("REASONGEN_KILLS"),
        CultureInfo.InvariantCulture, out var kills) ? kills : 1;
    private static readonly Regex ClockOf = new("\"(measured_)?seconds\": [^{]*?(?=[,\n])");
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Theory]
    [InlineData("tokenizer", "study tokenizer --trial --threads 1 --out {0}")]
    [InlineData("sft", "study sft --trial --threads 1 --start {data} --out {0}")]
    [InlineData("grpo", "study rl-adaptive --trial --threads 1 --start {data} --out {0}")]
    [InlineData("paper", "study paper --trial --steps 2 --run seed1/none-flips-0.1 --jobs 2 --out {0}")]
    [InlineData("train", "train grpo --model mini --threads 1 --steps 4 --set grpo.promptsPerStep=2 "
        + "--set grpo.promptsPerUpdate=1 --set grpo.promptsPerRound=3 --set grpo.rolloutsPerPrompt=4 "
        + "--set grpo.maxEmptySteps=10 --set run.saveEvery=1 --set run.checkpointEvery=2 --set run.validateEvery=2 "
        + "--set run.validationSamples=4 --set run.sampleImages=1 --out {0}")]
    [InlineData("generate",
        "generate --model tiny --prompts {given}/prompts.txt --count 2 --text-budget 8 --out {0}/images")]
    [InlineData("run", "run {given}/a.ipynb {given}/b.ipynb --out {0}")]
    public async Task A_killed_command_ends_as_if_it_had_not_been_killed(string name, string command)
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there is no SIGKILL there");
        var given = Directory.CreateDirectory(Path.Combine(folder, "given")).FullName;
        File.WriteAllLines(Path.Combine(given, "prompts.txt"),
            ["a red apple", "two blue cubes", "a dog left of a cat"]);
        SmallNotebook.Write(Path.Combine(given, "a.ipynb"), ("1 + 1", "code"),
            ("foreach (var i in Enumerable.Range(0, 50)) { Console.WriteLine(i); }", "code"));
        SmallNotebook.Write(Path.Combine(given, "b.ipynb"), ("Console.WriteLine(\"second\");", "code"));
        await KillAsync(name,
            output =>
                command.Replace("{0}", output).Replace("{data}", Study.DataFolder()).Replace("{given}", given)
                    .Split(' '));
    }

    [Fact]
    public async Task A_killed_captioner_ends_as_if_it_had_not_been_killed()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "there is no SIGKILL there");
        SftRow[] rows = [.. WorldRows.Of(new WorldStream(new WorldConfig(), 3), 6)];
        var images = Directory.CreateDirectory(Path.Combine(folder, "given")).FullName;
        foreach (var (i, row) in rows.Index())
        {
            File.WriteAllBytes(Path.Combine(images, $"{i}.png"), row.Image);
        }

        using var endpoint = new FaultyEndpoint((request, _) =>
            Reply.Says(rows.First(row => row.Image.SequenceEqual(FaultyEndpoint.ImageOf(request))).Record.ToString())
            with { Delay = TimeSpan.FromMilliseconds(100) });
        await KillAsync("caption",
            output => ["caption", "--images", images, "--out", $"{output}/set.parquet", "--endpoint", endpoint.Address,
                "--model", "m", "--concurrent", "1"]);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private async Task KillAsync(string name, Func<string, string[]> arguments)
    {
        var random = new Random(7);
        var whole = Path.Combine(folder, "whole");
        var watch = Stopwatch.StartNew();
        Succeeded(await Reasongen.RunApartAsync(arguments(whole)));
        var (longest, killed, rounds) = (watch.Elapsed, 0, 0);
        for (; killed < Kills; rounds++)
        {
            var cut = Path.Combine(folder, $"cut{rounds}");
            while (killed < Kills
                && !await RunAndKillAsync(arguments(cut), longest * (0.2 + 0.8 * random.NextDouble())))
            {
                killed++;
                foreach (var file in Files(cut).Where(file => !IsPassing(file)))
                {
                    AssertWhole(Path.Combine(cut, file));
                }
            }

            Succeeded(await Reasongen.RunApartAsync(arguments(cut)));
            Assert.Equal(Files(whole), Files(cut));
            Assert.All(Files(whole),
                file => Assert.Equal(Content(Path.Combine(whole, file)), Content(Path.Combine(cut, file))));
            Directory.Delete(cut, true);
        }

        report.WriteLine(
            $"{name}: killed {killed} times in {rounds} runs, each of which ended with the same bits and without "
            + $"litter");
    }

    // true where it had ended before
    private static async Task<bool> RunAndKillAsync(string[] arguments, TimeSpan after)
    {
        using var process = Child.Start(new ProcessStartInfo("dotnet", [Reasongen.Assembly, .. arguments])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        });
        var (output, error) = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
        using var time = new CancellationTokenSource(after);
        try
        {
            await process.WaitForExitAsync(time.Token);
            Succeeded((process.ExitCode, await output, await error));
            return true;
        }
        catch (OperationCanceledException)
        {
            process.Kill(entireProcessTree: true);
            await process.WaitForExitAsync();
            return false;
        }
    }

    private static void Succeeded((int Code, string Output, string Error) ended) =>
        Assert.True(ended.Code == 0, $"exit code {ended.Code}\n{ended.Output}{ended.Error}");

    private static string[] Files(string root) => !Directory.Exists(root) ? []
        : [.. Directory.GetFiles(root, "*", SearchOption.AllDirectories)
            .Where(file => !Path.GetFileName(file).StartsWith("events.out.tfevents")) // the clock is in their names
            .Select(file => Path.GetRelativePath(root, file)).Order(StringComparer.Ordinal)];

    // what a killed process may leave until the next one: half-written files under names of their own, locks and
    // claims, and the journal of answers
    private static bool IsPassing(string file) =>
        Path.GetFileName(file).StartsWith('.') || file.Split('/').Any(part => part.StartsWith('.'))
            || file.EndsWith(".jsonl");

    private static void AssertWhole(string file)
    {
        switch (Path.GetExtension(file))
        {
            case ".safetensors":
                Assert.NotEmpty(ReasonGen.Checkpoints.SafetensorsHeader.Read(file).Entries);
                break;
            case ".json" or ".ipynb":
                Assert.NotEmpty(JObject.Parse(File.ReadAllText(file)));
                break;
            case ".parquet":
                Assert.Equal(6, SftParquet.Open(file).Rows().Count());
                break;
            case ".html":
                Assert.EndsWith("</html>\n", File.ReadAllText(file));
                break;
            case ".csv":
                Assert.EndsWith("\n", File.ReadAllText(file));
                break;
        }
    }

    // without what tells of clocks
    private static string Content(string file)
    {
        AssertWhole(file);
        switch (Path.GetExtension(file))
        {
            case ".csv":
                var clocks = File.ReadLines(file).First().Split(',').Count(name => name.EndsWith("seconds"));
                return string.Join('\n',
                    File.ReadLines(file).Select(line => string.Join(',', line.Split(',').SkipLast(clocks))));
            case ".jsonl" when Path.GetFileName(file).Contains("parquet"):
                return string.Join('\n', File.ReadLines(file).Where(IsJson).Distinct().Order(StringComparer.Ordinal));
            case ".json" when Path.GetFileName(file) == "times.json":
                return "";
            case ".json" when Path.GetFileName(file) == "generation.json":
                return JObject.Parse(File.ReadAllText(file))["settings"]!.ToString();
            case ".json" when Path.GetFileName(file) == "run.json":
                return JObject.Parse(File.ReadAllText(file))["identity"]!.ToString();
            case ".json":
                var record = JObject.Parse(File.ReadAllText(file));
                return ClockOf.Replace(record.ToString(), "")
                    .Replace(Path.GetDirectoryName(Path.GetDirectoryName(file))!, "");
            case ".ipynb":
                return string.Join('\n',
                    JObject.Parse(File.ReadAllText(file))["cells"]!
                        .Select(cell => $"{cell["source"]} {cell["outputs"]}"));
            case ".html":
                return "";
            default:
                return Convert.ToBase64String(File.ReadAllBytes(file));
        }
    }

    private static bool IsJson(string line)
    {
        try
        {
            return line.Length > 0 && JObject.Parse(line).Count > 0;
        }
        catch (Newtonsoft.Json.JsonException)
        {
            return false; // torn by a kill, and not taken
        }
    }
}
