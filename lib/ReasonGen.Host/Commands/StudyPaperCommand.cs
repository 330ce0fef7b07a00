using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Studies;
using static TorchSharp.torch;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen study paper: all runs of the paper's study, with several seeds.</summary>
internal static class StudyPaperCommand
{
    private const int DefaultSteps = 120, MostSeeds = 100, MostSeed = 1_000_000, MostJobs = 64, MostSteps = 100_000,
        MostStarts = 20;

    private sealed record Request(StudyConfig Config, IReadOnlyList<PaperItem> Items, string Folder, int Jobs,
        int Threads, bool Trial);

    internal static Command Create()
    {
        var seeds = new Option<int>("--seeds")
        {
            Description = $"Training seeds of each arm; of a point of the maps there are at most "
                + $"{PaperPlan.SeedsOfMaps}.",
            DefaultValueFactory = _ => 5,
        };
        var first = new Option<int>("--first-seed")
        {
            Description = "The first of the seeds. A study that goes on on another machine takes seeds that it has "
                + "not: from the same seed another processor comes to other models.",
            DefaultValueFactory = _ => 1,
        };
        var jobs = new Option<int>("--jobs")
        {
            Description = "Runs side by side, each in a process of its own.", DefaultValueFactory = _ => 1,
        };
        var threads = new Option<int>("--threads")
        {
            Description = "Threads of libtorch in each, on which the last digits depend.",
            DefaultValueFactory = _ => 1,
        };
        var steps = new Option<int>("--steps")
        {
            Description = "Steps of GRPO of a run.", DefaultValueFactory = _ => DefaultSteps,
        };
        var only = new Option<string[]>("--only")
        {
            Description = "Parts to make: arms, noise, map, figure6. Default: all.",
            AllowMultipleArgumentsPerToken = true, HelpName = "parts",
        };
        only.CompletionSources.Add("arms", "noise", "map", "figure6");
        var run = new Option<string[]>("--run")
        {
            Description = "Single runs to make instead, as --list names them: seed2/none.",
            AllowMultipleArgumentsPerToken = true, HelpName = "runs",
        };
        var list = new Option<bool>("--list") { Description = "Says what would be made and how long it takes." };
        var collect = new Option<string?>("--collect")
        {
            Description = "Gathers what is finished in three files in this folder, \"data/runs\" for what ships, and "
                + "ends. Where nothing is finished they stay as they are.",
            HelpName = "folder",
        };
        var add = new Option<bool>("--add")
        {
            Description = "With --collect: what the folder tells of seeds that are not gathered now stays in it.",
        };
        var output = new Option<string?>("--out", "-o")
        {
            Description = "Folder of the study. Default: artifacts/study/paper.",
        };
        var trial = new Option<bool>("--trial")
        {
            Description = "A few steps of each stage, to see that it works: numbers of no worth.",
        };
        var worker = new Option<bool>("--worker") { Hidden = true };
        var command = new Command("paper",
            "Makes everything that the notebooks and the report say of the paper, with several seeds: arms, judges "
            + "that err, maps of coefficients and targets. Interrupted or killed at any moment, the same command goes "
            + "on where it was saved; two commands with one folder share the work.\n\nExamples:\n"
            + "  reasongen study paper --list\n  reasongen study paper --seeds 5 --jobs 2\n"
            + "  reasongen study paper --seeds 3 --only arms noise --jobs 2\n"
            + "  reasongen study paper --run seed2/none --threads 1\n"
            + "  reasongen study paper --collect data/runs\n"
            + "  reasongen study paper --first-seed 6 --seeds 3 --collect data/runs --add")
        {
            seeds, first, jobs, threads, steps, only, run, list, collect, add, output, trial, worker,
        };
        command.Options.Add(DeviceOption.Create());
        command.SetAction((parsed, cancel) =>
        {
            DeviceOption.Use(parsed);
            int Within(Option<int> option, int most) => parsed.GetValue(option) is var value && value >= 1
                && value <= most ? value : throw new ArgumentException(
                    $"{option.Name} is {value}; it must be at least 1 and at most {most}");
            var config = (parsed.GetValue(trial) ? StudyConfig.Trial : StudyConfig.Full) with
            {
                RlSteps = Within(steps, MostSteps),
            };
            var start = Within(first, MostSeed);
            var chosen = Chosen(Within(seeds, Math.Min(MostSeeds, MostSeed + 1 - start)), start,
                parsed.GetValue(only) ?? [], parsed.GetValue(run) ?? []);
            var request = new Request(config, chosen, FolderOf(parsed.GetValue(output)), Within(jobs, MostJobs),
                Within(threads, 1024), parsed.GetValue(trial));
            var gather = parsed.GetValue(collect) is { } target
                ? target.Length > 0 ? target : throw new ArgumentException("--collect wants the name of a folder")
                : null;
            if (parsed.GetValue(add) && gather is null)
            {
                throw new ArgumentException("--add goes with --collect: it keeps what is gathered there");
            }

            if (parsed.GetValue(list) && gather is not null)
            {
                throw new ArgumentException("--list says what would be made, and --collect gathers what was made: give "
                    + "one of the two");
            }

            if (parsed.GetValue(run) is { Length: > 0 }
                && ((Option[])[seeds, first, only]).FirstOrDefault(option => CommandLine.Given(parsed, option))
                    is { } choice)
            {
                throw new ArgumentException($"--run names the runs itself, so that {choice.Name} has nothing to choose"
                    + ": give one of the two");
            }

            set_num_threads(request.Threads);
            Signals.FinishStep(tells: !parsed.GetValue(worker));
            return parsed.GetValue(worker) ? Task.FromResult(Work(request, cancel))
                : RunAsync(request, gather, parsed.GetValue(add), parsed.GetValue(list), cancel);
        });
        return command;
    }

