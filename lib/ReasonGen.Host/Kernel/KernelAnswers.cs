using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using ReasonGen.Studies;

namespace ReasonGen.Host.Kernel;

/// <summary>Answers to requests that run no cell.</summary>
/// <param name="assistant">Completes and explains code.</param>
/// <param name="history">The cells so far.</param>
/// <param name="ready">Set when cells and completion begin at once.</param>
/// <param name="publish">Tells all front ends something, which came of a request with the given header.</param>
internal sealed class KernelAnswers(CodeAssistant assistant, KernelHistory history, ManualResetEventSlim ready,
    Action<string, JObject, JObject> publish)
{
    private static readonly TimeSpan Warming = TimeSpan.FromSeconds(10);

    /// <summary>Answers a request; what asks for no answer gets none.</summary>
    /// <exception cref="MalformedRequestException">It lacks something.</exception>
    internal async Task GiveAsync(JupyterMessage message, Action<JObject> reply)
    {
        var content = message.Content;
        switch (message.Type)
        {
            case "kernel_info_request": // a front end takes the answer for the word that the kernel is ready
                ready.Wait(Warming);
                reply(Information());
                break;
            case "complete_request":
                reply(await assistant.CompleteAsync(content.Text("code"), Cursor(content)));
                break;
            case "inspect_request":
                reply(await assistant.InspectAsync(content.Text("code"), Cursor(content)));
                break;
            case "is_complete_request":
                reply(CodeAssistant.IsComplete(content.Text("code")));
                break;
            case "history_request":
                reply(new JObject { ["history"] = history.Find(content) });
                break;
            case "comm_info_request":
                reply(new JObject { ["comms"] = new JObject() });
                break;
            case "comm_open": // no widgets here: the other side is told at once
                publish("comm_close", new JObject { ["comm_id"] = content["comm_id"], ["data"] = new JObject() },
                    message.Header);
                break;
            case "interrupt_request":
                reply([]); // it was interrupted when this came
                break;
            case "shutdown_request":
                reply(new JObject { ["restart"] = content.Flag("restart", false) });
                break;
            case var type when type.EndsWith("_request"):
                reply(Error("NotSupported", $"this kernel knows no {type}"));
                break;
        }
    }

    /// <summary>An answer, or an entry of one, that says what could not be had.</summary>
    internal static JObject Error(string name, string value, IReadOnlyList<string>? traceback = null) =>
        new()
        {
            ["status"] = "error", ["ename"] = name, ["evalue"] = value,
            ["traceback"] = new JArray(traceback?.ToArray() ?? []),
        };

    private static int Cursor(JObject content) =>
        CodePosition.FromJupyter(content.Text("code"), content.Number("cursor_pos", int.MaxValue));

    private static JObject Information() => new()
    {
        ["protocol_version"] = JupyterKernel.ProtocolVersion,
        ["implementation"] = "reasongen",
        ["implementation_version"] = typeof(JupyterKernel).Assembly.GetName().Version!.ToString(3),
        ["language_info"] = new JObject
        {
            ["name"] = "C#", ["version"] = CSharpSession.LanguageVersionName, ["mimetype"] = "text/x-csharp",
            ["file_extension"] = ".cs",
            ["pygments_lexer"] = "csharp", ["codemirror_mode"] = "text/x-csharp",
        },
        ["banner"] = $"ReasonGen.Notebooks "
            + $"{RunRecord.CurrentCommit[..Math.Min(10, RunRecord.CurrentCommit.Length)]}: C# on .NET "
            + $"{Environment.Version}",
        ["help_links"] =
            new JArray(new JObject { ["text"] = "C#", ["url"] = "https://learn.microsoft.com/dotnet/csharp/" }),
    };
}
