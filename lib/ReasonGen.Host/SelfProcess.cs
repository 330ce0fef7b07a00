using System.Diagnostics;

namespace ReasonGen.Host;

/// <summary>Starts this program once more.</summary>
internal static class SelfProcess
{
    /// <summary>Folder of the .NET installation that runs this program.</summary>
    internal static string DotnetRoot { get; } =
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(typeof(object).Assembly.Location)!, "..", "..", ".."));

    /// <summary>Its SDK's command, or whichever is on the path.</summary>
    internal static string Dotnet { get; } = Path.Combine(DotnetRoot,
        OperatingSystem.IsWindows() ? "dotnet.exe" : "dotnet") is var own && File.Exists(own) ? own : "dotnet";

    /// <summary>Program and arguments: the executable beside this assembly, or else the assembly under
    /// dotnet.</summary>
    internal static string[] Command(params string[] arguments)
    {
        var library = typeof(SelfProcess).Assembly.Location;
        var program = Path.ChangeExtension(library, OperatingSystem.IsWindows() ? ".exe" : null);
        return File.Exists(program) ? [program, .. arguments] : [Dotnet, library, .. arguments];
    }

    internal static ProcessStartInfo Start(params string[] arguments)
    {
        var command = Command(arguments);
        return new ProcessStartInfo(command[0], command[1..]) { UseShellExecute = false };
    }

    /// <summary>An argument as a shell wants it.</summary>
    internal static string Quote(string argument) =>
        argument.Length > 0 && argument.All(c => char.IsLetterOrDigit(c) || "-_./=".Contains(c)) ? argument
            : $"'{argument.Replace("'", "'\\''")}'";
}
