using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using NetMQ;
using NetMQ.Sockets;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Kernel;

namespace ReasonGen.Tests.Host;

/// <summary>A client of a kernel that speaks the wire protocol by itself, well or badly.</summary>
internal sealed class KernelClient : IDisposable
{
    private const string Key = "a key for tests";
    // an answer takes much less where the machine is free
    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3), Moment = TimeSpan.FromSeconds(1);
    private readonly DealerSocket shell, control, stdin;
    private readonly SubscriberSocket iopub;

    /// <param name="connection">Of a kernel that listens, or will soon.</param>
    /// <param name="isGone">Whether the kernel has ended; null where it cannot.</param>
    /// <exception cref="TimeoutException">It has ended, or answers nothing.</exception>
    internal KernelClient(KernelConnection connection, Func<bool>? isGone = null)
    {
        Connection = connection;
        (shell, control, stdin, iopub) =
            (new DealerSocket(), new DealerSocket(), new DealerSocket(), new SubscriberSocket());
        // questions go to who sent the cell
        stdin.Options.Identity = shell.Options.Identity = Encoding.ASCII.GetBytes("client");
        foreach (var (socket, port) in new (NetMQSocket, int)[] { (shell, connection.Shell),
            (control, connection.Control), (stdin, connection.Stdin), (iopub, connection.Iopub) })
        {
            socket.Options.ReceiveHighWatermark = 0;
            socket.Connect($"tcp://{connection.Address}:{port}");
        }

        iopub.SubscribeToAnyTopic();
        try
        {
            Greet(isGone ?? (() => false));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    internal KernelConnection Connection { get; }

    /// <summary>Free ports of this machine, and a key.</summary>
    internal static KernelConnection NewConnection()
    {
        var listeners = Enumerable.Range(0, 5).Select(_ => new TcpListener(IPAddress.Loopback, 0)).ToArray();
        Array.ForEach(listeners, listener => listener.Start());
        int[] ports = [.. listeners.Select(listener => ((IPEndPoint)listener.LocalEndpoint).Port)];
        Array.ForEach(listeners, listener => listener.Stop());
        return new KernelConnection(IPAddress.Loopback, ports[0], ports[1], ports[2], ports[3], ports[4], Key);
    }

    /// <summary>Frames of a message, signed unless another signature is given.</summary>
    internal static byte[][] Frames(string type, string content, string? signature = null, string? id = null,
        string? parent = null) => Frames(type, Encoding.UTF8.GetBytes(content), signature, id, parent);

    /// <summary>The same with a content that need not be text.</summary>
    internal static byte[][] Frames(string type, byte[] content, string? signature = null, string? id = null,
        string? parent = null)
    {
        var answered = parent is null ? [] : new JObject { ["msg_id"] = parent };
        var header = new JObject
        {
            ["msg_id"] = id ?? Guid.NewGuid().ToString(), ["msg_type"] = type, ["session"] = "s", ["username"] = "u",
            ["date"] = "2026-01-01T00:00:00.000000Z", ["version"] = "5.3",
        };
        byte[][] parts = [Encoding.UTF8.GetBytes(header.ToString(Formatting.None)),
            Encoding.UTF8.GetBytes(answered.ToString(Formatting.None)), "{}"u8.ToArray(), content];
        signature ??= Convert.ToHexStringLower(HMACSHA256.HashData(Encoding.UTF8.GetBytes(Key),
            parts.SelectMany(part => part).ToArray()));
        return [Encoding.ASCII.GetBytes("<IDS|MSG>"), Encoding.ASCII.GetBytes(signature), .. parts];
    }

    /// <summary>Sends a request; gives its id.</summary>
    internal string Send(string type, JObject content, bool onControl = false)
    {
        var id = Guid.NewGuid().ToString();
        SendFrames(Frames(type, content.ToString(Formatting.None), id: id), onControl);
        return id;
    }

    internal void SendFrames(byte[][] frames, bool onControl = false) =>
        (onControl ? control : shell).SendMultipartBytes(frames);

    internal string Execute(string code, bool stopOnError = true, bool silent = false) => Send("execute_request",
        new JObject
        {
            ["code"] = code, ["silent"] = silent, ["store_history"] = !silent, ["allow_stdin"] = true,
            ["stop_on_error"] = stopOnError,
        });

    /// <summary>The answer to a request.</summary>
    internal JObject Answer(string id, bool onControl = false)
    {
        while (Receive(onControl ? control : shell, Patience) is var (_, parent, content))
        {
            if ((string?)parent["msg_id"] == id)
            {
                return content;
            }
        }

        throw new TimeoutException("no answer");
    }

    /// <summary>What was broadcast of a request until the kernel was idle again: type and content.</summary>
    internal List<(string Type, JObject Content)> Shown(string id)
    {
        var shown = new List<(string, JObject)>();
        while (Receive(iopub, Patience) is var (header, parent, content))
        {
            if ((string?)parent["msg_id"] != id)
            {
                continue;
            }

            shown.Add(((string)header["msg_type"]!, content));
            if ((string?)content["execution_state"] == "idle")
            {
                return shown;
            }
        }

        throw new TimeoutException("the kernel did not become idle");
    }

    /// <summary>Waits for something broadcast of a request.</summary>
    internal JObject WaitFor(string id, string type)
    {
        while (Receive(iopub, Patience) is var (header, parent, content))
        {
            if ((string?)parent["msg_id"] == id && (string?)header["msg_type"] == type)
            {
                return content;
            }
        }

        throw new TimeoutException($"no {type}");
    }

    /// <summary>Id of the question that came last.</summary>
    internal string QuestionId { get; private set; } = "";

    internal JObject Question()
    {
        var (header, _, content) = Receive(stdin, Patience) ?? throw new TimeoutException("no question");
        QuestionId = (string)header["msg_id"]!;
        return content;
    }

    /// <summary>Answers a question.</summary>
    /// <param name="text">The answer.</param>
    /// <param name="to">The question's id, as newer front ends name it; null for none.</param>
    internal void AnswerQuestion(JToken text, string? to = null) => stdin.SendMultipartBytes(
        Frames("input_reply", new JObject { ["value"] = text }.ToString(Formatting.None), parent: to));

    public void Dispose()
    {
        foreach (var socket in new NetMQSocket[] { shell, control, stdin, iopub })
        {
            socket.Dispose();
        }
    }

    // None is left open: the end of one that is answered during a cell is told together with the word that the cell
    // still runs. Answers keep the order of questions, so with that of the latest no other is to come.
    private void Greet(Func<bool> isGone)
    {
        var since = Stopwatch.StartNew();
        var (asked, again) = (TimeSpan.Zero, TimeSpan.FromSeconds(10));
        var (id, isAnswered) = (Send("kernel_info_request", []), false);
        while (!isAnswered || !IsIdle(id))
        {
            if (isGone() || since.Elapsed > Patience)
            {
                throw new TimeoutException("the kernel did not start, or its broadcasts are not heard");
            }

            // the question was lost, or answered before the broadcast channel was joined
            if (isAnswered || since.Elapsed - asked > again)
            {
                (asked, again) = (since.Elapsed, 2 * again);
                id = Send("kernel_info_request", []);
            }

            isAnswered = (string?)Receive(shell, Moment)?.Parent["msg_id"] == id;
        }

        Drain();
    }

    private bool IsIdle(string id)
    {
        while (Receive(iopub, Moment) is var (_, parent, content))
        {
            if ((string?)parent["msg_id"] == id && (string?)content["execution_state"] == "idle")
            {
                return true;
            }
        }

        return false;
    }

    private void Drain()
    {
        while (Receive(shell, TimeSpan.FromMilliseconds(100)) is not null
            || Receive(iopub, TimeSpan.FromMilliseconds(100)) is not null)
        {
        }
    }

    private static (JObject Header, JObject Parent, JObject Content)? Receive(NetMQSocket socket, TimeSpan patience)
    {
        var frames = new List<byte[]>();
        if (!socket.TryReceiveMultipartBytes(patience, ref frames!))
        {
            return null;
        }

        var at = frames.FindIndex(frame => Encoding.ASCII.GetString(frame) == "<IDS|MSG>");
        JObject Part(int i) => JObject.Parse(Encoding.UTF8.GetString(frames[at + i]));
        return (Part(2), Part(3), Part(5));
    }
}
