using System.Runtime.InteropServices;

namespace ReasonGen.Files;

/// <summary>What stands where a file is to be written: a rename over a pipe or a device would take it away.</summary>
internal static partial class FileTarget
{
    private const int Kind = 0xF000, Regular = 0x8000; // S_IFMT, S_IFREG

    /// <summary>What a path leads to where it is no file, links followed: "a pipe", "a device", "a socket" or
    /// "a folder"; null where it is one, or nothing. It is not opened; on Windows folders alone are told.</summary>
    internal static string? NoFile(string path)
    {
        if (OperatingSystem.IsWindows())
        {
            return Directory.Exists(path) ? "a folder" : null;
        }

        Span<int> status = stackalloc int[64]; // flags, mode and more
        return Stat(path, ref status[0]) != 0 ? null : (status[1] & Kind) switch
        {
            Regular => null, 0x1000 => "a pipe", 0x4000 => "a folder", 0xC000 => "a socket", _ => "a device",
        };
    }

    /// <summary>Refuses a path that leads to something other than a file.</summary>
    /// <exception cref="IOException">It does; the message says what it is.</exception>
    internal static void Require(string path)
    {
        if (NoFile(path) is { } other)
        {
            throw new IOException($"'{path}' is {other}, not a file.");
        }
    }

    // .NET's own form of stat, which is the same on all systems
    [LibraryImport("libSystem.Native", EntryPoint = "SystemNative_Stat", StringMarshalling = StringMarshalling.Utf8)]
    private static partial int Stat(string path, ref int status);
}
