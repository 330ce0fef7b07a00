using System.CommandLine;
using ReasonGen.Host.Notebooks;
using Spectre.Console;

namespace ReasonGen.Host.Commands;

/// <summary>reasongen run: executes notebooks and writes the report; reasongen execute: one notebook, for run's own use.</summary>
internal static class RunCommand
{
    internal static Command Create()
    {
        var paths = new Argument<string[]>("paths") { Description = "Notebooks, or folders of notebooks.", Arity = ArgumentArity.OneOrMore };
        var parameters = ParameterOption();
        var output = new Option<string>("--out", "-o") { Description = "Folder for executed copies and report.html.", DefaultValueFactory = _ => "artifacts" };
        var json = CommandLine.JsonOption();
        var command = new Command("run", "Runs notebooks without a front end and writes one offline HTML report. Exit code 1 where one failed.\n\nExamples:\n"
            + "  reasongen run notebooks\n  reasongen run notebooks -p preset=full -p seed=3\n  reasongen run notebooks/02-image-tokens.ipynb --out look --json")
        {
            paths, parameters, output, json,
        };
        command.SetAction(async (parsed, cancel) =>
        {
            var values = Parse(parsed.GetValue(parameters) ?? []);
            var notebooks = NotebookRunner.Find(parsed.GetValue(paths)!, values);
            var folder = parsed.GetValue(output)!;
            Directory.CreateDirectory(folder);
            var console = parsed.GetValue(json) // standard output is for the json then
                ? AnsiConsole.Create(new AnsiConsoleSettings { Out = new AnsiConsoleOutput(Console.Error) }) : AnsiConsole.Console;
            var outcomes = await new NotebookRunner(folder, values, console).RunAsync(notebooks, cancel);
            string[] again = ["run", .. parsed.GetValue(paths)!, .. values.SelectMany(pair => new[] { "-p", $"{pair.Key}={pair.Value}" })];
            var report = Path.GetFullPath(Report.Write(folder, outcomes, values, $"{ReportSummary.Command} {string.Join(' ', again.Select(SelfProcess.Quote))}"));
            if (parsed.GetValue(json))
            {
                CommandLine.PrintJson(new { report, asked = notebooks.Count, notebooks = outcomes });
            }

            console.WriteLine($"{outcomes.Count(outcome => outcome.Ok)} of {notebooks.Count} notebooks ran through in {outcomes.Sum(outcome => outcome.Seconds):0} s. Report: {report}");
            return cancel.IsCancellationRequested ? CommandLine.Interrupted : outcomes.Count == notebooks.Count && outcomes.All(outcome => outcome.Ok) ? 0 : 1;
        });
        return command;
    }

    internal static Command CreateExecute()
    {
        var path = new Argument<string>("notebook");
        var executed = new Argument<string>("copy");
        var parameters = ParameterOption();
        var command = new Command("execute", "Runs one notebook in this process.") { path, executed, parameters };
        command.Hidden = true;
        command.SetAction((parsed, cancel) =>
            NotebookExecution.RunAsync(parsed.GetValue(path)!, parsed.GetValue(executed)!, Parse(parsed.GetValue(parameters) ?? []), cancel));
        return command;
    }

    private static Option<string[]> ParameterOption() => new("-p", "--parameter")
    {
        Description = "name=value for the notebooks' parameters cell; may be repeated.",
        AllowMultipleArgumentsPerToken = false, HelpName = "name=value", CompletionSources = { "preset=smoke", "preset=quick", "preset=full", "seed=2" },
    };

    private static Dictionary<string, string> Parse(IEnumerable<string> assignments)
    {
        var values = new Dictionary<string, string>();
        foreach (var assignment in assignments)
        {
            var parts = assignment.Split('=', 2);
            values[parts[0]] = parts.Length == 2 && parts[0].Length > 0 ? parts[1] : throw new UsageException($"-p wants name=value, not '{assignment}'");
        }

        return values;
    }
}