    private static string FolderOf(string? given) => given switch
    {
        "" => throw new ArgumentException("--out wants the name of a folder"),
        null => Path.Combine(Path.GetDirectoryName(new Study(StudyConfig.Full).Folder)!, "paper"),
        _ => given,
    };

    private static IReadOnlyList<PaperItem> Chosen(int seeds, int first, string[] only, string[] runs)
    {
        StudyPart[] parts = [.. only.SelectMany(part => part.Split(',')).Select(part =>
            Enum.GetNames<StudyPart>().Any(name => name.ToLowerInvariant() == part)
            ? Enum.Parse<StudyPart>(part, ignoreCase: true)
            : throw new ArgumentException($"there is no part '{part}'; there are arms, noise, map and figure6"))];
        if (runs.Length == 0)
        {
            return PaperPlan.Items(seeds, parts, first);
        }

        return PaperPlan.WithNeeds(runs.Select(id => PaperPlan.Find(id, MostSeed)
            ?? throw new ArgumentException($"there is no run '{id}'; 'study paper --list' names them")));
    }

    private static PaperWork WorkOf(Request request, CancellationToken cancel = default) =>
        new(request.Config, request.Folder, request.Items)
        {
            Cancel = cancel, Jobs = request.Jobs,
            Tell = line => Console.WriteLine($"{DateTime.Now:HH:mm:ss} {line}"),
            CommandOf = item => "dotnet run -c Release --project lib/ReasonGen.Host -- "
                + string.Join(' ', Arguments(request)) + $" --run {item.Id}",
        };

    // what decides the numbers
    private static string[] Arguments(Request request) =>
        ["study", "paper", "--steps", $"{request.Config.RlSteps}", "--threads", $"{request.Threads}",
            .. request.Trial ? new[] { "--trial" } : []];

