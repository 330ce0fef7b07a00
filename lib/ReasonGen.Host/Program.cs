using System.CommandLine;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Host.Commands;
using ReasonGen.Host.Notebooks;

var root = new RootCommand("ReasonGen-R1 in C#: an image generator that thinks before it draws.\n\nStart with: reasongen run notebooks")
{
    RunCommand.Create(), RunCommand.CreateExecute(), GenerateCommand.Create(), ChatCommand.Create(), StudyCommand.Create(), CaptionCommand.Create(),
    InspectCommand.Create(), PlanCommand.Create(), DoctorCommand.Create(), KernelCommand.Create(),
};
var parsed = root.Parse(args);
if (parsed.Errors.Count > 0)
{
    foreach (var error in parsed.Errors)
    {
        Console.Error.WriteLine(error.Message);
    }

    Console.Error.WriteLine("See 'reasongen --help'.");
    return 2;
}

try
{
    // after Ctrl-C there is time to finish the step at hand and to save
    return await parsed.InvokeAsync(new InvocationConfiguration { EnableDefaultExceptionHandler = false, ProcessTerminationTimeout = TimeSpan.FromMinutes(1) });
}
catch (Exception e) when (e is UsageException or CheckpointException or ArgumentException or PlatformNotSupportedException)
{
    Console.Error.WriteLine(e.Message);
    return 2;
}
catch (Exception e) when (e is NonFiniteLossException or InvalidOperationException)
{
    Console.Error.WriteLine(e.Message);
    return 1;
}
