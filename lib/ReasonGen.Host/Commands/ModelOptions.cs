using System.CommandLine;
using System.Security.Cryptography;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.JanusPro;
using ReasonGen.Setups;
using ReasonGen.Studies;
using TorchSharp;

namespace ReasonGen.Host.Commands;

/// <summary>What every command says that opens a Janus: which, and how it computes.</summary>
internal sealed class ModelOptions
{
    private readonly Option<string> model;

    private readonly Option<string> type = new("--dtype")
    {
        Description = "auto: bf16 on a GPU, fp32 without one.", DefaultValueFactory = _ => "auto",
    };

    private readonly Option<string?> device = DeviceOption.Create();

    /// <param name="required">Whether the model must be given for the command to run at all.</param>
    /// <param name="chats">Whether it is to answer questions, which the miniature cannot.</param>
    internal ModelOptions(bool required = true, bool chats = false)
    {
        model = new("--model", "-m")
        {
            Required = required,
            Description = "Folder with config.json, weights and tokenizer.json: Janus-Pro or ReasonGen-R1, in the "
                + "original layout or that of transformers; an adapter of PEFT, or the model folder of a training "
                + $"run; {(chats ? "" : "mini, the shipped miniature; ")}or tiny, a built-in model of random weights "
                + "that shows how everything runs.",
        };
        type.AcceptOnlyFromAmong("auto", "fp32", "bf16");
    }

    internal void AddTo(Command command)
    {
        command.Options.Add(model);
        command.Options.Add(device);
        command.Options.Add(type);
    }

    /// <summary>The folder, as given.</summary>
    internal string Folder(ParseResult parsed) => parsed.GetValue(model)!;

    /// <summary>Device and type; to be asked before any work.</summary>
    internal ComputeTarget Target(ParseResult parsed)
    {
        var (target, wanted) = (DeviceOption.Use(parsed), parsed.GetValue(type)!);
        var given = parsed.GetValue(device)?.Split(',') is [_, var one] ? one.Trim().ToLowerInvariant() : wanted;
        return wanted == "auto" ? target : given != wanted
            ? throw new UsageException($"--device says {given} and --dtype {wanted}; say it once")
            : target with { DType = wanted == "bf16" ? torch.ScalarType.BFloat16 : torch.ScalarType.Float32 };
    }

    /// <summary>
    /// Tells models apart whose folders are named alike: of each file of weights, tokenizer and configuration its name,
    /// its length and samples spread over its bytes. Any training step changes them.
    /// </summary>
    internal string Fingerprint(ParseResult parsed) => Folder(parsed) switch
    {
        "tiny" when !Directory.Exists("tiny") => "tiny",
        "mini" when !Directory.Exists("mini") => Fingerprint(Shipped(Study.Arms[0])),
        var folder => Fingerprint(folder),
    };

    /// <summary>File of a checkpoint that ships.</summary>
    internal static string Shipped(string stage) =>
        Path.Combine(Study.DataFolder(), "checkpoints", stage + ".safetensors");

    /// <summary>The same, of any folder or file of weights.</summary>
    internal static string Fingerprint(string folder)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        try
        {
            string[] files = File.Exists(folder) ? [folder] : !Directory.Exists(folder) ? []
                : [.. Directory.GetFiles(folder).Order(StringComparer.Ordinal).Where(file =>
                    Path.GetExtension(file) is ".safetensors" or ".bin" or ".pt" or ".pth" or ".json")];
            foreach (var file in files)
            {
                using var bytes = FileKinds.OpenRead(file);
                hash.AppendData(System.Text.Encoding.UTF8.GetBytes($"{Path.GetFileName(file)}\0{bytes.Length}\0"));
                FileSamples.Append(hash, bytes.SafeFileHandle, bytes.Length);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(folder, $"the model cannot be read: {e.Message.TrimEnd('.')}",
                "check the folder and its links", e);
        }

        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    /// <summary>Looks whether what was given may answer questions.</summary>
    /// <exception cref="UsageException">It is a miniature.</exception>
    internal void ExpectChat(ParseResult parsed)
    {
        var folder = Folder(parsed);
        if ((folder == "mini" && !Directory.Exists("mini")) || MiniFolder.IsIn(folder))
        {
            throw new UsageException($"{folder} cannot chat: a miniature knows only the words of its drawn world; give "
                + "the folder of a Janus-Pro or ReasonGen-R1, or tiny to see how it runs");
        }
    }

    /// <summary>Opens what was given; "mini" stands for the paper's method.</summary>
    internal JanusPipeline Open(ParseResult parsed) => Folder(parsed) switch
    {
        "tiny" when !Directory.Exists("tiny") => TinyJanus.Open(Target(parsed)),
        "mini" when !Directory.Exists("mini") => MiniFolder.Shipped(Study.Arms[0], Target(parsed)),
        var folder when MiniFolder.IsIn(folder) => MiniFolder.Open(folder, Target(parsed)),
        var folder => JanusPipeline.Open(folder, Target(parsed)),
    };
}
