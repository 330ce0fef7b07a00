namespace ReasonGen.Files;

/// <summary>Folders that the system sets apart, for a user say.</summary>
internal static class SystemFolder
{
    /// <summary>Its path, whether it is there or not: what .NET says of one that is not made yet is empty otherwise,
    /// and what is put below that lies below the current folder.</summary>
    internal static string Of(Environment.SpecialFolder folder) =>
        Environment.GetFolderPath(folder, Environment.SpecialFolderOption.DoNotVerify);
}
