using System.Diagnostics;
using ReasonGen.Host.Kernel;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>A kernel in a process of its own, and a client of it.</summary>
internal sealed class KernelProcess : IDisposable
{
    private const int MostTries = 5;

    /// <param name="folder">For its connection file.</param>
    /// <param name="closed">Whether nobody else may read that file.</param>
    /// <param name="frontEnd">Process with which the kernel is to end; null for none.</param>
    internal KernelProcess(string folder, bool closed = false, int? frontEnd = null)
    {
        for (var tries = 1; ; tries++)
        {
            var connection = KernelClient.NewConnection();
            Process = Start(connection, Path.Combine(folder, "connection.json"), closed, frontEnd);
            try
            {
                Client = new KernelClient(connection, () => Process.HasExited);
                return;
            }
            catch (TimeoutException e)
            {
                var said = Process.HasExited ? Process.StandardError.ReadToEnd() : "";
                Process.Dispose();
                // a port that was free may be another's by then
                if (tries == MostTries || (said.Length == 0 && tries > 1))
                {
                    throw new InvalidOperationException($"no kernel: {said}", e);
                }
            }
        }
    }

    internal KernelClient Client { get; }

    internal Child Process { get; }

    public void Dispose()
    {
        Client.Dispose();
        Process.Dispose();
    }

    private static Child Start(KernelConnection connection, string file, bool closed, int? frontEnd)
    {
        File.WriteAllText(file, connection.ToJson().ToString());
        if (closed && !OperatingSystem.IsWindows())
        {
            File.SetUnixFileMode(file, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        }

        var start = new ProcessStartInfo("dotnet", [Reasongen.Assembly, "kernel", file])
        {
            RedirectStandardOutput = true, RedirectStandardError = true,
        };
        if (frontEnd is { } parent)
        {
            start.Environment["JPY_PARENT_PID"] = $"{parent}";
        }

        return Child.Start(start);
    }
}

/// <summary>One for a class of tests.</summary>
public sealed class KernelProcessFixture : IDisposable
{
    private readonly TestFolder folder = new();
    private readonly KernelProcess kernel;

    public KernelProcessFixture() => kernel = new KernelProcess(folder.Path);

    internal KernelClient Client => kernel.Client;

    public void Dispose()
    {
        kernel.Dispose();
        folder.Dispose();
    }
}

/// <summary>What cells do to their process: in one of their own, since other tests run in this one.</summary>
public sealed class KernelProcessTests(KernelProcessFixture kernel) : IClassFixture<KernelProcessFixture>
{
    [Theory]
    [InlineData("Console.SetOut(System.IO.TextWriter.Null); Console.SetError(System.IO.TextWriter.Null); "
        + "Console.SetIn(System.IO.TextReader.Null);")]
    [InlineData("Console.Out.Close(); Console.Error.Dispose(); Console.In.Close();")]
    [InlineData("_ = Task.Run(() => throw new Exception(\"nobody looks\")); GC.Collect();")]
    [InlineData("for (var i = 0; i < 12; i++) { System.Threading.ThreadPool.QueueUserWorkItem(_ => "
        + "System.Threading.Thread.Sleep(2000)); }")]
    [InlineData("System.Globalization.CultureInfo.CurrentCulture = new System.Globalization.CultureInfo(\"\") { "
        + "NumberFormat = { NegativeSign = \"~\" } };")]
    [InlineData("Environment.CurrentDirectory = System.IO.Path.GetTempPath();")]
    public void What_a_cell_does_to_its_process_leaves_the_next_cell_whole(string code)
    {
        kernel.Client.Answer(kernel.Client.Execute(code));
        Assert.Equal("seen", (string?)kernel.Client
            .WaitFor(kernel.Client.Execute("Console.Write(\"seen\");"), "stream")["text"]);
    }
}
