using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>A message of the Jupyter protocol.</summary>
/// <param name="Identities">Who sent it, or is to get it; on the broadcast channel the topic.</param>
/// <param name="Header">Its own header.</param>
/// <param name="Parent">Header of the message that it answers.</param>
/// <param name="Content">What it says.</param>
internal sealed record JupyterMessage(IReadOnlyList<byte[]> Identities, JObject Header, JObject Parent, JObject Content)
{
    internal string Type => (string?)Header["msg_type"] ?? "";

    internal string Id => (string?)Header["msg_id"] ?? "";
}

/// <summary>
/// Signs and reads messages: identities, the delimiter, the HMAC-SHA256 of the four parts, then header, parent header, metadata and content in JSON
/// (Jupyter messaging 5.3, "The Wire Protocol"). What is not signed with the key, is signed twice, or is not of that form is not read at all.
/// </summary>
internal sealed class MessageCodec(string key)
{
    private const int LongestMessage = 64 << 20, DeepestJson = 64, RememberedSignatures = 1 << 16, MostFrames = 32;
    private static readonly byte[] Delimiter = "<IDS|MSG>"u8.ToArray();
    private readonly byte[] key = Encoding.UTF8.GetBytes(key);
    private readonly string session = Guid.NewGuid().ToString("N");
    private readonly HashSet<string> seen = [];
    private readonly Queue<string> seenInOrder = new();

    /// <summary>The longest frame that is taken.</summary>
    internal static int LongestFrame => LongestMessage;

    /// <summary>Frames of a new message.</summary>
    internal IReadOnlyList<byte[]> Encode(IReadOnlyList<byte[]> identities, string type, JObject content, JObject? parent, JObject? metadata = null)
    {
        var header = new JObject
        {
            ["msg_id"] = Guid.NewGuid().ToString("N"), ["session"] = session, ["username"] = "kernel", ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
            ["msg_type"] = type, ["version"] = JupyterKernel.ProtocolVersion,
        };
        byte[][] parts = [Bytes(header), Bytes(parent ?? []), Bytes(metadata ?? []), Bytes(content)];
        return [.. identities, Delimiter, Encoding.ASCII.GetBytes(Sign(parts)), .. parts];
    }

    /// <summary>A message from frames; null with the reason where it is refused.</summary>
    internal JupyterMessage? Decode(IReadOnlyList<byte[]> frames, out string refused)
    {
        refused = "";
        var at = frames.Take(MostFrames).TakeWhile(frame => !frame.AsSpan().SequenceEqual(Delimiter)).Count();
        if (frames.Count > MostFrames || frames.Count < at + 6 || frames.Sum(frame => (long)frame.Length) > LongestMessage)
        {
            refused = "it is malformed or too long";
            return null;
        }

        var parts = frames.Skip(at + 2).Take(4).ToArray();
        var signature = Sign(parts);
        if (!CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(signature), frames[at + 1]))
        {
            refused = "its signature is wrong";
            return null;
        }

        if (!seen.Add(signature))
        {
            refused = "it was sent before";
            return null;
        }

        seenInOrder.Enqueue(signature);
        if (seenInOrder.Count > RememberedSignatures)
        {
            seen.Remove(seenInOrder.Dequeue());
        }

        try
        {
            var read = parts.Select(Parse).ToArray();
            var message = new JupyterMessage([.. frames.Take(at)], read[0], read[1], read[3]);
            refused = message.Type.Length == 0 ? "it has no type" : "";
            return message.Type.Length == 0 ? null : message;
        }
        catch (Exception e) when (e is JsonException or ArgumentException or InvalidCastException)
        {
            refused = $"it is not JSON of the protocol: {e.Message}";
            return null;
        }
    }

    private string Sign(byte[][] parts)
    {
        using var hash = IncrementalHash.CreateHMAC(HashAlgorithmName.SHA256, key);
        foreach (var part in parts)
        {
            hash.AppendData(part);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static byte[] Bytes(JObject value) => Encoding.UTF8.GetBytes(value.ToString(Formatting.None));

    private static JObject Parse(byte[] json)
    {
        // dates stay text: a front end compares what comes back with what it sent
        using var reader = new JsonTextReader(new StreamReader(new MemoryStream(json), Encoding.UTF8)) { DateParseHandling = DateParseHandling.None, MaxDepth = DeepestJson };
        return JObject.Load(reader);
    }
}
