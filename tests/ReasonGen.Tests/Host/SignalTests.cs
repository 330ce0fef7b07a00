using System.Diagnostics;
using ReasonGen.Host;
using ReasonGen.Host.Kernel;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>What signals to the command alone do to it and to its children.</summary>
public sealed class SignalTests : IDisposable
{
    private static readonly TimeSpan Long = TimeSpan.FromMinutes(3); // 1 to 3 s where the machine is free
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(4); // of a command that does not train
    // no thread of the pool is free, and none is added
    private const string FullPool = "System.Threading.ThreadPool.SetMinThreads(1, 1); "
        + "System.Threading.ThreadPool.SetMaxThreads(Environment.ProcessorCount, Environment.ProcessorCount); "
        + "for (var i = 0; i < 300; i++) { System.Threading.ThreadPool.QueueUserWorkItem(_ => "
        + "System.Threading.Thread.Sleep(100_000)); } ";
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;
    private int? notebook; // a process that may be left

    public SignalTests() =>
        Assert.SkipWhen(OperatingSystem.IsWindows(), "no signal can be sent to another process there");

    public void Dispose()
    {
        if (notebook is { } left)
        {
            Child.Signal(left, "KILL");
        }

        Directory.Delete(folder, true);
    }

    [Theory]
    [InlineData("TERM", 143)]
    [InlineData("INT", 130)]
    [InlineData("HUP", 129)]
    public async Task A_signal_to_run_alone_ends_it_and_its_notebook(string signal, int code)
    {
        using var run = StartNotebook(
            "new System.Threading.Thread(() => { while (true) { } }).Start(); var n = 0; while (true) { n++; }");
        var child = await ChildAsync();
        run.Signal(signal);
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
        run.Signal("KILL");
        await run.WaitForExitAsync().WaitAsync(Long);
        Assert.True(await IsGoneAsync(child));
    }

    [Fact]
    public async Task What_does_not_end_when_it_is_asked_is_ended_after_a_few_seconds() =>
        Assert.True(await EndOfChatAsync(signals: 1) > Patience - TimeSpan.FromSeconds(0.5));

    [Fact]
    public async Task A_second_signal_ends_at_once_what_does_not_end_when_it_is_asked()
    {
        // by the first one alone it is not ended so soon; on a busy machine both may take longer
        for (var tries = 1; await EndOfChatAsync(signals: 2) > Patience - TimeSpan.FromSeconds(0.5); tries++)
        {
            Assert.True(tries < 5, "the second signal ends nothing");
        }
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
            study.Signal(signal);
            study.Signal(signal);
            var (ended, output, error) = await study.EndAsync();
            Assert.True(ended == code, output + error);
            Assert.Contains("the same command goes on from there", error);
        }

        using var again = Start(command);
        var line = await again.StandardOutput.ReadLineAsync();
        again.Signal("KILL");
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
        using var own = new KernelProcess(folder);
        var (kernel, client) = (own.Process, own.Client);
        Assert.Contains("can be read or changed by other users", await kernel.StandardError.ReadLineAsync());
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
        kernel.Signal("INT");
        Settle();
        var id = client.Execute("while (true) { }");
        client.WaitFor(id, "execute_input");
        kernel.Signal("INT");
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
        Settle();
        var thrower = client.Execute(
            "var t = new System.Threading.Thread(() => throw new Exception(\"gone\")); t.Start(); t.Join();");
        Assert.Contains(client.Shown(thrower), shown => $"{shown.Content["text"]}".Contains("gone"));
        Assert.Equal("ok", (string?)client.Answer(thrower)["status"]);
        var busy = client.Execute("new System.Threading.Thread(() => { while (true) { } }).Start(); while (true) { }");
        client.WaitFor(busy, "execute_input");
        kernel.Signal("TERM");
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal(143, kernel.ExitCode);

