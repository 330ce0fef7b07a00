using Microsoft.Extensions.AI;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using ReasonGen.Host.Notebooks;
using ReasonGen.Notebook;
using ReasonGen.Imaging;
using ReasonGen.Judging;
using ReasonGen.Rewards;
using ReasonGen.Rollouts;
using ReasonGen.Runs;
using ReasonGen.Served;
using SkiaSharp;
using Xunit;

namespace ReasonGen.Tests.Rewards;

/// <summary>The judge behind an address, against a real server on this machine that fails in every way it is told
/// to.</summary>
public sealed class RemoteJudgeTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private readonly List<TimeSpan> waits = [];

    [Fact]
    public void Answers_become_rewards_in_the_order_of_the_requests_whatever_their_latency()
    {
        var random = new Random(5);
        using var endpoint = new FaultyEndpoint((request, _) =>
        {
            lock (random)
            {
                return Says(Number(request) % 3 == 0 ? 1 : 0) with
                {
                    Delay = TimeSpan.FromMilliseconds(random.Next(60)),
                };
            }
        });
        var rewards = Judge(endpoint.Address, new() { Model = "m", Calls = Quick with { ConcurrentCalls = 5 } })
            .Score(Requests(40));
        Assert.Equal(Enumerable.Range(0, 40).Select(i => i % 3 == 0 ? 1f : 0f), rewards);
        Assert.Equal(40, endpoint.Calls);
    }

    [Fact]
    public void The_request_is_greedy_and_carries_prompt_image_prompt()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Says(1));
        var request = Requests(1)[0];
        Assert.Equal([1f], Judge(endpoint.Address, new() { Model = "some/model" }, "secret").Score([request]));
        var (body, head) = Assert.Single(endpoint.Requests);
        Assert.Equal("some/model", (string?)body["model"]);
        Assert.Equal(0, (double)body["temperature"]!);
        Assert.Equal(1024, (int)(body["max_completion_tokens"] ?? body["max_tokens"])!);
        Assert.Contains("Authorization: Bearer secret", head);
        var message = Assert.Single(body["messages"]!);
        Assert.Equal("user", (string?)message["role"]);
        Assert.Equal(["text", "image_url", "text"], message["content"]!.Select(part => (string?)part["type"]));
        Assert.Equal(Question.Turn(request.Prompt.Text).Split("<image>"),
            message["content"]!.Where(part => (string?)part["type"] == "text").Select(part => (string?)part["text"]));
        using var bitmap = SKBitmap.Decode(FaultyEndpoint.ImageOf(body));
        Assert.Equal(request.Image.Rgb,
            bitmap.Pixels.SelectMany(pixel => new[] { pixel.Red, pixel.Green, pixel.Blue }));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void The_paper_s_question_arrives_byte_for_byte()
    {
        var rows = Golden.Json("reward/judge_prompt")["rows"]!.ToArray();
        using var endpoint = new FaultyEndpoint((_, _) => Says(1));
        var judge = new RemoteJudge(ChatEndpoint.Connect(endpoint.Address, "m"),
            new() { Model = "m", Calls = Quick with { ConcurrentCalls = 1 } });
        RewardRequest Request(JToken row) =>
            new(new Prompt((string)row["raw_prompt"]!, "", []), "", new RgbImage(384, 384, new byte[384 * 384 * 3]));
        var good = rows.Where(row => row["error"] is null).Some();
        Assert.All(judge.Score([.. good.Select(Request)]), reward => Assert.Equal(1, reward));
        var sent = endpoint.Requests.Select(request => request.Body).ToArray();
        Assert.Equal(good.Select(row => (string)row["text_sent_to_engine"]!).Distinct(),
            sent.Select(body => string.Concat(body["messages"]![0]!["content"]!
            .Select(part => (string?)part["text"] ?? "<|vision_start|><|image_pad|><|vision_end|>"))));
        foreach (var (body, row) in sent.Paired(good.DistinctBy(row => (string)row["text_sent_to_engine"]!)))
        {
            Assert.Equal(row["judge_image_size"]!.Select(side => (int)side),
                ImageFile.Measure(FaultyEndpoint.ImageOf(body)) is var (width, height, _) ? [width, height] : []);
        }

        Assert.All(rows.Except(good),
            row => Assert.Contains("<image>",
                Assert.Throws<ArgumentException>(() => judge.Score([Request(row)])).Message));
    }

    [Fact]
    [Trait("Category", "Golden")]
    public void Answers_are_read_like_the_reference()
    {
        // an answer that says nothing is not one, whatever the reference makes of it
        var cases = Golden.Json("reward/boxed")["cases"]!.Where(c => !string.IsNullOrWhiteSpace((string)c["answer"]!))
            .ToArray();
        using var endpoint = new FaultyEndpoint((request, _) => Reply.Says((string)cases[Number(request)]["answer"]!));
        Assert.Equal(cases.Select(c => (float)c["reward"]!),
            Judge(endpoint.Address, new() { Model = "m" }).Score(Requests(cases.Length)));
    }

    [Fact]
    public void No_more_calls_are_open_than_the_settings_allow()
    {
        var three = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        using var endpoint = new FaultyEndpoint((_, call) =>
        {
            if (call == 2)
            {
                three.SetResult();
            }

            return Says(1) with { After = three.Task, Delay = TimeSpan.FromMilliseconds(20) };
        });
        Judge(endpoint.Address, new() { Model = "m", Calls = Quick with { ConcurrentCalls = 3 } }).Score(Requests(24));
        Assert.Equal(3, endpoint.Widest);
    }

    [Theory]
    [InlineData("status")]
    [InlineData("cut")]
    [InlineData("not json")]
    [InlineData("other json")]
    [InlineData("no choices")]
    [InlineData("hang")]
    [InlineData("too many")]
    public void A_passing_fault_is_asked_about_again(string fault)
    {
        using var endpoint = new FaultyEndpoint((_, call) => call < 2 ? Fault(fault) : Says(1));
        var calls = fault == "hang" ? Quick with { TimeOut = TimeSpan.FromSeconds(0.5), Tries = 50 } : Quick;
        var judge = Judge(endpoint.Address, new() { Model = "m", Calls = calls });
        Assert.Equal([1f], judge.Score(Requests(1)));
        Assert.Equal(waits.Count, judge.Counts.Retries);
        Assert.InRange(waits.Count, 2, fault == "hang" ? 49 : 2); // on a busy machine a good call may hang too
        Assert.Equal(new RemoteJudgeCounts(1, 0, waits.Count, 0, 0), judge.Counts);
        Assert.InRange(waits[0].TotalSeconds, fault == "too many" ? 7 : 0.5, fault == "too many" ? 7 : 1);
        Assert.InRange(waits[1].TotalSeconds, fault == "too many" ? 7 : 1, fault == "too many" ? 7 : 2);
    }

    [Theory]
    [InlineData("status", 3, "asked 3 times, it failed with HTTP 500")]
    [InlineData("cut", 3, "its answer cannot be read")]
    [InlineData("not json", 3, "its answer cannot be read")]
    [InlineData("other json", 3, "its answer cannot be read")]
    [InlineData("no choices", 3, "its answer cannot be read")]
    [InlineData("hang", 3, "did not answer within 0.2 s")]
    [InlineData("key", 1, "refuses the key (HTTP 401")]
    [InlineData("model", 1, "knows no such address or model as 'm'")]
    [InlineData("refused", 1, "refuses the request (HTTP 400")]
    public void A_lasting_fault_is_an_error_that_names_endpoint_and_remedy_or_an_unknown_reward(string fault, int calls,
        string message)
    {
        using var endpoint = new FaultyEndpoint((_, _) => Fault(fault));
        var config = new RemoteJudgeConfig
        {
            Model = "m", Calls = Quick with { Tries = 3, TimeOut = TimeSpan.FromSeconds(fault == "hang" ? 0.2 : 20) },
        };
        var error = Assert.Throws<EndpointException>(() => Judge(endpoint.Address, config).Score(Requests(1)));
        Assert.StartsWith(endpoint.Address, error.Message);
        Assert.Contains(message, error.Message);
        Assert.DoesNotContain('\n', error.Message);
        Assert.Equal(calls, waits.Count + 1);

        var skipping = Judge(endpoint.Address, config with { OnFailure = FailedCall.SkipGroup });
        Assert.Equal([float.NaN], skipping.Score(Requests(1)));
        Assert.Equal(1, skipping.Counts.Failed);
    }

    [Fact]
    public void An_unreachable_endpoint_is_named()
    {
        var nowhere = FaultyEndpoint.Nowhere;
        var error = Assert.Throws<EndpointException>(() =>
            Judge(nowhere, new() { Model = "m", Calls = Quick with { Tries = 2 } }).Score(Requests(3)));
        Assert.StartsWith(nowhere, error.Message);
        Assert.Contains("tried 2 times, it cannot be reached", error.Message);
        Assert.Contains("Start the server, or correct the address", error.Message);
    }

    [Fact]
    public void One_failed_call_leaves_the_other_rewards_known()
    {
        using var endpoint = new FaultyEndpoint((request, _) => Number(request) == 4 ? Reply.Fails(500) : Says(1));
        var judge = Judge(endpoint.Address, new() { Model = "m", OnFailure = FailedCall.SkipGroup, Calls = Quick });
        var rewards = judge.Score(Requests(8));
        Assert.Equal(Enumerable.Range(0, 8).Select(i => i == 4 ? float.NaN : 1f), rewards);
        Assert.Equal(new RemoteJudgeCounts(8, 0, 3, 1, 0), judge.Counts);
    }

    [Fact]
    public async Task An_answer_without_a_box_is_0_and_counted()
    {
        using var endpoint = new FaultyEndpoint((request, _) =>
            Reply.Says(Number(request) switch { 0 => "I cannot tell.", 1 => "\\boxed{\\text{1}}",
                _ => "\\boxed{1}." }));
        var judge = Judge(endpoint.Address, new() { Model = "m" });
        var verdicts = await judge.JudgeAsync(Requests(3));
        Assert.Equal([0f, 0f, 1f], verdicts.Select(verdict => verdict.Reward));
        Assert.Equal([false, true, true], verdicts.Select(verdict => verdict.Boxed));
        Assert.Equal([false, false, true], verdicts.Select(verdict => verdict.Readable));
        Assert.Equal("I cannot tell.", verdicts[0].Answer);
        Assert.Equal((1, 2), (judge.Counts.Unboxed, judge.Counts.Unreadable));
        judge.Score(Requests(3));
        Assert.Equal([1f, 1f, 0f], Assert.Single(judge.Parts).Rewards);
        var ensemble = new EnsembleReward([(judge, 1)]);
        ensemble.Score(Requests(3));
        Assert.Equal(["m", "m: unreadable answers"], ensemble.Parts.Select(part => part.Name));
    }

    [Theory]
    [InlineData(FailedCall.Stop)]
    [InlineData(FailedCall.SkipGroup)]
    public void A_judge_that_says_nothing_is_unavailable_and_never_cached(FailedCall onFailure)
    {
        using var endpoint =
            new FaultyEndpoint((request, call) => call < 9 && Number(request) == 2 ? Reply.Says("") : Says(1));
        var config = new RemoteJudgeConfig
        {
            Model = "m", CacheFolder = folder, OnFailure = onFailure, Calls = Quick with { Tries = 2 },
        };
        var judge = Judge(endpoint.Address, config);
        Assert.Equal([1f, 1, float.NaN, 1], judge.Score(Requests(4)));
        Assert.Equal((1, 1, 0), (judge.Counts.Failed, judge.Counts.Silent, judge.Counts.Unboxed));
        Assert.Equal(3, Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories).Length);
        Assert.Equal(float.NaN, judge.Score(Requests(4))[2]);
        foreach (var file in Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories))
        {
            File.WriteAllText(file, "{\"answer\": \" \"}"); // as version 0.3 kept it
        }

        Assert.Equal([1f, 1, 1, 1], Judge(endpoint.Address, config).Score(Requests(4)));
    }

    [Fact]
    public void A_judge_that_never_says_anything_ends_the_run()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Says(" "));
        var config = new RemoteJudgeConfig { Model = "m", Calls = Quick with { Tries = 1 } };
        Assert.All(Judge(endpoint.Address, config).Score(Requests(7)), reward => Assert.Equal(float.NaN, reward));
        Assert.Contains("its answer is empty",
            Assert.Throws<EndpointException>(() => Judge(endpoint.Address, config).Score(Requests(8))).Message);
        Assert.All(Judge(endpoint.Address, config with { OnFailure = FailedCall.SkipGroup }).Score(Requests(8)),
            reward => Assert.Equal(float.NaN, reward));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void What_was_answered_is_not_asked_again(bool onDisk)
    {
        using var endpoint = new FaultyEndpoint((request, _) => Says(Number(request) % 2));
        var config = new RemoteJudgeConfig { Model = "m", CacheFolder = onDisk ? folder : null };
        var judge = Judge(endpoint.Address, config);
        var requests = Requests(6);
        var first = judge.Score([.. requests, requests[1]]);
        Assert.Equal([0f, 1, 0, 1, 0, 1, 1], first);
        Assert.Equal(6, endpoint.Calls);
        Assert.Equal(first, judge.Score([.. requests, requests[1]]));
        Assert.Equal(first[..6], (onDisk ? Judge(endpoint.Address, config) : judge).Score(requests));
        Assert.Equal(6, endpoint.Calls);
        Judge(endpoint.Address, config with { Model = "another" }).Score(requests);
        Assert.Equal(12, endpoint.Calls);
        // and nothing temporary
        Assert.Equal(onDisk ? 12 : 0, Directory.GetFiles(folder, "*", SearchOption.AllDirectories).Length);
    }

    [Fact]
    public void A_failed_call_and_a_damaged_file_are_no_answers()
    {
        using var endpoint = new FaultyEndpoint((_, call) => call == 0 ? Reply.Fails(500) : Says(1));
        var config = new RemoteJudgeConfig
        {
            Model = "m", CacheFolder = folder, OnFailure = FailedCall.SkipGroup, Calls = Quick with { Tries = 1 },
        };
        Assert.Equal([float.NaN], Judge(endpoint.Address, config).Score(Requests(1)));
        Assert.Equal([1f], Judge(endpoint.Address, config).Score(Requests(1)));
        var file = Assert.Single(Directory.GetFiles(folder, "*.json", SearchOption.AllDirectories));
        File.WriteAllText(file, "{ \"answer\": \"\\\\box");
        Assert.Equal([1f], Judge(endpoint.Address, config).Score(Requests(1)));
        Assert.Equal(3, endpoint.Calls);
    }

    [Fact]
    public async Task Cancelling_ends_calls_that_hang()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Says(1) with { Delay = Reply.Forever });
        using var stop = new CancellationTokenSource();
        var judging = Judge(endpoint.Address, new() { Model = "m", OnFailure = FailedCall.SkipGroup })
            .JudgeAsync(Requests(4), stop.Token);
        while (endpoint.Calls < 4)
        {
            await Task.Delay(5);
        }

        await stop.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => judging);
    }

    [Fact]
    public void The_waits_grow_and_depend_on_the_seed_alone()
    {
        TimeSpan[] Waits(long seed)
        {
            waits.Clear();
            using var endpoint = new FaultyEndpoint((_, _) => Reply.Fails(503));
            var calls = Quick with { Tries = 7, Seed = seed, LongestDelay = TimeSpan.FromSeconds(10) };
            Judge(endpoint.Address, new() { Model = "m", OnFailure = FailedCall.SkipGroup, Calls = calls })
                .Score(Requests(1));
            return [.. waits];
        }

        var one = Waits(1);
        Assert.Equal(6, one.Length);
        Assert.All(one.Zip([1.0, 2, 4, 8, 10, 10]),
            pair => Assert.InRange(pair.First.TotalSeconds, pair.Second / 2, pair.Second));
        Assert.Equal(one, Waits(1));
        Assert.NotEqual(one, Waits(2));
    }

    [Theory]
    [InlineData(503, 10, true, true)] // as while it is started again
    [InlineData(503, int.MaxValue, false, true)]
    [InlineData(0, int.MaxValue, false, true)]
    [InlineData(500, int.MaxValue, false, true)] // it is there
    [InlineData(503, int.MaxValue, false, false)] // it was never there
    [InlineData(0, int.MaxValue, false, false)]
    public async Task An_endpoint_that_has_answered_and_is_away_is_waited_for_whatever_the_tries(int status, int calls,
        bool comes, bool first)
    {
        using var endpoint = new FaultyEndpoint((_, call) => (first && call == 0) || call >= calls
            ? Reply.Says("here") : Reply.Fails(status));
        var (now, told) = (DateTime.UtcNow, new List<string>());
        var (start, away) = (now, first && status != 500);
        var caller = new ChatCaller(ChatEndpoint.Connect(endpoint.Address, "m"),
            new ServedJudgeConfig { Tries = 2 }.Calls)
        {
            Now = () => now, Tell = told.Add, Wait = (wait, _) =>
            {
                now += wait;
                waits.Add(wait);
                return Task.CompletedTask;
            },
        };
        Task<string> AskAsync() => caller.AskAsync([new(ChatRole.User, "?")], new() { ModelId = "m" }, said => said, 1,
            TestContext.Current.CancellationToken);
        if (first)
        {
            Assert.Equal("here", await AskAsync());
        }

        if (status == 0)
        {
            endpoint.Dispose();
        }

        if (comes)
        {
            Assert.Equal("here", await AskAsync());
            Assert.Matches("it answers again, after [1-3] min", told[^1]);
        }
        else
        {
            var error = await Assert.ThrowsAsync<EndpointException>(AskAsync);
            Assert.Contains(status == 0 ? "cannot be reached" : $"HTTP {status}", error.Message);
            Assert.Contains(status == 0 ? "Start the server" : "fewer judge.concurrent or more judge.tries",
                error.Message);
            Assert.InRange((now - start).TotalMinutes, away ? 10 : 0, away ? 11 : 1);
            var tries = waits.Count;
            await Assert.ThrowsAsync<EndpointException>(AskAsync);
            Assert.Equal(tries + 1, waits.Count); // all questions together wait so long
        }

        Assert.Equal(away, told.Count > 0);
        Assert.All(told.Take(1), line =>
            Assert.Matches("it is away \\(.+\\), and asked again for up to 10 min", line));
    }

    [Theory]
    [InlineData(429)]
    [InlineData(500)]
    [InlineData(400)]
    [InlineData(200)] // and says nothing
    public async Task An_endpoint_that_refuses_is_not_away(int status)
    {
        using var endpoint = new FaultyEndpoint((_, call) => call is 0 or 4 ? Reply.Says("here")
            : call is 1 or 3 ? Reply.Fails(503) : status == 200 ? Reply.Says("") : Reply.Fails(status));
        var (now, told) = (DateTime.UtcNow, new List<string>());
        var caller = new ChatCaller(ChatEndpoint.Connect(endpoint.Address, "m"),
            new ServedJudgeConfig { Tries = 1 }.Calls)
        {
            Now = () => now, Tell = told.Add, Wait = (_, _) => Task.CompletedTask,
        };
        Task<string> AskAsync() => caller.AskAsync([new(ChatRole.User, "?")], new() { ModelId = "m" }, said => said, 1,
            TestContext.Current.CancellationToken);
        Assert.Equal("here", await AskAsync());
        await Assert.ThrowsAsync<EndpointException>(AskAsync); // away, and then back with a refusal
        Assert.Contains("it answers again", told[^1]);
        now += TimeSpan.FromMinutes(11); // longer than an outage may last
        Assert.Equal("here", await AskAsync());
        Assert.Equal(5, endpoint.Calls);
    }

    [Fact]
    public void A_remedy_names_settings_that_can_be_given()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Fails(429));
        string Error(ChatCallConfig calls) => Assert.Throws<EndpointException>(() =>
            Judge(endpoint.Address, new() { Model = "m", Calls = calls with { Tries = 1 } }).Score(Requests(1)))
            .Message;
        Assert.EndsWith("Start again later, with fewer ConcurrentCalls or a bound on CallsPerMinute or more Tries.",
            Error(Quick));
        Assert.EndsWith("Start again later, with fewer judge.concurrent or more judge.tries.",
            Error(new ServedJudgeConfig().Calls));
        Assert.EndsWith("Start again later.", Error(Quick with
        {
            Names = new() { ConcurrentCalls = null, CallsPerMinute = null, Tries = null },
        }));
    }

    [Fact]
    public void Calls_are_spread_over_the_minute()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Says(1));
        Judge(endpoint.Address, new() { Model = "m", Calls = Quick with { CallsPerMinute = 6, ConcurrentCalls = 1 } })
            .Score(Requests(4));
        Assert.Equal(3, waits.Count);
        // nothing was really waited for
        Assert.All(waits.Zip([10, 20, 30]),
            pair => Assert.InRange(pair.First.TotalSeconds, pair.Second - 5, pair.Second));
    }

    [Fact]
    public async Task A_notebook_cell_makes_one_in_a_line_and_adds_it_to_others()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Says(1));
        var session = new CSharpSession(Directory.GetCurrentDirectory());
        var output = new CellRecorder(1, _ => { });
        var result = await session.RunAsync($$"""
            #r "ReasonGen.Foundation.dll"
            #r "ReasonGen.dll"
            #r "ReasonGen.Pretrained.dll"
            #r "ReasonGen.Notebook.dll"
            using ReasonGen.Imaging; using ReasonGen.Judging; using ReasonGen.Notebook; using ReasonGen.Rollouts; using ReasonGen.Rewards; using ReasonGen.World;
            var judge = new RemoteJudge(ChatEndpoint.Connect("{{endpoint.Address}}", "m"), new() { Model = "m" });
            var reward = new EnsembleReward([(judge, 1), (new LambdaReward("dark", request => request.Image.Rgb.Max() < 128 ? 1 : 0), 0.5)]);
            Console.Write(reward.Score([new RewardRequest(new Prompt("a night", "", []), "", new RgbImage(1, 1, [0, 0, 0]))])[0]);
            """, output, "cell 1", CancellationToken.None);
        Assert.True(result.Ok, result.ErrorValue + string.Concat(result.Traceback ?? []));
        Assert.Contains("1.5", output.Outputs.ToString());
    }

    [Theory]
    [InlineData("Model", "the model's name")]
    [InlineData("MaxAnswerTokens", "at least 1")]
    [InlineData("Tries", "at least 1")]
    [InlineData("LongestDelay", "at least FirstDelay")]
    public void Settings_out_of_range_are_refused(string name, string range)
    {
        var config = new RemoteJudgeConfig { Model = "m" };
        config = name switch
        {
            "Model" => config with { Model = " " },
            "MaxAnswerTokens" => config with { MaxAnswerTokens = 0 },
            "Tries" => config with { Calls = Quick with { Tries = 0 } },
            _ => config with { Calls = Quick with { LongestDelay = TimeSpan.Zero } },
        };
        var error = Assert.Throws<ArgumentException>(() => Judge("http://127.0.0.1:1/v1", config));
        Assert.Contains(name, error.Message);
        Assert.Contains(range, error.Message);
    }

    [Theory]
    [InlineData("localhost:8000")]
    [InlineData("ftp://somewhere/v1")]
    [InlineData("")]
    public void An_address_that_is_none_is_refused(string address) =>
        Assert.Contains("http://localhost:8000/v1",
            Assert.Throws<ArgumentException>(() => ChatEndpoint.Connect(address, "m")).Message);

    public void Dispose() => Directory.Delete(folder, true);

    private static ChatCallConfig Quick { get; } = new();

    private static Reply Says(int box) => Reply.Says($"Seen and judged. \\boxed{{{box}}}");

    private static Reply Fault(string kind) => kind switch
    {
        "status" => Reply.Fails(500),
        "cut" => Says(1) with { CutAfter = 40 },
        "not json" => new(200, "<html>a proxy's page</html>"),
        "other json" => new(200, "[1, 2, 3]"),
        "no choices" =>
            new(200, "{\"id\":\"1\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[]}"),
        "hang" => Says(1) with { Delay = Reply.Forever },
        "too many" => Reply.Fails(429, "slower", "Retry-After: 7\r\n"),
        "key" => Reply.Fails(401, "wrong key"),
        "model" => Reply.Fails(404, "the model does not exist"),
        _ => Reply.Fails(400, "no images here"),
    };

    private static RewardRequest[] Requests(int count) => [.. Enumerable.Range(0, count).Select(i =>
        new RewardRequest(new Prompt($"image {i}", "counting", []), "",
            new RgbImage(3, 2, [.. Enumerable.Range(0, 18).Select(k => (byte)(k * 14 + i))])))];

    private static JudgePrompt Question { get; } =
        JudgePrompt.Paper with { Template = "Is this \"{prompt}\"?\n<image>\nAnswer in \\boxed{}." };

    private static int Number(JObject request) =>
        int.Parse(FaultyEndpoint.TextOf(request).Split('"')[1]["image ".Length..]);

    private RemoteJudge Judge(string address, RemoteJudgeConfig config, string? key = null) =>
        new(ChatEndpoint.Connect(address, config.Model, key),
            config.Prompt == JudgePrompt.Paper ? config with { Prompt = Question, Image = new(1) } : config)
    {
        Wait = (wait, _) =>
        {
            lock (waits)
            {
                waits.Add(wait);
            }

            return Task.CompletedTask;
        },
    };
}
