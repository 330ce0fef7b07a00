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
    public static FileLease? TryTake(string folder, string name, TimeSpan expiry) =>
        TryTake(folder, name, expiry, out _);

    private static FileLease? TryTake(string folder, string name, TimeSpan expiry, out Stranger? stranger)
    {
        stranger = null;
        var path = Path.Combine(folder, name);
        for (var tries = FolderTries; ; tries--)
        {
            try
            {
                Directory.CreateDirectory(folder);
                var file =
                    new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
                var claim = new FileLease(file);
                if (IsHeldElsewhere(file, expiry, out stranger))
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

    /// <summary>The same, asked again for a while where another process is at it. A claim of another host that nobody
    /// has locked may be of a process that was killed, or of one that the lock does not reach: it is waited for until
    /// it is touched, and so held, or so old that it counts as left behind.</summary>
    /// <param name="patience">How long it is asked again.</param>
    /// <param name="elsewhere">Told once of such a claim: its host, and how long it is waited for at most.</param>
    /// <inheritdoc cref="TryTake(string, string, TimeSpan)"/>
    public static FileLease? TryTake(string folder, string name, TimeSpan expiry, TimeSpan patience,
        Action<string, TimeSpan>? elsewhere = null)
    {
        var (until, seen) = (DateTime.UtcNow + patience, default(Stranger));
        for (var ends = until; ; Thread.Sleep(Pause))
        {
            if (TryTake(folder, name, expiry, out var stranger) is { } claim)
            {
                return claim;
            }

            if (stranger is not null && seen is null)
            {
                seen = stranger;
                var left = stranger.Touched + expiry - DateTime.UtcNow;
                left = left < expiry ? left : expiry; // the other host's clock may be ahead
                var expired = DateTime.UtcNow + left + ClockTolerance;
                ends = expired > until ? expired : until;
                elsewhere?.Invoke(stranger.Host, left);
            }
            else if (stranger is not null && stranger.Touched != seen!.Touched)
            {
                ends = until; // it lives
            }

            if (DateTime.UtcNow > ends)
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
    private static bool IsHeldElsewhere(FileStream file, TimeSpan expiry, out Stranger? stranger)
    {
        stranger = null;
        var written = File.GetLastWriteTimeUtc(file.SafeFileHandle);
        if (DateTime.UtcNow - written > expiry)
        {
            return false;
        }

        var lines = new StreamReader(file, leaveOpen: true).ReadToEnd().Split('\n');
        if (lines.Length >= 3 && lines[0] != Environment.MachineName)
        {
            stranger = new(lines[0], written);
            return true;
        }

        return lines.Length >= 3 && int.TryParse(lines[1], out var id) && id != Environment.ProcessId
            && DateTime.TryParse(lines[2], CultureInfo.InvariantCulture, DateTimeStyles.RoundtripKind, out var start)
            && Lives(id, start);
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

    // what nobody has locked, and another host signed
    private sealed record Stranger(string Host, DateTime Touched);

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
