using System.Diagnostics;
using System.Globalization;
using ReasonGen.Checkpoints;
using ReasonGen.Core;

namespace ReasonGen.Files;

/// <summary>
/// A file that says "I am at it" to other processes. Its holder has it locked, and the operating system gives the lock
/// back however the holder ends: a claim is held for as long as its process lives. It also names host, process and
/// start, for folders that several hosts share and locks do not reach across: there a claim is held for as long as it
/// is touched. Should two processes ever hold one, both do the same work to the same bytes.
/// </summary>
public sealed class FileLease : IDisposable
{
    private const int FolderTries = 20;
    private static readonly TimeSpan TouchInterval = TimeSpan.FromSeconds(5), ClockTolerance = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(50);
    private static readonly byte[] Signature = Me();
    private readonly FileStream file;
    private DateTime touched = DateTime.UtcNow;

    private FileLease(FileStream file) => this.file = file;

    /// <summary>Claims a piece of work; null where another process is at it.</summary>
    /// <param name="folder">Holds the claims; made when missing.</param>
    /// <param name="name">Names the work; a file name.</param>
    /// <param name="expiry">Age at which a claim of another host counts as left behind. Well above 5 seconds.</param>
    /// <exception cref="UnusableFileException">The folder cannot be written, or the disk is full.</exception>
    public static FileLease? TryTake(string folder, string name, TimeSpan expiry)
    {
        var path = Path.Combine(folder, name);
        for (var tries = FolderTries; ; tries--)
        {
            try
            {
                Directory.CreateDirectory(folder);
                var file =
                    new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
                var claim = new FileLease(file);
                if (IsHeldElsewhere(file, expiry))
                {
                    file.Dispose();
                    return null;
                }

                if (claim.Sign())
                {
                    return claim;
                }

                file.Dispose(); // the holder before removed it between its opening and its locking
            }
            catch (IOException e) when (FileHeld.IsCauseOf(e))
            {
                return null;
            }
            catch (DirectoryNotFoundException) when (tries > 0)
            {
                // another process removed the folder, as all was done
            }
            catch (Exception e) when (e is IOException or UnauthorizedAccessException)
            {
                throw new UnusableFileException(folder, $"it cannot be written: {e.Message.TrimEnd('.')}",
                    "free space, or choose a folder that can be written", e);
            }
        }
    }

    /// <summary>The same, asked again for a while where another process is at it.</summary>
    /// <inheritdoc cref="TryTake(string, string, TimeSpan)"/>
    public static FileLease? TryTake(string folder, string name, TimeSpan expiry, TimeSpan patience)
    {
        for (var until = DateTime.UtcNow + patience; ; Thread.Sleep(Pause))
        {
            if (TryTake(folder, name, expiry) is { } claim)
            {
                return claim;
            }

            if (DateTime.UtcNow > until)
            {
                return null;
            }
        }
    }

    /// <summary>Removes what processes that ended left in a folder of claims, and the folder when nobody is at work in
    /// it.</summary>
    /// <returns>Claims that are held.</returns>
    public static int Sweep(string folder, TimeSpan expiry)
    {
        var held = 0;
        Quietly(() =>
        {
            foreach (var file in Directory.Exists(folder) ? Directory.GetFiles(folder) : [])
            {
                using var left = TryTake(folder, Path.GetFileName(file), expiry);
                held += left is null ? 1 : 0;
            }

            if (held == 0 && Directory.Exists(folder))
            {
                Directory.Delete(folder);
            }
        });
        return held;
    }

    /// <summary>Keeps the claim young; to be called often.</summary>
    public void Touch()
    {
        if (DateTime.UtcNow - touched > TouchInterval)
        {
            touched = DateTime.UtcNow;
            Quietly(() => File.SetLastWriteTimeUtc(file.SafeFileHandle, touched));
        }
    }

    /// <summary>Gives the claim back.</summary>
    public void Dispose() => LockedFile.Remove(file);

    private bool Sign()
    {
        try
        {
            file.SetLength(0);
            file.Write(Signature);
            return LockedFile.Mark(file);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    // It could be locked, so its holder is gone; unless the lock does not reach to where the holder is.
    private static bool IsHeldElsewhere(FileStream file, TimeSpan expiry)
    {
        if (DateTime.UtcNow - File.GetLastWriteTimeUtc(file.SafeFileHandle) > expiry)
        {
            return false;
        }

        var lines = new StreamReader(file, leaveOpen: true).ReadToEnd().Split('\n');
        return lines.Length >= 3 && (lines[0] != Environment.MachineName
            || (int.TryParse(lines[1], out var id) && id != Environment.ProcessId
                && DateTime.TryParse(lines[2], CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind,
                    out var start) && Lives(id, start)));
    }

    private static bool Lives(int id, DateTime start)
    {
        try
        {
            using var process = Process.GetProcessById(id);
            return !process.HasExited && (Started(process) - start).Duration() < ClockTolerance;
        }
        catch (Exception e)
            when (e is ArgumentException or InvalidOperationException or System.ComponentModel.Win32Exception)
        {
            return false;
        }
    }

    private static byte[] Me()
    {
        using var process = Process.GetCurrentProcess();
        return System.Text.Encoding.UTF8.GetBytes(
            $"{Environment.MachineName}\n{Environment.ProcessId}\n{Started(process):O}\n");
    }

    private static DateTime Started(Process process) => process.StartTime.ToUniversalTime();

    private static void Quietly(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or UnusableFileException)
        {
            // the next one to come by tries again
        }
    }
}
