using System.Collections.Concurrent;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Tests;

/// <summary>What the endpoint does with one request.</summary>
/// <param name="Status">HTTP status.</param>
/// <param name="Body">The whole body.</param>
/// <param name="CutAfter">Bytes of the body after which the connection is cut; null sends all.</param>
/// <param name="Delay">Time before anything is sent.</param>
/// <param name="Headers">Further header lines.</param>
internal sealed record Reply(int Status, string Body, int? CutAfter = null, TimeSpan Delay = default,
    string Headers = "")
{
    /// <summary>The body as it is sent; the text's UTF-8 when null.</summary>
    internal byte[]? Bytes { get; init; }

    /// <summary>What is waited for before the delay; nothing unless it is set.</summary>
    internal Task After { get; init; } = Task.CompletedTask;

    /// <summary>Whether nothing more comes after the cut, while the connection stays open.</summary>
    internal bool HangsThen { get; init; }

    internal static readonly TimeSpan Forever = TimeSpan.FromMinutes(10);

    /// <summary>A chat completion that says this.</summary>
    internal static Reply Says(string text) => new(200, new JObject
    {
        ["id"] = "1", ["object"] = "chat.completion", ["created"] = 1, ["model"] = "m",
        ["choices"] = new JArray(new JObject
        {
            ["index"] = 0, ["finish_reason"] = "stop",
            ["message"] = new JObject { ["role"] = "assistant", ["content"] = text },
        }),
        ["usage"] = new JObject { ["prompt_tokens"] = 1, ["completion_tokens"] = 1, ["total_tokens"] = 2 },
    }.ToString());

    internal static Reply Fails(int status, string message = "broken on purpose", string headers = "") =>
        new(status, JsonConvert.SerializeObject(new { error = new { message, type = "server_error" } }),
            Headers: headers);
}

/// <summary>An OpenAI-compatible endpoint on this machine that fails as it is told to: a real server on a real
/// socket.</summary>
internal sealed class FaultyEndpoint : IDisposable
{
    private readonly TcpListener listener = new(IPAddress.Loopback, 0);
    private readonly CancellationTokenSource closing = new();
    private readonly Func<JObject, int, Reply> answer;
    private int calls, open, widest;

    /// <param name="answer">The request's json and its number, counted from 0 → what happens.</param>
    internal FaultyEndpoint(Func<JObject, int, Reply> answer)
    {
        this.answer = answer;
        listener.Start();
        _ = AcceptAsync();
    }

    internal string Address => $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}/v1";

    internal int Calls => calls;

    /// <summary>Most requests that were open at once.</summary>
    internal int Widest => widest;

    internal ConcurrentQueue<(JObject Body, string Head)> Requests { get; } = [];

    /// <summary>An address where nothing listens.</summary>
    internal static string Nowhere
    {
        get
        {
            using var gone = new FaultyEndpoint((_, _) => Reply.Fails(500));
            return gone.Address;
        }
    }

    /// <summary>All text of a request's first message.</summary>
    internal static string TextOf(JObject request) => request["messages"]![0]!["content"] is JArray parts
        ? string.Concat(parts.Where(part => (string?)part["type"] == "text").Select(part => (string?)part["text"]))
        : (string)request["messages"]![0]!["content"]!;

    /// <summary>The image of a request.</summary>
    internal static byte[] ImageOf(JObject request)
    {
        var url = (string)request["messages"]![0]!["content"]!.First(part =>
            (string?)part["type"] == "image_url")["image_url"]!["url"]!;
        return Convert.FromBase64String(url[(url.IndexOf(',') + 1)..]);
    }

    public void Dispose()
    {
        closing.Cancel();
        listener.Stop();
    }

    private async Task AcceptAsync()
    {
        while (!closing.IsCancellationRequested)
        {
            try
            {
                _ = ServeAsync(await listener.AcceptTcpClientAsync(closing.Token));
            }
            catch (Exception e) when (e is OperationCanceledException or SocketException or ObjectDisposedException)
            {
                return;
            }
        }
    }

    private async Task ServeAsync(TcpClient connection)
    {
        try
        {
            using var _ = connection;
            var stream = connection.GetStream();
            var head = new StringBuilder();
            var one = new byte[1];
            while (!head.ToString().EndsWith("\r\n\r\n"))
            {
                await stream.ReadExactlyAsync(one, closing.Token);
                head.Append((char)one[0]);
            }

            var length = head.ToString().Split("\r\n")
                .First(line => line.StartsWith("Content-Length:", StringComparison.OrdinalIgnoreCase));
            var body = new byte[int.Parse(length[15..])];
            await stream.ReadExactlyAsync(body, closing.Token);
            var request = JObject.Parse(Encoding.UTF8.GetString(body));
            Requests.Enqueue((request, head.ToString()));
            var now = Interlocked.Increment(ref open);
            for (int seen; now > (seen = widest) && Interlocked.CompareExchange(ref widest, now, seen) != seen;)
            {
            }

            var reply = answer(request, Interlocked.Increment(ref calls) - 1);
            await reply.After.WaitAsync(closing.Token);
            await Task.Delay(reply.Delay, closing.Token);
            Interlocked.Decrement(ref open);
            var bytes = reply.Bytes ?? Encoding.UTF8.GetBytes(reply.Body);
            await stream.WriteAsync(
                Encoding.ASCII.GetBytes(
                    $"HTTP/1.1 {reply.Status} X\r\nContent-Type: "
                    + $"application/json\r\nContent-Length: {bytes.Length}\r\n{reply.Headers}Connection: "
                    + $"close\r\n\r\n"), closing.Token);
            await stream.WriteAsync(bytes.AsMemory(0, reply.CutAfter ?? bytes.Length), closing.Token);
            await Task.Delay(reply.HangsThen ? Reply.Forever : TimeSpan.Zero, closing.Token);
        }
        catch (Exception e) when (e is OperationCanceledException or IOException or SocketException)
        {
        }
    }
}
