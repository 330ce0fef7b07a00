using System.CommandLine;
using System.Diagnostics;
using ReasonGen.Studies;
using static TorchSharp.torch;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen study: trains the stages of the story from scratch and records them.</summary>
internal static class StudyCommand
{
    private const int MostThreads = 1024;
    private static readonly string[] Stages = [.. Study.Foundations, .. Study.Arms, .. Study.Judges,
        .. Study.JudgeArms];

    internal static Command Create()
    {
        var stages = new Argument<string[]>("stages")
        {
            Description = $"Stages to make: {string.Join(", ", Stages)}. Default: all.",
            Arity = ArgumentArity.ZeroOrMore, CompletionSources = { Stages }, HelpName = "stages",
        };
        var seed = new Option<long>("--seed")
        {
            Description = "Seed of everything that is drawn.", DefaultValueFactory = _ => 1,
        };
        var output = new Option<string?>("--out", "-o")
        {
            Description = "Folder for checkpoints and runs. Default: artifacts/study/full-seed<seed>, with --trial "
                + "trial-seed<seed> there; stages that are there are kept.",
        };
        var threads = new Option<int?>("--threads")
        {
            Description = "Threads of libtorch, on which the last digits depend. Default: as many as processors.",
        };
        var start = new Option<string?>("--start")
        {
            Description = "Folder whose tokenizer, base, SFT and judges are taken, \"data\" for what ships. Default: "
                + "they are trained.",
        };
        var trial = new Option<bool>("--trial")
        {
            Description = "A few steps of each stage, to see that it works: seconds, and models of no worth.",
        };
        var command = new Command("study",
            "Trains the stages of the story from scratch; interrupted or killed, the same command goes on where it "
            + "was saved.\n\nExamples:\n"
            + "  reasongen study\n  reasongen study sft --seed 2\n"
            + "  reasongen study rl-adaptive rl-none --threads 1 --out artifacts/mine\n"
            + "  reasongen study rl-judge-small --seed 2 --start data --out artifacts/seed2")
            {
                stages, seed, output, threads, start, trial,
            };
        command.Options.Add(DeviceOption.Create());
        command.Subcommands.Add(StudyPaperCommand.Create());
        command.SetAction((parsed, cancel) =>
        {
            DeviceOption.Use(parsed);
            var config =
                (parsed.GetValue(trial) ? StudyConfig.Trial : StudyConfig.Full) with { Seed = parsed.GetValue(seed) };
            return Task.FromResult(Run(parsed.GetValue(stages) ?? [], config, parsed.GetValue(output),
                parsed.GetValue(threads), parsed.GetValue(start), cancel));
        });
        return command;
    }

    private static IReadOnlyList<string> Foundations(Study study, string start, string[] wanted)
    {
        try
        {
            return study.CopyFoundations(start, wanted);
        }
        catch (ArgumentException e)
        {
            throw new UsageException($"--start {start}: {Failure.Explain(e).Words}");
        }
    }

    private static int Run(string[] wanted, StudyConfig config, string? folder, int? threads, string? start,
        CancellationToken cancel)
    {
        if (wanted.FirstOrDefault(stage => !Stages.Contains(stage)) is { } unknown)
        {
            throw new ArgumentException($"there is no stage '{unknown}'; there are {string.Join(", ", Stages)}");
        }

        if (threads is { } count)
        {
            set_num_threads(count is >= 1 and <= MostThreads ? count
                : throw new ArgumentException(
                    $"--threads is {count}; it must be at least 1 and at most {MostThreads}"));
        }

        if (folder?.Length == 0 || start?.Length == 0)
        {
            throw new ArgumentException("--out and --start want the name of a folder");
        }

        Signals.FinishStep();
        var study = new Study(config, folder) { Cancellation = () => cancel, Start = start };
        if (start is not null)
        {
            // what ships is had wherever this runs
            var from = start == "data" && !Directory.Exists(start) ? Study.DataFolder() : start;
            foreach (var missing in Foundations(study, from, wanted))
            {
                Console.WriteLine($"{missing} is not in {start}; it is trained where it is wanted.");
            }
        }

        var (watch, last) = (Stopwatch.StartNew(), TimeSpan.FromHours(-1));
        study.OnStep = (record, total) =>
        {
            if (watch.Elapsed - last > TimeSpan.FromSeconds(10) || record.Count == total)
            {
                last = watch.Elapsed;
                var shown = record.Columns.Where(column => column is not ("step" or "seconds" or "tokens")).Take(6)
                    .Select(column => $"{column} {record.Last(column):0.###}");
                Console.WriteLine(
                    $"{record.Name} {record.Count}/{total}  {string.Join("  ", shown)}  {record.Seconds:0} s");
            }
        };
        try
        {
            foreach (var stage in wanted.Length == 0 ? Stages : wanted)
            {
                if (Study.Judges.Contains(stage))
                {
                    var judge = study.Judge(stage).Record;
                    Console.WriteLine(
                        $"{stage}: {judge.Seconds:0} s of training; "
                        + $"accuracy {judge.Results["sft"]!["accuracy"]:0.000} on images of the fine-tuned policy");
                    continue;
                }

                var result = stage switch { "tokenizer" => study.ImageTokenizer(), "base" => study.Base(),
                    "sft" => study.Sft(), _ => study.Rl(stage) };
                Console.WriteLine(
                    $"{stage}: {result.Record.Seconds:0} s of training;"
                    + $" {result.Record.Results["t1"]?["mean"] ?? result.Record.Results["round_trip_textured"]}");
                result.Model.Dispose();
            }

            Console.WriteLine($"All stages are in {study.Folder} after {watch.Elapsed.TotalMinutes:0.0} minutes.");
            return 0;
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine(
                $"Interrupted. What was done is in {study.Folder}; the same command goes on from there.");
            return 130;
        }
    }
}
