using Newtonsoft.Json.Linq;
using ReasonGen.Studies;

namespace ReasonGen.Host.Commands;

/// <summary>What a command writes beside what it made, so that it can be made again.</summary>
internal static class Provenance
{
    /// <summary>Revision, command line, time of the start and library.</summary>
    internal static JObject Now() => new()
    {
        ["commit"] = RunRecord.CurrentCommit,
        ["command"] =
            "reasongen " + string.Join(' ', Environment.GetCommandLineArgs().Skip(1).Select(SelfProcess.Quote)),
        ["started"] = DateTime.UtcNow.ToString("u"),
        ["torchsharp"] = typeof(TorchSharp.torch).Assembly.GetName().Version!.ToString(),
    };
}
