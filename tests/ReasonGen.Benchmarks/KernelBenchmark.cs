using System.Diagnostics;
using Newtonsoft.Json.Linq;
using ReasonGen.Host;
using ReasonGen.Tests.Host;

namespace ReasonGen.Benchmarks;

/// <summary>The Jupyter kernel in a process of its own, over its sockets: start, cells, completion, much output, long
/// sessions.</summary>
internal static class KernelBenchmark
{
    /// <param name="cells">Cells of the long session.</param>
    internal static int Run(int cells)
    {
        var (ready, first, completion) = (new List<double>(), new List<double>(), new List<double>());
        for (var i = 0; i < 5; i++)
        {
            var watch = Stopwatch.StartNew();
            using var once = new KernelProcess();
            // this answer is what a front end waits for
            once.Client.Answer(once.Client.Send("kernel_info_request", []));
            ready.Add(watch.Elapsed.TotalMilliseconds);
            completion.Add(
                Time(() =>
                    once.Client.Answer(once.Client.Send("complete_request",
                        new JObject { ["code"] = "Math.", ["cursor_pos"] = 5 }))));
            first.Add(Time(() => once.Client.Answer(once.Client.Execute("1+1"))));
        }

        Print("start until ready for a cell", ready, "at most 2500");
        Print("first completion after that", completion, "at most 500");
        Print("first 1+1 after that", first, "at most 1500");

        using var kernel = new KernelProcess();
        var client = kernel.Client;
        Print("a cell (1+1)", Times(100, i => Cell(client, $"1+{i}")), "at most 30");
        Cell(client, "var list = new List<string>();");
        Print("completion (list.)",
            Times(40,
                _ => client.Answer(client.Send("complete_request",
                    new JObject { ["code"] = "list.", ["cursor_pos"] = 5 }))), "at most 150");
        var output = Time(() =>
            Cell(client,
                "var line = new string('x', 99) + \"\\n\"; for (var i = 0; i < 1000000; i++) Console.Write(line);"));
        Print("100 MB of stdout", [output], "no stall");
        Print("a cell after it", Times(20, _ => Cell(client, "1+1")), "at most 30");

        (string Name, int Count, Func<int, string> Code)[] sessions =
            [("calls and shows", cells, i => $"1+{i}"), ("declares a variable", cells / 5, i => $"var x = {i};")];
        foreach (var (name, count, code) in sessions)
        {
            using var session = new KernelProcess();
            var start = 0L;
            for (var i = 1; i <= count; i++)
            {
                Cell(session.Client, code(i));
                if (i == count / 10)
                {
                    start = session.Bytes;
                }
            }

            Console.WriteLine(
                $"{count} cells, each {name}: {start / 1e6:0} MB after {count / 10}, "
                + $"{session.Bytes / 1e6:0} MB at the "
                + $"end, {100.0 * (session.Bytes - start) / start:+0.0;-0.0} %, "
                + $"{(session.Bytes - start) / 1e3 / (count - count / 10):0.0} kB a cell");
        }

        return 0;
    }

    private static void Cell(KernelClient client, string code) => client.Shown(client.Execute(code));

    private static double Time(Action action)
    {
        var watch = Stopwatch.StartNew();
        action();
        return watch.Elapsed.TotalMilliseconds;
    }

    private static double[] Times(int count, Action<int> action) =>
        [.. Enumerable.Range(0, count).Select(i => Time(() => action(i)))];

    private static void Print(string what, IReadOnlyList<double> milliseconds, string target)
    {
        double[] sorted = [.. milliseconds.Order()];
        Console.WriteLine(
            $"{what,-30} median {sorted[sorted.Length / 2],7:0} ms ({sorted[0]:0} to {sorted[^1]:0}); target {target}");
    }

    private sealed class KernelProcess : IDisposable
    {
        private readonly string file = Path.GetTempFileName();
        private readonly Process process;

        internal KernelProcess()
        {
            var connection = KernelClient.NewConnection();
            File.WriteAllText(file, connection.ToJson().ToString());
            process = Process.Start(SelfProcess.Start("kernel", file))!;
            Client = new KernelClient(connection);
        }

        internal KernelClient Client { get; }

        internal long Bytes
        {
            get
            {
                process.Refresh();
                return process.WorkingSet64;
            }
        }

        public void Dispose()
        {
            Client.Send("shutdown_request", new JObject { ["restart"] = false }, onControl: true);
            process.WaitForExit();
            Client.Dispose();
            File.Delete(file);
        }
    }
}
