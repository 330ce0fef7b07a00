using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Checkpoints;
using ReasonGen.Rollouts;
using ReasonGen.Served;
using ReasonGen.TrainingData;
using ReasonGen.World;
using ReasonGen.WorldData;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>From a folder of images to SFT data, against a real server on this machine that fails as it is told
/// to.</summary>
public sealed class CaptionerTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private readonly SftRow[] rows = [.. WorldRows.Of(new WorldStream(new WorldConfig(), 2), 6)];

    private string Output => Path.Combine(folder, "out", "set.parquet");

    [Fact]
    public async Task Every_image_becomes_a_row_in_its_place()
    {
        using var endpoint = new FaultyEndpoint((request, call) =>
            Answer(request) with { Delay = TimeSpan.FromMilliseconds(call % 3 * 10) });
        var seen = new List<int>();
        var outcome = await Captioner(endpoint).RunAsync(Images(), (done, of) => seen.Add(done));
        Assert.Equal((6, 6), (outcome.Captioned, outcome.Asked));
        Assert.Equal(Enumerable.Range(1, 6), seen);
        var read = SftParquet.Open(Output).Rows().ToArray();
        Assert.Equal(rows.Select(row => row.Image), read.Select(row => row.Image));
        Assert.Equal(rows.Select(row => row.Record.ToString()), read.Select(row => row.Record.ToString()));
        Assert.Equal("0.png", read[0].ImagePath);
        var body = endpoint.Requests.First().Body;
        Assert.Equal("json_object", (string?)body["response_format"]!["type"]);
        Assert.Contains("detailed_caption", FaultyEndpoint.TextOf(body));
    }

    [Fact]
    public async Task A_finished_image_is_not_asked_about_again()
    {
        using var stop = new CancellationTokenSource();
        using var endpoint = new FaultyEndpoint((request, call) =>
        {
            if (call == 2)
            {
                stop.Cancel();
            }

            return call == 2 ? Answer(request) with { Delay = Reply.Forever } : Answer(request);
        });
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() =>
            Captioner(endpoint, concurrent: 1).RunAsync(Images(), cancel: stop.Token));
        Assert.False(File.Exists(Output));
        File.AppendAllText(Output + ".jsonl", "{\"task\": \"torn by a powe"); // the process died while it wrote
        var again = Captioner(endpoint, concurrent: 1);
        Assert.Equal((4, 2), (again.Estimate(Images()).Images, again.Estimate(Images()).Finished));
        Assert.Equal(4, (await again.RunAsync(Images())).Asked);
        Assert.Equal(7, endpoint.Calls);
        File.Move(Path.Combine(folder, "0.png"), Path.Combine(folder, "zero.png")); // renamed: still known
        var third = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal((6, 0), (third.Captioned, third.Asked));
        Assert.Equal("zero.png", SftParquet.Open(Output).Rows().Last().ImagePath);
        // another model writes anew
        Assert.Equal(6, (await Captioner(endpoint, config: new() { Model = "another" }).RunAsync(Images())).Asked);
    }

    [Theory]
    [InlineData("Sure! Here is the JSON you wanted.")]
    [InlineData("<think>{ \"brief_caption\": \"a draft\"")]
    [InlineData("{\"brief_caption\": \"cut of")]
    [InlineData("[]")]
    [InlineData("{\"brief_caption\": \"a\", \"detailed_caption\": \"b\"}")]
    [InlineData("")]
    public async Task An_answer_that_is_no_json_is_asked_for_again(string bad)
    {
        using var endpoint = new FaultyEndpoint((request, call) => call == 0 ? Reply.Says(bad) : Answer(request));
        var outcome = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal(6, outcome.Captioned);
        Assert.Equal(7, endpoint.Calls);
    }

    [Fact]
    public async Task A_image_without_a_usable_answer_is_left_out_and_asked_about_next_time()
    {
        var patient = false;
        using var endpoint = new FaultyEndpoint((request, _) =>
            !patient && Number(request) == 4 ? Reply.Says("I cannot.") : Answer(request));
        var outcome = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal((5, "4.png"), (outcome.Captioned, Assert.Single(outcome.Unusable).Name));
        Assert.Contains("it gave no usable answer: it is no JSON object", outcome.Unusable[0].Reason);
        Assert.Equal(5, SftParquet.Open(Output).Count);
        patient = true;
        outcome = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal((6, 1), (outcome.Captioned, outcome.Asked));
    }

    [Fact]
    public async Task An_endpoint_that_goes_away_ends_the_run_and_costs_no_answer()
    {
        using var endpoint = new FaultyEndpoint((request, call) => call < 3 ? Answer(request) : Reply.Fails(500));
        var config = new CaptionerConfig { Model = "m", FailuresInARow = 3 };
        var error = await Assert.ThrowsAsync<EndpointException>(() =>
            Captioner(endpoint, concurrent: 1, config).RunAsync(Images()));
        Assert.Contains("HTTP 500", error.Message);
        Assert.False(File.Exists(Output));
        Assert.Equal(3, Captioner(endpoint).Estimate(Images()).Finished);
    }

    [Theory]
    [InlineData(400)]
    [InlineData(413)]
    [InlineData(500)]
    public async Task A_image_that_the_server_refuses_is_left_out_and_holds_nothing_up(int status)
    {
        var mended = false;
        using var endpoint = new FaultyEndpoint((request, _) =>
            !mended && Number(request) is 0 or 3 ? Reply.Fails(status, "this one not") : Answer(request));
        var config = new CaptionerConfig { Model = "m", FailuresInARow = 2 };
        for (var run = 0; run < 3; run++) // and again, as long as it refuses
        {
            var outcome = await Captioner(endpoint, concurrent: 1, config).RunAsync(Images());
            Assert.Equal((4, run == 0 ? 6 : 2), (outcome.Captioned, outcome.Asked));
            Assert.Equal(["0.png", "3.png"], outcome.Unusable.Select(item => item.Name));
            Assert.Contains($"HTTP {status}: this one not", outcome.Unusable[0].Reason);
        }

        mended = true;
        Assert.Equal((6, 2),
            await Captioner(endpoint).RunAsync(Images()) is { } last ? (last.Captioned, last.Asked) : default);
        Assert.Equal(6, SftParquet.Open(Output).Count);
    }

    [Fact]
    public async Task Where_every_image_is_refused_no_set_is_written()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Fails(400, "no images"));
        var outcome = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal((0, 6), (outcome.Captioned, outcome.Unusable.Count));
        Assert.False(File.Exists(Output));
    }

    [Fact]
    public async Task A_second_process_on_the_same_set_is_refused_and_the_journal_is_whole()
    {
        using var stop = new CancellationTokenSource();
        using var endpoint = new FaultyEndpoint((request, call) =>
            call == 1 ? Answer(request) with { Delay = Reply.Forever } : Answer(request));
        var (first, second) = (Captioner(endpoint, concurrent: 1), Captioner(endpoint, concurrent: 1));
        var running = first.RunAsync(Images(), cancel: stop.Token);
        while (endpoint.Calls < 2)
        {
            await Task.Delay(5);
        }

        Assert.Contains("another process",
            (await Assert.ThrowsAsync<UnusableFileException>(() => second.RunAsync(Images()))).Message);
        Assert.Contains("another process", Assert.Throws<UnusableFileException>(() => Captioner(endpoint)).Message);
        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => running);
        Assert.Equal(5, (await second.RunAsync(Images())).Asked); // it knows what the first one wrote
        Assert.All(File.ReadAllLines(Output + ".jsonl"), line => JObject.Parse(line));
        Assert.Equal(0, Captioner(endpoint).DamagedLines);
    }

    [Theory]
    [InlineData("{\"task\": \"torn by a powe", 0)] // the process died while it wrote
    [InlineData("{\"task\": \"torn\nin the middle\n", 2)]
    [InlineData("{\"task\": {}, \"hash\": []}\n", 1)]
    [InlineData("\n\n", 0)]
    public async Task What_is_damaged_in_the_journal_is_counted_and_asked_again(string damage, int lines)
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        await Captioner(endpoint).RunAsync(Images());
        var journal = File.ReadAllLines(Output + ".jsonl");
        File.WriteAllText(Output + ".jsonl", string.Concat(journal[..3].Select(line => line + "\n")) + damage);
        var again = Captioner(endpoint);
        var outcome = await again.RunAsync(Images());
        Assert.Equal((6, 3, lines), (outcome.Captioned, outcome.Asked, again.DamagedLines));
        Assert.Equal(6, File.ReadAllLines(Output + ".jsonl").Count(line => line.Contains("\"captions\"")));
    }

    [Fact]
    public void A_file_that_was_not_made_here_is_not_replaced()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        Directory.CreateDirectory(Path.GetDirectoryName(Output)!);
        File.WriteAllText(Output, "something of the user's");
        Assert.Contains("was not made here", Assert.Throws<UnusableFileException>(() => Captioner(endpoint)).Message);
        File.Delete(Output);
        Directory.CreateDirectory(Output);
        Assert.Contains("is a folder", Assert.Throws<UnusableFileException>(() => Captioner(endpoint)).Message);
    }

    [Fact]
    public async Task Missing_styles_are_counted_and_training_draws_among_the_others()
    {
        using var endpoint = new FaultyEndpoint((request, _) =>
        {
            var record = (JObject)rows[Number(request)].Record.DeepClone();
            var prompts = (JObject)record["augmented_prompts"]!;
            prompts["tags"] = Number(request) < 4 ? new JArray() : prompts["tags"];
            prompts.Remove(Number(request) == 1 ? "paraphrases" : "none");
            record["mood"] = "calm";
            return Reply.Says(record.ToString());
        });
        var outcome = await Captioner(endpoint).RunAsync(Images());
        Assert.Equal((6L, 4, 1),
            (outcome.Captioned, outcome.MissingStyles["tags"], outcome.MissingStyles["paraphrases"]));
        var drawn = SftParquet.Open(Output).Rows().SelectMany(row => Enumerable.Range(0, 20).Select(i =>
            PromptAugmentation.Prompt(row.Record, PromptAugmentation.PaperKeys,
                (low, high) => low + i % (high - low + 1))));
        Assert.All(drawn, prompt => Assert.NotEqual("", prompt));
    }

    [Fact]
    public void The_estimate_counts_tokens_and_money()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        CaptionImage[] images = [new("a", "a", "1", 384, 384, "image/png"), new("b", "b", "2", 28, 57, "image/png"),
            new("c", "c", "2", 28, 57, "image/png")];
        var estimate = Captioner(endpoint,
            config: new()
            {
                Model = "m", Prompt = new string('x', 400), ExpectedAnswerTokens = 1000, PriceIn = 2, PriceOut = 10,
            }).Estimate(images);
        // the same image twice is asked about once
        Assert.Equal((2, 0, 1), (estimate.Images, estimate.Finished, estimate.Duplicates));
        Assert.Equal(2 * 100 + 14 * 14 + 3, estimate.TokensIn);
        Assert.Equal(2000, estimate.TokensOut);
        Assert.Equal((estimate.TokensIn * 2 + 2000 * 10) / 1e6, estimate.Cost, 9);
        Assert.Equal(0, endpoint.Calls);
    }

    [Theory]
    [InlineData("brief_caption", "5", "'brief_caption' is not a text")]
    [InlineData("brief_caption", "\"  \"", "'brief_caption' is not a text")]
    [InlineData("brief_caption", "\"half a \\ud83d\"", "it holds broken characters (U+FFFD)")]
    [InlineData("augmented_prompts.tags", "\"red\"", "'tags' is not a list of texts")]
    [InlineData("augmented_prompts.object_prompts", "[\"a cup\", 3]", "'object_prompts' is not a text")]
    [InlineData("augmented_prompts", "[]", "'augmented_prompts' is not an object")]
    [InlineData("augmented_prompts", "{\"tags\": [], \"mood\": \"calm\"}",
        "'augmented_prompts' holds none of the styles that are asked for")]
    [InlineData("detailed_caption", null, "'detailed_caption' is missing")]
    public void An_answer_is_read_strictly(string member, string? value, string message)
    {
        var record = (JObject)rows[0].Record.DeepClone();
        var (holder, name) =
            member.Split('.') is [var outer, var inner] ? ((JObject)record[outer]!, inner) : (record, member);
        if (value is null)
        {
            holder.Remove(name);
        }
        else
        {
            holder[name] = JToken.Parse(value);
        }

        Assert.Equal(message,
            Assert.Throws<FormatException>(() => ReasonGen.Served.Captioner.Read(record.ToString())).Message);
    }

    [Theory]
    [InlineData("```json\n{0}\n```\n")]
    [InlineData("{0} Anything else?")]
    [InlineData("Here you are {as asked}: {0}")]
    [InlineData("<think>Maybe {{\"brief_caption\": \"a draft\"}}? No.</think>\n\n{0}")]
    [InlineData("[{0}]")]
    [InlineData("{{\"result\": {0}}}")]
    [InlineData("A quote \" and a brace { before, then {0}")]
    public void The_json_is_found_whatever_stands_around_it(string around)
    {
        var text = rows[0].Record.ToString();
        Assert.Equal(text,
            ReasonGen.Served.Captioner.Read(around.Replace("{{", "{").Replace("}}", "}").Replace("{0}", text))
                .ToRecord().ToString());
    }

    [Fact]
    public void Two_sets_of_captions_are_none()
    {
        var text = rows[0].Record.ToString();
        Assert.Throws<FormatException>(() => ReasonGen.Served.Captioner.Read(text + text));
        Assert.Throws<FormatException>(() =>
            ReasonGen.Served.Captioner.Read("{\"brief_caption\": \"a\", \"brief_caption\": \"b\"}"));
    }

    [Fact]
    public async Task A_image_that_changes_meanwhile_and_a_folder_in_the_way_are_errors()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        var images = Images();
        File.WriteAllBytes(Path.Combine(folder, "3.png"), rows[0].Image);
        Assert.Contains("it changed",
            (await Assert.ThrowsAsync<UnusableFileException>(() => Captioner(endpoint).RunAsync(images))).Message);
        File.WriteAllText(Path.Combine(folder, "blocked"), "");
        var captioner = new Captioner(ChatEndpoint.Connect(endpoint.Address, "m"), new() { Model = "m" },
            Path.Combine(folder, "blocked", "set.parquet"));
        Assert.Contains("cannot be kept",
            (await Assert.ThrowsAsync<UnusableFileException>(() => captioner.RunAsync(Images()))).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private Captioner Captioner(FaultyEndpoint endpoint, int concurrent = 3, CaptionerConfig? config = null)
    {
        config ??= new() { Model = "m" };
        return new(ChatEndpoint.Connect(endpoint.Address, config.Model),
            config with { Calls = config.Calls with { ConcurrentCalls = concurrent, Tries = 3 } }, Output)
        {
            Wait = (_, _) => Task.CompletedTask,
        };
    }

    private List<CaptionImage> Images()
    {
        for (var i = 0; i < rows.Length && !File.Exists(Path.Combine(folder, "5.png")); i++)
        {
            File.WriteAllBytes(Path.Combine(folder, $"{i}.png"), rows[i].Image);
        }

        return [.. Directory.GetFiles(folder, "*.png").Order(StringComparer.Ordinal).Select(file =>
        {
            var bytes = File.ReadAllBytes(file);
            var (width, height, type) = ImageFile.Measure(bytes)!.Value;
            return new CaptionImage(Path.GetFileName(file), file, CaptionImage.HashOf(bytes), width, height, type);
        })];
    }

    private int Number(JObject request) =>
        Array.FindIndex(rows, row => row.Image.SequenceEqual(FaultyEndpoint.ImageOf(request)));

    private Reply Answer(JObject request) => Reply.Says(rows[Number(request)].Record.ToString());
}
