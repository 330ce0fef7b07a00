using System.Threading.Channels;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;
using ReasonGen.Studies;

namespace ReasonGen.Host.Kernel;

/// <summary>
/// A C# kernel for Jupyter front ends (messaging protocol 5.3). Cells run one after another; everything else is answered at once, while a cell runs too.
/// </summary>
internal sealed class JupyterKernel : IDisposable
{
    internal const string ProtocolVersion = "5.3";
    private readonly KernelSockets sockets;
    private readonly CSharpSession session = new(Directory.GetCurrentDirectory());
    private readonly CodeAssistant assistant;
    private readonly KernelHistory history = new();
    private readonly Channel<JupyterMessage> cells = System.Threading.Channels.Channel.CreateUnbounded<JupyterMessage>();
    private readonly TaskCompletionSource ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Lock gate = new();
    private CancellationTokenSource? running;
    private JupyterMessage? atWork;
    private TaskCompletionSource<string>? question;
    private int executionCount;

    /// <exception cref="UsageException">A port cannot be listened on.</exception>
    internal JupyterKernel(KernelConnection connection)
    {
        assistant = new CodeAssistant(session);
        sockets = new KernelSockets(connection, Receive, why => Console.Error.WriteLine($"reasongen kernel: {why}"));
    }

    /// <summary>Serves until a front end or the token asks for an end.</summary>
    internal async Task RunAsync(CancellationToken cancel)
    {
        using var registration = cancel.Register(() => ended.TrySetResult());
        sockets.Publish("status", new JObject { ["execution_state"] = "starting" }, null);
        _ = Task.Run(RunCellsAsync, CancellationToken.None);
        await ended.Task;
        Interrupt();
    }

    /// <summary>Interrupts the cell that runs; does nothing when none does.</summary>
    internal void Interrupt()
    {
        lock (gate)
        {
            running?.CancelAsync();
        }
    }

    public void Dispose() => sockets.Dispose();

    private void Receive(KernelChannel channel, JupyterMessage message)
    {
        if (message.Type == "execute_request")
        {
            cells.Writer.TryWrite(message);
        }
        else if (message.Type == "input_reply")
        {
            question?.TrySetResult((string?)message.Content["value"] ?? "");
        }
        else
        {
            Task.Run(() => WhileBusyAsync(message, () => AnswerAsync(message, answer => Reply(channel, message, answer))));
        }
    }

    private async Task WhileBusyAsync(JupyterMessage message, Func<Task> work)
    {
        Tell("busy", message);
        try
        {
            await work();
        }
        catch (Exception e)
        {
            Console.Error.WriteLine($"reasongen kernel: {message.Type} failed: {e}"); // a request that cannot be answered must neither end the kernel nor keep its sender waiting
            if (message.Type != "execute_request")
            {
                Reply(KernelChannel.Shell, message, Error(e.GetType().Name, e.Message));
            }
        }

        Tell("idle", message);
        lock (gate)
        {
            if (message.Type != "execute_request" && atWork is { } cell)
            {
                Tell("busy", cell); // a front end shows the last word, and a cell still runs
            }
        }

        if (message.Type == "shutdown_request")
        {
            ended.TrySetResult();
        }
    }

    private void Tell(string state, JupyterMessage message) => sockets.Publish("status", new JObject { ["execution_state"] = state }, message.Header);

    private async Task AnswerAsync(JupyterMessage message, Action<JObject> reply)
    {
        var content = message.Content;
        var code = (string?)content["code"] ?? "";
        switch (message.Type)
        {
            case "kernel_info_request":
                reply(Information());
                break;
            case "complete_request":
                reply(await assistant.CompleteAsync(code, CodePosition.FromJupyter(code, (int?)content["cursor_pos"])));
                break;
            case "inspect_request":
                reply(await assistant.InspectAsync(code, CodePosition.FromJupyter(code, (int?)content["cursor_pos"])));
                break;
            case "is_complete_request":
                reply(CodeAssistant.IsComplete(code));
                break;
            case "history_request":
                reply(new JObject { ["history"] = history.Find(content) });
                break;
            case "comm_info_request":
                reply(new JObject { ["comms"] = new JObject() });
                break;
            case "comm_open": // no widgets here: the other side is told at once
                sockets.Publish("comm_close", new JObject { ["comm_id"] = content["comm_id"], ["data"] = new JObject() }, message.Header);
                break;
            case "interrupt_request":
                Interrupt();
                reply([]);
                break;
            case "shutdown_request":
                Interrupt();
                reply(new JObject { ["restart"] = content["restart"] ?? false });
                break;
            case "comm_msg" or "comm_close":
                break;
            default:
                reply(Error("NotSupported", $"this kernel knows no {message.Type}"));
                break;
        }
    }

