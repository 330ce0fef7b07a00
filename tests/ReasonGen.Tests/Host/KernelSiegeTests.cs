using System.Text;
using NetMQ;
using NetMQ.Sockets;
using Newtonsoft.Json.Linq;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>A kernel lives through whatever comes to its ports, and through whatever a request says.</summary>
[Collection("kernel")]
public sealed class KernelSiegeTests : IDisposable
{
    private readonly ServedKernel kernel = new();
    private readonly KernelClient client;

    public KernelSiegeTests() => client = kernel.Client;

    public void Dispose() => kernel.Dispose();

    public static TheoryData<string> Ports => ["shell", "control", "stdin", "iopub", "heartbeat"];

    [Theory]
    [MemberData(nameof(Ports))]
    public void Wrong_greetings_end_their_connection_alone(string port)
    {
        byte[][] greetings =
        [
            "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n                                            "u8.ToArray(),
            new byte[64], RawPeer.Greeting("CURVE"), RawPeer.Greeting(version: 1),
            [.. RawPeer.Greeting(), .. RawPeer.Ready("PUSH")],
            [.. RawPeer.Greeting(), .. RawPeer.Ready(TypeFor(port), new byte[300])],
            [.. RawPeer.Greeting(), .. RawPeer.Ready(TypeFor(port), [0, 1])],
            [.. RawPeer.Greeting(), .. RawPeer.Head(1L << 40, 4)], [.. RawPeer.Greeting(), .. RawPeer.Frame([1])],
            [.. RawPeer.Greeting(), .. RawPeer.Frame([5, .. "READY"u8, 200, 1, 2], 4)],
        ];
        foreach (var greeting in greetings)
        {
            using var peer = new RawPeer(PortOf(port));
            peer.Send(greeting);
            Assert.True(peer.IsEnded(), Convert.ToHexString(greeting));
        }

        AssertAlive();
    }

    [Theory]
    [MemberData(nameof(Ports))]
    public void A_message_is_bounded_whatever_its_frames(string port)
    {
        using var one = Connected(port);
        one.Send(RawPeer.Head(long.MaxValue));
        Assert.True(one.IsEnded());
        using var negative = Connected(port);
        negative.Send(RawPeer.Head(-1));
        Assert.True(negative.IsEnded());
        using var many = Connected(port);
        many.Send([.. Enumerable.Range(0, 2000).SelectMany(_ => RawPeer.Frame([1], 1))]);
        Assert.True(many.IsEnded());
        using var large = Connected(port);
        var frame = RawPeer.Frame(new byte[8 << 20], 1);
        Assert.True(Enumerable.Range(0, 16).Sum(_ => large.Send(frame)) < 96 << 20,
            "a message without an end was taken");
        AssertAlive();
    }

    [Fact]
    public async Task Messages_under_way_share_one_bound()
    {
        var peers = Enumerable.Range(0, 8).Select(_ => Connected("shell")).ToArray();
        foreach (var peer in peers)
        {
            peer.Send([.. RawPeer.Head(60 << 20), 1, 2, 3]); // 480 MB announced, and none of it sent
        }

        int Ended() => peers.Count(peer => peer.HasEnded());
        await Until.HoldsAsync(() => Ended() >= 6, "the bound"); // the two that are read first are within it
        Assert.Equal(6, Ended());
        AssertAlive();
        Array.ForEach(peers, peer => peer.Dispose());
    }

    [Fact]
    public void A_heartbeat_message_without_a_delimiter_freezes_nothing()
    {
        using var stranger = new DealerSocket();
        stranger.Connect($"tcp://127.0.0.1:{client.Connection.Heartbeat}");
        stranger.SendFrame("x");
        Assert.True(stranger.TryReceiveFrameString(TimeSpan.FromSeconds(20), out var echo));
        Assert.Equal("x", echo);
        AssertAlive();
    }

    [Theory]
    [MemberData(nameof(Ports))]
    public void Connections_that_stop_halfway_are_felt_by_none(string port)
    {
        byte[][] beginnings = [[], [0xFF], RawPeer.Greeting()[..40], RawPeer.Greeting(), [.. RawPeer.Greeting(), 4],
            [.. RawPeer.Greeting(), .. RawPeer.Ready(TypeFor(port)), 1]];
        var open = Enumerable.Range(0, 40)
            .Select(i => (Peer: new RawPeer(PortOf(port)), Beginning: beginnings[i % beginnings.Length])).ToArray();
        Array.ForEach(open, one => one.Peer.Send(one.Beginning));
        AssertAlive();
        Array.ForEach(open, one => one.Peer.Dispose());
    }

