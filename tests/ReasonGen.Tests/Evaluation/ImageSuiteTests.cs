using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Evaluation;
using ReasonGen.Files;
using ReasonGen.Imaging;
using ReasonGen.Rollouts;
using ReasonGen.Scoring;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Evaluation;

public sealed class ImageSuiteTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    [Trait("Category", "Golden")]
    public void Geneval_folders_are_those_of_its_scripts()
    {
        var lines = File.ReadAllLines(Golden.Path("geneval/metadata.jsonl"));
        var suite = ImageSuite.GenEval(Golden.Path("geneval/metadata.jsonl"), Out, 4);
        Assert.All(suite.Fill(Draw), step => Assert.Equal(SuiteOutcome.Drawn, step.Outcome));
        foreach (var (index, line) in lines.Index())
        {
            var item = Path.Combine(Out, $"{index:00000}");
            Assert.Equal(line, File.ReadAllText(Path.Combine(item, "metadata.jsonl")));
            Assert.Equal(["0000.png", "0001.png", "0002.png", "0003.png"], Names(Path.Combine(item, "samples")));
            Assert.Equal(["0000.txt", "0001.txt", "0002.txt", "0003.txt"], Names(Path.Combine(item, "cots")));
            Assert.Equal($"rationale 2 of {suite.Items[index].Prompt}",
                File.ReadAllText(Path.Combine(item, "cots", "0002.txt")));
            Assert.DoesNotContain("a photo of", suite.Items[index].Prompt);
        }

        Assert.Equal(lines.Length,
            Directory.GetDirectories(Out).Count(path => Path.GetFileName(path).All(char.IsAsciiDigit)));
        Assert.All(suite.Fill((_, _) => throw new InvalidOperationException("nothing is drawn twice")),
            step => Assert.Equal(SuiteOutcome.Found, step.Outcome));
    }

    [Fact]
    public void Dpg_images_are_squares_named_like_their_prompts()
    {
        Directory.CreateDirectory(In);
        File.WriteAllText(Path.Combine(In, "b.12.txt"), "A photo of a photo of a dog\n");
        File.WriteAllText(Path.Combine(In, "a.txt"), " A photo of a cat. ");
        var suite = ImageSuite.Dpg(In, Out, 4);
        Assert.Equal(["a cat.", "a dog"], suite.Items.Select(item => item.Prompt));
        Assert.Equal(2, suite.Fill(Draw).Count());
        Assert.Equal(["a.png", "b.12.png"], Names(Path.Combine(Out, "generated_images")));
        // 2x1 pixels each, image i all of value i: rows of the square are 0 0 1 1 and 2 2 3 3
        Assert.Equal(new byte[] { 0, 0, 1, 1, 2, 2, 3, 3 },
            ImageFile.Read(Path.Combine(Out, "generated_images", "a.png")).Rgb.Where((_, i) => i % 3 == 0));
        Assert.Equal(4, Names(Path.Combine(Out, "cots", "b.12")).Length);
        Assert.Contains("form none", Assert.Throws<ArgumentException>(() => ImageSuite.Dpg(In, Out, 3)).Message);
    }

    [Fact]
    public void Plain_lines_become_geneval_metadata()
    {
        File.WriteAllText(In, "a \"red\" cube\r\nA photo of two dogs\n\n");
        var suite = ImageSuite.GenEval(In, Out, 1);
        Assert.Equal(["a \"red\" cube", "two dogs"], suite.Items.Select(item => item.Prompt));
        Assert.Equal(2, suite.Fill(Draw).Count());
        Assert.Equal("{\"prompt\": \"a \\\"red\\\" cube\"}",
            File.ReadAllText(Path.Combine(Out, "00000", "metadata.jsonl")));
    }

    [Fact]
    public async Task Several_at_once_draw_every_prompt_once()
    {
        File.WriteAllLines(In, Enumerable.Range(0, 40).Select(i => $"prompt {i}"));
        var drawn = new System.Collections.Concurrent.ConcurrentBag<int>();
        await Task.WhenAll(Enumerable.Range(0, 4)
            .Select(_ => Task.Run(() => ImageSuite.GenEval(In, Out, 2).Fill((item, claim) =>
        {
            drawn.Add(item.Index);
            Thread.Sleep(2);
            return Draw(item, claim);
        }).ToArray())));
        Assert.Equal(Enumerable.Range(0, 40), drawn.Order());
        Assert.Empty(Names(Path.Combine(Out, ".claims")));
    }

    [Fact]
    public void A_claim_given_back_while_another_asks_for_it_is_no_error()
    {
        var (claims, holders, taken) = (Path.Combine(Out, ".claims"), 0, 0);
        Parallel.For(0, 4, _ =>
        {
            for (var i = 0; i < 2000; i++)
            {
                using var claim = FileLease.TryTake(claims, "a", TimeSpan.FromMinutes(1));
                if (claim is not null)
                {
                    Assert.Equal(1, Interlocked.Increment(ref holders));
                    Interlocked.Increment(ref taken);
                    Interlocked.Decrement(ref holders);
                }
            }
        });
        Assert.InRange(taken, 1, 8000);
    }

    [Fact]
    public void A_claim_holds_while_its_process_lives()
    {
        var claims = Path.Combine(Out, ".claims");
        File.WriteAllText(In, "a prompt");
        using (var first = FileLease.TryTake(claims, "00000", TimeSpan.FromMinutes(1)))
        {
            Assert.NotNull(first);
            // a long pause is not death
            File.SetLastWriteTimeUtc(Path.Combine(claims, "00000"), DateTime.UtcNow.AddDays(-1));
            Assert.Null(FileLease.TryTake(claims, "00000", TimeSpan.FromMinutes(1)));
            Assert.Equal(SuiteOutcome.Taken, ImageSuite.GenEval(In, Out, 1).Fill(Draw).Single().Outcome);
        }

        Assert.Equal(SuiteOutcome.Drawn, ImageSuite.GenEval(In, Out, 1).Fill(Draw).Single().Outcome);
    }

    [Theory]
    [InlineData("this", 0, false)] // its process has ended
    [InlineData("another", 0, true)] // nobody here can tell
    [InlineData("another", 10, false)]
    [InlineData("", 0, false)] // killed before it could sign
    public void A_claim_that_is_left_behind_holds_nobody_up(string host, int minutesOld, bool held)
    {
        var claims = Directory.CreateDirectory(Path.Combine(Out, ".claims")).FullName;
        var path = Path.Combine(claims, "00000");
        File.WriteAllText(path,
            host == "" ? ""
                : $"{(host == "this" ? Environment.MachineName : "far-away")}\n{int.MaxValue - 3}\n"
                    + $"{DateTime.UtcNow:O}\n");
        File.SetLastWriteTimeUtc(path, DateTime.UtcNow.AddMinutes(-minutesOld));
        using (var claim = FileLease.TryTake(claims, "00000", TimeSpan.FromMinutes(2)))
        {
            Assert.Equal(held, claim is null);
        }

        Assert.Equal(held ? 1 : 0, FileLease.Sweep(claims, TimeSpan.FromMinutes(2)));
        Assert.Equal(held, Directory.Exists(claims));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void A_claim_of_another_host_is_waited_for_until_it_is_old_or_is_touched(bool touched)
    {
        var path = Path.Combine(Directory.CreateDirectory(Path.Combine(Out, ".claims")).FullName, "00000");
        File.WriteAllText(path, $"far-away\n1\n{DateTime.UtcNow:O}\n");
        var told = new List<string>();
        using var claim = FileLease.TryTake(Path.GetDirectoryName(path)!, "00000", TimeSpan.FromSeconds(2),
            TimeSpan.Zero, (host, left) =>
            {
                told.Add(host);
                Assert.InRange(left.TotalSeconds, 0, 2);
                File.SetLastWriteTimeUtc(path, File.GetLastWriteTimeUtc(path).AddSeconds(touched ? 0.1 : 0));
            });
        Assert.Equal(touched, claim is null);
        Assert.Equal(["far-away"], told);
    }

    [Fact]
    public void A_claim_that_cannot_be_made_is_an_error_and_no_other_process()
    {
        File.WriteAllText(In, "a prompt");
        Directory.CreateDirectory(Out);
        File.WriteAllText(Path.Combine(Out, ".claims"), "a file in the way");
        Assert.Contains("cannot be written",
            Assert.Throws<UnusableFileException>(() => ImageSuite.GenEval(In, Out, 1).Fill(Draw).ToArray()).Message);
    }

    [Theory]
    [InlineData("cut short", true)]
    [InlineData("one byte changed", true)]
    [InlineData("empty", true)]
    [InlineData("no image", true)]
    [InlineData("without its metadata", true)]
    [InlineData("without a rationale", true)]
    [InlineData("whole", false)]
    public void What_is_damaged_is_drawn_again(string damage, bool again)
    {
        File.WriteAllLines(In, ["one", "two"]);
        ImageSuite Suite()
        {
            var suite = ImageSuite.GenEval(In, Out, 2);
            (suite.ImageSize, suite.WithRationales) = ((2, 1), true);
            return suite;
        }

        Assert.Equal(2, Suite().Fill(Draw).Count());
        var (file, sound) = (Path.Combine(Out, "00001", "samples", "0001.png"), Snapshot());
        var bytes = File.ReadAllBytes(file);
        switch (damage)
        {
            case "cut short": File.WriteAllBytes(file, bytes[..^5]); break;
            case "one byte changed": File.WriteAllBytes(file, [.. bytes[..45], (byte)(bytes[45] ^ 1), .. bytes[46..]]);
            break;
            case "empty": File.WriteAllBytes(file, []); break;
            case "no image": File.WriteAllText(file, "<html>"); break;
            case "without its metadata": File.Delete(Path.Combine(Out, "00001", "metadata.jsonl")); break;
            case "without a rationale": File.Delete(Path.Combine(Out, "00001", "cots", "0000.txt")); break;
        }

        Assert.Equal([SuiteOutcome.Found, again ? SuiteOutcome.Drawn : SuiteOutcome.Found],
            Suite().Fill(Draw).Select(step => step.Outcome));
        Assert.Equal(sound, Snapshot());
    }

    [Fact]
    public void A_image_of_another_size_is_somebody_else_s()
    {
        var suite = ImageSuite.Single("a cat", Out, 1);
        _ = suite.Fill(Draw).ToArray();
        var other = ImageSuite.Single("a cat", Out, 1);
        other.ImageSize = (384, 384);
        Assert.Contains("2x1 pixels; this model draws 384x384",
            Assert.Throws<UnusableFileException>(() => other.Fill(Draw).ToArray()).Message);
    }

    [Fact]
    public void Prompts_whose_files_have_odd_names_are_drawn_where_they_belong()
    {
        Directory.CreateDirectory(In);
        string[] names = ["..txt", "...txt", ".txt", "A.txt", "a.txt", new string('n', 240) + ".txt"];
        Array.ForEach(names, name => File.WriteAllText(Path.Combine(In, name), "a cat " + name[..1]));
        File.WriteAllText(Path.Combine(In, "readme.md"), "");
        var suite = ImageSuite.Dpg(In, Out, 4);
        Assert.Equal(["readme.md"], suite.LeftOut);
        Assert.All(suite.Fill(Draw), step => Assert.Equal(SuiteOutcome.Drawn, step.Outcome));
        Assert.Equal(names.Length, Names(Path.Combine(Out, "generated_images")).Length);
        Assert.Equal(names.Length * 4,
            Directory.GetFiles(Path.Combine(Out, "cots"), "*", SearchOption.AllDirectories).Length);
        Assert.All(Directory.GetDirectories(Path.Combine(Out, "cots")),
            cots => Assert.Equal(4, Directory.GetFiles(cots).Length));
        Assert.Equal(["cots", "generated_images"],
            Directory.GetDirectories(Out).Select(path => Path.GetFileName(path)).Where(name => name[0] != '.').Order());
    }

    [Fact]
    public void Prompts_that_changed_and_images_of_unknown_making_are_refused()
    {
        File.WriteAllLines(In, ["one", "two"]);
        var suite = ImageSuite.GenEval(In, Out, 1);
        suite.Begin(new JObject { ["seed"] = 1 }, []);
        _ = suite.Fill(Draw).ToArray();
        File.WriteAllLines(In, ["one", "three"]);
        Assert.Contains("the prompts are others",
            Assert.Throws<UnusableFileException>(() =>
                ImageSuite.GenEval(In, Out, 1).Begin(new() { ["seed"] = 1 }, [])).Message);
        var settings = Path.Combine(Out, "generation.json");
        File.WriteAllText(settings, "{\"settings\": {\"seed\": 1}}"); // by version 0.3
        Assert.Contains("belongs to another prompt",
            Assert.Throws<UnusableFileException>(() =>
                ImageSuite.GenEval(In, Out, 1).Begin(new() { ["seed"] = 1 }, [])).Message);
        File.WriteAllLines(In, ["one", "two"]);
        ImageSuite.GenEval(In, Out, 1).Begin(new() { ["seed"] = 1 }, []);
        File.Delete(settings);
        Assert.Contains("no generation.json",
            Assert.Throws<UnusableFileException>(() =>
                ImageSuite.GenEval(In, Out, 1).Begin(new() { ["seed"] = 1 }, [])).Message);
        Assert.False(File.Exists(settings));
    }

    [Fact]
    public void An_interruption_leaves_what_was_done_and_no_claim()
    {
        File.WriteAllLines(In, ["one", "two", "three"]);
        var suite = ImageSuite.GenEval(In, Out, 2);
        Assert.Throws<OperationCanceledException>(() =>
            suite.Fill((item, claim) => item.Index == 1 ? throw new OperationCanceledException() : Draw(item, claim))
                .ToArray());
        Assert.Equal([true, false, false], suite.Items.Select(suite.IsDone));
        Assert.Empty(Names(Path.Combine(Out, ".claims")));
        Assert.Equal([SuiteOutcome.Found, SuiteOutcome.Drawn, SuiteOutcome.Drawn],
            suite.Fill(Draw).Select(step => step.Outcome));
    }

    [Fact]
    public void Images_of_other_settings_stay_as_they_are()
    {
        var suite = ImageSuite.Single("a cat", Out, 1);
        suite.CheckWritable();
        suite.Begin(new JObject { ["seed"] = 1L, ["guidance"] = 5.0 }, new JObject { ["commit"] = "x" });
        suite.Begin(new JObject { ["seed"] = 2L, ["guidance"] = 5.0 }, []); // nothing was drawn with the others
        _ = suite.Fill(Draw).ToArray();
        suite.Begin(new JObject { ["seed"] = 2L, ["guidance"] = 5.0 }, []);
        var error = Assert.Throws<UnusableFileException>(() =>
            suite.Begin(new JObject { ["seed"] = 3L, ["guidance"] = 5.0 }, []));
        Assert.Contains("seed is 3 and was 2", error.Message);
        Assert.DoesNotContain("guidance", error.Message);
        Assert.Equal(2,
            (int)JObject.Parse(File.ReadAllText(Path.Combine(Out, "generation.json")))["settings"]!["seed"]!);
        File.WriteAllText(Path.Combine(Out, "generation.json"), "{");
        Assert.Contains("generation.json", Assert.Throws<UnusableFileException>(() => suite.Begin([], [])).Message);
    }

    [Theory]
    [InlineData("cuda:0 BFloat16", "cuda:1 BFloat16", null)] // another card of the machine
    [InlineData("cuda BFloat16", "cuda:1 BFloat16", null)]
    [InlineData("cuda:0 BFloat16", "cuda:0 Float32", "target is \"cuda Float32\" and was \"cuda BFloat16\"")]
    [InlineData("cpu Float32", "cuda:0 Float32", "target is \"cuda Float32\" and was \"cpu Float32\"")]
    public void A_folder_is_filled_by_any_gpu_of_a_kind(string before, string now, string? refusal)
    {
        var suite = ImageSuite.Single("a cat", Out, 1);
        suite.Begin(new JObject { ["target"] = before }, []);
        _ = suite.Fill(Draw).ToArray();
        var settings = Path.Combine(Out, "generation.json");
        Assert.DoesNotContain(":0", (string?)JObject.Parse(File.ReadAllText(settings))["settings"]!["target"]);
        var said = JObject.Parse(File.ReadAllText(settings));
        said["settings"]!["target"] = before; // as earlier versions wrote it
        File.WriteAllText(settings, said.ToString());
        var error = Record.Exception(() => suite.Begin(new JObject { ["target"] = now }, []));
        Assert.Equal(refusal is null, error is null);
        Assert.Contains(refusal ?? "", error?.Message ?? "");
    }

    [Fact]
    public void Bad_prompt_files_are_named()
    {
        Assert.Contains("there is no such file",
            Assert.Throws<UnusableFileException>(() => ImageSuite.GenEval(In, Out, 1)).Message);
        File.WriteAllText(In, "\n \n");
        Assert.Contains("holds no prompt",
            Assert.Throws<UnusableFileException>(() => ImageSuite.GenEval(In, Out, 1)).Message);
        File.WriteAllText(In, "{\"prompt\": \"a cat\"}\n{\"tag\": \"no prompt\"}\n");
        Assert.Contains("line 2", Assert.Throws<UnusableFileException>(() => ImageSuite.GenEval(In, Out, 1)).Message);
        Assert.Contains("is no folder", Assert.Throws<UnusableFileException>(() => ImageSuite.Dpg(In, Out, 4)).Message);
        Assert.Contains("cannot be written",
            Assert.Throws<UnusableFileException>(() =>
                ImageSuite.Single("x", Path.Combine(In, "below a file"), 1).CheckWritable()).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string In => Path.Combine(folder, "in");

    private string Out => Path.Combine(folder, "out");

    private string[] Snapshot() =>
        [.. Directory.GetFiles(Out, "*", SearchOption.AllDirectories).Order(StringComparer.Ordinal)
        .Select(file =>
            $"{file} {Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(file)))}")];

    private static (IReadOnlyList<RgbImage>, IReadOnlyList<string>) Draw(SuiteItem item, FileLease claim)
    {
        claim.Touch();
        return ([.. item.Rationales.Select((_, i) => new RgbImage(2, 1, Enumerable.Repeat((byte)i, 6).ToArray()))],
            [.. item.Rationales.Select((_, i) => $"rationale {i} of {item.Prompt}")]);
    }

    private static string[] Names(string path) =>
        [.. Directory.GetFiles(path).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];
}
