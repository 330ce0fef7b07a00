using System.IO.Compression;
using System.Text;
using Microsoft.Extensions.AI;
using Newtonsoft.Json.Linq;
using ReasonGen.Notebook;
using ReasonGen.Served;
using Xunit;

namespace ReasonGen.Tests.Rewards;

/// <summary>What servers really send, on a real socket: said in other forms, it is understood; what says nothing is an
/// error that says why.</summary>
public sealed class ChatAnswersTests
{
    private readonly List<TimeSpan> waits = [];

    public static TheoryData<string> OtherForms => new(Understood.Keys);

    public static TheoryData<string> Nothings => new(Nothing.Keys);

    [Theory]
    [MemberData(nameof(OtherForms))]
    public async Task An_answer_in_another_form_is_understood(string form)
    {
        using var endpoint = new FaultyEndpoint((_, _) => Understood[form]);
        Assert.Equal("a cat ☃", await AskAsync(endpoint.Address));
        Assert.Equal(1, endpoint.Calls);
    }

    [Theory]
    [MemberData(nameof(Nothings))]
    public async Task An_answer_that_says_nothing_is_an_error_that_says_why(string form)
    {
        var (reply, calls, bad, message) = Nothing[form];
        using var endpoint = new FaultyEndpoint((_, _) => reply);
        var error = await Assert.ThrowsAsync<EndpointException>(() => AskAsync(endpoint.Address));
        Assert.Contains(message, error.Message);
        Assert.Equal((bad, calls), (error.BadAnswer, endpoint.Calls));
        Assert.DoesNotContain('\u001b', error.Message);
        Assert.True(error.Message.Length < 700, error.Message);
    }

    [Theory]
    [InlineData(400, true)]
    [InlineData(413, true)]
    [InlineData(422, true)]
    [InlineData(500, true)]
    [InlineData(503, true)]
    [InlineData(401, false)]
    [InlineData(402, false)]
    [InlineData(403, false)]
    [InlineData(404, false)]
    [InlineData(429, false)]
    [InlineData(307, false)]
    public async Task A_status_tells_whether_other_questions_may_be_answered(int status, bool thisOnly)
    {
        using var endpoint =
            new FaultyEndpoint((_, _) => Reply.Fails(status, headers: "Location: https://elsewhere.example/v1\r\n"));
        var error = await Assert.ThrowsAsync<EndpointException>(() => AskAsync(endpoint.Address));
        Assert.Equal(thisOnly, error.ThisQuestionOnly);
        Assert.Contains(status == 307 ? "sends on to another address (HTTP 307: https://elsewhere.example/v1"
            : $"HTTP {status}", error.Message);
        Assert.Equal(status is 429 or >= 500 ? 2 : 1, endpoint.Calls);
    }

    [Theory]
    [InlineData("45", 45)]
    [InlineData("2.5", 2.5)]
    [InlineData("date", 90)]
    [InlineData("past", 0)]
    [InlineData("-3", 0)]
    [InlineData("soon", 0)]
    public async Task Retry_After_is_obeyed_beyond_the_usual_longest_wait(string header, double seconds)
    {
        // by the server's clock, which is a day behind
        var now = DateTimeOffset.UtcNow.AddDays(-1);
        var value = header switch { "date" => now.AddSeconds(90).ToString("R"),
            "past" => now.AddMinutes(-1).ToString("R"), _ => header };
        using var endpoint = new FaultyEndpoint((_, call) =>
            call == 0 ? Reply.Fails(429, headers: $"Date: {now:R}\r\nRetry-After: {value}\r\n")
                : Reply.Says("a cat ☃"));
        Assert.Equal("a cat ☃", await AskAsync(endpoint.Address));
        Assert.InRange(Assert.Single(waits).TotalSeconds, Math.Max(seconds, 0.5), Math.Max(seconds, 1));
    }

    [Fact]
    public async Task A_longer_wait_than_is_allowed_ends_it_at_once()
    {
        using var endpoint = new FaultyEndpoint((_, _) => Reply.Fails(429, headers: "Retry-After: 7200\r\n"));
        var error = await Assert.ThrowsAsync<EndpointException>(() => AskAsync(endpoint.Address));
        Assert.Contains("it asks to wait 2:00:00", error.Message);
        Assert.Equal((1, 0), (endpoint.Calls, waits.Count));
    }

    [Fact]
    public async Task A_wait_that_the_server_asks_for_holds_the_other_questions_back()
    {
        using var endpoint = new FaultyEndpoint((_, call) =>
            call == 0 ? Reply.Fails(429, headers: "Retry-After: 60\r\n") : Reply.Says("a cat ☃"));
        var caller = Caller(endpoint.Address);
        await AskAsync(caller);
        await AskAsync(caller);
        Assert.Equal(2, waits.Count);
        Assert.InRange(waits[1].TotalSeconds, 30, 60);
    }