    private void Reply(KernelChannel channel, JupyterMessage message, JObject answer)
    {
        answer["status"] ??= "ok";
        sockets.Reply(channel, message, message.Type.Replace("_request", "") + "_reply", answer);
    }

    private static JObject Error(string name, string value, IReadOnlyList<string>? traceback = null) =>
        new() { ["status"] = "error", ["ename"] = name, ["evalue"] = value, ["traceback"] = new JArray(traceback?.ToArray() ?? []) };

    private static JObject Information() => new()
    {
        ["protocol_version"] = ProtocolVersion,
        ["implementation"] = "reasongen",
        ["implementation_version"] = typeof(JupyterKernel).Assembly.GetName().Version!.ToString(3),
        ["language_info"] = new JObject
        {
            ["name"] = "C#", ["version"] = "14.0", ["mimetype"] = "text/x-csharp", ["file_extension"] = ".cs", ["pygments_lexer"] = "csharp", ["codemirror_mode"] = "text/x-csharp",
        },
        ["banner"] = $"ReasonGen.Notebooks {RunRecord.CurrentCommit[..Math.Min(10, RunRecord.CurrentCommit.Length)]}: C# on .NET {Environment.Version}",
        ["help_links"] = new JArray(new JObject { ["text"] = "C#", ["url"] = "https://learn.microsoft.com/dotnet/csharp/" }),
    };

    private async Task RunCellsAsync()
    {
        await session.RunAsync("1 + 1", new SilentOutput()); // the compiler's first cell takes a second: it is over before a person has typed one
        await foreach (var message in cells.Reader.ReadAllAsync())
        {
            await WhileBusyAsync(message, () => RunCellAsync(message));
        }
    }

    private async Task RunCellAsync(JupyterMessage message)
    {
        var (content, parent) = (message.Content, message.Header);
        var (code, silent) = ((string?)content["code"] ?? "", (bool?)content["silent"] ?? false);
        if (!silent)
        {
            executionCount += (bool?)content["store_history"] ?? true ? 1 : 0;
            sockets.Publish("execute_input", new JObject { ["code"] = code, ["execution_count"] = executionCount }, parent);
        }

        using var cancel = new CancellationTokenSource();
        lock (gate)
        {
            (running, atWork) = (cancel, message);
        }

        CellResult result;
        using (var output = new KernelOutput((type, shown) => sockets.Publish(type, shown, parent),
            (prompt, hidden) => Ask(message, prompt, hidden, (bool?)content["allow_stdin"] ?? true, cancel.Token), executionCount))
        {
            result = await session.RunAsync(code, silent ? new SilentOutput() : output, $"cell {executionCount}", cancel.Token);
        }

        lock (gate)
        {
            (running, atWork) = (null, null);
        }

        if (!silent && ((bool?)content["store_history"] ?? true))
        {
            history.Add(executionCount, code);
        }

        var reply = new JObject { ["status"] = "ok", ["execution_count"] = executionCount, ["user_expressions"] = new JObject(), ["payload"] = new JArray() };
        if (!result.Ok)
        {
            reply = Error(result.ErrorName!, result.ErrorValue, result.Traceback);
            if (!silent)
            {
                sockets.Publish("error", (JObject)reply.DeepClone(), parent);
            }

            reply["execution_count"] = executionCount;
        }

        sockets.Reply(KernelChannel.Shell, message, "execute_reply", reply);
        if (!result.Ok && ((bool?)content["stop_on_error"] ?? true))
        {
            await AbortWaitingAsync();
        }
    }

    // What was sent to be run after a cell that failed is not run.
    private async Task AbortWaitingAsync()
    {
        while (cells.Reader.TryRead(out var waiting))
        {
            await WhileBusyAsync(waiting, () =>
            {
                sockets.Reply(KernelChannel.Shell, waiting, "execute_reply", new JObject { ["status"] = "aborted", ["execution_count"] = executionCount });
                return Task.CompletedTask;
            });
        }
    }

    private string Ask(JupyterMessage cell, string prompt, bool hidden, bool allowed, CancellationToken cancel)
    {
        if (!allowed)
        {
            throw new InvalidOperationException("the cell asks for input, and this front end does not let it");
        }

        var asked = question = new TaskCompletionSource<string>(TaskCreationOptions.RunContinuationsAsynchronously);
        sockets.Reply(KernelChannel.Stdin, cell, "input_request", new JObject { ["prompt"] = prompt, ["password"] = hidden });
        return asked.Task.WaitAsync(cancel).GetAwaiter().GetResult();
    }

    /// <summary>For cells whose output nobody wants.</summary>
    private sealed class SilentOutput : ICellOutput
    {
        public void Stream(string name, string text)
        {
        }

        public void Display(JObject bundle, string displayId)
        {
        }

        public void Update(JObject bundle, string displayId)
        {
        }

        public void Result(JObject bundle)
        {
        }
    }
}
