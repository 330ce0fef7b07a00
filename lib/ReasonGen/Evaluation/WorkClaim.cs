using ReasonGen.Checkpoints;

namespace ReasonGen.Evaluation;

/// <summary>
/// A file that says "I am at it" to other processes. It is made exclusively and kept young while the work goes on; one that has grown old was
/// left by a process that died and is taken over. Should two processes ever take over at once, both do the same work to the same bytes.
/// </summary>
public sealed class WorkClaim : IDisposable
{
    private const int AlreadyExistsOnUnix = 17, AlreadyExistsOnWindows = 80; // EEXIST, ERROR_FILE_EXISTS
    private static readonly TimeSpan TouchInterval = TimeSpan.FromSeconds(5);
    private readonly string path, owner;
    private DateTime touched = DateTime.UtcNow;

    private WorkClaim(string path, string owner) => (this.path, this.owner) = (path, owner);

    /// <summary>Claims a piece of work; null where another process is at it.</summary>
    /// <param name="folder">Holds the claims; made when missing.</param>
    /// <param name="name">Names the work; a file name.</param>
    /// <param name="expiry">Age at which a claim counts as left behind. Well above 5 seconds.</param>
    /// <exception cref="CheckpointException">The folder cannot be written.</exception>
    public static WorkClaim? TryTake(string folder, string name, TimeSpan expiry)
    {
        var (path, owner) = (Path.Combine(folder, name), $"process {Environment.ProcessId} on {Environment.MachineName}, {Guid.NewGuid():N}");
        try
        {
            Directory.CreateDirectory(folder);
            if (File.Exists(path) && DateTime.UtcNow - File.GetLastWriteTimeUtc(path) > expiry)
            {
                File.Delete(path);
            }

            using (var file = new StreamWriter(new FileStream(path, FileMode.CreateNew, FileAccess.Write, FileShare.Read)))
            {
                file.Write(owner);
            }

            return new(path, owner);
        }
        catch (IOException e) when (File.Exists(path) || (e.HResult & 0xFFFF) is AlreadyExistsOnUnix or AlreadyExistsOnWindows)
        {
            return null; // the holder may have given it back since, so its absence now says nothing
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new CheckpointException(folder, $"it cannot be written: {e.Message.TrimEnd('.')}", "choose a folder that can be written", e);
        }
    }

    /// <summary>Keeps the claim young; to be called often.</summary>
    public void Touch()
    {
        if (DateTime.UtcNow - touched > TouchInterval)
        {
            touched = DateTime.UtcNow;
            Quietly(() => File.SetLastWriteTimeUtc(path, touched));
        }
    }

    /// <summary>Gives the claim back, unless another process has taken it over.</summary>
    public void Dispose() => Quietly(() =>
    {
        if (File.ReadAllText(path) == owner)
        {
            File.Delete(path);
        }
    });

    private static void Quietly(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // the claim is gone, or will grow old by itself
        }
    }
}