    [Fact]
    public async Task A_body_that_stops_in_the_middle_is_given_up_in_time()
    {
        using var endpoint = new FaultyEndpoint((_, call) =>
            Reply.Says("a cat ☃") with { CutAfter = call == 0 ? 20 : null, HangsThen = call == 0 });
        Assert.Equal("a cat ☃",
            await AskAsync(Caller(endpoint.Address, new() { TimeOut = TimeSpan.FromSeconds(1), Tries = 50 })));
    }

    [Theory]
    [InlineData("/v1", "/v1/chat/completions")]
    [InlineData("/v1/", "/v1/chat/completions")]
    [InlineData("/v1/chat/completions", "/v1/chat/completions")]
    [InlineData("", "/v1/chat/completions")]
    [InlineData("/api/openai", "/api/openai/chat/completions")]
    public async Task The_address_is_understood_as_people_give_it(string path, string asked)
    {
        using var endpoint =
            new FaultyEndpoint((_, call) => path == "" && call == 0 ? Reply.Fails(404) : Reply.Says("a cat ☃"));
        var caller = Caller(endpoint.Address[..^"/v1".Length] + path);
        Assert.Equal("a cat ☃", await AskAsync(caller));
        Assert.Equal("a cat ☃", await AskAsync(caller));
        Assert.All(endpoint.Requests.Reverse().Take(2), request => Assert.StartsWith($"POST {asked} ", request.Head));
        Assert.Equal(path == "" ? 3 : 2, endpoint.Calls);
    }

    [Theory]
    [InlineData("two\nlines")]
    [InlineData("schlüssel")]
    public void A_key_that_no_request_can_carry_is_refused(string key) =>
        Assert.Contains("the key holds",
            Assert.Throws<ArgumentException>(() => ChatEndpoint.Connect("http://localhost/v1", "m", key)).Message);

    private static Dictionary<string, Reply> Understood { get; } = new()
    {
        ["a list of parts"] =
            Message(new() { ["content"] = new JArray(new JObject { ["type"] = "text", ["text"] = "a cat" }, " ☃") }),
        ["thoughts beside it"] = Message(new() { ["content"] = "a cat ☃", ["reasoning_content"] = "is it a dog?" }),
        ["thoughts among the parts"] = Message(new()
        {
            ["content"] = new JArray(new JObject { ["type"] = "reasoning", ["text"] = "a dog?" },
                new JObject { ["type"] = "output_text", ["text"] = "a cat ☃" }),
        }),
        ["an unknown finish reason"] = Message(new() { ["content"] = "a cat ☃" }, finish: "eos"),
        ["no finish reason"] = Message(new() { ["content"] = "a cat ☃" }, finish: null),
        ["NaN among the log-probs"] = new(200, Message(new() { ["content"] = "a cat ☃" }).Body
            .Replace("\"finish_reason\"",
                "\"logprobs\": {\"content\": [{\"token\": \"a\", \"logprob\": NaN, \"top_logprobs\": []}]}, "
                + "\"finish_reason\"")),
        ["infinity among the log-probs"] = new(200, Message(new() { ["content"] = "a cat ☃" }).Body
            .Replace("\"finish_reason\"",
                "\"logprobs\": {\"content\": [{\"token\": \"a\", \"logprob\": -Infinity, \"top_logprobs\": []}]}, "
                + "\"finish_reason\"")),
        ["nulls and unknown members"] = new(200,
            """{"choices":[{"message":{"content":"a cat ☃","tool_calls":null,"mood":1}}],"usage":{"prompt_tokens":null},"x":{}}"""),
        ["a byte order mark and blanks"] = new(200, "\uFEFF \n" + Reply.Says("a cat ☃").Body),
        ["a stream"] = new(200,
            "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n"
            + "data: {\"choices\":[{\"delta\":{\"content\":\"a c\"}}]}\n\n"
            + ": keep alive\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"at ☃\"},\"finish_reason\":\"stop\"}]}\n"
            + "\ndata: [DONE]\n\n"),
        ["gzip"] = new(200, "", Headers: "Content-Encoding: gzip\r\n") { Bytes = Gzip(Reply.Says("a cat ☃").Body) },
    };

