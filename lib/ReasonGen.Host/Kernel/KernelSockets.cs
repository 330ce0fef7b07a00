using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using System.Text;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>The channels on which a front end and a kernel talk.</summary>
internal enum KernelChannel
{
    Shell,
    Control,
    Stdin,
}

/// <summary>The five ZeroMQ sockets of a kernel. Sending is for any thread and does not wait, but that a cell waits for
/// readers who are far behind.</summary>
internal sealed class KernelSockets : IDisposable
{
    private const int LongestPing = 64 << 10, LongestSubscription = 256, MostTopics = 64;
    private const long Unfinished = 2L * MessageCodec.LongestMessage, Crowded = 64 << 20; // bytes
    private static readonly TimeSpan Farewell = TimeSpan.FromSeconds(1), Patience = TimeSpan.FromSeconds(10);
    private readonly MessageCodec codec;
    private readonly ReceptionBudget budget = new(Unfinished);
    private readonly List<ZmtpSocket> sockets = [];
    private readonly Dictionary<KernelChannel, ZmtpSocket> routers = [];
    private readonly ZmtpSocket iopub;
    private readonly Action<KernelChannel, JupyterMessage> received;
    private readonly Action<string> tell;
    private readonly Lock telling = new();
    private readonly Stopwatch sinceTold = new();
    private int untold;

    /// <param name="connection">Addresses and key.</param>
    /// <param name="received">Gets every message that is in order, on the thread of its connection.</param>
    /// <param name="refused">Is told why a message was dropped or a connection ended, once a second at most.</param>
    /// <exception cref="UsageException">A port is taken.</exception>
    internal KernelSockets(KernelConnection connection, Action<KernelChannel, JupyterMessage> received,
        Action<string> refused)
    {
        (codec, this.received, tell) = (new MessageCodec(connection.Key), received, refused);
        try
        {
            foreach (var (channel, port) in new[] { (KernelChannel.Shell, connection.Shell),
                (KernelChannel.Control, connection.Control), (KernelChannel.Stdin, connection.Stdin) })
            {
                routers[channel] = Listen(connection.Address, port, channel.ToString(), "ROUTER",
                    ["DEALER", "REQ", "ROUTER"], MessageCodec.LongestMessage,
                    (peer, frames) => Receive(channel, peer, frames));
            }

            // what comes is sent back as it is; whoever does not take it waits alone
            Listen(connection.Address, connection.Heartbeat, "heartbeat", "REP", ["REQ", "DEALER"], LongestPing,
                (peer, frames) => peer.SendNow(frames));
            iopub = Listen(connection.Address, connection.Iopub, "iopub", "PUB", ["SUB", "XSUB"], LongestSubscription,
                Subscribe);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>
    /// Answers a request on the channel that it came by. The answer goes to all connections with the sender's name: one
    /// that claims it too learns what anybody may read on the broadcast channel, and takes nothing away.
    /// </summary>
    /// <param name="channel">The channel.</param>
    /// <param name="to">The request.</param>
    /// <param name="type">The answer's type.</param>
    /// <param name="content">What it says.</param>
    /// <param name="id">Its id, where it is itself to be answered; null for any.</param>
    /// <returns>Whether there was anybody to send it to.</returns>
    internal bool Reply(KernelChannel channel, JupyterMessage to, string type, JObject content, string? id = null)
    {
        var frames = codec.Encode([.. to.Identities.Skip(1)], type, content, to.Header, id);
        ZmtpPeer[] peers = [
            .. routers[channel].Peers.Where(peer =>
                peer.Ready && peer.Identity.AsSpan().SequenceEqual(to.Identities[0]))];
        Array.ForEach(peers, peer => peer.Send(frames));
        return peers.Length > 0;
    }

    /// <summary>Tells all front ends something that came of a request. A cell that tells more than they take is held up
    /// here.</summary>
    internal void Publish(string type, JObject content, JObject? parent)
    {
        var topic = Encoding.UTF8.GetBytes("kernel." + type);
        var frames = codec.Encode([topic], type, content, parent);
        foreach (var peer
        in iopub.Peers.Where(peer => peer.Ready && peer.Topics.Any(beginning => topic.AsSpan().StartsWith(beginning))))
        {
            AwaitReader(peer);
            peer.Send(frames);
        }
    }

    public void Dispose()
    {
        var waited = Stopwatch.StartNew();
        while (sockets.Any(socket => socket.Peers.Any(peer => peer.Waiting > 0)) && waited.Elapsed < Farewell)
        {
            Thread.Sleep(1);
        }

        sockets.ForEach(socket => socket.Dispose());
    }

    // A reader that takes nothing for a while is let go, lest it hold up the session or fill the memory.
    private void AwaitReader(ZmtpPeer peer)
    {
        var (sent, since) = (peer.Sent, Stopwatch.StartNew());
        while (peer.Waiting > Crowded && !peer.Closed)
        {
            Thread.Sleep(1);
            if (peer.Sent != sent)
            {
                (sent, since) = (peer.Sent, Stopwatch.StartNew());
            }
            else if (since.Elapsed > Patience)
            {
                Refuse($"a connection to the iopub channel was ended: it took nothing for {Patience.TotalSeconds} s");
                peer.Dispose();
            }
        }
    }

    private void Refuse(string why)
    {
        lock (telling)
        {
            if (sinceTold.IsRunning && sinceTold.Elapsed < TimeSpan.FromSeconds(1))
            {
                untold++;
                return;
            }

            tell(untold > 0 ? $"{why} ({untold} more since the last word)" : why);
            untold = 0;
            sinceTold.Restart();
        }
    }

    private ZmtpSocket Listen(
        IPAddress address, int port, string name, string type, string[] partners, int longestMessage,
        Action<ZmtpPeer, IReadOnlyList<byte[]>> take)
    {
        try
        {
            var socket = new ZmtpSocket(new IPEndPoint(address, port), type, partners, longestMessage, budget, take,
                why => Refuse($"a connection to the {name.ToLowerInvariant()} channel was ended: {why}"));
            sockets.Add(socket);
            return socket;
        }
        catch (SocketException e)
        {
            throw new UsageException(
                $"the port {port} of {address} cannot be listened on: {e.Message.TrimEnd('.')}. Start the kernel "
                + $"again from the front end.");
        }
    }

    // A subscription is a byte that says whether it begins or ends, and the beginning of what is asked for.
    private static void Subscribe(ZmtpPeer peer, IReadOnlyList<byte[]> frames)
    {
        if (frames is not [[var begins, .. var topic]] || begins > 1)
        {
            return;
        }

        var at = peer.Topics.Index().FirstOrDefault(known => known.Item.SequenceEqual(topic), (-1, [])).Index;
        peer.Topics = begins == 1
            ? peer.Topics.Count < MostTopics ? [.. peer.Topics, topic]
                : throw new ZmtpException($"it wants more than {MostTopics} topics")
            : [.. peer.Topics.Where((_, i) => i != at)];
    }

    private void Receive(KernelChannel channel, ZmtpPeer peer, IReadOnlyList<byte[]> frames)
    {
        if (codec.Decode(peer.Identity, frames, out var why) is { } message)
        {
            received(channel, message);
        }
        else
        {
            Refuse($"a message on the {channel.ToString().ToLowerInvariant()} channel was dropped: {why}");
        }
    }
}
