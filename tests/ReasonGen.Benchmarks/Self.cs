using System.Diagnostics;

namespace ReasonGen.Benchmarks;

/// <summary>This program, started once more: what is measured gets a process of its own.</summary>
internal static class Self
{
    internal static Process Start(params string[] arguments) =>
        Path.GetFileNameWithoutExtension(Environment.ProcessPath) == "dotnet"
        ? Process.Start(Environment.ProcessPath!, [typeof(Self).Assembly.Location, .. arguments])
        : Process.Start(Environment.ProcessPath!, arguments);
}
