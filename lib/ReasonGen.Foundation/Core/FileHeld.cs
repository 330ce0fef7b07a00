namespace ReasonGen.Core;

/// <summary>Tells "another process holds this file" from every other reason for which a file cannot be
/// opened.</summary>
internal static class FileHeld
{
    private const int WouldBlockOnLinux = 11, WouldBlockOnMac = 35, SharingViolationOnWindows = 32,
        LockViolationOnWindows = 33;

    /// <summary>Whether a lock or a share mode is the cause: not a full disk, a missing folder, or a lack of
    /// rights.</summary>
    internal static bool IsCauseOf(IOException e) =>
        e.GetType() == typeof(IOException) && (e.HResult & 0xFFFF) is var code
        && (OperatingSystem.IsWindows() ? code is SharingViolationOnWindows or LockViolationOnWindows
            : code == (OperatingSystem.IsMacOS() ? WouldBlockOnMac : WouldBlockOnLinux));
}
