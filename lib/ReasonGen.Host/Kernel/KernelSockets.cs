using NetMQ;
using NetMQ.Sockets;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>The channels on which a front end and a kernel talk.</summary>
internal enum KernelChannel
{
    Shell,
    Control,
    Stdin,
}

/// <summary>The five ZeroMQ sockets of a kernel, all served by one thread; sending is for any thread and does not wait.</summary>
internal sealed class KernelSockets : IDisposable
{
    private const int CrowdedQueue = 500; // messages; a cell that prints faster than they are sent is held up here
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(1);
    private readonly MessageCodec codec;
    private readonly NetMQPoller poller = [];
    private readonly PublisherSocket iopub = new();
    private readonly ResponseSocket heartbeat = new();
    private readonly Dictionary<KernelChannel, RouterSocket> routers = [];
    private readonly NetMQQueue<(NetMQSocket Socket, IReadOnlyList<byte[]> Frames)> outgoing = new();
    private readonly Action<KernelChannel, JupyterMessage> received;
    private readonly Action<string> refused;

    /// <param name="connection">Addresses and key.</param>
    /// <param name="received">Gets every message that is in order, on the sockets' thread: it must not wait.</param>
    /// <param name="refused">Is told why a message was dropped.</param>
    /// <exception cref="UsageException">A port is taken.</exception>
    internal KernelSockets(KernelConnection connection, Action<KernelChannel, JupyterMessage> received, Action<string> refused)
    {
        (codec, this.received, this.refused) = (new MessageCodec(connection.Key), received, refused);
        foreach (var (channel, port) in new[] { (KernelChannel.Shell, connection.Shell), (KernelChannel.Control, connection.Control), (KernelChannel.Stdin, connection.Stdin) })
        {
            var router = routers[channel] = new RouterSocket();
            router.Options.RouterHandover = true; // a front end that reconnects keeps its name
            router.ReceiveReady += (_, ready) => Receive(channel, ready.Socket);
            Bind(router, connection, port);
        }

        heartbeat.ReceiveReady += (_, ready) => ready.Socket.SendMultipartMessage(ready.Socket.ReceiveMultipartMessage());
        Bind(heartbeat, connection, connection.Heartbeat);
        Bind(iopub, connection, connection.Iopub);
        outgoing.ReceiveReady += (_, ready) =>
        {
            while (ready.Queue.TryDequeue(out var message, TimeSpan.Zero))
            {
                message.Socket.TrySendMultipartBytes(Farewell, message.Frames);
            }
        };
        poller.Add(outgoing);
        poller.RunAsync("kernel sockets");
    }

    /// <summary>Answers a request on the channel that it came by.</summary>
    internal void Reply(KernelChannel channel, JupyterMessage to, string type, JObject content) => Send(routers[channel], to.Identities, type, content, to.Header);

    /// <summary>Tells all front ends something that came of a request.</summary>
    internal void Publish(string type, JObject content, JObject? parent)
    {
        while (outgoing.Count > CrowdedQueue)
        {
            Thread.Sleep(1);
        }

        Send(iopub, [System.Text.Encoding.UTF8.GetBytes("kernel." + type)], type, content, parent);
    }

    public void Dispose()
    {
        var waited = System.Diagnostics.Stopwatch.StartNew();
        while (!outgoing.IsEmpty && waited.Elapsed < Farewell)
        {
            Thread.Sleep(1);
        }

        poller.Dispose();
        NetMQSocket[] sockets = [.. routers.Values, iopub, heartbeat];
        foreach (var socket in sockets)
        {
            socket.Options.Linger = Farewell;
            socket.Dispose();
        }

        outgoing.Dispose();
        NetMQConfig.Cleanup(block: true);
    }

    private void Bind(NetMQSocket socket, KernelConnection connection, int port)
    {
        socket.Options.SendHighWatermark = 0; // nothing that was said is dropped
        socket.Options.MaxMsgSize = MessageCodec.LongestFrame;
        try
        {
            socket.Bind($"tcp://{connection.Address}:{port}");
        }
        catch (NetMQException e)
        {
            throw new UsageException($"the port {port} of {connection.Address} cannot be listened on: {e.Message.TrimEnd('.')}. Start the kernel again from the front end.");
        }

        if (socket != iopub)
        {
            poller.Add(socket);
        }
    }

    private void Receive(KernelChannel channel, NetMQSocket socket)
    {
        var frames = new List<byte[]>();
        if (!socket.TryReceiveMultipartBytes(TimeSpan.Zero, ref frames!))
        {
            return;
        }

        if (codec.Decode(frames, out var why) is { } message)
        {
            received(channel, message);
        }
        else
        {
            refused($"a message on the {channel.ToString().ToLowerInvariant()} channel was dropped: {why}");
        }
    }

    private void Send(NetMQSocket socket, IReadOnlyList<byte[]> identities, string type, JObject content, JObject? parent) =>
        outgoing.Enqueue((socket, codec.Encode(identities, type, content, parent)));
}
