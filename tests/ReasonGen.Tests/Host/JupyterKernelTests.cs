using System.Diagnostics;
using System.Net;
using NetMQ;
using NetMQ.Sockets;
using Newtonsoft.Json.Linq;
using ReasonGen.Host;
using ReasonGen.Host.Kernel;
using Xunit;

namespace ReasonGen.Tests.Host;

/// <summary>The kernel over its sockets: the protocol's messages, and what must do it no harm.</summary>
[Collection("kernel")] // the sockets' library has one context a process
public sealed class JupyterKernelTests : IDisposable
{
    private readonly ServedKernel kernel = new();
    private readonly KernelClient client;

    public JupyterKernelTests() => client = kernel.Client;

    public void Dispose() => kernel.Dispose();

    [Fact]
    public void Kernel_info_names_protocol_and_language()
    {
        var info = client.Answer(client.Send("kernel_info_request", []));
        Assert.Equal(("ok", "5.3", "C#", ".cs"),
            ((string)info["status"]!, (string)info["protocol_version"]!, (string)info["language_info"]!["name"]!,
                (string)info["language_info"]!["file_extension"]!));
        Assert.Contains(ReasonGen.Host.Engine.CSharpSession.LanguageVersionName,
            client.WaitFor(client.Execute("#!about"), "display_data")["data"]!.ToString());
        Assert.Equal(ReasonGen.Host.Engine.CSharpSession.LanguageVersionName,
            (string?)info["language_info"]!["version"]);
    }

    [Fact]
    public void A_cell_is_busy_shows_in_order_and_is_idle()
    {
        var id = client.Execute(
            "Console.Write(\"a\"); Console.Error.Write(\"b\"); var d = display(\"one\"); d.Update(\"two\"); 6 * 7");
        var shown = client.Shown(id);
        Assert.Equal(["status", "execute_input", "stream", "stream", "display_data", "update_display_data",
            "execute_result", "status"], shown.Select(message => message.Type));
        Assert.Equal(("stdout", "stderr"), ((string)shown[2].Content["name"]!, (string)shown[3].Content["name"]!));
        Assert.Equal(shown[4].Content["transient"]!["display_id"], shown[5].Content["transient"]!["display_id"]);
        Assert.Contains("42", (string?)shown[6].Content["data"]!["text/html"]);
        var reply = client.Answer(id);
        Assert.Equal(("ok", (int)shown[6].Content["execution_count"]!),
            ((string)reply["status"]!, (int)reply["execution_count"]!));
    }

    [Fact]
    public void Output_comes_while_the_cell_runs()
    {
        var id = client.Execute("Console.WriteLine(\"early\"); Console.ReadLine(); Console.WriteLine(\"late\");");
        Assert.Equal("early\n", (string?)client.WaitFor(id, "stream")["text"]);
        client.Question();
        client.AnswerQuestion("go on");
        Assert.Equal("late\n", (string?)client.WaitFor(id, "stream")["text"]);
        Assert.Equal("ok", (string?)client.Answer(id)["status"]);
    }

    [Fact]
    public void An_error_is_told_and_what_waits_behind_it_is_not_run()
    {
        var (bad, next) =
            (client.Execute("throw new InvalidOperationException(\"no\");"), client.Execute("Console.Write(1)"));
        var error = client.WaitFor(bad, "error");
        Assert.Contains("no", (string?)error["evalue"]);
        Assert.DoesNotContain("ReasonGen.Host.Engine", (string?)error["evalue"]);
        Assert.Equal("error", (string?)client.Answer(bad)["status"]);
        Assert.Equal("aborted", (string?)client.Answer(next)["status"]);
        var (badAgain, runs) = (client.Execute("nonsense", stopOnError: false), client.Execute("1"));
        Assert.Equal("compilation error", (string?)client.Answer(badAgain)["evalue"]);
        Assert.Equal("ok", (string?)client.Answer(runs)["status"]);
    }

