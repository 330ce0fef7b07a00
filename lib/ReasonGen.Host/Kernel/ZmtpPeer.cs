using System.Buffers.Binary;
using System.Collections.Concurrent;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using System.Security.Cryptography;
using System.Text;

namespace ReasonGen.Host.Kernel;

/// <summary>
/// One connection of a ZeroMQ socket: ZMTP 3.0 with the mechanism NULL (rfc.zeromq.org/spec/23), which every ZeroMQ
/// library since 2013 speaks. It has a thread that reads and one that writes, so that whatever one connection does or
/// leaves undone is felt by none but itself.
/// </summary>
/// <remarks>
/// Own code since the libraries bound a frame and not a message, hand on what a stranger sends to code that may fail on
/// their only thread, and take a name from whoever claims it. Here each is bounded before memory is taken for it, and
/// ends its own connection.
/// </remarks>
internal sealed class ZmtpPeer : IDisposable
{
    private const int More = 1, Long = 2, Command = 4, LongestCommand = 2048, LongestIdentity = 255, MostFrames = 1024,
        Unbudgeted = 64 << 10;
    private static readonly TimeSpan HandshakeTime = TimeSpan.FromSeconds(10), MessageTime = TimeSpan.FromSeconds(60);
    private readonly Socket socket;
    private readonly string type;
    private readonly int longestMessage;
    private readonly ReceptionBudget budget;
    private readonly byte[] buffer = new byte[16 << 10];
    private readonly BlockingCollection<IReadOnlyList<byte[]>> waiting = [];
    private int from, to, started;
    private long deadline = long.MaxValue, waitingBytes, sentBytes;
    private readonly Lock writing = new();
    private volatile bool closed;

    /// <param name="socket">A connection that was accepted; this owns it.</param>
    /// <param name="type">Type of our socket: ROUTER, REP or PUB.</param>
    /// <param name="longestMessage">Bytes of a message, all frames together.</param>
    /// <param name="budget">Shared with other connections.</param>
    internal ZmtpPeer(Socket socket, string type, int longestMessage, ReceptionBudget budget)
    {
        (this.socket, this.type, this.longestMessage, this.budget) = (socket, type, longestMessage, budget);
        socket.NoDelay = true;
        // or one whose machine is gone stays for ever
        socket.SetSocketOption(SocketOptionLevel.Socket, SocketOptionName.KeepAlive, true);
    }

    /// <summary>Its name: the one it gave itself, or else one that nobody can guess or claim.</summary>
    internal byte[] Identity { get; private set; } = [0, .. RandomNumberGenerator.GetBytes(16)];

    /// <summary>Bytes that wait to be sent.</summary>
    internal long Waiting => Interlocked.Read(ref waitingBytes);

    /// <summary>Bytes that were sent so far.</summary>
    internal long Sent => Interlocked.Read(ref sentBytes);

    internal bool Closed => closed;

    /// <summary>Whether greetings were exchanged: nothing is sent before.</summary>
    internal bool Ready { get; private set; }

    /// <summary>Beginnings of the broadcasts that it asked for.</summary>
    internal IReadOnlyList<byte[]> Topics { get; set; } = [];

    /// <summary>Greets and is greeted.</summary>
    /// <exception cref="ZmtpException">The other side speaks something else, or has a socket that does not go with
    /// ours.</exception>
    /// <exception cref="SocketException">The connection broke.</exception>
    internal void Handshake(IReadOnlyList<string> partners)
    {
        deadline = After(HandshakeTime);
        byte[] greeting = [0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0x7F, 3, 0, .. "NULL"u8, .. new byte[48]];
        SendAll(greeting);
        var theirs = Read(11);
        if (theirs[0] != 0xFF || (theirs[9] & 1) == 0 || theirs[10] < 3)
        {
            throw new ZmtpException("it does not speak ZMTP 3");
        }

        if (!Read(53).AsSpan(1, 20).SequenceEqual(greeting.AsSpan(12, 20)))
        {
            throw new ZmtpException("it wants a security mechanism other than NULL");
        }

        byte[] ready = [5, .. "READY"u8, .. Property("Socket-Type", Encoding.ASCII.GetBytes(type)),
            .. Property("Identity", [])];
        SendAll([.. Head(Command, ready.Length), .. ready]);
        var properties = Properties(ReadReady());
        var partner = Encoding.ASCII.GetString(properties.GetValueOrDefault("socket-type", []));
        if (!partners.Contains(partner))
        {
            throw new ZmtpException("its socket is of a type that does not go with ours");
        }

        if (properties.GetValueOrDefault("identity") is { Length: > 0 } identity)
        {
            Identity = identity.Length <= LongestIdentity && identity[0] != 0 ? identity
                : throw new ZmtpException("its identity is not allowed");
        }

        Ready = true;
    }

