using System.Diagnostics;
using System.IO.Pipes;

namespace ReasonGen.Host;

/// <summary>
/// A child that does not outlive this process: it holds the reading end of a pipe whose writing end only this process
/// has. When that is closed, by us or by the system because this process has died of whatever, the child ends as if
/// asked by a signal: it saves its state first.
/// </summary>
internal sealed class TiedProcess : IDisposable
{
    private const string Variable = "REASONGEN_TIE";
    private readonly AnonymousPipeServerStream tie = new(PipeDirection.Out, HandleInheritability.Inheritable);
    private readonly CancellationTokenRegistration asked;

    /// <param name="start">This program once more (<see cref="SelfProcess.Start"/>).</param>
    /// <param name="cancel">Asks the child to end.</param>
    internal TiedProcess(ProcessStartInfo start, CancellationToken cancel)
    {
        start.Environment[Variable] = tie.GetClientHandleAsString();
        Process = Process.Start(start)!;
        tie.DisposeLocalCopyOfClientHandle();
        Signals.Add(Process);
        asked = cancel.Register(tie.Dispose);
    }

    internal Process Process { get; }

    /// <summary>In the child: ends it with its parent. Does nothing in a process that was not started as one.</summary>
    internal static void HoldOn()
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } handle)
        {
            return;
        }

        Environment.SetEnvironmentVariable(Variable, null); // what this process starts is not tied
        var end = new AnonymousPipeClientStream(PipeDirection.In, handle);
        new Thread(() =>
        {
            end.ReadByte(); // nothing is ever written
            Signals.End();
        }) { IsBackground = true, Name = "tie" }.Start();
    }

    /// <summary>Kills the child where it still runs.</summary>
    public void Dispose()
    {
        Signals.Remove(Process);
        asked.Dispose();
        if (!Process.HasExited)
        {
            Process.Kill(entireProcessTree: true);
        }

        tie.Dispose();
        Process.Dispose();
    }
}