    [Fact]
    public void What_is_sent_after_the_word_of_a_failure_is_run()
    {
        for (var round = 0; round < 40; round++)
        {
            Assert.Equal("error", (string?)client.Answer(client.Execute("nonsense"))["status"]);
            Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
        }
    }

    [Theory]
    [InlineData("while (true) { }")]
    [InlineData("var n = 0; while (true) { try { n++; } catch (Exception) { } }")]
    [InlineData("System.Threading.Thread.Sleep(1000000);")]
    [InlineData("try { while (true) { } } catch (Exception e) { throw new Exception(\"as tasks wrap it\", e); }")]
    [InlineData("await Task.Delay(1000000);")]
    [InlineData("while (true) { await Task.Delay(1); Console.Write(\".\"); }")]
    [InlineData("Enumerable.Range(0, 20).Select(i => { System.Threading.Thread.Sleep(100000); return i; })")]
    public void An_interrupt_stops_a_cell_and_leaves_the_session(string code)
    {
        Assert.Equal("ok", (string?)client.Answer(client.Execute("var kept = 7;"))["status"]);
        var id = client.Execute(code);
        client.WaitFor(id, "execute_input");
        Thread.Sleep(300);
        var watch = Stopwatch.StartNew();
        Assert.Equal("ok",
            (string?)client.Answer(client.Send("interrupt_request", [], onControl: true), onControl: true)["status"]);
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
        // 1 to 1.5 s where the machine is free
        Assert.True(watch.Elapsed < TimeSpan.FromSeconds(30), $"{watch.Elapsed}");
        Assert.Contains("8",
            client.Shown(client.Execute("kept + 1")).First(message => message.Type == "execute_result").Content
                .ToString());
    }

    [Fact]
    public void An_interrupt_stops_training_at_a_step()
    {
        var id = client.Execute("""
            #r "ReasonGen.Notebook.dll"
            using ReasonGen.Notebook;
            using ReasonGen.Grpo;
            using ReasonGen.Rewards;
            var kit = Lab.Start("smoke", 1, x => { var shown = display(x); return y => shown.Update(y); });
            var model = kit.Study.Load("sft");
            Console.WriteLine("loaded");
            int steps = 0;
            using (var trainer = kit.Study.SftTrainer(model, "sft"))
            {
                foreach (var step in trainer.Steps(100000)) { steps++; if (steps == 1) { Console.WriteLine("training"); } }
            }
            """);
        while (!((string)client.WaitFor(id, "stream")["text"]!).Contains("training"))
        {
        }

        client.Answer(client.Send("interrupt_request", [], onControl: true), onControl: true);
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
        var more = client.Execute(
            "using (var trainer = kit.Study.SftTrainer(model, \"sft\")) { foreach (var step in trainer.Steps(2)) { "
            + "Console.Write(double.IsFinite(step.Loss) ? \"finite \" : \"not \"); } }");
        Assert.Equal("finite finite ",
            string.Concat(client.Shown(more)
                .Select(message => (string?)message.Content[message.Type == "stream" ? "text" : "evalue"])));
    }

    [Fact]
    public void An_interrupt_stops_sampling_on_all_threads()
    {
        var id = client.Execute("""
            #r "ReasonGen.Notebook.dll"
            using ReasonGen.Notebook;
            using ReasonGen.Core;
            using ReasonGen.World;
            using TorchSharp;
            var threads = torch.get_num_threads();
            torch.set_num_threads(2);
            var kit = Lab.Start("smoke", 1, x => { var shown = display(x); return y => shown.Update(y); });
            var policy = kit.Study.Policy(kit.Study.Load("sft"));
            var told = 0;
            policy.TokenDone = _ =>
            {
                if (System.Threading.Interlocked.Increment(ref told) == 3) { Console.WriteLine("sampling"); }
            };
            var prompts = Enumerable.Range(0, 100).Select(i => Prompts.Draw(Seeds.Random(1, 22, i))).ToArray();
            while (true) { policy.Generate(prompts, 2, 1).Dispose(); }
            """);
        while (!((string)client.WaitFor(id, "stream")["text"]!).Contains("sampling"))
        {
        }

        client.Answer(client.Send("interrupt_request", [], onControl: true), onControl: true);
        Assert.Equal("Interrupted", (string?)client.Answer(id)["ename"]);
        var more = client.Execute("var before = told; System.Threading.Thread.Sleep(500); "
            + "torch.set_num_threads(threads); Console.Write(told - before);");
        Assert.Equal("0", (string?)client.WaitFor(more, "stream")["text"]);
    }

