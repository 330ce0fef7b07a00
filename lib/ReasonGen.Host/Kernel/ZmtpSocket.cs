using System.Net;
using System.Net.Sockets;

namespace ReasonGen.Host.Kernel;

/// <summary>A ZeroMQ socket that is connected to, and those connected to it. What they send is handed on by the thread
/// of each.</summary>
internal class ZmtpSocket : IDisposable
{
    private const int MostPeers = 64;
    private readonly Socket listener;
    private readonly string type;
    private readonly string[] partners;
    private readonly int longestMessage;
    private readonly ReceptionBudget budget;
    private readonly Action<ZmtpPeer, IReadOnlyList<byte[]>> received;
    private readonly Action<string> refused;
    private readonly Lock gate = new();
    private ZmtpPeer[] peers = []; // replaced, never changed: whoever looks needs no lock

    /// <param name="at">Address and port.</param>
    /// <param name="type">ROUTER, REP or PUB.</param>
    /// <param name="partners">Types of sockets that may connect.</param>
    /// <param name="longestMessage">Bytes of a message that is taken.</param>
    /// <param name="budget">Of messages that are not whole yet.</param>
    /// <param name="received">Gets every message.</param>
    /// <param name="refused">Is told why a connection was ended.</param>
    /// <exception cref="SocketException">The port cannot be listened on.</exception>
    internal ZmtpSocket(
        IPEndPoint at, string type, string[] partners, int longestMessage, ReceptionBudget budget,
        Action<ZmtpPeer, IReadOnlyList<byte[]>> received, Action<string> refused)
    {
        (this.type, this.partners, this.longestMessage, this.budget, this.received, this.refused) =
            (type, partners, longestMessage, budget, received, refused);
        listener = new Socket(at.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        try
        {
            listener.Bind(at);
            listener.Listen();
        }
        catch
        {
            listener.Dispose();
            throw;
        }

        new Thread(Accept, 256 << 10) { IsBackground = true, Name = $"zmtp {type}" }.Start();
    }

    /// <summary>Those connected now.</summary>
    internal IReadOnlyList<ZmtpPeer> Peers => Volatile.Read(ref peers);

    public void Dispose()
    {
        listener.Dispose();
        foreach (var peer in Peers)
        {
            peer.Dispose();
        }
    }

    private void Accept()
    {
        while (true)
        {
            try
            {
                var peer = new ZmtpPeer(listener.Accept(), type, longestMessage, budget);
                if (Peers.Count >= MostPeers)
                {
                    peer.Dispose();
                    refused($"there are {MostPeers} connections already");
                    continue;
                }

                Change(all => [.. all, peer]);
                new Thread(() => Serve(peer), 512 << 10) { IsBackground = true, Name = $"zmtp {type} in" }.Start();
            }
            catch (ObjectDisposedException)
            {
                return;
            }
            catch (SocketException e)
            {
                if (e.SocketErrorCode is SocketError.OperationAborted or SocketError.Interrupted
                    or SocketError.InvalidArgument or SocketError.NotSocket)
                {
                    return; // closed
                }

                Thread.Sleep(100); // out of files, say: those that are connected go on
            }
        }
    }

    private void Serve(ZmtpPeer peer)
    {
        try
        {
            peer.Handshake(partners);
            while (true)
            {
                received(peer, peer.Receive());
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // it went away
        }
        catch (Exception e) // whatever came: it ends this connection and nothing else
        {
            refused(e is ZmtpException ? e.Message : e.ToString());
        }

        Change(all => [.. all.Where(other => other != peer)]);
        peer.Dispose();
    }

    private void Change(Func<ZmtpPeer[], ZmtpPeer[]> change)
    {
        lock (gate)
        {
            peers = change(peers);
        }
    }
}
