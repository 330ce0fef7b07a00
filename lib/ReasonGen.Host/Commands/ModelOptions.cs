using System.CommandLine;
using ReasonGen.Core;
using ReasonGen.Rollouts;
using ReasonGen.Studies;
using TorchSharp;

namespace ReasonGen.Host.Commands;

/// <summary>What every command says that opens a Janus: which, and how it computes.</summary>
internal sealed class ModelOptions
{
    private readonly Option<string> model = new("--model", "-m")
    {
        Description = "Folder with config.json, weights and tokenizer.json: Janus-Pro or ReasonGen-R1, in the original layout or that of "
            + "transformers; or tiny, a built-in model of random weights that shows how everything runs.", Required = true,
    };

    private readonly Option<string> type = new("--dtype")
    {
        Description = "auto: bf16 on a GPU, fp32 without one.", DefaultValueFactory = _ => "auto",
    };

    internal ModelOptions() => type.AcceptOnlyFromAmong("auto", "fp32", "bf16");

    internal void AddTo(Command command)
    {
        command.Options.Add(model);
        command.Options.Add(type);
    }

    /// <summary>The folder, as given.</summary>
    internal string Folder(ParseResult parsed) => parsed.GetValue(model)!;

    internal ComputeTarget Target(ParseResult parsed) => parsed.GetValue(type) switch
    {
        "fp32" => ComputeTarget.Default with { DType = torch.ScalarType.Float32 },
        "bf16" => ComputeTarget.Default with { DType = torch.ScalarType.BFloat16 },
        _ => ComputeTarget.Default,
    };

    internal JanusPipeline Open(ParseResult parsed) => Folder(parsed) == "tiny" && !Directory.Exists("tiny") ? TinyJanus.Open(Target(parsed))
        : JanusPipeline.Open(Folder(parsed), Target(parsed));
}
