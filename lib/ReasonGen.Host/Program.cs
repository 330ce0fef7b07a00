using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Host;
using ReasonGen.Host.Commands;

var root = CommandLine.WithBriefHelp(new RootCommand("""
    ReasonGen-R1 in C#: an image generator that thinks before it draws.

    Start with:   reasongen run notebooks
    Exit codes:   0 done, 1 something failed, 2 the command line or a file that was given is wrong, 130 interrupted
    Colours:      on a terminal only, and not where NO_COLOR is set
    """)
{
    RunCommand.Create(), RunCommand.CreateExecute(), GenerateCommand.Create(), ChatCommand.Create(), StudyCommand.Create(), CaptionCommand.Create(),
    InspectCommand.Create(), PlanCommand.Create(), DoctorCommand.Create(), KernelCommand.Create(), CompletionCommand.Create(),
});
var parsed = root.Parse(args);
if (CommandLine.Mistakes(parsed) is { Count: > 0 } mistakes)
{
    return CommandLine.Complain(parsed, mistakes);
}

try
{
    // after Ctrl-C there is time to finish the step at hand and to save
    return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = TimeSpan.FromMinutes(1) });
}
catch (Exception e) when (e is UsageException or CheckpointException or ArgumentException or PlatformNotSupportedException)
{
    Console.Error.WriteLine(e.Message);
    return CommandLine.Wrong;
}
catch (Exception e) when (e is NonFiniteLossException or InvalidOperationException)
{
    Console.Error.WriteLine(e.Message);
    return CommandLine.Failed;
}