    private static Dictionary<string, (Reply Reply, int Calls, bool Bad, string Message)> Nothing { get; } = new()
    {
        ["empty"] = (Message(new() { ["content"] = "" }), 2, true, "its answer is empty"),
        ["blank"] = (Message(new() { ["content"] = " \n" }), 2, true, "its answer is empty"),
        ["null"] = (Message(new() { ["content"] = null }), 2, true, "its answer is empty"),
        ["filtered"] = (Message(new() { ["content"] = "" }, "content_filter"), 1, true, "content filter"),
        ["filtered half-way"] =
            (Message(new() { ["content"] = "a cat, and then" }, "content_filter"), 1, true, "content filter"),
        ["a filtered question"] =
            (Reply.Fails(400, "content_filter: violence"), 1, true, "content filter refuses the question"),
        ["refused"] =
            (Message(new() { ["content"] = null, ["refusal"] = "I cannot." }), 1, true, "it refuses: I cannot."),
        ["thoughts alone"] =
            (Message(new() { ["content"] = null, ["reasoning_content"] = "a cat?" }), 2, true, "its reasoning only"),
        ["thoughts up to the limit"] = (Message(new() { ["content"] = "", ["reasoning"] = "a cat?" },
            "length"), 2, true, "reasoned up to the limit"),
        ["cut before a word"] = (Message(new() { ["content"] = "" }, "length"), 2, true, "limit of tokens before"),
        ["a tool's call"] = (Message(new() { ["content"] = null, ["tool_calls"] = new JArray(new JObject()) },
            "tool_calls"), 2, true, "called a tool"),
        ["a web page"] = (new(200, "<!DOCTYPE html><html>log in</html>"), 2, false, "a web page"),
        ["null choices"] = (new(200, """{"choices":null}"""), 2, false, "no message"),
        ["a choice of null"] = (new(200, """{"choices":[null]}"""), 2, false, "no message"),
        ["json cut in two"] = (new(200, """{"choices":[{"message":{"content":"a ca"""), 2, false, "breaks off"),
        ["a stream cut in two"] =
            (new(200, "data: {\"choices\":[{\"delta\":{\"content\":\"a c\"}}]}\n\n"), 2, false, "breaks off"),
        ["aborted"] =
            (Message(new() { ["content"] = "a ca" }, "abort"), 2, false, "broke it off (finish_reason abort)"),
        ["ended by an error"] = (Message(new() { ["content"] = "a ca" }, "ERROR"), 2, false, "finish_reason ERROR"),
        ["cancelled"] = (Message(new() { ["content"] = "a ca" }, "cancelled"), 2, false, "broke it off"),
        ["a stream aborted"] = (new(200, "data: {\"choices\":[{\"delta\":{\"content\":\"a ca\"},"
            + "\"finish_reason\":\"abort\"}]}\n\ndata: [DONE]\n\n"), 2, false, "finish_reason abort"),
        ["no body"] = (new(200, ""), 2, false, "its body is empty"),
        ["Latin-1"] = (new(200, "")
        {
            Bytes = Encoding.Latin1.GetBytes("""{"choices":[{"message":{"content":"caf\u00e9"}}]}""".Replace("\\u00e9",
                "é")),
        }, 2, false, "not valid UTF-8"),
        ["an error under 200"] = (new(200,
            """{"error":{"message":"no such key \u001b[31m","code":401}}"""), 1, false,
            "refuses the key (HTTP 401: no such key"),
        ["an error without a code"] = (new(200, """{"error":"out of memory"}"""), 2, false, "HTTP 500: out of memory"),
        ["no gzip"] =
            (new(200, Reply.Says("a cat").Body, Headers: "Content-Encoding: gzip\r\n"), 2, false, "cannot be read"),
        ["endless"] = (Reply.Says(new string('x', 17 << 20)), 2, false, "longer than 16384 KiB"),
        ["deep"] = (new(200, new string('[', 100_000)), 2, false, "cannot be read"),
    };

    private static Reply Message(JObject message, string? finish = "stop") =>
        new(200, new JObject
        {
            ["id"] = "1", ["choices"] = new JArray(new JObject { ["message"] = message, ["finish_reason"] = finish }),
        }.ToString());

    private static byte[] Gzip(string text)
    {
        var packed = new MemoryStream();
        using (var gzip = new GZipStream(packed, CompressionLevel.Fastest))
        {
            gzip.Write(Encoding.UTF8.GetBytes(text));
        }

        return packed.ToArray();
    }

    private ChatCaller Caller(string address, ChatCallConfig? config = null) =>
        new(ChatEndpoint.Connect(address, "m"), config ?? new() { Tries = 2, TimeOut = TimeSpan.FromMinutes(1) })
    {
        Wait = (wait, _) =>
        {
            waits.Add(wait);
            return Task.CompletedTask;
        },
    };

    private Task<string> AskAsync(string address) => AskAsync(Caller(address));

    private static Task<string> AskAsync(ChatCaller caller) =>
        caller.AskAsync([new ChatMessage(ChatRole.User, "what?")],
            new ChatOptions { ModelId = "m", MaxOutputTokens = 5 }, said => said, 1);
}
