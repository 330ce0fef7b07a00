using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Host.Commands;
using ReasonGen.Host.Engine;

namespace ReasonGen.Host;

/// <summary>
/// What signals do to the command. The first SIGINT, SIGTERM or SIGHUP asks for the end: the step at hand is finished,
/// state is saved, children end too. Another one, a second later or more, or the end of <see cref="Patience"/>, which a
/// command that trains does not have, ends the process at once; files are written whole or not at all, so that harms
/// none. The exit code is 128 and the number of the signal. A signal that the process was started to ignore stays
/// ignored: SIGHUP under nohup, SIGINT behind an &amp; in a script, which another's Ctrl-C must not end.
/// </summary>
internal static class Signals
{
    private static readonly CancellationTokenSource Asked = new();
    private static readonly HashSet<Process> Children = [];
    private static readonly TimeSpan Repeat = TimeSpan.FromSeconds(1);
    private static readonly Stopwatch Since = new();
    private static int received;

    /// <summary>How long the command may take to end after it was asked to.</summary>
    internal static TimeSpan Patience { get; set; } = TimeSpan.FromSeconds(4);

    /// <summary>Patience of a notebook, whose cells end at their next item or are broken off.</summary>
    internal static TimeSpan NotebookPatience { get; } = TimeSpan.FromMinutes(1);

    /// <summary>What SIGINT does instead, where it does not end the command.</summary>
    internal static Action? OnInterrupt { get; set; }

    /// <summary>Runs a command, which is told through its token that it is to end.</summary>
    /// <returns>Its exit code; 128 and the number of the signal where it says that it was interrupted.</returns>
    internal static async Task<int> RunAsync(Func<CancellationToken, Task<int>> command)
    {
        (PosixSignal Signal, int Number)[] ending = [(PosixSignal.SIGINT, 2), (PosixSignal.SIGTERM, 15),
            (PosixSignal.SIGHUP, 1)];
        var registrations = ending.Where(signal => !IsIgnored(signal.Number))
            .Select(signal => PosixSignalRegistration.Create(signal.Signal, context =>
        {
            context.Cancel = true;
            Take(signal.Number);
        })).ToArray();
        try
        {
            var code = await command(Asked.Token);
            code = code == CommandLine.Interrupted && received != 0 ? 128 + received : code;
            if (CellThread.AnyAtWork)
            {
                ExitAtOnce(code);
            }

            Environment.Exit(code); // threads that a cell has started and left do not keep it
            return code;
        }
        catch (OperationCanceledException) when (Asked.IsCancellationRequested)
        {
            Console.Error.WriteLine("Interrupted.");
            return 128 + received;
        }
        finally
        {
            Array.ForEach(registrations, registration => registration.Dispose());
        }
    }

    /// <summary>For a command that trains: the step at hand and the state of a large model may take many minutes, and
    /// are waited for until they are done. Whoever asks for the end is told so, and how to have it at once.</summary>
    /// <param name="tells">Whether this process is the one of several that tells.</param>
    internal static void FinishStep(bool tells = true)
    {
        Patience = Timeout.InfiniteTimeSpan;
        if (tells)
        {
            Asked.Token.Register(() => Console.Error.WriteLine((Console.IsErrorRedirected ? "" : "\n")
                + "Asked to end: the step at hand is finished and saved first. "
                + "A second signal ends it at once; the steps since the last save are lost then."));
        }
    }

    /// <summary>Asks for the end as SIGTERM does: the process that started this one is gone or wants no more of
    /// it.</summary>
    internal static void End() => Take(15, again: false);

    /// <summary>Ends a child with this process, where that is ended at once.</summary>
    internal static void Add(Process child)
    {
        lock (Children)
        {
            Children.Add(child);
        }
    }

    internal static void Remove(Process child)
    {
        lock (Children)
        {
            Children.Remove(child);
        }
    }

    /// <summary>Whether this process was started to ignore a signal. Linux tells; elsewhere .NET leaves such signals
    /// alone by itself.</summary>
    internal static bool IsIgnored(int number)
    {
        const string Mask = "SigIgn:";
        return File.Exists("/proc/self/status")
            && File.ReadLines("/proc/self/status").FirstOrDefault(line => line.StartsWith(Mask)) is { } line
            && (Convert.ToUInt64(line[Mask.Length..].Trim(), 16) >> (number - 1) & 1) == 1;
    }

    private static void Take(int number, bool again = true)
    {
        if (number == 2 && OnInterrupt is { } instead)
        {
            instead();
            return;
        }

        if (Interlocked.CompareExchange(ref received, number, 0) != 0)
        {
            // a terminal's Ctrl-C may come by more ways than one, and fingers press twice
            if (again && Since.Elapsed > Repeat)
            {
                EndNow();
            }

            return;
        }

        Since.Start();
        // neither on the thread of signals, which the second one needs, nor on the pool, which may be full
        new Thread(() =>
        {
            try
            {
                Asked.Cancel();
            }
            catch (Exception e)
            {
                Console.Error.WriteLine(e.Message); // of somebody who was told: the end is asked for all the same
            }
        }) { IsBackground = true }.Start();
        new Thread(() =>
        {
            Thread.Sleep(Patience);
            EndNow();
        }) { IsBackground = true }.Start();
    }

    private static void EndNow()
    {
        lock (Children)
        {
            foreach (var child in Children)
            {
                try
                {
                    child.Kill(entireProcessTree: true);
                }
                catch (Exception e)
                    when (e is InvalidOperationException or System.ComponentModel.Win32Exception or AggregateException)
                {
                    // it has ended
                }
            }
        }

        ExitAtOnce(128 + received);
    }

    // Without the farewells of libraries whose threads still compute: they would end it by a segmentation fault.
    private static void ExitAtOnce(int code)
    {
        if (OperatingSystem.IsWindows())
        {
            Environment.Exit(code);
        }

        ExitNow(code);
    }

    [DllImport("libc", EntryPoint = "_exit")]
    private static extern void ExitNow(int code);
}
