using System.Collections.Concurrent;
using System.Security.Cryptography;

namespace ReasonGen.Files;

/// <summary>
/// The one way in which files are written: each appears whole or not at all, however the process ends. A file is
/// written under a random name in its own folder (one that nobody can guess or lay a link at), brought to the disk and
/// renamed over its target.
/// </summary>
public static class AtomicFile
{
    /// <summary>Writes a file.</summary>
    /// <param name="path">The file; its folder is made when missing. A link there is replaced, not followed.</param>
    /// <param name="write">Writes what it shall hold.</param>
    /// <param name="overwrite">Whether a file that is there is replaced.</param>
    /// <exception cref="IOException">It cannot be written, is there and must not be replaced, or leads to something
    /// other than a file, such as a pipe; what was there is as it was.</exception>
    /// <exception cref="UnauthorizedAccessException">It must not be written.</exception>
    public static void Write(string path, Action<Stream> write, bool overwrite = true)
    {
        path = Path.GetFullPath(path);
        using var files = new AtomicFiles(Path.GetDirectoryName(path) ?? throw new IOException($"'{path}' is no file"));
        files.Write(Path.GetFileName(path), write);
        files.Commit(overwrite);
    }

    /// <inheritdoc cref="Write(string, Action{Stream}, bool)"/>
    public static void Write(string path, ReadOnlyMemory<byte> bytes, bool overwrite = true) =>
        Write(path, file => file.Write(bytes.Span), overwrite);

    /// <summary>Writes text in UTF-8.</summary>
    /// <inheritdoc cref="Write(string, Action{Stream}, bool)"/>
    public static void Write(string path, string text, bool overwrite = true) =>
        Write(path, System.Text.Encoding.UTF8.GetBytes(text), overwrite);
}

/// <summary>Files of one folder that are written aside first, all of them, and then renamed one after
/// another.</summary>
public sealed class AtomicFiles : IDisposable
{
    private const string Prefix = ".writing-", Ending = ".tmp";
    private const int TooLarge = 27; // EFBIG
    private static readonly TimeSpan LongAgo = TimeSpan.FromHours(1);
    // folders, and files of this process
    private static readonly ConcurrentDictionary<string, bool> Swept = [], UnderWay = [];
    private readonly List<(FileStream Stream, string Name)> files = [];
    private readonly string folder;

    /// <param name="folder">Made when missing; what killed processes left in it is removed.</param>
    /// <exception cref="IOException">It cannot be made.</exception>
    public AtomicFiles(string folder)
    {
        this.folder = Path.GetFullPath(folder);
        Directory.CreateDirectory(this.folder);
        if (Swept.TryAdd(this.folder, true))
        {
            Sweep(this.folder);
        }
    }

    /// <summary>Writes one file aside.</summary>
    /// <param name="name">Its name in the folder.</param>
    /// <param name="write">Writes what it shall hold.</param>
    /// <exception cref="IOException">It cannot be written, or what has its name is no file.</exception>
    public void Write(string name, Action<Stream> write)
    {
        FileTarget.Require(Path.Combine(folder, name));
        var temporary = "";
        try
        {
            FileStream? file = null;
            for (var tries = 3; file is null; tries--)
            {
                temporary = Path.Combine(folder,
                    $"{Prefix}{Environment.ProcessId}-{Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(12))}"
                    + $"{Ending}");
                UnderWay[temporary] = true;
                try
                {
                    file = new FileStream(temporary, FileMode.CreateNew, FileAccess.ReadWrite, Unshared, bufferSize: 0);
                }
                catch (IOException) when (tries > 0 && File.Exists(temporary))
                {
                    // another process swept the folder in the instant between its making and its locking
                }
            }

            files.Add((file, name));
            write(file);
            file.Flush(flushToDisk: true);
        }
        // how .NET says EFBIG: a quota, or a file system of small files
        catch (ArgumentOutOfRangeException e) when (e.ParamName == "value")
        {
            throw new IOException($"The system allows no file so large : '{Path.Combine(folder, name)}'", TooLarge);
        }
        catch (Exception e)
            when (e is IOException or UnauthorizedAccessException && temporary.Length > 0
                && e.Message.Contains(temporary))
        {
            // whoever reads it knows the target's name
            var message = e.Message.Replace(temporary, Path.Combine(folder, name));
            throw e is IOException ? new IOException(message, e.HResult) : new UnauthorizedAccessException(message, e);
        }
    }

    /// <summary>Gives the files their names, in the order in which they were written.</summary>
    /// <param name="overwrite">Whether files that are there are replaced.</param>
    /// <exception cref="IOException">One cannot have its name, which something other than a file has; or a file, and
    /// must not be replaced.</exception>
    public void Commit(bool overwrite = true)
    {
        foreach (var (_, name) in files)
        {
            FileTarget.Require(Path.Combine(folder, name)); // it may have been made meanwhile
        }

        foreach (var (file, name) in files)
        {
            file.Dispose(); // only now: until here the file is locked, which tells others that its writer lives
            File.Move(file.Name, Path.Combine(folder, name), overwrite);
        }
    }

    /// <summary>Removes what was not given its name.</summary>
    public void Dispose()
    {
        foreach (var (file, _) in files)
        {
            file.Dispose();
            Quietly(() => File.Delete(file.Name));
            UnderWay.TryRemove(file.Name, out _);
        }
    }

    /// <summary>Removes files that processes which were killed left half-written in a folder; those of living ones
    /// stay.</summary>
    public static void Sweep(string folder) => Quietly(() =>
    {
        foreach (var file in Directory.Exists(folder) ? Directory.GetFiles(folder, $"{Prefix}*{Ending}") : [])
        {
            Quietly(() =>
            {
                if (!UnderWay.ContainsKey(file) && IsLeftBehind(file))
                {
                    File.Delete(file);
                }
            });
        }
    });

    /// <summary>Whether a name is that of a file which is being written, or was when its writer was killed.</summary>
    internal static bool IsUnfinished(string name) => name.StartsWith(Prefix, StringComparison.Ordinal)
        && name.EndsWith(Ending, StringComparison.Ordinal);

    private static FileShare Unshared => OperatingSystem.IsWindows() ? FileShare.Delete : FileShare.None;

    // Its writer holds a lock on it and is named in it. Where locks are not kept (some network folders), age alone
    // decides; the process is looked for since the lock is given back an instant before the file is renamed.
    private static bool IsLeftBehind(string file)
    {
        FileStream? Open()
        {
            try
            {
                return new FileStream(file, FileMode.Open, FileAccess.ReadWrite, FileShare.None);
            }
            catch (IOException)
            {
                return null;
            }
        }

        using var held = Open();
        if (held is null)
        {
            return false;
        }

        using var again = Open();
        var writer = Path.GetFileName(file)[Prefix.Length..].Split('-')[0];
        return DateTime.UtcNow - File.GetLastWriteTimeUtc(file) > LongAgo
            || (again is null && int.TryParse(writer, out var id) && (id == Environment.ProcessId || !Lives(id)));
    }

    private static bool Lives(int id)
    {
        try
        {
            using var process = System.Diagnostics.Process.GetProcessById(id);
            return !process.HasExited;
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            return false;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return true; // another user's
        }
    }

    private static void Quietly(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // it stays, and the next one tries again
        }
    }
}
