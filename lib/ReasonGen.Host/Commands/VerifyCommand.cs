using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.JanusPro;
using ReasonGen.Native;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Verification;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen verify: whether a model's files, and what this kit makes of them, are right.</summary>
internal static class VerifyCommand
{
    private const string Help = """
        Looks within minutes whether a downloaded model works here as it should: names and shapes, tokenizer, plain
        text, image tokenizer, questions about drawn images, and four images of a plain prompt. Each check has a value,
        the band it should lie in, and what a miss suggests. It ends in one sentence, and in a page with all of it that
        can be sent with a report of a fault.

        Exit code 0 where all checks passed, 1 where one missed, 2 where there is no model to look at.

        Examples:
          reasongen verify Janus-Pro-7B
          reasongen verify ReasonGen-R1 --judge Qwen2.5-VL-7B-Instruct --out r1.html
          reasongen verify ReasonGen-R1 --device cuda:1
          reasongen verify miniature
          reasongen verify tiny
        """;

    internal static Command Create()
    {
        var folder = new Argument<string>("folder")
        {
            Description = "Folder with config.json, weights and tokenizer.json of a Janus-Pro or ReasonGen-R1; or "
                + "miniature, the trained models that ship; or tiny, a built-in model of random weights.",
        };
        var judge = new Option<string?>("--judge", "-j")
        {
            Description = "Folder of a Qwen2.5-VL: checked too, and asked what the drawn images show. Goes with the "
                + "folder of a model; miniature has its own judge, and tiny has nothing to ask about.",
        };
        var output = new Option<string?>("--out", "-o") { Description = "The page. Default: verify-<name>.html." };
        var device = DeviceOption.Create();
        var command = new Command("verify", Help) { folder, judge, output, device };
        command.SetAction((parsed, cancel) =>
        {
            var model = parsed.GetValue(folder)!;
            CommandLine.RefuseIdle(parsed, model, (!IsBuiltIn(model), "the folder of a model", [judge]));
            return Task.FromResult(Verify(model, parsed.GetValue(judge), parsed.GetValue(output),
                DeviceOption.Use(parsed), cancel));
        });
        return command;
    }

    private static bool IsBuiltIn(string folder) => folder is "tiny" or "miniature" && !Directory.Exists(folder);

    private static int Verify(string folder, string? judgeFolder, string? output, ComputeTarget target,
        CancellationToken cancel)
    {
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        var page = output ?? $"verify-{name}.html";
        target = IsBuiltIn(folder) && folder == "miniature" ? target.Exact : target; // as every study computes
        if (Directory.Exists(page))
        {
            throw new UsageException($"--out names a folder, {page}; give the name of a file");
        }

        Writable(page); // before minutes of work
        List<VerifyCheck> checks = [];
        var watch = Stopwatch.StartNew();
        var (whole, told) = (true, false);
        // what is at hand, such as loading, may take longer than is waited for after a signal
        using (cancel.Register(() => Report(ended: false)))
        {
            try
            {
                foreach (var check in Checks(folder, judgeFolder, target, cancel))
                {
                    lock (checks)
                    {
                        cancel.ThrowIfCancellationRequested();
                        checks.Add(check);
                        Tell(check);
                    }
                }
            }
            catch (Exception e) when (e is OperationCanceledException || cancel.IsCancellationRequested)
            {
                Report(ended: false);
            }
        }

        Report(ended: true);
        return !whole ? CommandLine.Interrupted : checks.Any(check => check.Outcome == VerifyOutcome.Missed)
            ? CommandLine.Failed
            : CommandLine.Done;

        // once, by whoever comes first
        void Report(bool ended)
        {
            lock (checks)
            {
                if (told)
                {
                    return;
                }

                (told, whole) = (true, ended);
                var sentence = VerifyReport.Sentence(name, checks, whole);
                Console.WriteLine($"\n{Terminal.Line(sentence)}");
                AtomicFile.Write(page, VerifyReport.Html(sentence, checks,
                [
                    ("model", folder), ("judge", judgeFolder ?? "none"), ("device", target.ToString()),
                    ("revision", RunRecord.CurrentCommit),
                    ("kit", typeof(VerifyCommand).Assembly.GetName().Version!.ToString(3)),
                    ("libtorch", NativeRuntime.LibTorch),
                    ("system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}"),
                    ("duration", $"{watch.Elapsed:hh\\:mm\\:ss}"),
                ]));
                Console.WriteLine($"The page: {Path.GetFullPath(page)}");
            }
        }
    }

