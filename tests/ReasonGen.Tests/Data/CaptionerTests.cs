using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Data;
using ReasonGen.Notebook;
using ReasonGen.World;
using Xunit;

namespace ReasonGen.Tests.Data;

/// <summary>From a folder of pictures to SFT data, against a real server on this machine that fails as it is told to.</summary>
public sealed class CaptionerTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private readonly SftRow[] rows = [.. SftRow.OfWorld(new WorldStream(new WorldConfig(), 2), 6)];

    private string Output => Path.Combine(folder, "out", "set.parquet");

    [Fact]
    public async Task Every_picture_becomes_a_row_in_its_place()
    {
        using var endpoint = new FaultyEndpoint((request, call) => Answer(request) with { Delay = TimeSpan.FromMilliseconds(call % 3 * 10) });
        var seen = new List<int>();
        var outcome = await Captioner(endpoint).RunAsync(Pictures(), (done, of) => seen.Add(done));
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
    public async Task A_finished_picture_is_not_asked_about_again()
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
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Captioner(endpoint, concurrent: 1).RunAsync(Pictures(), cancel: stop.Token));
        Assert.False(File.Exists(Output));
        File.AppendAllText(Output + ".jsonl", "{\"task\": \"torn by a powe"); // the process died while it wrote
        var again = Captioner(endpoint, concurrent: 1);
        Assert.Equal((4, 2), (again.Estimate(Pictures()).Pictures, again.Estimate(Pictures()).Finished));
        Assert.Equal(4, (await again.RunAsync(Pictures())).Asked);
        Assert.Equal(7, endpoint.Calls);
        File.Move(Path.Combine(folder, "0.png"), Path.Combine(folder, "zero.png")); // renamed: still known
        var third = await Captioner(endpoint).RunAsync(Pictures());
        Assert.Equal((6, 0), (third.Captioned, third.Asked));
        Assert.Equal("zero.png", SftParquet.Open(Output).Rows().Last().ImagePath);
        Assert.Equal(6, (await Captioner(endpoint, config: new() { Model = "another" }).RunAsync(Pictures())).Asked); // another model writes anew
    }

    [Theory]
    [InlineData("Sure! Here is the JSON you wanted.")]
    [InlineData("{\"brief_caption\": \"cut of")]
    [InlineData("[]")]
    [InlineData("{\"brief_caption\": \"a\", \"detailed_caption\": \"b\"}")]
    [InlineData("")]
    public async Task An_answer_that_is_no_json_is_asked_for_again(string bad)
    {
        using var endpoint = new FaultyEndpoint((request, call) => call == 0 ? Reply.Says(bad) : Answer(request));
        var outcome = await Captioner(endpoint).RunAsync(Pictures());
        Assert.Equal(6, outcome.Captioned);
        Assert.Equal(7, endpoint.Calls);
    }

    [Fact]
    public async Task A_picture_without_a_usable_answer_is_left_out_and_asked_about_next_time()
    {
        var patient = false;
        using var endpoint = new FaultyEndpoint((request, _) => !patient && Number(request) == 4 ? Reply.Says("I cannot.") : Answer(request));
        var outcome = await Captioner(endpoint).RunAsync(Pictures());
        Assert.Equal((5, "4.png"), (outcome.Captioned, Assert.Single(outcome.Unusable).Name));
        Assert.Contains("it gave no usable answer: it is no JSON object", outcome.Unusable[0].Reason);
        Assert.Equal(5, SftParquet.Open(Output).Count);
        patient = true;
        outcome = await Captioner(endpoint).RunAsync(Pictures());
        Assert.Equal((6, 1), (outcome.Captioned, outcome.Asked));
    }

    [Fact]
    public async Task An_endpoint_that_goes_away_ends_the_run_and_costs_no_answer()
    {
        using var endpoint = new FaultyEndpoint((request, call) => call < 3 ? Answer(request) : Reply.Fails(500));
        var error = await Assert.ThrowsAsync<EndpointException>(() => Captioner(endpoint, concurrent: 1).RunAsync(Pictures()));
        Assert.Contains("HTTP 500", error.Message);
        Assert.False(File.Exists(Output));
        Assert.Equal(3, Captioner(endpoint).Estimate(Pictures()).Finished);
    }

    [Fact]
    public void The_estimate_counts_tokens_and_money()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        CaptionPicture[] pictures = [new("a", "a", "1", 384, 384, "image/png"), new("b", "b", "2", 28, 57, "image/png"), new("c", "c", "2", 28, 57, "image/png")];
        var estimate = Captioner(endpoint, config: new() { Model = "m", Prompt = new string('x', 400), ExpectedAnswerTokens = 1000, PriceIn = 2, PriceOut = 10 }).Estimate(pictures);
        Assert.Equal((2, 1), (estimate.Pictures, estimate.Finished)); // the same picture twice is asked about once
        Assert.Equal(2 * 100 + 14 * 14 + 3, estimate.TokensIn);
        Assert.Equal(2000, estimate.TokensOut);
        Assert.Equal((estimate.TokensIn * 2 + 2000 * 10) / 1e6, estimate.Cost, 9);
        Assert.Equal(0, endpoint.Calls);
    }

    [Theory]
    [InlineData("brief_caption", "5", "'brief_caption' is not a text")]
    [InlineData("brief_caption", "\"  \"", "'brief_caption' is not a text")]
    [InlineData("augmented_prompts.tags", "\"red\"", "'tags' is not a list of texts")]
    [InlineData("augmented_prompts.tags", "[]", "'tags' is not a list of texts")]
    [InlineData("augmented_prompts.object_prompts", "[\"a cup\", 3]", "'object_prompts' is not a text")]
    [InlineData("augmented_prompts", "[]", "'augmented_prompts' is not an object")]
    [InlineData("augmented_prompts.mood", "\"calm\"", "'mood' is not asked for")]
    [InlineData("note", "\"hello\"", "'note' is not asked for")]
    [InlineData("detailed_caption", null, "'detailed_caption' is missing")]
    public void An_answer_is_read_strictly(string member, string? value, string message)
    {
        var record = (JObject)rows[0].Record.DeepClone();
        var (holder, name) = member.Split('.') is [var outer, var inner] ? ((JObject)record[outer]!, inner) : (record, member);
        if (value is null)
        {
            holder.Remove(name);
        }
        else
        {
            holder[name] = JToken.Parse(value);
        }

        Assert.Equal(message, Assert.Throws<FormatException>(() => ReasonGen.Data.Captioner.Read(record.ToString())).Message);
    }

    [Fact]
    public void A_code_fence_around_the_json_is_taken_off()
    {
        var text = rows[0].Record.ToString();
        Assert.Equal(text, ReasonGen.Data.Captioner.Read($"```json\n{text}\n```\n").ToRecord().ToString());
        Assert.Throws<FormatException>(() => ReasonGen.Data.Captioner.Read(text + text));
        Assert.Throws<FormatException>(() => ReasonGen.Data.Captioner.Read(text + " Anything else?"));
        Assert.Throws<FormatException>(() => ReasonGen.Data.Captioner.Read("{\"brief_caption\": \"a\", \"brief_caption\": \"b\"}"));
    }

    [Fact]
    public async Task A_picture_that_changes_meanwhile_and_a_folder_in_the_way_are_errors()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Answer(request));
        var pictures = Pictures();
        File.WriteAllBytes(Path.Combine(folder, "3.png"), rows[0].Image);
        Assert.Contains("it changed", (await Assert.ThrowsAsync<CheckpointException>(() => Captioner(endpoint).RunAsync(pictures))).Message);
        File.WriteAllText(Path.Combine(folder, "blocked"), "");
        var captioner = new Captioner(ChatEndpoint.Connect(endpoint.Address, "m"), new() { Model = "m" }, Path.Combine(folder, "blocked", "set.parquet"));
        Assert.Contains("cannot be kept", (await Assert.ThrowsAsync<CheckpointException>(() => captioner.RunAsync(Pictures()))).Message);
    }

    public void Dispose() => Directory.Delete(folder, true);

    private Captioner Captioner(FaultyEndpoint endpoint, int concurrent = 3, CaptionerConfig? config = null)
    {
        config ??= new() { Model = "m" };
        return new(ChatEndpoint.Connect(endpoint.Address, config.Model), config with { Calls = config.Calls with { ConcurrentCalls = concurrent, Tries = 3 } }, Output)
        {
            Wait = (_, _) => Task.CompletedTask,
        };
    }

    private List<CaptionPicture> Pictures()
    {
        for (var i = 0; i < rows.Length && !File.Exists(Path.Combine(folder, "5.png")); i++)
        {
            File.WriteAllBytes(Path.Combine(folder, $"{i}.png"), rows[i].Image);
        }

        return [.. Directory.GetFiles(folder, "*.png").Order(StringComparer.Ordinal).Select(file =>
        {
            var bytes = File.ReadAllBytes(file);
            var (width, height, type) = PictureFile.Measure(bytes)!.Value;
            return new CaptionPicture(Path.GetFileName(file), file, CaptionPicture.HashOf(bytes), width, height, type);
        })];
    }

    private int Number(JObject request) => Array.FindIndex(rows, row => row.Image.SequenceEqual(FaultyEndpoint.PictureOf(request)));

    private Reply Answer(JObject request) => Reply.Says(rows[Number(request)].Record.ToString());
}
