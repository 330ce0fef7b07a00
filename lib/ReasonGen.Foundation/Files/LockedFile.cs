namespace ReasonGen.Files;

/// <summary>
/// A file that stands for a lock, and that its holder removes. Between the moment when another process opens it and the
/// one when it has it locked, the holder before may have removed it, and a third one may have made a new one: each is
/// known by a time that no other has.
/// </summary>
internal static class LockedFile
{
    /// <summary>Gives a file that was just locked its time.</summary>
    /// <returns>Whether it is still the one at its path.</returns>
    internal static bool Mark(FileStream file)
    {
        File.SetLastWriteTimeUtc(file.SafeFileHandle,
            DateTime.UtcNow.AddTicks(-Random.Shared.Next((int)TimeSpan.TicksPerSecond)));
        return IsAtItsPath(file);
    }

    /// <summary>Removes it, where it is the one at its path, and gives the lock back, once.</summary>
    internal static void Remove(FileStream file)
    {
        if (file.SafeFileHandle.IsClosed)
        {
            return;
        }

        // while it is still locked, so that nobody can take it in between; Windows removes no file that is open
        if (!OperatingSystem.IsWindows())
        {
            Quietly(() =>
            {
                if (IsAtItsPath(file))
                {
                    File.Delete(file.Name);
                }
            });
        }

        file.Dispose();
        if (OperatingSystem.IsWindows())
        {
            Quietly(() => File.Delete(file.Name));
        }
    }

    private static bool IsAtItsPath(FileStream file) => File.Exists(file.Name)
        && File.GetLastWriteTimeUtc(file.Name) == File.GetLastWriteTimeUtc(file.SafeFileHandle);

    private static void Quietly(Action action)
    {
        try
        {
            action();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            // it stays, without a lock
        }
    }
}
