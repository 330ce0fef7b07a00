using System.Collections.Concurrent;
using Newtonsoft.Json.Linq;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host.Kernel;

/// <summary>
/// A C# kernel for Jupyter front ends (messaging protocol 5.3). Cells run one after another; everything else is
/// answered at once, while a cell runs too.
/// </summary>
internal sealed class JupyterKernel : IDisposable
{
    internal const string ProtocolVersion = "5.3";
    // bytes, of which only those used take memory: cells are compiled on these threads
    private const int CompilerStack = 64 << 20;
    private readonly KernelSockets sockets;
    private readonly CSharpSession session = new(Directory.GetCurrentDirectory());
    private readonly CodeAssistant assistant;
    private readonly KernelAnswers answers;
    private readonly KernelHistory history = new();
    private readonly CellQuestions questions = new();
    private readonly BlockingCollection<(KernelChannel Channel, JupyterMessage Message)> cells = [];
    private readonly ManualResetEventSlim ended = new();
    // both the compiler and completion take a second the first time, which nobody is to wait for in front of a cell
    private readonly ManualResetEventSlim warm = new();
    private readonly Lock gate = new();
    private CancellationTokenSource? running;
    private (KernelChannel Channel, JupyterMessage Message)? atWork;
    private KernelOutput? showing; // of the cell that runs
    private int executionCount;

    /// <exception cref="UsageException">A port cannot be listened on.</exception>
    internal JupyterKernel(KernelConnection connection)
    {
        assistant = new CodeAssistant(session);
        answers = new KernelAnswers(assistant, history, warm,
            (type, content, parent) => sockets!.Publish(type, content, parent));
        sockets = new KernelSockets(connection, Receive, Log);
        AppDomain.CurrentDomain.ProcessExit += TellOfExit;
    }

    /// <summary>Serves until a front end, the token or <see cref="End"/> asks for an end, and waits for it on the
    /// caller's thread.</summary>
    internal void Run(CancellationToken cancel)
    {
        using var registration = cancel.Register(End);
        sockets.Publish("status", new JObject { ["execution_state"] = "starting" }, null);
        OnThread(RunCells);
        OnThread(() =>
        {
            assistant.CompleteAsync("Console.Wri", 11).GetAwaiter().GetResult();
            warm.Set();
        });
        ended.Wait(CancellationToken.None);
        Interrupt();
    }

    /// <summary>Asks for the end.</summary>
    internal void End() => ended.Set();

    /// <summary>Interrupts the cell that runs; does nothing when none does.</summary>
    internal void Interrupt()
    {
        lock (gate)
        {
            if (running is { } cell)
            {
                OnThread(cell.Cancel); // what the cell hung on its token may take its time, or throw
            }
        }
    }

    public void Dispose()
    {
        AppDomain.CurrentDomain.ProcessExit -= TellOfExit;
        sockets.Dispose();
        cells.CompleteAdding();
    }

    private static void Log(string why) => Console.Error.WriteLine($"reasongen kernel: {why}");

    // Not on the pool: a cell may have filled it.
    private static void OnThread(Action work) => new Thread(() =>
    {
        try
        {
            work();
        }
        catch (Exception e)
        {
            Log(e.ToString());
        }
    }, CompilerStack) { IsBackground = true, Name = "kernel" }.Start();

    private void Receive(KernelChannel channel, JupyterMessage message)
    {
        switch (channel, message.Type)
        {
            case (KernelChannel.Stdin, "input_reply"):
                if (!questions.Take(message))
                {
                    Log("an answer on the stdin channel was dropped: its question is not open");
                }

                break;
            case (KernelChannel.Stdin, _) or (_, "input_reply"):
                Log($"a message on the {channel.ToString().ToLowerInvariant()} channel was dropped: it "
                    + $"is {message.Type}");
                break;
            case (_, "execute_request"):
                cells.Add((channel, message));
                break;
            default:
                if (message.Type is "interrupt_request" or "shutdown_request")
                {
                    Interrupt();
                }

                OnThread(() =>
                    WhileBusy(channel, message,
                        () => answers.GiveAsync(message, answer => Reply(channel, message, answer)).GetAwaiter()
                            .GetResult()));
                break;
        }
    }

    private void WhileBusy(KernelChannel channel, JupyterMessage message, Action work)
    {
        Tell("busy", message);
        try
        {
            if (message.Damage is { } damage)
            {
                throw new MalformedRequestException(damage);
            }

            work();
        }
        catch (Exception e) // a request that cannot be answered must neither end the kernel nor keep its sender waiting
        {
            if (message.Type == "execute_request")
            {
                Rest();
            }

            if (e is not MalformedRequestException)
            {
                Log($"{message.Type} failed: {e}");
            }

            Reply(channel, message,
                KernelAnswers.Error(e is MalformedRequestException ? "MalformedRequest" : e.GetType().Name, e.Message));
        }

        Tell("idle", message);
        lock (gate)
        {
            if (message.Type != "execute_request" && atWork is { } cell)
            {
                Tell("busy", cell.Message); // a front end shows the last word, and a cell still runs
            }
        }

        if (message.Type == "shutdown_request")
        {
            End();
        }
    }