    [Fact]
    public void A_cell_may_ask_for_input()
    {
        var id = client.Execute(
            "var name = Console.ReadLine(); var secret = await GetPasswordAsync(\"word\"); name + secret");
        Assert.False((bool)client.Question()["password"]!);
        client.AnswerQuestion("Ada");
        var second = client.Question();
        Assert.Equal((true, "word"), ((bool)second["password"]!, (string)second["prompt"]!));
        client.AnswerQuestion("!");
        Assert.Contains("Ada!",
            client.Shown(id).Single(message => message.Type == "execute_result").Content.ToString());
    }

    [Fact]
    public void An_answer_that_comes_too_late_is_not_that_of_the_next_question()
    {
        var first = client.Execute("Console.ReadLine()");
        client.Question();
        var late = client.QuestionId;
        client.Answer(client.Send("interrupt_request", [], onControl: true), onControl: true);
        Assert.Equal("Interrupted", (string?)client.Answer(first)["ename"]);
        var second = client.Execute("Console.Write(await GetPasswordAsync(\"word\"));");
        client.Question();
        client.AnswerQuestion("of the first", late);
        client.AnswerQuestion("of the second", client.QuestionId);
        Assert.Equal("of the second", (string?)client.WaitFor(second, "stream")["text"]);
    }

    [Fact]
    public void A_question_that_outlives_its_cell_keeps_no_other_from_being_asked()
    {
        using var folder = new TestFolder();
        var asked = client.Execute("new System.Threading.Thread(() => { try { Console.ReadLine(); } "
            + "catch (OperationCanceledException) { } }) { IsBackground = true }.Start(); "
            + $"while (!System.IO.File.Exists(@\"{folder.At("asked")}\")) System.Threading.Thread.Sleep(10);");
        client.Question();
        folder.Write("asked", "");
        Assert.Equal("ok", (string?)client.Answer(asked)["status"]);
        var next = client.Execute("Console.Write(Console.ReadLine());");
        client.Question();
        client.AnswerQuestion("here");
        Assert.Equal("here", (string?)client.WaitFor(next, "stream")["text"]);
    }

    [Fact]
    public void A_thread_that_asks_after_its_cell_is_told_so()
    {
        client.Answer(client.Execute("var go = new System.Threading.ManualResetEventSlim(); "
            + "var said = new TaskCompletionSource<string>(); new System.Threading.Thread(() => { go.Wait(); "
            + "try { said.SetResult(Console.ReadLine()); } catch (Exception e) { said.SetResult(e.Message); } "
            + "}) { IsBackground = true }.Start();"));
        Assert.Equal("nobody is asked for input any more: the cell that asks has ended, or was interrupted",
            (string?)client.WaitFor(client.Execute("go.Set(); Console.Write(await said.Task);"), "stream")["text"]);
    }

    [Fact]
    public void Expressions_of_a_front_end_each_get_an_answer()
    {
        JObject Ask(JToken expressions) => client.Answer(client.Send("execute_request",
            new JObject { ["code"] = "1", ["user_expressions"] = expressions }));
        var reply = Ask(new JObject { ["a"] = "1 + 1", ["b"] = "nonsense" });
        Assert.Equal("ok", (string?)reply["status"]);
        Assert.Equal(["a error", "b error"], ((JObject)reply["user_expressions"]!).Properties()
            .Select(entry => $"{entry.Name} {entry.Value["status"]}"));
        Assert.Equal("its user_expressions must be an object", (string?)Ask("text")["evalue"]);
    }