    private static async Task<int> RunAsync(Request request, string? collect, bool add, bool list,
        CancellationToken cancel)
    {
        var work = WorkOf(request, cancel);
        if (collect is not null)
        {
            return Gather(work, collect, add);
        }

        var times = new PaperTimes(work);
        if (!times.Known)
        {
            Console.WriteLine("Taking the time of a few steps …");
            times.Calibrate();
        }

        if (list)
        {
            List(work, times);
            return 0;
        }

        Console.WriteLine($"{times.ToGo()} with {request.Jobs} side by side, of {request.Threads} thread(s) each. "
            + $"In {request.Folder}.");
        var code = request.Jobs == 1 ? Work(request, cancel)
            : await WorkersAsync(request, cancel);
        return code is 0 or 1 && !Gathered(work, request.Folder) ? 1 : code;
    }

    // Children that were asked what this one was, and end with it; each takes what is ready. One that is killed, by a
    // system that is out of memory for instance, is started again.
    private static async Task<int> WorkersAsync(Request request, CancellationToken cancel)
    {
        string[] own = [.. Environment.GetCommandLineArgs().Skip(1)];
        async Task<int> WorkerAsync()
        {
            for (var starts = 1; ; starts++)
            {
                using var child = new TiedProcess(SelfProcess.Start([.. own, "--worker"]), cancel);
                await child.Process.WaitForExitAsync(CancellationToken.None);
                var code = child.Process.ExitCode;
                if (code is >= 0 and <= 2 || cancel.IsCancellationRequested || starts == MostStarts)
                {
                    return code;
                }

                Console.Error.WriteLine($"A worker ended with exit code {code}; another one goes on in its place.");
            }
        }

        int[] codes = await Task.WhenAll(Enumerable.Range(0, request.Jobs).Select(_ => WorkerAsync()));
        return cancel.IsCancellationRequested ? CommandLine.Interrupted : codes.Max() is > 2 ? 1 : codes.Max();
    }

    private static int Work(Request request, CancellationToken cancel)
    {
        TiedProcess.HoldOn();
        var work = WorkOf(request, cancel);
        try
        {
            work.Run();
        }
        catch (OperationCanceledException)
        {
            Console.Error.WriteLine(
                $"Interrupted. What was done is in {request.Folder}; the same command goes on from there.");
            return CommandLine.Interrupted;
        }

        foreach (var (id, why) in work.Failed)
        {
            Console.Error.WriteLine($"{id} could not be made: {why}");
        }

        return work.Failed.Count == 0 ? 0 : 1;
    }

    private static void List(PaperWork work, PaperTimes times)
    {
        var open = times.Open.Select(item => item.Id).ToHashSet();
        foreach (var item in work.Items)
        {
            Console.WriteLine($"{item.Id,-40} {item.Run?.Part.ToString().ToLowerInvariant() ?? "foundation",-10} "
                + (open.Contains(item.Id) ? PaperTimes.Clock(times.Of(item)) : "done"));
        }

        Console.WriteLine(times.ToGo() + $" with {work.Jobs} side by side");
    }

    private static int Gather(PaperWork work, string target, bool add)
    {
        var (items, bytes) = PaperFiles.Collect(work, target, add);
        if (items == 0)
        {
            throw new InvalidOperationException($"Nothing of it is finished in {work.Folder}: nothing was gathered, "
                + $"and {target} is as it was. --out names the folder of the study; --seeds, --first-seed, --only and "
                + "--run say what of it is gathered.");
        }

        Console.WriteLine(FormattableString.Invariant(
            $"{items} of {work.Items.Count} are gathered in {target}: {bytes / 1048576.0:0.00} MB."));
        return items == work.Items.Count ? 0 : 1;
    }

    // the study's own three files tell of all that its folder holds, whichever commands made it
    private static bool Gathered(PaperWork work, string folder)
    {
        try
        {
            var (items, bytes) = PaperFiles.Collect(work, folder, all: true);
            Console.WriteLine(FormattableString.Invariant(
                $"{items} finished items are gathered in {folder}: {bytes / 1048576.0:0.00} MB."));
            return true;
        }
        catch (UnusableFileException e)
        {
            Console.Error.WriteLine(Terminal.Plain($"What was made is in {folder}, and was not gathered: {e.Message}"));
            return false;
        }
    }
}