    [Fact]
    public async Task More_connections_than_are_taken_leave_those_that_are_there()
    {
        var open = Enumerable.Range(0, 100).Select(_ => Connected("shell")).ToArray();
        int Ended() => open.Count(peer => peer.HasEnded());
        await Until.HoldsAsync(() => Ended() >= 37, "the bound"); // 64 are taken, of which the client is one
        Assert.Equal(37, Ended());
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
        Array.ForEach(open, peer => peer.Dispose());
    }

    [Fact]
    public void A_claimed_name_takes_no_answer_away()
    {
        using var thief = new RawPeer(client.Connection.Shell);
        using var thiefOfQuestions = new RawPeer(client.Connection.Stdin);
        byte[] claim = [.. RawPeer.Greeting(), .. RawPeer.Ready("DEALER", "client"u8.ToArray())];
        thief.Send(claim);
        thiefOfQuestions.Send(claim);
        var id = client.Execute("Console.ReadLine()");
        client.Question();
        client.AnswerQuestion("mine");
        Assert.Equal("ok", (string?)client.Answer(id)["status"]);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    public void Changed_bytes_of_a_sound_stream_do_no_harm(int seed)
    {
        var random = new Random(seed);
        byte[] sound = [.. RawPeer.Greeting(), .. RawPeer.Ready("DEALER", "me"u8.ToArray()),
            .. RawPeer.Multipart(KernelClient.Frames("kernel_info_request", "{}", id: "1"))];
        foreach (var port in Ports.Select(row => (string)row.Data))
        {
            for (var i = 0; i < 40; i++)
            {
                var changed = sound.ToArray();
                for (var n = random.Next(1, 6); n > 0; n--)
                {
                    changed[random.Next(i % 2 == 0 ? 0 : 64, changed.Length)] = (byte)random.Next(256);
                }

                using var peer = new RawPeer(PortOf(port));
                peer.Send(changed[..random.Next(1, changed.Length + 1)]);
            }
        }

        AssertAlive();
    }

    public static TheoryData<string, string[]> Requests => new()
    {
        { "execute_request", ["code", "silent", "store_history", "allow_stdin", "stop_on_error",
            "user_expressions"] },
        { "complete_request", ["code", "cursor_pos"] },
        { "inspect_request", ["code", "cursor_pos", "detail_level"] }, { "is_complete_request", ["code"] },
        { "history_request",
            ["hist_access_type", "n", "start", "stop", "pattern", "unique", "output", "raw", "session"] },
        { "comm_info_request", ["target_name"] }, { "kernel_info_request", ["nothing"] },
        { "interrupt_request", ["nothing"] },
    };

    [Theory]
    [MemberData(nameof(Requests))]
    public void A_member_of_a_wrong_type_gets_a_reply(string type, string[] members)
    {
        foreach (var member in members)
        {
            foreach (var value in new[] { "{}", "[]", "[1]", "null", "-1", "1e3", "99999999999999999999", "\"x\"",
                "true", "{\"a\":{\"b\":[]}}" })
            {
                var content = new JObject { ["stop_on_error"] = false, [member] = JToken.Parse(value) };
                var status = (string?)client.Answer(client.Send(type, content))["status"];
                Assert.True(status is "ok" or "error" or "complete" or "incomplete" or "invalid",
                    $"{member} {value}: {status}");
            }
        }
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("7")]
    [InlineData("null")]
    [InlineData("")]
    [InlineData("{\"code\":")]
    [InlineData("{\"code\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["
        + "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[")]
    public void A_content_that_is_no_request_gets_a_reply(string content)
    {
        client.SendFrames(KernelClient.Frames("execute_request", content, id: "damaged"));
        Assert.Equal("MalformedRequest", (string?)client.Answer("damaged")["ename"]);
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
    }

    [Fact]
    public void Text_that_is_not_UTF8_is_refused_and_not_run_as_something_else()
    {
        client.SendFrames(KernelClient.Frames("execute_request",
            [.. "{\"code\":\"Console.Write('"u8, 0xFF, .. "')\"}"u8], id: "latin"));
        Assert.Equal("MalformedRequest", (string?)client.Answer("latin")["ename"]);
    }

    [Fact]
    public void An_answer_that_is_no_text_is_an_error_of_the_cell_that_asked()
    {
        client.AnswerQuestion(new JObject { ["not"] = "asked" });
        var id = client.Execute("Console.ReadLine()");
        client.Question();
        client.AnswerQuestion(new JObject { ["an"] = "object" });
        Assert.Contains("must be text", (string?)client.Answer(id)["evalue"]);
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
    }

    [Fact]
    public void A_cell_sent_on_the_control_channel_is_answered_there()
    {
        var id = client.Send("execute_request", new JObject { ["code"] = "1" }, onControl: true);
        Assert.Equal("ok", (string?)client.Answer(id, onControl: true)["status"]);
    }

    [Fact]
    public void A_cell_that_is_sent_at_the_word_of_a_failure_is_run()
    {
        var bad = client.Execute("Console.ReadLine(); throw new Exception();");
        client.Question();
        using var deaf = Deaf();
        client.AnswerQuestion("go on");
        client.WaitFor(bad, "error");
        var next = client.Execute("1");
        Assert.Equal("error", (string?)client.Answer(bad)["status"]);
        Assert.Equal("ok", (string?)client.Answer(next)["status"]);
    }

    [Fact]
    public void An_interrupt_at_the_word_that_the_kernel_is_busy_with_a_cell_reaches_the_cell()
    {
        using var deaf = Deaf();
        var id = client.Execute("System.Threading.Thread.Sleep(1000000);", silent: true);
        client.WaitFor(id, "status");
        client.Send("interrupt_request", [], onControl: true);
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
    }

    [Theory]
    [InlineData("(", "")]
    [InlineData("{", "")]
    [InlineData("a<", "")]
    [InlineData("var x = new[]{", "")]
    [InlineData("1+", "1")]
    [InlineData("if(true)", ";")]
    [InlineData("if(false);else ", ";")]
    [InlineData("!", "true")]
    [InlineData("x=>", "1")]
    [InlineData("(int)", "1")]
    [InlineData("await ", "Task.FromResult(1)")]
    [InlineData("1 is not ", "2")]
    [InlineData("1 switch{_=>", "")]
    [InlineData("$\"{", "")]
    [InlineData("class A{", "")]
    [InlineData("a?[", "")]
    [InlineData("a.", "b")]
    [InlineData("from x in ", "y")]
    [InlineData("ref ", "int x")]
    [InlineData("delegate*<", "")]
    [InlineData("#if true\n", "")]
    [InlineData("try{}finally", "{}")]
    [InlineData("true?1:", "2", 12_000)]
    [InlineData("$\"{(", "", 100_000)]
    public void Deep_nesting_in_a_cell_is_an_error_and_not_the_end(string piece, string end, int times = 3_000)
    {
        var code = string.Concat(Enumerable.Repeat(piece, times)) + end;
        Assert.NotNull(
            (string?)client.Answer(client.Send("is_complete_request", new JObject { ["code"] = code }))["status"]);
        Assert.NotNull((string?)client.Answer(client.Execute(code, stopOnError: false))["status"]);
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
    }

    private static string TypeFor(string port) => port switch { "iopub" => "SUB", "heartbeat" => "REQ", _ => "DEALER" };

    private int PortOf(string port) => port switch
    {
        "shell" => client.Connection.Shell, "control" => client.Connection.Control, "stdin" => client.Connection.Stdin,
            "iopub" => client.Connection.Iopub, _ => client.Connection.Heartbeat,
    };

    private RawPeer Connected(string port)
    {
        var peer = new RawPeer(PortOf(port));
        peer.Send([.. RawPeer.Greeting(), .. RawPeer.Ready(TypeFor(port))]);
        return peer;
    }

    // One that reads nothing: the kernel waits for it, 10 s, when it has told the client its next word.
    private RawPeer Deaf()
    {
        var deaf = Connected("iopub");
        deaf.Send(RawPeer.Frame([1])); // all topics
        while (deaf.Unread < 500) // greetings have fewer bytes
        {
            client.Answer(client.Send("kernel_info_request", [], onControl: true), onControl: true);
        }

        var much = new JObject { ["comm_id"] = new string('x', 34 << 20) };
        client.WaitFor(client.Send("comm_open", much), "comm_close");
        client.WaitFor(client.Send("comm_open", much), "comm_close");
        return deaf;
    }

    private void AssertAlive()
    {
        Assert.Equal("ok",
            (string?)client.Answer(client.Send("kernel_info_request", [], onControl: true), onControl: true)["status"]);
        var id = client.Execute("Console.Write(Console.ReadLine());");
        client.Question();
        client.AnswerQuestion("alive");
        Assert.Equal("alive", (string?)client.WaitFor(id, "stream")["text"]);
        Assert.Equal("ok", (string?)client.Answer(id)["status"]);
        using var heart = new RequestSocket($">tcp://127.0.0.1:{client.Connection.Heartbeat}");
        heart.SendFrame("ping");
        Assert.True(heart.TryReceiveFrameString(TimeSpan.FromSeconds(20), out var echo));
        Assert.Equal("ping", echo);
    }
}
