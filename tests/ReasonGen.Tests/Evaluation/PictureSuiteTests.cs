using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Evaluation;
using ReasonGen.Notebook;
using Xunit;

namespace ReasonGen.Tests.Evaluation;

public sealed class PictureSuiteTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    [Fact]
    [Trait("Category", "Golden")]
    public void Geneval_folders_are_those_of_its_scripts()
    {
        var lines = File.ReadAllLines(Golden.Path("geneval/metadata.jsonl"));
        var suite = PictureSuite.GenEval(Golden.Path("geneval/metadata.jsonl"), Out, 4);
        Assert.All(suite.Fill(Draw), step => Assert.Equal(SuiteOutcome.Drawn, step.Outcome));
        foreach (var (index, line) in lines.Index())
        {
            var item = Path.Combine(Out, $"{index:00000}");
            Assert.Equal(line, File.ReadAllText(Path.Combine(item, "metadata.jsonl")));
            Assert.Equal(["0000.png", "0001.png", "0002.png", "0003.png"], Names(Path.Combine(item, "samples")));
            Assert.Equal(["0000.txt", "0001.txt", "0002.txt", "0003.txt"], Names(Path.Combine(item, "cots")));
            Assert.Equal($"rationale 2 of {suite.Items[index].Prompt}", File.ReadAllText(Path.Combine(item, "cots", "0002.txt")));
            Assert.DoesNotContain("a photo of", suite.Items[index].Prompt);
        }

        Assert.Equal(lines.Length, Directory.GetDirectories(Out).Count(path => Path.GetFileName(path).All(char.IsAsciiDigit)));
        Assert.All(suite.Fill((_, _) => throw new InvalidOperationException("nothing is drawn twice")), step => Assert.Equal(SuiteOutcome.Found, step.Outcome));
    }

    [Fact]
    public void Dpg_pictures_are_squares_named_like_their_prompts()
    {
        Directory.CreateDirectory(In);
        File.WriteAllText(Path.Combine(In, "b.12.txt"), "A photo of a photo of a dog\n");
        File.WriteAllText(Path.Combine(In, "a.txt"), " A photo of a cat. ");
        var suite = PictureSuite.Dpg(In, Out, 4);
        Assert.Equal(["a cat.", "a photo of a dog"], suite.Items.Select(item => item.Prompt));
        Assert.Equal(2, suite.Fill(Draw).Count());
        Assert.Equal(["a.png", "b.12.png"], Names(Path.Combine(Out, "generated_images")));
        // 2x1 pixels each, picture i all of value i: rows of the square are 0 0 1 1 and 2 2 3 3
        Assert.Equal(new byte[] { 0, 0, 1, 1, 2, 2, 3, 3 }, PictureFile.Read(Path.Combine(Out, "generated_images", "a.png")).Rgb.Where((_, i) => i % 3 == 0));
        Assert.Equal(4, Names(Path.Combine(Out, "cots", "b.12")).Length);
        Assert.Contains("form none", Assert.Throws<ArgumentException>(() => PictureSuite.Dpg(In, Out, 3)).Message);
    }

    [Fact]
    public void Plain_lines_become_geneval_metadata()
    {
        File.WriteAllText(In, "a \"red\" cube\r\n\nA photo of two dogs\n");
        var suite = PictureSuite.GenEval(In, Out, 1);
        Assert.Equal(["a \"red\" cube", "two dogs"], suite.Items.Select(item => item.Prompt));
        Assert.Equal(2, suite.Fill(Draw).Count());
        Assert.Equal("{\"prompt\": \"a \\\"red\\\" cube\"}", File.ReadAllText(Path.Combine(Out, "00000", "metadata.jsonl")));
    }

    [Fact]
    public async Task Several_at_once_draw_every_prompt_once()
    {
        File.WriteAllLines(In, Enumerable.Range(0, 40).Select(i => $"prompt {i}"));
        var drawn = new System.Collections.Concurrent.ConcurrentBag<int>();
        await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Task.Run(() => PictureSuite.GenEval(In, Out, 2).Fill((item, claim) =>
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
                using var claim = WorkClaim.TryTake(claims, "a", TimeSpan.FromMinutes(1));
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
    public void A_claim_holds_until_it_is_old()
    {
        var claims = Path.Combine(Out, ".claims");
        using (var first = WorkClaim.TryTake(claims, "a", TimeSpan.FromMinutes(1)))
        {
            Assert.NotNull(first);
            Assert.Null(WorkClaim.TryTake(claims, "a", TimeSpan.FromMinutes(1)));
            File.WriteAllText(In, "a prompt");
            using var held = WorkClaim.TryTake(claims, "00000", TimeSpan.FromMinutes(1));
            Assert.Equal(SuiteOutcome.Taken, PictureSuite.GenEval(In, Out, 1).Fill(Draw).Single().Outcome);
            File.SetLastWriteTimeUtc(Path.Combine(claims, "a"), DateTime.UtcNow.AddMinutes(-2));
            using var second = WorkClaim.TryTake(claims, "a", TimeSpan.FromMinutes(1));
            Assert.NotNull(second);
            first.Dispose(); // no longer its own
            Assert.True(File.Exists(Path.Combine(claims, "a")));
        }

        Assert.Equal(SuiteOutcome.Drawn, PictureSuite.GenEval(In, Out, 1).Fill(Draw).Single().Outcome);
    }

    [Fact]
    public void An_interruption_leaves_what_was_done_and_no_claim()
    {
        File.WriteAllLines(In, ["one", "two", "three"]);
        var suite = PictureSuite.GenEval(In, Out, 2);
        Assert.Throws<OperationCanceledException>(() => suite.Fill((item, claim) => item.Index == 1 ? throw new OperationCanceledException() : Draw(item, claim)).ToArray());
        Assert.Equal([true, false, false], suite.Items.Select(suite.IsDone));
        Assert.Empty(Names(Path.Combine(Out, ".claims")));
        Assert.Equal([SuiteOutcome.Found, SuiteOutcome.Drawn, SuiteOutcome.Drawn], suite.Fill(Draw).Select(step => step.Outcome));
    }

    [Fact]
    public void Pictures_of_other_settings_stay_as_they_are()
    {
        var suite = PictureSuite.Single("a cat", Out, 1);
        suite.CheckWritable();
        suite.Begin(new JObject { ["seed"] = 1L, ["guidance"] = 5.0 }, new JObject { ["commit"] = "x" });
        suite.Begin(new JObject { ["seed"] = 2L, ["guidance"] = 5.0 }, []); // nothing was drawn with the others
        _ = suite.Fill(Draw).ToArray();
        suite.Begin(new JObject { ["seed"] = 2L, ["guidance"] = 5.0 }, []);
        var error = Assert.Throws<CheckpointException>(() => suite.Begin(new JObject { ["seed"] = 3L, ["guidance"] = 5.0 }, []));
        Assert.Contains("seed is 3 and was 2", error.Message);
        Assert.DoesNotContain("guidance", error.Message);
        Assert.Equal(2, (int)JObject.Parse(File.ReadAllText(Path.Combine(Out, "generation.json")))["settings"]!["seed"]!);
        File.WriteAllText(Path.Combine(Out, "generation.json"), "{");
        Assert.Contains("generation.json", Assert.Throws<CheckpointException>(() => suite.Begin([], [])).Message);
    }

    [Fact]
    public void Bad_prompt_files_are_named()
    {
        Assert.Contains("cannot be read", Assert.Throws<CheckpointException>(() => PictureSuite.GenEval(In, Out, 1)).Message);
        File.WriteAllText(In, "\n \n");
        Assert.Contains("holds no prompt", Assert.Throws<CheckpointException>(() => PictureSuite.GenEval(In, Out, 1)).Message);
        File.WriteAllText(In, "{\"prompt\": \"a cat\"}\n{\"tag\": \"no prompt\"}\n");
        Assert.Contains("line 2", Assert.Throws<CheckpointException>(() => PictureSuite.GenEval(In, Out, 1)).Message);
        Assert.Contains("is no folder", Assert.Throws<CheckpointException>(() => PictureSuite.Dpg(In, Out, 4)).Message);
        Assert.Contains("cannot be written", Assert.Throws<CheckpointException>(() => PictureSuite.Single("x", Path.Combine(In, "below a file"), 1).CheckWritable()).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private string In => Path.Combine(folder, "in");

    private string Out => Path.Combine(folder, "out");

    private static (IReadOnlyList<Picture>, IReadOnlyList<string>) Draw(SuiteItem item, WorkClaim claim)
    {
        claim.Touch();
        return ([.. item.Rationales.Select((_, i) => new Picture(2, 1, Enumerable.Repeat((byte)i, 6).ToArray()))], [.. item.Rationales.Select((_, i) => $"rationale {i} of {item.Prompt}")]);
    }

    private static string[] Names(string path) => [.. Directory.GetFiles(path).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];
}