        // a signal is taken on a thread of its own, and may come to a cell that follows
        void Settle()
        {
            for (int cells = 0, whole = 0; whole < 5; cells++)
            {
                Assert.True(cells < 50, "cells are interrupted by nothing");
                Thread.Sleep(100);
                whole = (string?)client.Answer(client.Execute("1"))["status"] == "ok" ? whole + 1 : 0;
            }
        }
    }

    [Fact]
    public async Task A_cell_that_ends_the_kernel_is_told_to_its_front_end()
    {
        using var own = new KernelProcess(folder, closed: true);
        var (kernel, client) = (own.Process, own.Client);
        var error = kernel.StandardError.ReadToEndAsync();
        var id = client.Execute("Console.WriteLine(\"bye\"); Environment.Exit(3);");
        var (reply, shown) = (client.Answer(id), client.Shown(id));
        Assert.Contains("exit code 3", (string?)reply["evalue"]);
        Assert.Equal(shown[1].Content["execution_count"], reply["execution_count"]);
        Assert.Equal(("bye\n", "error"), ((string?)shown[2].Content["text"], shown[3].Type));
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal((3, ""), (kernel.ExitCode, await error));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_full_pool_keeps_back_neither_output_nor_the_end_of_a_kernel(bool asked)
    {
        var goOn = Path.Combine(folder, "go-on");
        using var frontEnd = Child.Start(new ProcessStartInfo("sleep", "600"));
        using var own = new KernelProcess(folder, frontEnd: frontEnd.Id);
        var (kernel, client) = (own.Process, own.Client);
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
        Assert.Equal(0, kernel.ExitCode);
    }

    [Theory]
    [InlineData("", true)]
    [InlineData("await Task.Run(() => { while (true) { System.Threading.Thread.Sleep(10); } });", false)]
    public async Task A_kernel_that_left_a_cell_behind_ends_without_the_farewells_of_libraries(string cell, bool bids)
    {
        var farewell = Path.Combine(folder, "farewell");
        using var own = new KernelProcess(folder);
        var (kernel, client) = (own.Process, own.Client);
        client.Answer(client.Execute("AppDomain.CurrentDomain.ProcessExit += (_, _) => "
            + $"System.IO.File.WriteAllText(@\"{farewell}\", \"\");"));
        var id = client.Execute("Console.Write(\"begun\"); " + cell);
        client.WaitFor(id, "stream");
        kernel.Signal("INT");
        client.Answer(id);
        client.Send("shutdown_request", [], onControl: true);
        await kernel.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal((0, bids), (kernel.ExitCode, File.Exists(farewell)));
    }

    [Fact]
    public async Task An_interrupt_that_comes_when_its_cell_has_ended_is_no_error()
    {
        using var own = new KernelProcess(folder, closed: true);
        var (kernel, client) = (own.Process, own.Client);
        var error = kernel.StandardError.ReadToEndAsync();
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

    // how long after the first signal a process ends that waits for a line, which cannot be broken off
    private static async Task<TimeSpan> EndOfChatAsync(int signals)
    {
        using var chat = Start(["chat", "--model", "tiny"], input: true);
        // more than a pipe holds, and no end of the line: when it is written, the line is being read
        await chat.StandardInput.WriteAsync(new string('x', 1 << 20));
        await chat.StandardInput.FlushAsync();
        var since = Stopwatch.StartNew();
        for (var i = 0; i < signals; i++)
        {
            chat.Signal("TERM");
            await Task.Delay(1500); // what comes within a second is the same Ctrl-C
        }

        await chat.WaitForExitAsync().WaitAsync(Long);
        Assert.Equal(143, chat.ExitCode);
        return since.Elapsed;
    }

    private Child StartNotebook(string cell)
    {
        var path = Path.Combine(folder, "loop.ipynb");
        SmallNotebook.Write(path, ("# Loop", "markdown"),
            ($"System.IO.File.WriteAllText(@\"{folder}/child.tmp\", $\"{{Environment.ProcessId}}\"); "
            + $"System.IO.File.Move(@\"{folder}/child.tmp\", @\"{folder}/child\");", "code"), (cell, "code"));
        return Start(["run", path, "--out", Path.Combine(folder, "out")]);
    }

    private async Task<int> ChildAsync()
    {
        var file = Path.Combine(folder, "child");
        await Until.HoldsAsync(() => File.Exists(file), "the notebook");
        await Task.Delay(500); // the cell after it
        return (notebook = int.Parse(File.ReadAllText(file))).Value;
    }

    private async Task<bool> IsGoneAsync(int id)
    {
        for (var since = Stopwatch.StartNew(); since.Elapsed < Long; await Task.Delay(50))
        {
            try
            {
                using var process = Process.GetProcessById(id);
                if (!process.HasExited)
                {
                    continue;
                }
            }
            catch (ArgumentException)
            {
                // there is none
            }

            notebook = null;
            return true;
        }

        return false;
    }

    private static Child Start(string[] arguments, bool input = false) =>
        Child.Start(new ProcessStartInfo("dotnet", [Reasongen.Assembly, .. arguments])
    {
        RedirectStandardInput = input, RedirectStandardOutput = true, RedirectStandardError = true,
    });
}