    /// <summary>The next message; waits for it as long as the connection lasts.</summary>
    /// <exception cref="ZmtpException">It is no message, too long, of too many frames, or not sent to its end in
    /// time.</exception>
    /// <exception cref="SocketException">The connection broke, or was closed.</exception>
    internal IReadOnlyList<byte[]> Receive()
    {
        List<byte[]> frames = [];
        var (total, taken) = (0L, 0L);
        deadline = long.MaxValue;
        try
        {
            while (true)
            {
                var flags = Read(1)[0];
                deadline = frames.Count == 0 ? After(MessageTime) : deadline;
                if ((flags & Command) != 0)
                {
                    Obey(ReadCommand(flags));
                    deadline = frames.Count == 0 ? long.MaxValue : deadline;
                    continue;
                }

                var length = ReadLength(flags);
                if (length > (ulong)(longestMessage - total) || frames.Count == MostFrames)
                {
                    throw new ZmtpException(
                        $"its message is longer than {longestMessage} bytes or has more than {MostFrames} frames");
                }

                total += (long)length;
                if (total > Unbudgeted && !budget.TryTake(total - Unbudgeted - taken))
                {
                    throw new ZmtpException("too many long messages are under way at once");
                }

                taken = Math.Max(taken, total - Unbudgeted);
                frames.Add(Read((int)length));
                if ((flags & More) == 0)
                {
                    return frames;
                }
            }
        }
        finally
        {
            budget.GiveBack(taken);
        }
    }

    /// <summary>Sends a message when those before it are sent; does not wait.</summary>
    internal void Send(IReadOnlyList<byte[]> frames)
    {
        try
        {
            Interlocked.Add(ref waitingBytes, Size(frames));
            waiting.Add(frames);
        }
        catch (InvalidOperationException)
        {
            return; // it was closed
        }

        if (Interlocked.Exchange(ref started, 1) == 0)
        {
            new Thread(Write, 256 << 10) { IsBackground = true, Name = $"zmtp {type} out" }.Start();
        }
    }

    /// <summary>Sends a message and waits until it is on its way. Not to be mixed with <see cref="Send"/>.</summary>
    /// <exception cref="SocketException">The connection broke.</exception>
    internal void SendNow(IReadOnlyList<byte[]> frames) => Write(frames);

    public void Dispose()
    {
        closed = true;
        waiting.CompleteAdding();
        try
        {
            socket.Shutdown(SocketShutdown.Both); // wakes the threads that read and write
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            // it was gone already
        }

        socket.Dispose();
    }

    private void Write()
    {
        try
        {
            foreach (var frames in waiting.GetConsumingEnumerable())
            {
                Write(frames);
                Interlocked.Add(ref waitingBytes, -Size(frames));
            }
        }
        catch (Exception e) when (e is SocketException or ObjectDisposedException)
        {
            Dispose();
        }
    }

    private void Write(IReadOnlyList<byte[]> frames)
    {
        lock (writing) // a pong may be due between messages, not within one
        {
            List<byte> together = []; // small frames: a packet for each would cost more than they do
            foreach (var (i, frame) in frames.Index())
            {
                together.AddRange(Head(i < frames.Count - 1 ? More : 0, frame.Length));
                if (together.Count + frame.Length <= buffer.Length)
                {
                    together.AddRange(frame);
                    continue;
                }

                SendAll(CollectionsMarshal.AsSpan(together));
                SendAll(frame);
                together.Clear();
            }

            SendAll(CollectionsMarshal.AsSpan(together));
        }
    }

