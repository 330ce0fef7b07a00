using System.Net;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>Where a Jupyter front end wants its kernel: five ports on this machine and the key that signs every message.</summary>
public sealed record KernelConnection(IPAddress Address, int Shell, int Iopub, int Stdin, int Control, int Heartbeat, string Key)
{
    /// <summary>The content of a connection file.</summary>
    public JObject ToJson() => new()
    {
        ["transport"] = "tcp", ["ip"] = Address.ToString(), ["signature_scheme"] = "hmac-sha256", ["key"] = Key,
        ["shell_port"] = Shell, ["iopub_port"] = Iopub, ["stdin_port"] = Stdin, ["control_port"] = Control, ["hb_port"] = Heartbeat,
    };

    /// <summary>Reads a connection file.</summary>
    /// <exception cref="UsageException">It is missing, damaged, names another machine's address, or has no key.</exception>
    public static KernelConnection Read(string path)
    {
        UsageException Refuse(string why) => new($"{path}: {why}. It is the connection file that a Jupyter front end writes for 'reasongen kernel'.");
        JObject file;
        try
        {
            file = JObject.Parse(File.ReadAllText(path));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or JsonException)
        {
            throw Refuse($"it cannot be read: {e.Message.TrimEnd('.')}");
        }

        if ((string?)file["transport"] is not (null or "tcp"))
        {
            throw Refuse($"its transport is {file["transport"]}; this kernel speaks tcp");
        }

        if (!IPAddress.TryParse((string?)file["ip"] ?? "127.0.0.1", out var address) || !IPAddress.IsLoopback(address))
        {
            throw Refuse($"its address is {file["ip"]}; this kernel runs what it is sent and therefore listens on the loopback address alone");
        }

        if ((string?)file["key"] is not { Length: > 0 } key || (string?)file["signature_scheme"] is not (null or "hmac-sha256"))
        {
            throw Refuse("it lacks a key for the signature scheme hmac-sha256, without which anybody on this machine could run code");
        }

        int Port(string name) => file[name] is JValue { Type: JTokenType.Integer } port && (long)port is > 0 and < 65536 ? (int)port : throw Refuse($"its {name} is no port");
        return new KernelConnection(address, Port("shell_port"), Port("iopub_port"), Port("stdin_port"), Port("control_port"), Port("hb_port"), key);
    }
}
