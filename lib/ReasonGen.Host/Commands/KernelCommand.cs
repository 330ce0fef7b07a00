using System.CommandLine;
using System.Runtime.ExceptionServices;
using Microsoft.Win32.SafeHandles;
using ReasonGen.Host.Kernel;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen kernel: the C# kernel of Jupyter front ends.</summary>
internal static class KernelCommand
{
    internal static Command Create()
    {
        var connection = new Argument<string?>("connection-file")
        {
            Description = "The file that a front end writes for its kernel.", Arity = ArgumentArity.ZeroOrOne,
        };
        var command = new Command("kernel",
            "Serves notebooks in VS Code, JupyterLab and every other Jupyter front end, which start it themselves "
            + "once it is installed.\n\n"
            + "Examples:\n  reasongen kernel install\n  reasongen kernel remove") { connection, Install(), Remove() };
        command.SetAction((parsed, cancel) => Task.FromResult(Serve(parsed.GetValue(connection), cancel)));
        return command;
    }

    private static Option<string?> Prefix() => new("--prefix")
    {
        Description = "Folder of an environment (a virtualenv, say) to install into instead of the user's own: its "
            + "share/jupyter/kernels.",
    };

    private static string Folder(string? prefix) =>
        prefix is null ? KernelSpec.UserFolder : Path.Combine(Path.GetFullPath(prefix), "share", "jupyter", "kernels");

    private static Command Install()
    {
        var prefix = Prefix();
        var command = new Command("install", "Makes the kernel known to Jupyter and VS Code, for this user.\n\n"
            + "Examples:\n  reasongen kernel install\n  reasongen kernel install --prefix .venv") { prefix };
        command.SetAction(parsed =>
        {
            var (written, other) = KernelSpec.Install(Folder(parsed.GetValue(prefix)),
                KernelSpec.SystemFolders().Prepend(KernelSpec.UserFolder));
            foreach (var place in written)
            {
                Console.WriteLine($"installed {place}");
            }

            Console.WriteLine(other is null ? $"The notebooks' own kernel name, {KernelSpec.Shared}, is this kernel."
                : $"The notebooks' own kernel name, {KernelSpec.Shared}, belongs to another kernel ({other}), which "
                    + $"runs them too. Choose \"C# (ReasonGen)\" for this one.");
            Console.WriteLine(
                "It starts the program from where it lies now; install again when the checkout has moved.");
        });
        return command;
    }

    private static Command Remove()
    {
        var prefix = Prefix();
        var command = new Command("remove",
            "Takes away what install wrote, and nothing else.\n\nExamples:\n  reasongen kernel remove") { prefix };
        command.SetAction(parsed =>
        {
            var removed = KernelSpec.Remove(Folder(parsed.GetValue(prefix)));
            Console.WriteLine(removed.Count == 0 ? $"There was none in {Folder(parsed.GetValue(prefix))}."
                : string.Join('\n', removed.Select(place => Directory.Exists(place)
                    ? $"removed from {place}, where other files stay" : $"removed {place}")));
        });
        return command;
    }

    private static int Serve(string? connectionFile, CancellationToken cancel)
    {
        if (connectionFile is null)
        {
            throw new UsageException(
                "a front end starts the kernel with its connection file; to make it known to Jupyter and VS Code run "
                + "'reasongen kernel install'");
        }

        var connection = KernelConnection.Read(connectionFile);
        if (KernelConnection.Exposure(connectionFile) is { } exposed)
        {
            Console.Error.WriteLine($"reasongen kernel: {exposed}");
        }

        using var kernel = new JupyterKernel(connection);
        // Ctrl-C in the front end's terminal is for the front end; the cell at hand is interrupted
        Signals.OnInterrupt = kernel.Interrupt;
        ExceptionHandling.SetUnhandledExceptionHandler(Survive);
        WatchParent(kernel.End);
        kernel.Run(cancel); // waits on this thread: what is awaited comes back by the pool, which may be full
        return cancel.IsCancellationRequested ? CommandLine.Interrupted : CommandLine.Done;
    }

    // What a thread that a cell started lets escape ends that thread and not the session.
    private static bool Survive(Exception e)
    {
        try
        {
            // to the cell that started it
            Console.Error.WriteLine($"A thread that a cell started ended with an exception:\n{e}");
        }
        catch (OperationCanceledException)
        {
            // that cell was interrupted and shows no more
        }

        return true;
    }

    // A kernel whose front end has died is of no use to anybody. It is watched on a thread of its own: a cell may have
    // filled the pool. On Windows Jupyter gives no number but a handle of its process, which the kernel inherits.
    private static void WatchParent(Action end)
    {
        if (!int.TryParse(Environment.GetEnvironmentVariable("JPY_PARENT_PID"), out var parent) || parent <= 1)
        {
            return;
        }

        new Thread(() =>
        {
            if (OperatingSystem.IsWindows())
            {
                try
                {
                    using var ended = new EventWaitHandle(false, EventResetMode.ManualReset);
                    ended.SafeWaitHandle = new SafeWaitHandle(parent, ownsHandle: true);
                    ended.WaitOne();
                }
                catch (Exception e) when (e is IOException or SystemException)
                {
                    return; // it was not given to this process, but to one that started it
                }

                end();
                return;
            }

            try
            {
                while (true)
                {
                    Thread.Sleep(TimeSpan.FromSeconds(2));
                    using var process = System.Diagnostics.Process.GetProcessById(parent);
                }
            }
            catch (ArgumentException)
            {
                end();
            }
        }) { IsBackground = true, Name = "front end" }.Start();
    }
}
