using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace ReasonGen.Tests;

/// <summary>
/// A shell without a terminal starts what stands before an &amp; with SIGINT ignored, and so do all children of that.
/// Tests that interrupt a child need it as a person's shell would start it.
/// </summary>
internal static class InheritedSignals
{
    private const int Interrupt = 2;

    [ModuleInitializer]
    internal static void Reset()
    {
        if (!OperatingSystem.IsWindows())
        {
            Set(Interrupt, IntPtr.Zero); // the default
        }
    }

    [DllImport("libc", EntryPoint = "signal")]
    private static extern IntPtr Set(int number, IntPtr handler);
}
