using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>reasongen caption as a user meets it: a process of its own, judged by output, exit code and what it leaves
/// behind.</summary>
public sealed class CaptionCommandTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private readonly SftRow[] rows = [.. WorldRows.Of(new WorldStream(new WorldConfig(), 3), 3)];

    public CaptionCommandTests()
    {
        Directory.CreateDirectory(Path.Combine(Images, "more"));
        File.WriteAllBytes(Path.Combine(Images, "0.png"), rows[0].Image);
        File.WriteAllBytes(Path.Combine(Images, "1.png"), rows[1].Image);
        File.WriteAllBytes(Path.Combine(Images, "more", "2.png"), rows[2].Image);
        File.WriteAllText(Path.Combine(Images, "notes.txt"), "no image, and not named like one");
    }

    private string Images => Path.Combine(folder, "images");

    private string Output => Path.Combine(folder, "set.parquet");

    [Fact]
    public async Task The_cost_is_shown_then_a_set_is_made_and_a_broken_image_is_named()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        var (code, output) = await Caption(endpoint.Address, "--dry-run", "--price-in", "2", "--price-out", "8");
        Assert.True(code == 0, output);
        Assert.Contains("3 images, 0 of them finished. To ask: 3 calls, about", output);
        Assert.Contains("1,500 written; about 0.01 at the prices given", output);
        Assert.Equal(0, endpoint.Calls);
        Assert.False(File.Exists(Output));

        File.WriteAllText(Path.Combine(Images, "broken.jpg"), "not an image");
        (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 1, output);
        Assert.Contains("broken.jpg is no image", output);
        Assert.Contains("3 rows in", output);
        var read = SftParquet.Open(Output).Rows().ToArray();
        Assert.Equal(["0.png", "1.png", "more/2.png"], read.Select(row => row.ImagePath));
        Assert.Equal(rows.Select(row => row.Record.ToString()), read.Select(row => row.Record.ToString()));
    }

    [Fact]
    public async Task Files_of_the_same_image_are_asked_about_once_and_told_apart_from_finished_ones()
    {
        File.WriteAllBytes(Path.Combine(Images, "again\u001b[2J.png"), rows[1].Image);
        using var endpoint = new FaultyEndpoint((request, _) => rows[1].Image.AsSpan()
            .SequenceEqual(FaultyEndpoint.ImageOf(request)) ? Reply.Fails(400, "this one not") : Answer(request));
        var (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 1, output);
        Assert.Contains("4 images, 0 of them finished, 1 the same as another and asked about once. To ask: 3 calls",
            output);
        Assert.Contains("1.png is left out", output);
        Assert.Contains("again\\u001b[2J.png is left out", output);
        Assert.DoesNotContain('\u001b', output);
        Assert.Contains("2 images answered just now. 2 left out", output);
        (code, output) = await Caption(endpoint.Address, "--dry-run");
        Assert.True(code == 0, output);
        Assert.Contains("4 images, 2 of them finished, 1 the same as another", output);
    }

    [Fact]
    public void A_caption_that_looks_like_a_date_stays_as_it_is()
    {
        var journal = Path.Combine(folder, "journal.jsonl");
        File.WriteAllText(journal, """
            {"task": "t", "hash": "h", "captions": {"brief_caption": "2024-05-01T10:00:00", "detailed_caption": "a", "augmented_prompts": {"tags": ["b"]}}}

            """);
        var read = CaptionJournal.Read(journal, "t");
        Assert.Equal(0, read.Damaged);
        Assert.Equal("2024-05-01T10:00:00", (string?)read.Finished["h"]["brief_caption"]);
    }

    [Fact]
    public async Task An_image_cut_short_and_a_link_to_nothing_are_named_and_the_rest_is_captioned_upright()
    {
        var sent = new List<byte[]>();
        using var endpoint = new FaultyEndpoint((request, _) =>
        {
            sent.Add(FaultyEndpoint.ImageOf(request));
            return Reply.Says(rows[0].Record.ToString());
        });
        File.WriteAllBytes(Path.Combine(Images, "cut.png"), rows[0].Image[..^20]);
        File.CreateSymbolicLink(Path.Combine(Images, "gone.png"), "nowhere.png");
        Directory.CreateSymbolicLink(Path.Combine(Images, "more", "again"), Images);
        File.WriteAllBytes(Path.Combine(Images, "sideways.jpg"), File.ReadAllBytes(HandedIn.Path("exif6.jpg")));
        foreach (var name in new[] { "0.png", "1.png", Path.Combine("more", "2.png") })
        {
            File.Delete(Path.Combine(Images, name));
        }

        var (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 1, output);
        Assert.Contains("cut.png is no image that can be read: it is cut short", output);
        Assert.Contains("gone.png is no image that can be read: it is a link to 'nowhere.png'", output);
        Assert.Contains("1 images, 0 of them finished", output);
        Assert.Equal((20, 40, "image/png"), ImageFile.Measure(Assert.Single(sent)));
        Assert.Equal(sent[0], Assert.Single(SftParquet.Open(Output).Rows()).Image);
    }

    [Fact]
    public async Task Images_are_known_by_their_content_and_what_is_left_out_is_named()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        File.Move(Path.Combine(Images, "0.png"), Path.Combine(Images, "0.jfif"));
        File.Move(Path.Combine(Images, "1.png"), Path.Combine(Images, "1"));
        var (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 0, output);
        Assert.Contains("1 other file is no image and left out: notes.txt.", output);
        Assert.Equal(["0.jfif", "1", "more/2.png"], SftParquet.Open(Output).Rows().Select(row => row.ImagePath));

        File.WriteAllBytes(Path.Combine(Images, "b.tiff"), [.. "II*\0"u8, 8, 0, 0, 0]);
        File.WriteAllBytes(Path.Combine(Images, "c.heic"), [0, 0, 0, 12, .. "ftypheic"u8]);
        (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 1, output);
        Assert.Contains("b.tiff is no image that can be read: it is a TIFF file", output);
        Assert.Contains("c.heic is no image that can be read: it is a HEIF file", output);
    }

    [Fact]
    public async Task Ctrl_C_keeps_what_was_answered_and_the_same_command_goes_on()
    {
        if (OperatingSystem.IsWindows())
        {
            return; // no signal can be sent to another process there
        }

        var hangs = true;
        using var endpoint = new FaultyEndpoint((request, call) =>
            hangs && call == 2 ? Answer(request) with { Delay = Reply.Forever } : Answer(request));
        using var process = Start(Arguments(endpoint.Address, "--concurrent", "1"));
        var ended = process.EndAsync();
        while (endpoint.Calls < 3 && !process.HasExited)
        {
            await Task.Delay(20);
        }

        process.Signal("INT");
        var (code, output, error) = await ended;
        Assert.True(code == 130, output + error);
        Assert.Contains("Interrupted. What was answered is in", error);
        Assert.False(File.Exists(Output));
        hangs = false;
        (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 0, output);
        Assert.Contains("3 images, 2 of them finished", output);
        Assert.Equal(4, endpoint.Calls);
        Assert.Equal(3, SftParquet.Open(Output).Count);
    }

    [Fact]
    public async Task Bad_input_is_answered_in_a_sentence()
    {
        using var refusing = new FaultyEndpoint((_, _) => Reply.Fails(401, "no such key"));
        var empty = Directory.CreateDirectory(Path.Combine(folder, "empty")).FullName;
        foreach (var (address, arguments, code, message) in new (string, string[], int, string)[]
        {
            (refusing.Address, [], 1, "refuses the key (HTTP 401"),
            (FaultyEndpoint.Nowhere, ["--tries", "1"], 1, "cannot be reached"),
            ("nowhere", [], 2, "'nowhere' is no address of an endpoint"),
            (refusing.Address, ["--images", empty], 2, "holds no image"),
            (refusing.Address, ["--images", empty + "/none"], 2, "there is no folder"),
            (refusing.Address, ["--concurrent", "0"], 2, "ConcurrentCalls is 0; it must be at least 1"),
            (refusing.Address, ["--timeout", "-1"], 2, "--timeout is -1"),
            (refusing.Address, ["--key-variable", "REASONGEN_NO_SUCH_KEY"], 2, "'REASONGEN_NO_SUCH_KEY' is not set"),
            (refusing.Address, ["--prompt", empty + "/none.txt"], 2, "none.txt: there is no such file"),
        })
        {
            var (exit, output) = await Caption(address, arguments);
            Assert.True(exit == code, output);
            Assert.Contains(message, output);
            Assert.DoesNotContain("   at ", output);
            Assert.False(File.Exists(Output));
        }
    }

    [Fact]
    public async Task A_pipe_that_the_set_would_take_away_is_refused_before_any_call()
    {
        Assert.SkipWhen(OperatingSystem.IsWindows(), "Windows keeps its pipes elsewhere");
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        Assert.Equal(0, (await Child.RunAsync(new("mkfifo", [Output]))).Code);
        File.WriteAllText(Output + ".jsonl", "");
        var (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 2, output);
        Assert.Contains("set.parquet: it is a pipe.", output);
        Assert.Equal(0, endpoint.Calls);
    }

    [Fact]
    public async Task A_refused_image_is_named_and_the_exit_code_says_that_a_row_is_missing()
    {
        using var endpoint = new FaultyEndpoint((request, _) =>
            rows[1].Image.SequenceEqual(FaultyEndpoint.ImageOf(request)) ? Reply.Fails(400, "too dark")
                : Answer(request));
        var (code, output) = await Caption(endpoint.Address);
        Assert.True(code == 1, output);
        Assert.Contains("1.png is left out", output);
        Assert.Contains("too dark", output);
        Assert.Contains("1 left out; the same command asks again", output);
        Assert.Equal(["0.png", "more/2.png"], SftParquet.Open(Output).Rows().Select(row => row.ImagePath));
    }

    [Fact]
    public async Task Killed_at_any_moment_it_makes_the_same_set_in_the_end_and_leaves_nothing_else()
    {
        using (var sound = new FaultyEndpoint((request, _) => Answer(request)))
        {
            Assert.Equal(0, (await Caption(sound.Address)).Code);
        }

        var expected = File.ReadAllBytes(Output);
        File.Delete(Output);
        File.Delete(Output + ".jsonl");
        for (var answers = 0; answers < 3; answers++)
        {
            using var endpoint = new FaultyEndpoint((request, call) =>
                call == 1 ? Answer(request) with { Delay = Reply.Forever } : Answer(request));
            using var process = Start(Arguments(endpoint.Address, "--concurrent", "1"));
            var read = (process.StandardOutput.ReadToEndAsync(), process.StandardError.ReadToEndAsync());
            while (endpoint.Calls < 2 && !process.HasExited)
            {
                await Task.Delay(20);
            }

            process.Kill(); // SIGKILL
            await process.WaitForExitAsync();
            File.AppendAllText(Output + ".jsonl", "{\"task\": \"to"); // what a kill within a write leaves
            _ = (await read.Item1, await read.Item2);
        }

        using var last = new FaultyEndpoint((request, _) => Answer(request));
        var (code, output) = await Caption(last.Address);
        Assert.True(code == 0, output);
        Assert.Equal(expected, File.ReadAllBytes(Output));
        Assert.Equal(["set.parquet", "set.parquet.jsonl"],
            Directory.GetFiles(folder).Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal));
        Assert.Equal(3, File.ReadAllLines(Output + ".jsonl").Length);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private Reply Answer(JObject request) =>
        Reply.Says(rows.First(row => row.Image.SequenceEqual(FaultyEndpoint.ImageOf(request))).Record.ToString());

    private string[] Arguments(string address, params string[] more) =>
        [.. more.Contains("--images") ? [] : new[] { "--images", Images }, "--out", Output, "--endpoint", address,
            "--model", "m", .. more];

    private async Task<(int Code, string Output)> Caption(string address, params string[] more)
    {
        using var process = Start(Arguments(address, more));
        var (code, output, error) = await process.EndAsync();
        return (code, output + error);
    }

    private static Child Start(string[] arguments) =>
        Child.Start(new ProcessStartInfo("dotnet",
            [typeof(ReasonGen.Host.Engine.CSharpSession).Assembly.Location, "caption", .. arguments])
    {
        RedirectStandardOutput = true, RedirectStandardError = true,
    });
}
