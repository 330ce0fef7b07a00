using System.ComponentModel;
using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Host;
using Xunit;

namespace ReasonGen.Tests;

/// <summary>
/// A process of its own. It and those that it started end with the test, whatever becomes of that, and after a quarter
/// of an hour in any case: what waits for its output or its end does not wait for ever.
/// </summary>
internal sealed class Child : Process
{
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(15);
    private Timer? limit;

    internal static new Child Start(ProcessStartInfo start)
    {
        var child = new Child { StartInfo = start };
        child.Start();
        child.limit = new Timer(_ => child.End(), null, Longest, Timeout.InfiniteTimeSpan);
        return child;
    }

    /// <summary>Runs one to its end.</summary>
    internal static async Task<(int Code, string Output, string Error)> RunAsync(ProcessStartInfo start)
    {
        start.RedirectStandardOutput = start.RedirectStandardError = true;
        using var child = Start(start);
        return await child.EndAsync();
    }

    /// <summary>Sends a signal to a process, at once: "HUP", "INT", "KILL" or "TERM". One that the tests were started
    /// to ignore, as by nohup, their children ignore too: then the test is skipped.</summary>
    internal static void Signal(int id, string name)
    {
        var number = name switch
        {
            "HUP" => 1, "INT" => 2, "KILL" => 9, "TERM" => 15, _ => throw new ArgumentException($"no signal {name}"),
        };
        Assert.SkipWhen(Signals.IsIgnored(number), $"the tests were started to ignore SIG{name}");
        _ = Send(id, number);
    }

    /// <summary>The same to this one.</summary>
    internal void Signal(string name) => Signal(Id, name);

    /// <summary>Waits for its end; gives its exit code, and what it said that was not read before.</summary>
    internal async Task<(int Code, string Output, string Error)> EndAsync()
    {
        var (output, error) = (StandardOutput.ReadToEndAsync(), StandardError.ReadToEndAsync());
        await WaitForExitAsync();
        return (ExitCode, await output, await error);
    }

    protected override void Dispose(bool disposing)
    {
        if (disposing)
        {
            limit?.Dispose();
            End();
        }

        base.Dispose(disposing);
    }

    private void End()
    {
        try
        {
            if (!HasExited)
            {
                Kill(entireProcessTree: true);
                WaitForExit(TimeSpan.FromSeconds(10));
            }
        }
        catch (Exception e) when (e is InvalidOperationException or Win32Exception or AggregateException)
        {
            // it has ended
        }
    }

    [DllImport("libc", EntryPoint = "kill")]
    private static extern int Send(int process, int signal);
}
