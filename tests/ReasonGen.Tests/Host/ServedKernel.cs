using ReasonGen.Host;
using ReasonGen.Host.Kernel;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>A kernel in this process, and a client of it.</summary>
internal sealed class ServedKernel : IDisposable
{
    private const int MostTries = 5;
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(2); // at once where the machine is free
    private readonly JupyterKernel kernel;
    private readonly CancellationTokenSource end = new();
    private readonly Task served;

    internal ServedKernel()
    {
        (kernel, var connection) = Listen();
        served = Task.Factory.StartNew(() => kernel.Run(end.Token), CancellationToken.None,
            TaskCreationOptions.LongRunning, TaskScheduler.Default);
        Client = new KernelClient(connection, () => served.IsCompleted);
    }

    internal KernelClient Client { get; }

    /// <summary>Waits until the kernel has ended.</summary>
    internal void ExpectEnd() => Assert.True(served.Wait(Longest), "the kernel does not end");

    public void Dispose()
    {
        end.Cancel();
        ExpectEnd();
        Client.Dispose();
        kernel.Dispose();
        end.Dispose();
    }

    // a port that was free may be another's by now
    private static (JupyterKernel Kernel, KernelConnection Connection) Listen()
    {
        for (var tries = 1; ; tries++)
        {
            var connection = KernelClient.NewConnection();
            try
            {
                return (new JupyterKernel(connection), connection);
            }
            catch (UsageException) when (tries < MostTries)
            {
            }
        }
    }
}
