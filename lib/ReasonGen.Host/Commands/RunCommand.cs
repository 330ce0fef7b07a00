using System.CommandLine;
using ReasonGen.Core;
using ReasonGen.Host.Engine;
using ReasonGen.Host.Notebooks;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen run: executes notebooks and writes the report; reasongen execute: one notebook, for run's own
/// use.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        var paths = new Argument<string[]>("paths")
        {
            Description = "Notebooks, or folders whose notebooks are run, without those of their subfolders.",
            Arity = ArgumentArity.OneOrMore,
        };
        var parameters = ParameterOption();
        var device = DeviceOption.Create();
        var output = new Option<string>("--out", "-o")
        {
            Description = "Folder for executed copies and report.html.",
            DefaultValueFactory = _ => NotebookSelection.UsualOutput,
        };
        var trust = new Option<bool>("--trust")
        {
            Description = "Lets the notebooks' own scripts run in the report, and lets it fetch what they refer to. "
                + "For notebooks you know.",
        };
        var json = CommandLine.JsonOption();
        var command = new Command("run",
            "Runs notebooks without a front end and writes one offline HTML report. Exit code 1 where one failed.\n\n"
            + "Examples:\n"
            + "  reasongen run notebooks\n  reasongen run notebooks -p preset=full -p seed=3\n"
            + "  reasongen run notebooks/02-image-tokens.ipynb --out look --json")
        {
            paths, parameters, device, output, trust, json,
        };
        command.SetAction(async (parsed, cancel) =>
        {
            Signals.Patience = Signals.NotebookPatience + TimeSpan.FromSeconds(5); // of the notebook's process
            var values = Parse(parsed.GetValue(parameters) ?? []);
            DeviceOption.Use(parsed);
            var folder = parsed.GetValue(output)!;
            var runs = NotebookSelection.Find(parsed.GetValue(paths)!, values, folder);
            if (NotebookSelection.UsesDevice(runs, "device"))
            {
                var named = values.GetValueOrDefault("device");
                if (parsed.GetValue(device) is { } given && named is not null && named != given)
                {
                    throw new UsageException($"--device says {given} and -p device= says {named}; say it once");
                }

                DeviceOption.Use(named, "-p device=");
            }

            if (NotebookSelection.UsesDevice(runs, "judgeDevice"))
            {
                _ = ComputeTarget.Parse(values.GetValueOrDefault("judgeDevice"), "-p judgeDevice=");
            }

            using var alone = NotebookSelection.Prepare(runs, folder);
            var console = Terminal.Console(error: parsed.GetValue(json)); // standard output is for the json then
            var found = NotebookSelection.WithFolders(values, runs);
            var watch = System.Diagnostics.Stopwatch.StartNew();
            var outcomes = await new NotebookRunner(found, console).RunAsync(runs, cancel);
            IEnumerable<string> Given(Option<string?> option) =>
                CommandLine.Given(parsed, option) ? [option.Name, parsed.GetValue(option)!] : [];
            string[] again = ["run", .. parsed.GetValue(paths)!,
                .. values.SelectMany(pair => new[] { "-p", $"{pair.Key}={pair.Value}" }),
                .. Given(device), .. Given(output!), .. parsed.GetValue(trust) ? ["--trust"] : Array.Empty<string>()];
            var made = $"{ReportSummary.Command} {string.Join(' ', again.Select(SelfProcess.Quote))}";
            var report = Write(folder, new ReportContent(outcomes, found, made, parsed.GetValue(trust))
            {
                Took = watch.Elapsed,
            });
            if (parsed.GetValue(json))
            {
                CommandLine.PrintJson(new { report, asked = runs.Count, notebooks = outcomes });
            }

            console.WriteLine(
                $"{outcomes.Count(outcome => outcome.Ok)} of {runs.Count} notebooks ran through "
                + $"in {watch.Elapsed.TotalSeconds:0} s. "
                + (report is null ? "There is no new report." : $"Report: {Terminal.Line(report)}"));
            return cancel.IsCancellationRequested ? CommandLine.Interrupted
                : report is not null && outcomes.All(outcome => outcome.Ok) ? CommandLine.Done : CommandLine.Failed;
        });
        return command;
    }

    private static string? Write(string folder, ReportContent content)
    {
        try
        {
            return Path.GetFullPath(Report.Write(folder, content));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine(
                Terminal.Plain(
                    $"the report cannot be written: {e.Message.TrimEnd('.')}. What was there before is as it was, and "
                + $"the executed copies are in {Path.Combine(folder, "notebooks")}. Make room, or give another folder "
                + $"with --out, and run it again."));
            return null;
        }
    }

    internal static Command CreateExecute()
    {
        var path = new Argument<string>("notebook");
        var executed = new Argument<string>("copy");
        var ahead = new Option<bool>(NotebookRunner.Ahead);
        var parameters = ParameterOption();
        var command = new Command("execute", "Runs one notebook in this process.")
        {
            path, executed, ahead, parameters,
        };
        command.Hidden = true;
        command.SetAction(async (parsed, cancel) =>
        {
            Signals.Patience = Signals.NotebookPatience;
            var begun = TiedProcess.HoldOn();
            if (parsed.GetValue(ahead))
            {
                Submissions.Warm(CSharpSession.OptionsIn(Directory.GetCurrentDirectory()));
                await begun.WaitAsync(cancel);
            }

            return await NotebookExecution.RunAsync(parsed.GetValue(path)!, parsed.GetValue(executed)!,
                Parse(parsed.GetValue(parameters) ?? []), cancel);
        });
        return command;
    }

    private static Option<string[]> ParameterOption() => new("-p", "--parameter")
    {
        Description = "name=value for a variable of the notebooks' cell tagged \"parameters\": a text, a number such "
            + "as 1000, 0.5 or 1e3, true or false, a name of an enum, or null where the type or the default allows it. "
            + "May be repeated; a notebook without that variable runs as it is. Folders of models, judges and studies "
            + "may be relative to where the command is called.",
        AllowMultipleArgumentsPerToken = false, HelpName = "name=value",
        CompletionSources = { "preset=smoke", "preset=quick", "preset=full", "seed=2" },
    };

    private static Dictionary<string, string> Parse(IEnumerable<string> assignments)
    {
        var values = new Dictionary<string, string>();
        foreach (var assignment in assignments)
        {
            var parts = assignment.Split('=', 2);
            if (parts.Length != 2 || parts[0].Length == 0)
            {
                throw new UsageException($"-p wants name=value, not '{assignment}'");
            }

            if (!values.TryAdd(parts[0], parts[1]) && values[parts[0]] != parts[1])
            {
                throw new UsageException(
                    $"-p gives {parts[0]} twice, as '{values[parts[0]]}' and as '{parts[1]}': which of them?");
            }
        }

        return values;
    }
}
