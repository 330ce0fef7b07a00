using System.CommandLine;
using System.Globalization;
using ReasonGen.Host;
using ReasonGen.Host.Commands;

StandardStream.Guard();
// numbers look the same everywhere, also where the environment asks for the system's culture
CultureInfo.CurrentCulture = CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
var root = CommandLine.WithBriefHelp(new RootCommand("""
    ReasonGen-R1 in C#: an image generator that thinks before it draws.

    Start with:   reasongen run notebooks
    Exit codes:   0 done, 1 something failed, 2 the command line or a file that was given is wrong, 129 hung up, 130 interrupted, 143 terminated
    Colours:      on a terminal only, and not where NO_COLOR is set
    """)
{
    RunCommand.Create(), RunCommand.CreateExecute(), GenerateCommand.Create(), ChatCommand.Create(),
    StudyCommand.Create(), CaptionCommand.Create(),
    ScoreCommand.Create(), TrainCommand.Create(), MergeCommand.Create(), ExportCommand.Create(),
    InspectCommand.Create(), PlanCommand.Create(), DoctorCommand.Create(), VerifyCommand.Create(),
    KernelCommand.Create(), CompletionCommand.Create(),
});
root.Options.Add(Failure.VerboseOption);
CommandLine.ReadNumbers(root);
// a prompt may begin with @
var parsed = root.Parse(args, new ParserConfiguration { ResponseFileTokenReplacer = null });
if (CommandLine.Mistakes(parsed) is { Count: > 0 } mistakes)
{
    return CommandLine.Complain(parsed, mistakes);
}

var invocation =
    new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = null };
return await Failure.GuardAsync(parsed.GetValue(Failure.VerboseOption), () =>
{
    CommandLine.ExpectCurrentFolder();
    return Signals.RunAsync(async cancel => StandardStream.Checked(await parsed.InvokeAsync(invocation, cancel)));
});