    [Fact]
    public void Completion_and_inspection_know_the_session_and_the_library()
    {
        client.Answer(
            client.Execute("class Apple { public int Pips; public void Bite() {} }\nvar apple = new Apple();"));
        var members = client.Answer(Ask("complete_request", "var é😀 = 1; apple."));
        Assert.Equal(["Bite", "Pips"],
            members["matches"]!.Select(match => (string?)match).Intersect(["Bite", "Pips"]).Order());
        Assert.Equal(19 - 1, (int)members["cursor_start"]!); // characters of Unicode, not of UTF-16
        Assert.Equal(["WriteLine"],
            client.Answer(Ask("complete_request", "Console.WriteL"))["matches"]!.Select(match => (string?)match));
        Assert.Equal(["#!who", "#!whos"],
            client.Answer(Ask("complete_request", "#!wh"))["matches"]!.Select(match => (string?)match));
        var found = client.Answer(Ask("inspect_request", "Math.Max(1, "));
        Assert.True((bool)found["found"]!);
        Assert.Contains("Max(", (string?)found["data"]!["text/plain"]);
        Assert.Contains("how a cell ended",
            (string?)client.Answer(Ask("inspect_request", "ReasonGen.Host.Engine.CellResult"))["data"]!["text/plain"],
            StringComparison.OrdinalIgnoreCase);
        Assert.False((bool)client.Answer(Ask("inspect_request", "   "))["found"]!);
    }

    [Theory]
    [InlineData("1 + 1", "complete")]
    [InlineData("for (var i = 0; i < 3; i++)\n{", "incomplete")]
    [InlineData("int x = );", "invalid")]
    [InlineData("#!time\nvar y = 1;", "complete")]
    public void Is_complete_tells_whole_cells_from_others(string code, string status) =>
        Assert.Equal(status,
            (string?)client.Answer(client.Send("is_complete_request", new JObject { ["code"] = code }))["status"]);

    [Fact]
    public void History_is_kept_and_silent_cells_are_not()
    {
        client.Answer(client.Execute("var first = 1;"));
        var silent = client.Execute("2", silent: true);
        client.Answer(silent);
        Assert.DoesNotContain(client.Shown(silent), message => message.Type is "execute_input" or "execute_result");
        client.Answer(client.Execute("var third = 3;"));
        JArray Ask(JObject content) => (JArray)client.Answer(client.Send("history_request", content))["history"]!;
        Assert.Equal(["var first = 1;", "var third = 3;"],
            Ask(new JObject { ["hist_access_type"] = "tail", ["n"] = 5 }).Select(entry => (string?)entry[2]));
        Assert.Equal("var third = 3;",
            (string?)Ask(new JObject { ["hist_access_type"] = "search", ["pattern"] = "*third*", ["n"] = 5 })
                .Single()[2]);
        Assert.Equal("var first = 1;",
            (string?)Ask(new JObject { ["hist_access_type"] = "range", ["start"] = 1, ["stop"] = 2 }).Single()[2]);
    }

    [Fact]
    public void Comms_and_unknown_requests_are_refused_politely()
    {
        var id = client.Send("comm_open",
            new JObject { ["comm_id"] = "c", ["target_name"] = "widget", ["data"] = new JObject() });
        Assert.Equal("c", (string?)client.WaitFor(id, "comm_close")["comm_id"]);
        Assert.Empty((JObject)client.Answer(client.Send("comm_info_request", []))["comms"]!);
        Assert.Equal("error", (string?)client.Answer(client.Send("dance_request", []))["status"]);
        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
    }

