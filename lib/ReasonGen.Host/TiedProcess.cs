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

    /// <summary>Lets a child begin that was started ahead and waits for it.</summary>
    internal void Begin()
    {
        try
        {
            tie.WriteByte(0);
        }
        catch (Exception e) when (e is IOException or ObjectDisposedException)
        {
            // it has ended, or was asked to: what it told and its exit code say so
        }
    }

    /// <summary>In the child: ends it with its parent. Does nothing in a process that was not started as one.</summary>
    /// <returns>Done when the parent lets it begin (<see cref="Begin"/>), at once where there is none; a child
    /// that is not started ahead need not wait for it.</returns>
    internal static Task HoldOn()
    {
        if (Environment.GetEnvironmentVariable(Variable) is not { Length: > 0 } handle)
        {
            return Task.CompletedTask;
        }

        Environment.SetEnvironmentVariable(Variable, null); // what this process starts is not tied
        var pipe = new AnonymousPipeClientStream(PipeDirection.In, handle);
        var begun = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        new Thread(() =>
        {
            while (pipe.ReadByte() >= 0)
            {
                begun.TrySetResult();
            }

            Signals.End();
        }) { IsBackground = true, Name = "tie" }.Start();
        return begun.Task;
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