    // by a file of another name, so that a page that is there stays as it is
    private static void Writable(string page)
    {
        try
        {
            var path = Path.GetFullPath(page);
            using var files = new AtomicFiles(Path.GetDirectoryName(path)!);
            files.Write(Path.GetFileName(path), _ => { }); // never given its name
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UsageException($"the page {page} cannot be written: {e.Message} Give another file with --out.");
        }
    }

    private static IEnumerable<VerifyCheck> Checks(string folder, string? judgeFolder, ComputeTarget target,
        CancellationToken cancel)
    {
        if (judgeFolder is not null && !Directory.Exists(judgeFolder))
        {
            throw new UnusableFileException(judgeFolder, "there is no such folder",
                "give the folder of a downloaded Qwen2.5-VL");
        }

        var builtIn = IsBuiltIn(folder);
        if (!builtIn)
        {
            JanusPipeline.Expect(folder);
            _ = JanusFiles.ReadConfig(folder); // what is no Janus is not checked
            var files = ModelVerification.Files(folder);
            yield return files;
            if (files.Outcome == VerifyOutcome.Missed)
            {
                yield break; // what does not fit is not loaded
            }
        }

        // the judge first: it may be no judge
        var (judge, noJudge) = judgeFolder is null ? (null, null)
            : Opened("loading the judge", () => VerifyJudge.Open(judgeFolder, target));
        if (noJudge is not null)
        {
            yield return noJudge;
        }

        cancel.ThrowIfCancellationRequested();
        var ((pipeline, suite, seer), noModel) = Opened("loading", () => (builtIn, folder) switch
        {
            (true, "tiny") => (TinyJanus.Open(target), VerifySuite.Tiny(), judge),
            (true, _) => Miniature(),
            _ => (JanusPipeline.Open(folder, target), VerifySuite.Published(), judge),
        });
        if (noModel is not null)
        {
            yield return noModel;
            yield break;
        }

        using (pipeline)
        {
            foreach (var check in new ModelVerification(pipeline, suite, seer).Run(
                part => Terminal.Passing($"{part} …"), cancel))
            {
                yield return check;
            }
        }
    }

    private static (JanusPipeline, VerifySuite, VerifyJudge?) Miniature() =>
        MiniatureVerification.Open(new Study(StudyConfig.Smoke));

    private static (T? Opened, VerifyCheck? Missed) Opened<T>(string name, Func<T> open)
    {
        Terminal.Passing($"{name} …");
        try
        {
            return (open(), null);
        }
        catch (Exception e) when (ModelVerification.IsFault(e))
        {
            return (default, ModelVerification.Failed(name, "What was given is opened where it shall compute.", e));
        }
    }

    private static void Tell(VerifyCheck check)
    {
        Terminal.Passing("");
        var outcome = check.Outcome switch { VerifyOutcome.Passed => "ok    ", VerifyOutcome.Missed => "MISSED", _ =>
            "–     " };
        Console.WriteLine(Terminal.Line($"{outcome} {check.Name,-16} {check.Value}")
            + (check.Outcome == VerifyOutcome.Skipped ? "" : Terminal.Line($"   [{check.Band}]")));
        if (check.Suggestion.Length > 0)
        {
            Console.WriteLine(Terminal.Line($"       suggests: {check.Suggestion}"));
        }
    }
}