    [Fact]
    public void Forged_repeated_and_malformed_messages_are_dropped_without_harm()
    {
        var good = KernelClient.Frames("execute_request", """{"code":"Console.Write(\"once\")"}""");
        client.SendFrames(good);
        client.SendFrames(good); // a recorded message, sent again
        client.SendFrames(KernelClient.Frames("execute_request", """{"code":"Console.Write(\"forged\")"}""",
            new string('0', 64)));
        client.SendFrames(KernelClient.Frames("execute_request", """{"code":"Console.Write(\"unsigned\")"}""", ""));
        client.SendFrames(KernelClient.Frames("execute_request", "not json"));
        client.SendFrames(KernelClient.Frames("execute_request",
            string.Concat(Enumerable.Repeat("{\"a\":", 5000)) + "1" + new string('}', 5000)));
        client.SendFrames([.. Enumerable.Range(0, 200).Select(i => new[] { (byte)i })]);
        client.SendFrames([[], []]);
        client.SendFrames(KernelClient.Frames("", "{}"));
        var last = client.Execute("var marker = 1;");
        Assert.Equal("ok", (string?)client.Answer(last)["status"]);
        var history = (JArray)client.Answer(client.Send("history_request",
            new JObject { ["hist_access_type"] = "tail", ["n"] = 10 }))["history"]!;
        Assert.Equal(["Console.Write(\"once\")", "var marker = 1;"], history.Select(entry => (string?)entry[2]));
    }

    [Fact]
    public void An_oversized_frame_costs_the_sender_its_connection_and_nobody_else_anything()
    {
        using (var hostile = new DealerSocket())
        {
            hostile.Connect($"tcp://127.0.0.1:{client.Connection.Shell}");
            hostile.SendMultipartBytes(KernelClient.Frames("execute_request",
                "{\"code\":\"" + new string('x', 80 << 20) + "\"}"));
            Thread.Sleep(500);
        }

        Assert.Equal("ok", (string?)client.Answer(client.Execute("1"))["status"]);
    }

    [Fact]
    public void Much_output_neither_stalls_nor_is_lost()
    {
        var id = client.Execute(
            "var line = new string('x', 99) + \"\\n\"; for (var i = 0; i < 200000; i++) Console.Write(line); "
            + "Console.Write(new string('y', 3000000));");
        Assert.Equal(23_000_000,
            client.Shown(id).Where(message => message.Type == "stream")
                .Sum(message => ((string)message.Content["text"]!).Length));
    }

    [Fact]
    public void The_heartbeat_echoes_while_a_cell_runs()
    {
        var id = client.Execute("System.Threading.Thread.Sleep(1500);");
        client.WaitFor(id, "execute_input");
        using var heart = new RequestSocket($">tcp://127.0.0.1:{client.Connection.Heartbeat}");
        heart.SendFrame("ping");
        Assert.True(heart.TryReceiveFrameString(TimeSpan.FromSeconds(10), out var echo));
        Assert.Equal("ping", echo);
        client.Answer(id);
    }

    [Fact]
    public void Shutdown_is_answered_and_ends_the_kernel()
    {
        var busy = client.Execute("while (true) { }");
        client.WaitFor(busy, "execute_input");
        Assert.True(
            (bool)client.Answer(client.Send("shutdown_request", new JObject { ["restart"] = true }, onControl: true),
                onControl: true)["restart"]!);
        kernel.ExpectEnd();
    }

    private string Ask(string type, string code) =>
        client.Send(type,
            new JObject
            {
                ["code"] = code, ["cursor_pos"] = new System.Globalization.StringInfo(code).LengthInTextElements,
            });
}

/// <summary>What the kernel refuses before it listens, and how front ends come to know it.</summary>
public sealed class KernelFilesTests : IDisposable
{
    private readonly string folder = Directory.CreateTempSubdirectory("reasongen").FullName;

    public void Dispose() => Directory.Delete(folder, true);