    private void SendAll(ReadOnlySpan<byte> bytes)
    {
        while (bytes.Length > 0)
        {
            // in pieces, so that one can see that it goes on
            var count = socket.Send(bytes[..Math.Min(bytes.Length, 1 << 20)]);
            Interlocked.Add(ref sentBytes, count);
            bytes = bytes[count..];
        }
    }

    private static byte[] Head(int flags, int length)
    {
        if (length <= byte.MaxValue)
        {
            return [(byte)flags, (byte)length];
        }

        var head = new byte[9];
        head[0] = (byte)(flags | Long);
        BinaryPrimitives.WriteInt64BigEndian(head.AsSpan(1), length);
        return head;
    }

    private static long Size(IReadOnlyList<byte[]> frames) => frames.Sum(frame => 9L + frame.Length);

    private static byte[] Property(string name, byte[] value)
    {
        var length = new byte[4];
        BinaryPrimitives.WriteInt32BigEndian(length, value.Length);
        return [(byte)name.Length, .. Encoding.ASCII.GetBytes(name), .. length, .. value];
    }

    // name in lower case, value
    private static Dictionary<string, byte[]> Properties(ReadOnlySpan<byte> body)
    {
        Dictionary<string, byte[]> properties = [];
        while (body.Length > 0)
        {
            var name = body[0];
            if (body.Length < name + 5
                || BinaryPrimitives.ReadUInt32BigEndian(body[(name + 1)..]) is var length
                    && length > body.Length - name - 5)
            {
                throw new ZmtpException("its READY is malformed");
            }

            properties[Encoding.ASCII.GetString(body[1..(name + 1)]).ToLowerInvariant()] =
                body.Slice(name + 5, (int)length).ToArray();
            body = body[(name + 5 + (int)length)..];
        }

        return properties;
    }

    private ReadOnlySpan<byte> ReadReady()
    {
        var flags = Read(1)[0];
        var body = (flags & Command) != 0 ? ReadCommand(flags) : throw new ZmtpException("it sends before it is ready");
        return body.AsSpan().StartsWith("\u0005READY"u8) ? body.AsSpan(6) : throw new ZmtpException("it is not ready");
    }

    // A ping is answered, what else may come is for nobody here.
    private void Obey(byte[] command)
    {
        if (command.AsSpan().StartsWith("\u0004PING"u8) && command.Length >= 7)
        {
            byte[] pong = [4, .. "PONG"u8, .. command.AsSpan(7, Math.Min(command.Length - 7, 16))];
            lock (writing)
            {
                SendAll([.. Head(Command, pong.Length), .. pong]);
            }
        }
        else if (command.AsSpan().StartsWith("\u0005ERROR"u8))
        {
            throw new ZmtpException("it reported an error");
        }
    }

    private byte[] ReadCommand(byte flags)
    {
        var length = ReadLength(flags);
        return (flags & More) == 0 && length <= LongestCommand ? Read((int)length)
            : throw new ZmtpException("its command is malformed or too long");
    }

    private ulong ReadLength(byte flags) =>
        (flags & ~(More | Long | Command)) != 0 ? throw new ZmtpException("it does not send frames")
        : (flags & Long) != 0 ? BinaryPrimitives.ReadUInt64BigEndian(Read(8)) : Read(1)[0];

    private byte[] Read(int count)
    {
        var bytes = new byte[count];
        for (var done = 0; done < count;)
        {
            if (from == to)
            {
                Await();
                if (count - done >= buffer.Length)
                {
                    done += Some(bytes.AsSpan(done));
                    continue;
                }

                (from, to) = (0, Some(buffer));
            }

            var part = Math.Min(count - done, to - from);
            buffer.AsSpan(from, part).CopyTo(bytes.AsSpan(done));
            (from, done) = (from + part, done + part);
        }

        return bytes;
    }

    private int Some(Span<byte> into) =>
        socket.Receive(into) is > 0 and var count ? count : throw new SocketException((int)SocketError.ConnectionReset);

    private void Await()
    {
        var left = deadline - Environment.TickCount64;
        if (deadline != long.MaxValue
            && (left <= 0 || !socket.Poll(TimeSpan.FromMilliseconds(left), SelectMode.SelectRead)))
        {
            throw new ZmtpException("what it began to send did not come to its end in time");
        }
    }

    private static long After(TimeSpan time) => Environment.TickCount64 + (long)time.TotalMilliseconds;
}
