using System.Buffers.Binary;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace ReasonGen.Tests.Host;

/// <summary>A connection to a ZeroMQ socket that sends what it is told to, be it right or wrong.</summary>
internal sealed class RawPeer : IDisposable
{
    private readonly Socket socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp)
    {
        SendTimeout = 20_000, ReceiveTimeout = 20_000,
    };

    internal RawPeer(int port) => socket.Connect(IPAddress.Loopback, port);

    internal static byte[] Greeting(string mechanism = "NULL", byte version = 3)
    {
        var name = Encoding.ASCII.GetBytes(mechanism);
        return [0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, version, 0, .. name, .. new byte[52 - name.Length]];
    }

    internal static byte[] Ready(string type, byte[]? identity = null) =>
        Frame([5, .. "READY"u8, .. Property("Socket-Type", Encoding.ASCII.GetBytes(type)),
            .. Property("Identity", identity ?? [])], 4);

    internal static byte[] Frame(byte[] body, int flags = 0) => [.. Head(body.Length, flags), .. body];

    internal static byte[] Head(long length, int flags = 0)
    {
        var head = new byte[9];
        head[0] = (byte)(flags | 2);
        BinaryPrimitives.WriteInt64BigEndian(head.AsSpan(1), length);
        return head;
    }

    internal static byte[] Multipart(byte[][] frames) =>
        [.. frames.SelectMany((frame, i) => Frame(frame, i < frames.Length - 1 ? 1 : 0))];

    /// <summary>Sends all of it, or as much as is taken before the other side ends the connection; gives how much that
    /// was.</summary>
    internal long Send(byte[] bytes)
    {
        var sent = 0;
        try
        {
            while (sent < bytes.Length)
            {
                sent += socket.Send(bytes.AsSpan(sent));
            }
        }
        catch (SocketException)
        {
            // it was ended
        }

        return sent;
    }

    /// <summary>Bytes that came and were not read.</summary>
    internal int Unread => socket.Available;

    /// <summary>Whether the other side ends the connection, whatever it says before.</summary>
    internal bool IsEnded()
    {
        var buffer = new byte[4096];
        try
        {
            while (socket.Receive(buffer) > 0)
            {
            }

            return true;
        }
        catch (SocketException e)
        {
            return e.SocketErrorCode != SocketError.TimedOut && e.SocketErrorCode != SocketError.WouldBlock;
        }
    }

    /// <summary>Whether it has been ended by now.</summary>
    internal bool HasEnded()
    {
        var buffer = new byte[4096];
        try
        {
            while (socket.Poll(0, SelectMode.SelectRead))
            {
                if (socket.Receive(buffer) == 0)
                {
                    return true;
                }
            }

            return false;
        }
        catch (SocketException)
        {
            return true;
        }
    }

    public void Dispose() => socket.Dispose();

    private static byte[] Property(string name, byte[] value)
    {
        var length = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, value.Length);
        return [(byte)name.Length, .. Encoding.ASCII.GetBytes(name), .. length, .. value];
    }
}
