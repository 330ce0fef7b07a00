using System.Net;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;

namespace ReasonGen.Host.Kernel;

/// <summary>Where a Jupyter front end wants its kernel: five ports on this machine and the key that signs every
/// message.</summary>
public sealed record KernelConnection(IPAddress Address, int Shell, int Iopub, int Stdin, int Control, int Heartbeat,
    string Key)
{
    private const int LongestFile = 64 << 10;

    /// <summary>The content of a connection file.</summary>
    public JObject ToJson() => new()
    {
        ["transport"] = "tcp", ["ip"] = Address.ToString(), ["signature_scheme"] = "hmac-sha256", ["key"] = Key,
        ["shell_port"] = Shell, ["iopub_port"] = Iopub, ["stdin_port"] = Stdin, ["control_port"] = Control,
        ["hb_port"] = Heartbeat,
    };

    /// <summary>Reads a connection file.</summary>
    /// <exception cref="UsageException">It is missing, damaged, names another machine's address, or has no
    /// key.</exception>
    public static KernelConnection Read(string path)
    {
        UsageException Refuse(string why) =>
            new($"{path}: {why}. It is the connection file that a Jupyter front end writes for 'reasongen kernel'.");
        JObject file;
        try
        {
            var text = new FileInfo(path) is { Length: > LongestFile } ? throw Refuse("it is too long")
                : File.ReadAllText(path);
            file = JObject.Parse(text);
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException or JsonException or ArgumentException
                or NotSupportedException)
        {
            throw Refuse($"it cannot be read: {e.Message.TrimEnd('.')}");
        }

        string? Text(string name) => file[name] switch
        {
            null or JValue { Type: JTokenType.Null } => null,
            JValue { Type: JTokenType.String, Value: string text } => text,
            var other => throw Refuse($"its {name} is {Shown(other)}, not text"),
        };
        int Port(string name) =>
            file[name] is JValue { Type: JTokenType.Integer, Value: long port and > 0 and < 65536 } ? (int)port
            : throw Refuse($"its {name} is no port: {Shown(file[name])}");

        if (Text("transport") is not (null or "tcp") and var transport)
        {
            throw Refuse($"its transport is {transport}; this kernel speaks tcp");
        }

        var at = Text("ip") switch { null or "localhost" => "127.0.0.1", var given => given };
        if (!IPAddress.TryParse(at, out var address) || !IPAddress.IsLoopback(address))
        {
            throw Refuse(
                $"its address is {at}; this kernel runs what it is sent and therefore listens on the loopback address "
                + $"alone");
        }

        if (Text("key") is not { Length: > 0 } key || Text("signature_scheme") is not (null or "hmac-sha256"))
        {
            throw Refuse(
                "it lacks a key for the signature scheme hmac-sha256, without which anybody on this machine could run "
                + "code");
        }

        var connection = new KernelConnection(address, Port("shell_port"), Port("iopub_port"), Port("stdin_port"),
            Port("control_port"), Port("hb_port"), key);
        int[] ports = [connection.Shell, connection.Iopub, connection.Stdin, connection.Control, connection.Heartbeat];
        return ports.Distinct().Count() == ports.Length ? connection : throw Refuse("two of its ports are the same");
    }

    /// <summary>
    /// What is wrong with who may read the file, which holds the key to running code as this user; null where nobody
    /// else may. It is no reason to refuse: front ends in containers and on file systems without owners cannot do
    /// better.
    /// </summary>
    public static string? Exposure(string path)
    {
        const UnixFileMode Others =
            UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.OtherRead | UnixFileMode.OtherWrite;
        return OperatingSystem.IsWindows() || (File.GetUnixFileMode(path) & Others) == 0 ? null
            : $"{path} can be read or changed by other users of this machine, and whoever has its key can run code as "
                + $"you. Its front end should have made it for you alone; 'chmod 600 {SelfProcess.Quote(path)}' does.";
    }

    private static string Shown(JToken? value) =>
        value is null ? "missing"
            : value.ToString(Formatting.None) is { Length: <= 40 } text ? text
                : value.Type.ToString().ToLowerInvariant();
}
