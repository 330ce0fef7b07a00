using System.Diagnostics;
using ReasonGen.Host;
using ReasonGen.Host.Kernel;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What signals to the command alone do to it and to its children.</summary>
public sealed class SignalTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(1); // 1 to 3 s where the machine is free
    // no thread of the pool is free, and none is added
    private const string FullPool = "System.Threading.ThreadPool.SetMinThreads(1, 1); "
        + "System.Threading.ThreadPool.SetMaxThreads(Environment.ProcessorCount, Environment.ProcessorCount); "
        + "for (var i = 0; i < 300; i++) { System.Threading.ThreadPool.QueueUserWorkItem(_ => "
        + "System.Threading.Thread.Sleep(100_000)); } ";

    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public SignalTests() =>
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no signal can be sent to another process there");

    public void Dispose() => Directory.Delete(folder, true);

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("INT", 130)]
    [InlineData("HUP", 129)]
    public async Task A_signal_to_run_alone_ends_it_and_its_notebook(string signal, int code)
    {
        using var run = StartNotebook(
            "new System.Threading.Thread(() => { while (true) { } }).Start(); var n = 0; while (true) { n++; }");
        var child = await ChildAsync();
        Kill(signal, run.Id);
        await run.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal(code, run.ExitCode);
        Assert.True(await IsGoneAsync(child));
        Assert.True(File.Exists(Path.Combine(folder, "out", "report.html")));
    }

    [Fact]
    public async Task A_notebook_does_not_outlive_a_run_that_was_killed()
    {
        using var run = StartNotebook("while (true) { System.Threading.Thread.Sleep(50); }");
        var child = await ChildAsync();
        Kill("KILL", run.Id);
        await run.WaitForExitAsync().WaitAsync(Long);
        Assert.True(await IsGoneAsync(child));
    }

    [Theory]
    [InlineData(1)] // it is given a few seconds
    [InlineData(2)]
    public async Task What_does_not_end_when_it_is_asked_is_ended(int signals)
    {
        // waits for a line, which cannot be broken off
        using var chat = Start(["chat", "--model", "tiny"], input: true);
        await chat.StandardInput.WriteLineAsync("Hello");
        await chat.StandardOutput.ReadLineAsync();
        for (var i = 0; i < signals; i++)
        {
            Kill("TERM", chat.Id);
            await Task.Delay(1500); // what comes within a second is the same Ctrl-C
        }

        await chat.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal(143, chat.ExitCode);
    }

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("INT", 130)]
    public async Task A_signal_to_study_keeps_its_steps(string signal, int code)
    {
        string[] command = ["study", "rl-none", "--start", ReasonGen.Studies.Study.DataFolder(), "--threads", "1",
            "--out", Path.Combine(folder, "study")];
        using (var study = Start(command))
        {
            Assert.Contains("/", await study.StandardOutput.ReadLineAsync());
            Kill(signal, study.Id);
            Kill(signal, study.Id);
            var (output, error) = (study.StandardOutput.ReadToEndAsync(), study.StandardError.ReadToEndAsync());
            await study.WaitForExitAsync().WaitAsync(Long);
            Assert.True(study.ExitCode == code, await output + await error);
            Assert.Contains("the same command goes on from there", await error);
        }

        using var again = Start(command);
        var line = await again.StandardOutput.ReadLineAsync();
        Kill("KILL", again.Id);
        Assert.DoesNotContain("rl-none 1/", line);
    }

    [Fact]
    public void A_command_that_trains_is_given_the_time_that_a_step_takes()
    {
        var before = Signals.Patience;
        Signals.FinishStep(tells: false);
        Assert.Equal(Timeout.InfiniteTimeSpan, Signals.Patience);
        Signals.Patience = before;
    }

    [Fact]
    public async Task A_run_does_not_wait_for_what_a_notebook_has_started_and_left()
    {
        var id = Path.Combine(folder, "id");
        using var run = StartNotebook("var left = System.Diagnostics.Process.Start(\"sleep\", \"60\"); "
            + $"System.IO.File.WriteAllText(@\"{id}\", left.Id.ToString());");
        var said = run.StandardOutput.ReadToEndAsync();
        await run.WaitForExitAsync();
        Assert.True(run.ExitCode == 0, await said);
        using var left = Process.GetProcessById(int.Parse(File.ReadAllText(id))); // it would be gone after a minute
        left.Kill();
    }

    [Fact]
    public async Task A_kernel_is_not_ended_by_SIGINT_and_is_by_SIGTERM()
    {
        var connection = KernelClient.NewConnection();
        var file = Path.Combine(folder, "connection.json");
        File.WriteAllText(file, connection.ToJson().ToString());
        using var kernel = Start(["kernel", file]);
        using var client = new KernelClient(connection);
        Assert.Contains("can be read or changed by other users", await kernel.StandardError.ReadLineAsync());
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
        Kill("INT", kernel.Id);
        Thread.Sleep(500); // it is taken on a thread of its own, and is not to end the cell that follows
        var id = client.Execute("while (true) { }");
        client.WaitFor(id, "execute_input");
        Kill("INT", kernel.Id);
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
        var thrower = client.Execute(
            "var t = new System.Threading.Thread(() => throw new Exception(\"gone\")); t.Start(); t.Join();");
        Assert.Contains(client.Shown(thrower), shown => $"{shown.Content["text"]}".Contains("gone"));
        Assert.Equal("ok", (string?)client.Answer(thrower)["status"]);
        var busy = client.Execute("new System.Threading.Thread(() => { while (true) { } }).Start(); while (true) { }");
        client.WaitFor(busy, "execute_input");
        Kill("TERM", kernel.Id);
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal(143, kernel.ExitCode);
    }

    [Fact]
    public async Task A_cell_that_ends_the_kernel_is_told_to_its_front_end()
    {
        var (connection, file) = Connection();
        using var kernel = Start(["kernel", file]);
        var error = kernel.StandardError.ReadToEndAsync();
        using var client = new KernelClient(connection);
        Assert.Contains("exit code 3", (string?)client.Answer(client.Execute("Environment.Exit(3);"))["evalue"]);
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal((3, ""), (kernel.ExitCode, await error));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_full_pool_keeps_back_neither_output_nor_the_end_of_a_kernel(bool asked)
    {
        var (connection, file) = Connection();
        var goOn = Path.Combine(folder, "go-on");
        using var frontEnd = Process.Start("sleep", "600");
        using var kernel = Start(["kernel", file], frontEnd: frontEnd.Id);
        using var client = new KernelClient(connection);
        var id = client.Execute(FullPool + "Console.Write(\"early\"); "
            + $"while (!System.IO.File.Exists(@\"{goOn}\")) {{ System.Threading.Thread.Sleep(10); }}");
        Assert.Equal("early", (string?)client.WaitFor(id, "stream")["text"]);
        File.WriteAllText(goOn, "");
        Assert.Equal("ok", (string?)client.Answer(id)["status"]);
        if (asked)
        {
            client.Send("shutdown_request", [], onControl: true);
        }
        else
        {
            frontEnd.Kill();
        }

        await kernel.WaitForExitAsync().WaitAsync(Long);
        frontEnd.Kill();
        Assert.Equal(0, kernel.ExitCode);
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("await Task.Run(() => { while (true) { System.Threading.Thread.Sleep(10); } });", false)]
    public async Task A_kernel_that_left_a_cell_behind_ends_without_the_farewells_of_libraries(string cell, bool bids)
    {
        var (connection, file) = Connection();
        var farewell = Path.Combine(folder, "farewell");
        using var kernel = Start(["kernel", file]);
        using var client = new KernelClient(connection);
        client.Answer(client.Execute("AppDomain.CurrentDomain.ProcessExit += (_, _) => "
            + $"System.IO.File.WriteAllText(@\"{farewell}\", \"\");"));
        var id = client.Execute("Console.Write(\"begun\"); " + cell);
        client.WaitFor(id, "stream");
        Kill("INT", kernel.Id);
        client.Answer(id);
        client.Send("shutdown_request", [], onControl: true);
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal((0, bids), (kernel.ExitCode, File.Exists(farewell)));
    }

    [Fact]
    public async Task An_interrupt_that_comes_when_its_cell_has_ended_is_no_error()
    {
        var (connection, file) = Connection();
        using var kernel = Start(["kernel", file]);
        var error = kernel.StandardError.ReadToEndAsync();
        using var client = new KernelClient(connection);
        for (var round = 0; round < 10; round++)
        {
            var id = client.Execute("ReasonGen.Notebook.Live.Cancellation.WaitHandle.WaitOne();");
            client.WaitFor(id, "execute_input");
            for (var i = 0; i < 50; i++) // the first ends the cell
            {
                client.Send("interrupt_request", [], onControl: true);
            }

            client.Answer(id);
        }

        client.Send("shutdown_request", [], onControl: true);
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal((0, ""), (kernel.ExitCode, await error));
    }

    private (KernelConnection Connection, string File) Connection()
    {
        var connection = KernelClient.NewConnection();
        var file = Path.Combine(folder, "connection.json");
        File.WriteAllText(file, connection.ToJson().ToString());
        Run("chmod", "600", file);
        return (connection, file);
    }

    private Process StartNotebook(string cell)
    {
        var path = Path.Combine(folder, "loop.ipynb");
        SmallNotebook.Write(path, ("# Loop", "markdown"),
            ($"System.IO.File.WriteAllText(@\"{folder}/child.tmp\", $\"{{Environment.ProcessId}}\"); "
            + $"System.IO.File.Move(@\"{folder}/child.tmp\", @\"{folder}/child\");", "code"), (cell, "code"));
        return Start(["run", path, "--out", Path.Combine(folder, "out")]);
    }

    private async Task<int> ChildAsync()
    {
        var (file, since) = (Path.Combine(folder, "child"), Stopwatch.StartNew());
        while (!File.Exists(file))
        {
            Assert.True(since.Elapsed < Long, "the notebook did not start");
            await Task.Delay(50);
        }

        await Task.Delay(500); // the cell after it
        return int.Parse(File.ReadAllText(file));
    }

    private static async Task<bool> IsGoneAsync(int id)
    {
        for (var since = Stopwatch.StartNew(); since.Elapsed < Long; await Task.Delay(50))
        {
            try
            {
                using var process = Process.GetProcessById(id);
                if (process.HasExited)
                {
                    return true;
                }
            }
            catch (ArgumentException)
            {
                return true;
            }
        }

        return false;
    }

    private static void Kill(string signal, int id) => Run("kill", $"-{signal}", $"{id}");

    private static void Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        process.WaitForExit();
    }

    private static Process Start(string[] arguments, bool input = false, int? frontEnd = null) =>
        Process.Start(new ProcessStartInfo("dotnet", [Reasongen.Assembly, .. arguments])
    {
        RedirectStandardInput = input, RedirectStandardOutput = true, RedirectStandardError = true,
        Environment = { ["JPY_PARENT_PID"] = $"{frontEnd}" },
    })!;
}
