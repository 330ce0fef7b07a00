using System.Security.Cryptography;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>A request lacks something, or has something else in its place.</summary>
internal sealed class MalformedRequestException(string message) : Exception(message);

/// <summary>A message of the Jupyter protocol.</summary>
/// <param name="Identities">Who sent it, or is to get it; on the broadcast channel the topic.</param>
/// <param name="Header">Its own header.</param>
/// <param name="Parent">Header of the message that it answers.</param>
/// <param name="Content">What it says.</param>
/// <param name="Damage">What is wrong with what it says, where that could not be read.</param>
internal sealed record JupyterMessage(IReadOnlyList<byte[]> Identities, JObject Header, JObject Parent, JObject Content,
    string? Damage = null)
{
    internal string Type => (string?)Header["msg_type"] ?? "";

    internal string Id => (string?)Header["msg_id"] ?? "";
}

/// <summary>Members of a request, each of the type that the protocol gives it. One that is missing or null is what the
/// protocol takes it for.</summary>
internal static class RequestMembers
{
    /// <exception cref="MalformedRequestException">It is no text.</exception>
    internal static string Text(this JObject content, string name, string otherwise = "") =>
        Of(content, name, JTokenType.String, "text") is { } value ? (string)value! : otherwise;

    /// <exception cref="MalformedRequestException">It is neither true nor false.</exception>
    internal static bool Flag(this JObject content, string name, bool otherwise) =>
        Of(content, name, JTokenType.Boolean, "true or false") is { } value ? (bool)value : otherwise;

    /// <summary>A whole number, at most the largest that fits.</summary>
    /// <exception cref="MalformedRequestException">It is no whole number.</exception>
    internal static int Number(this JObject content, string name, int otherwise) =>
        Of(content, name, JTokenType.Integer, "a whole number") is { } value
            ? value.Value is long number ? (int)Math.Clamp(number, int.MinValue, int.MaxValue) : int.MaxValue
            : otherwise;

    /// <summary>Names of an object's members.</summary>
    /// <exception cref="MalformedRequestException">It is no object.</exception>
    internal static IReadOnlyList<string> Names(this JObject content, string name) => content[name] switch
    {
        null or { Type: JTokenType.Null } => [],
        JObject members => [.. members.Properties().Select(member => member.Name)],
        _ => throw new MalformedRequestException($"its {name} must be an object"),
    };

    private static JValue? Of(JObject content, string name, JTokenType type, string what) =>
        content[name] is not { Type: not JTokenType.Null } token ? null
        : token.Type == type ? (JValue)token : throw new MalformedRequestException($"its {name} must be {what}");
}

/// <summary>
/// Signs and reads messages: identities, the delimiter, the HMAC-SHA256 of the four parts, then header, parent header,
/// metadata and content in JSON
/// (Jupyter messaging 5.3, "The Wire Protocol"). What is not signed with the key, is signed twice, or is not of that
/// form is not read at all.
/// </summary>
internal sealed class MessageCodec(string key)
{
    /// <summary>Bytes of a message that is taken, all frames together.</summary>
    internal const int LongestMessage = 64 << 20;

    private const int DeepestJson = 64, RememberedSignatures = 1 << 16, MostFrames = 32;
    private static readonly UTF8Encoding Utf8 = new(false, throwOnInvalidBytes: true);
    private static readonly byte[] Delimiter = "<IDS|MSG>"u8.ToArray();
    private readonly byte[] key = Encoding.UTF8.GetBytes(key);
    private readonly string session = Guid.NewGuid().ToString("N");
    private readonly HashSet<string> seen = []; // and the lock of both
    private readonly Queue<string> seenInOrder = new();

    /// <summary>Frames of a new message.</summary>
    internal IReadOnlyList<byte[]> Encode(IReadOnlyList<byte[]> identities, string type, JObject content,
        JObject? parent, string? id = null)
    {
        var header = new JObject
        {
            ["msg_id"] = id ?? Guid.NewGuid().ToString("N"), ["session"] = session, ["username"] = "kernel",
            ["date"] = DateTime.UtcNow.ToString("yyyy-MM-dd'T'HH:mm:ss.ffffff'Z'"),
            ["msg_type"] = type, ["version"] = JupyterKernel.ProtocolVersion,
        };
        byte[][] parts = [Bytes(header), Bytes(parent ?? []), Bytes([]), Bytes(content)];
        return [.. identities, Delimiter, Encoding.ASCII.GetBytes(Sign(parts)), .. parts];
    }

    /// <summary>A message from frames; null with the reason where it is refused. One that is signed and says who wants
    /// what is a message, even where the rest is damaged.</summary>
    internal JupyterMessage? Decode(byte[] sender, IReadOnlyList<byte[]> frames, out string refused)
    {
        refused = "";
        var at = frames.Take(MostFrames).TakeWhile(frame => !frame.AsSpan().SequenceEqual(Delimiter)).Count();
        if (frames.Count > MostFrames || frames.Count < at + 6)
        {
            refused = "it is malformed";
            return null;
        }

        var parts = frames.Skip(at + 2).Take(4).ToArray();
        var signature = Sign(parts);
        if (!CryptographicOperations.FixedTimeEquals(Encoding.ASCII.GetBytes(signature), frames[at + 1]))
        {
            refused = "its signature is wrong";
            return null;
        }

        if (!IsNew(signature))
        {
            refused = "it was sent before";
            return null;
        }

        JObject header;
        try
        {
            header = Parse(parts[0]);
            if (header["msg_type"] is not JValue { Type: JTokenType.String, Value: string { Length: > 0 } })
            {
                refused = "it has no type";
                return null;
            }
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            refused = $"its header is not JSON of the protocol: {e.Message}";
            return null;
        }

        IReadOnlyList<byte[]> identities = [sender, .. frames.Take(at)];
        try
        {
            return new JupyterMessage(identities, header, Parse(parts[1]), Parse(parts[3]));
        }
        catch (Exception e) when (e is JsonException or ArgumentException)
        {
            return new JupyterMessage(identities, header, [], [], $"it is not JSON of the protocol: {e.Message}");
        }
    }

    private bool IsNew(string signature)
    {
        lock (seen)
        {
            if (!seen.Add(signature))
            {
                return false;
            }

            seenInOrder.Enqueue(signature);
            if (seenInOrder.Count > RememberedSignatures)
            {
                seen.Remove(seenInOrder.Dequeue());
            }

            return true;
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
        using var reader = new JsonTextReader(new StreamReader(new MemoryStream(json), Utf8))
        {
            DateParseHandling = DateParseHandling.None, MaxDepth = DeepestJson,
        };
        return JObject.Load(reader);
    }
}
