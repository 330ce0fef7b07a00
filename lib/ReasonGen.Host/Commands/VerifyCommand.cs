using System.CommandLine;
using System.Diagnostics;
using System.Runtime.InteropServices;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.JanusPro;
using ReasonGen.Native;
using ReasonGen.Setups;
using ReasonGen.Studies;
using ReasonGen.Verification;
using TorchSharp;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen verify: whether a model's files, and what this kit makes of them, are right.</summary>
internal static class VerifyCommand
{
    private const string Help = """
        Looks within minutes whether a downloaded model works here as it should: names and shapes, tokenizer,
            plain text, image tokenizer,
        questions about drawn pictures, and four images of a plain prompt. Each check has a value,
            the band it should lie in, and what a
        miss suggests. It ends in one sentence, and in a page with all of it that can be sent with a report of a fault.
        Exit code 0 where all checks passed, 1 where one missed, 2 where there is no model to look at.

        Examples:
          reasongen verify Janus-Pro-7B
          reasongen verify ReasonGen-R1 --judge Qwen2.5-VL-7B-Instruct --out r1.html
          reasongen verify miniature
          reasongen verify tiny
        """;

    internal static Command Create()
    {
        var folder = new Argument<string>("folder")
        {
            Description = "Folder with config.json, weights and tokenizer.json of a Janus-Pro or ReasonGen-R1; or "
                + "miniature, the trained "
                + "models that ship; or tiny, a built-in model of random weights.",
        };
        var judge = new Option<string?>("--judge", "-j")
        {
            Description = "Folder of a Qwen2.5-VL: checked too, and asked what the drawn images show.",
        };
        var output = new Option<string?>("--out", "-o") { Description = "The page. Default: verify-<name>.html." };
        var type = new Option<string>("--dtype")
        {
            Description = "auto: bf16 on a GPU, fp32 without one.", DefaultValueFactory = _ => "auto",
        };
        type.AcceptOnlyFromAmong("auto", "fp32", "bf16");
        var command = new Command("verify", Help) { folder, judge, output, type };
        command.SetAction((parsed, cancel) => Task.FromResult(Verify(parsed.GetValue(folder)!, parsed.GetValue(judge),
            parsed.GetValue(output), Target(parsed.GetValue(type)!), cancel)));
        return command;
    }

    private static ComputeTarget Target(string type) => type == "auto" ? ComputeTarget.Default
        : ComputeTarget.Default with { DType = type == "fp32" ? torch.ScalarType.Float32 : torch.ScalarType.BFloat16 };

    private static int Verify(string folder, string? judgeFolder, string? output, ComputeTarget target,
        CancellationToken cancel)
    {
        var name = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(folder)));
        var page = output ?? $"verify-{name}.html";
        if (Directory.Exists(page))
        {
            throw new UsageException($"--out names a folder, {page}; give the name of a file");
        }

        List<VerifyCheck> checks = [];
        var watch = Stopwatch.StartNew();
        var whole = true;
        try
        {
            foreach (var check in Checks(folder, judgeFolder, target, cancel))
            {
                checks.Add(check);
                Tell(check);
            }
        }
        catch (OperationCanceledException)
        {
            whole = false;
        }

        var sentence = VerifyReport.Sentence(name, checks, whole);
        AtomicFile.Write(page, VerifyReport.Html(sentence, checks,
        [
            ("model", folder), ("judge", judgeFolder ?? "none"), ("device", target.ToString()),
                ("revision", RunRecord.CurrentCommit),
            ("kit", typeof(VerifyCommand).Assembly.GetName().Version!.ToString(3)),
                ("libtorch", NativeRuntime.LibTorch),
            ("system", $"{RuntimeInformation.OSDescription}, {RuntimeInformation.FrameworkDescription}"),
            ("duration", $"{watch.Elapsed:hh\\:mm\\:ss}"),
        ]));
        Console.WriteLine($"\n{Terminal.Line(sentence)}\nThe page: {Path.GetFullPath(page)}");
        return !whole ? CommandLine.Interrupted : checks.Any(check => check.Outcome == VerifyOutcome.Missed)
            ? CommandLine.Failed
            : CommandLine.Done;
    }

    private static IEnumerable<VerifyCheck> Checks(string folder, string? judgeFolder, ComputeTarget target,
        CancellationToken cancel)
    {
        var builtIn = !Directory.Exists(folder) && folder is "tiny" or "miniature";
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
        var judge = judgeFolder is null ? null : VerifyJudge.Open(judgeFolder, target);
        cancel.ThrowIfCancellationRequested();
        Starting("loading the model");
        var (pipeline, suite) = (builtIn, folder) switch
        {
            (true, "tiny") => (TinyJanus.Open(target), VerifySuite.Tiny()),
            (true, _) => Miniature(ref judge),
            _ => (JanusPipeline.Open(folder, target), VerifySuite.Published()),
        };
        using (pipeline)
        {
            foreach (var check in new ModelVerification(pipeline, suite, judge).Run(Starting, cancel))
            {
                yield return check;
            }
        }
    }

    private static (JanusPipeline, VerifySuite) Miniature(ref VerifyJudge? judge)
    {
        var (pipeline, suite, own) = MiniatureVerification.Open(new Study(StudyConfig.Smoke));
        judge ??= own;
        return (pipeline, suite);
    }

    private static void Starting(string what)
    {
        if (!Console.IsErrorRedirected)
        {
            Console.Error.Write($"\r{what} …\x1b[K");
        }
    }

    private static void Tell(VerifyCheck check)
    {
        if (!Console.IsErrorRedirected)
        {
            Console.Error.Write("\r\x1b[K");
        }

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
