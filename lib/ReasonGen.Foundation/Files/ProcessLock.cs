using ReasonGen.Core;

namespace ReasonGen.Files;

/// <summary>
/// A file that one process at a time holds. The operating system takes it back when the process ends, however it ends,
/// so that a lock never outlives its owner. Folders without locks (some network file systems) let everybody in.
/// </summary>
public sealed class ProcessLock : IDisposable
{
    private readonly FileStream file;

    private ProcessLock(FileStream file) => this.file = file;

    /// <summary>Takes the lock; null while another process, or another part of this one, holds it.</summary>
    /// <param name="path">The file; it and its folder are made when missing, and it is removed when the lock is given
    /// back.</param>
    /// <exception cref="IOException">The folder cannot be written.</exception>
    /// <exception cref="UnauthorizedAccessException">The folder must not be written.</exception>
    public static ProcessLock? TryTake(string path)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(Path.GetFullPath(path))!);
        while (true)
        {
            FileStream file;
            try
            {
                file = new FileStream(path, FileMode.OpenOrCreate, FileAccess.ReadWrite, FileShare.None, bufferSize: 0);
            }
            catch (IOException e) when (FileHeld.IsCauseOf(e))
            {
                return null; // even where its holder has removed it meanwhile
            }

            try
            {
                if (LockedFile.Mark(file))
                {
                    return new(file);
                }
            }
            catch
            {
                file.Dispose();
                throw;
            }

            file.Dispose(); // the holder before removed it between its opening and its locking
        }
    }

    /// <summary>Gives it back.</summary>
    public void Dispose() => LockedFile.Remove(file);
}