    [Theory]
    [InlineData("ip", "\"192.168.0.1\"", "the loopback address alone")]
    [InlineData("ip", "\"0.0.0.0\"", "the loopback address alone")]
    [InlineData("key", "\"\"", "lacks a key")]
    [InlineData("signature_scheme", "\"hmac-md5\"", "lacks a key for the signature scheme")]
    [InlineData("transport", "\"ipc\"", "speaks tcp")]
    [InlineData("shell_port", "70000", "shell_port is no port")]
    [InlineData("hb_port", "\"x\"", "hb_port is no port")]
    public void A_connection_that_is_not_safe_or_not_whole_is_refused(string name, string value, string message)
    {
        var file = new KernelConnection(IPAddress.Loopback, 1, 2, 3, 4, 5, "k").ToJson();
        var path = Path.Combine(folder, "connection.json");
        File.WriteAllText(path, file.ToString());
        Assert.Equal(IPAddress.Loopback, KernelConnection.Read(path).Address);
        file[name] = JToken.Parse(value);
        File.WriteAllText(path, file.ToString());
        Assert.Contains(message, Assert.Throws<UsageException>(() => KernelConnection.Read(path)).Message);
    }

    [Fact]
    public void Install_takes_the_notebooks_name_only_where_it_is_free_and_remove_takes_only_its_own()
    {
        var (mine, system) = (Path.Combine(folder, "mine"), Path.Combine(folder, "system"));
        var (written, other) = KernelSpec.Install(mine, [system]);
        Assert.Equal([Path.Combine(mine, "reasongen"), Path.Combine(mine, ".net-csharp")], written);
        Assert.Null(other);
        var spec = JObject.Parse(File.ReadAllText(Path.Combine(mine, ".net-csharp", "kernel.json")));
        Assert.Equal(("{connection_file}", "message"), ((string)spec["argv"]!.Last!, (string)spec["interrupt_mode"]!));
        Assert.True(File.Exists((string)spec["argv"]![0]!));
        Assert.True(Directory.Exists(Path.Combine((string)spec["env"]!["DOTNET_ROOT"]!, "shared")));
        Assert.Equal(3, Directory.GetFiles(Path.Combine(mine, "reasongen"), "logo-*").Length);
        Assert.Equal(2, KernelSpec.Install(mine, [system]).Written.Count); // again is no error
        Assert.Equal(2, KernelSpec.Remove(mine).Count);

        var theirs = Path.Combine(system, ".net-csharp");
        Directory.CreateDirectory(theirs);
        File.WriteAllText(Path.Combine(theirs, "kernel.json"),
            """{"argv":["dotnet","interactive"],"display_name":".NET (C#)"}""");
        (written, other) = KernelSpec.Install(mine, [system]);
        Assert.Equal([Path.Combine(mine, "reasongen")], written);
        Assert.Equal(theirs, other);
        Assert.Empty(KernelSpec.Remove(system));
        Assert.True(Directory.Exists(theirs));
    }

    [Theory]
    [InlineData("""{"metadata": [1]}""")]
    [InlineData("""{"metadata": "reasongen"}""")]
    [InlineData("""{"metadata": {"reasongen": "abc"}}""")]
    [InlineData("""{"metadata": {"reasongen": [true]}}""")]
    [InlineData("[1]")]
    public void A_kernel_that_is_not_this_one_is_left_as_it_is_whatever_it_says(string spec)
    {
        var theirs = Path.Combine(folder, "mine", ".net-csharp");
        Directory.CreateDirectory(theirs);
        File.WriteAllText(Path.Combine(theirs, "kernel.json"), spec);
        Assert.Equal(theirs, KernelSpec.Install(Path.Combine(folder, "mine"), []).Other);
        Assert.Equal([Path.Combine(folder, "mine", "reasongen")], KernelSpec.Remove(Path.Combine(folder, "mine")));
        Assert.Equal(spec, File.ReadAllText(Path.Combine(theirs, "kernel.json")));
    }

    [Fact]
    public void Remove_leaves_files_that_install_did_not_write()
    {
        var mine = Path.Combine(folder, "mine");
        KernelSpec.Install(mine, []);
        var notes = Path.Combine(mine, "reasongen", "notes.txt");
        File.WriteAllText(notes, "the user's");
        Assert.Equal(2, KernelSpec.Remove(mine).Count);
        Assert.Equal([notes], Directory.GetFiles(mine, "*", SearchOption.AllDirectories));
        Assert.Equal([Path.Combine(mine, "reasongen")], Directory.GetDirectories(mine));
    }
}