    private void Tell(string state, JupyterMessage message) =>
        sockets.Publish("status", new JObject { ["execution_state"] = state }, message.Header);

    private void Reply(KernelChannel channel, JupyterMessage message, JObject answer)
    {
        answer["status"] ??= "ok";
        sockets.Reply(channel, message, message.Type.Replace("_request", "") + "_reply", answer);
    }

    private void RunCells()
    {
        session.RunAsync("1 + 1", new SilentOutput()).GetAwaiter().GetResult();
        foreach (var (channel, message) in cells.GetConsumingEnumerable())
        {
            var cancel = new CancellationTokenSource(); // not disposed: an interrupt may be on its way to it
            lock (gate)
            {
                // before a front end is told that the kernel is busy with the cell: from then on it may interrupt it
                (running, atWork) = (cancel, (channel, message));
            }

            WhileBusy(channel, message, () => RunCell(channel, message, cancel.Token));
        }
    }

    // No cell is at work.
    private void Rest()
    {
        lock (gate)
        {
            (running, atWork, showing) = (null, null, null);
        }
    }

    private void RunCell(KernelChannel channel, JupyterMessage message, CancellationToken cancel)
    {
        var (content, parent) = (message.Content, message.Header);
        var (code, silent) = (content.Text("code"), content.Flag("silent", false));
        var (kept, mayAsk, stops) = (content.Flag("store_history", true), content.Flag("allow_stdin",
            true), content.Flag("stop_on_error", true));
        var expressions = content.Names("user_expressions");
        executionCount += silent || !kept ? 0 : 1;
        // a thread that a cell has left may ask, and must not keep others from it
        using var over = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var isOver = over.Token;
        CellResult result;
        try
        {
            if (!silent)
            {
                sockets.Publish("execute_input", new JObject { ["code"] = code, ["execution_count"] = executionCount },
                    parent);
            }

            using var output = new KernelOutput((type, shown) => sockets.Publish(type, shown, parent),
                (prompt, hidden) => Ask(message, prompt, hidden, mayAsk, isOver), executionCount);
            showing = output;
            result = session.RunAsync(code, silent ? new SilentOutput() : output, $"cell {executionCount}",
                cancel).GetAwaiter().GetResult();
        }
        finally
        {
            Rest();
            over.Cancel();
        }

        if (!silent && kept)
        {
            history.Add(executionCount, code);
        }

        // What was sent to be run after a cell that failed is not run; what is sent by who knows of the failure is.
        var aborted = !result.Ok && stops ? TakeWaiting() : [];
        var reply = new JObject
        {
            ["status"] = "ok", ["execution_count"] = executionCount, ["payload"] = new JArray(),
            ["user_expressions"] = new JObject(expressions.Select(name => new JProperty(name,
                KernelAnswers.Error("NotSupported",
                    "this kernel evaluates no user_expressions: show the value in a cell")))),
        };
        if (!result.Ok)
        {
            reply = KernelAnswers.Error(result.ErrorName!, result.ErrorValue, result.Traceback);
            if (!silent)
            {
                sockets.Publish("error", (JObject)reply.DeepClone(), parent);
            }

            reply["execution_count"] = executionCount;
        }

        sockets.Reply(channel, message, "execute_reply", reply);
        foreach (var (at, waiting) in aborted)
        {
            WhileBusy(at, waiting, () => sockets.Reply(at, waiting, "execute_reply",
                new JObject { ["status"] = "aborted", ["execution_count"] = executionCount }));
        }
    }

    private List<(KernelChannel Channel, JupyterMessage Message)> TakeWaiting()
    {
        var waiting = new List<(KernelChannel, JupyterMessage)>();
        while (cells.TryTake(out var cell))
        {
            waiting.Add(cell);
        }

        return waiting;
    }

    private string Ask(JupyterMessage cell, string prompt, bool hidden, bool allowed, CancellationToken over) => allowed
        ? questions.Ask(id => sockets.Reply(KernelChannel.Stdin, cell, "input_request",
            new JObject { ["prompt"] = prompt, ["password"] = hidden }, id), over)
        : throw new InvalidOperationException("the cell asks for input, and this front end does not let it");

    // A cell that ends the process (Environment.Exit) takes the kernel with it; its front end gets what it printed, and
    // is not left to guess why.
    private void TellOfExit(object? sender, EventArgs e)
    {
        lock (gate)
        {
            if (!ended.IsSet && atWork is var (channel, message))
            {
                showing?.Dispose();
                var told = KernelAnswers.Error("ProcessExit",
                    $"the cell ended the kernel's process with exit code {Environment.ExitCode}",
                    ["The cell ended the kernel's process."]);
                sockets.Publish("error", (JObject)told.DeepClone(), message.Header);
                told["execution_count"] = executionCount;
                sockets.Reply(channel, message, "execute_reply", told);
                Tell("idle", message);
                sockets.Dispose();
            }
        }
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
