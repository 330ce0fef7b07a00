using ReasonGen.Studies;

namespace ReasonGen.Tests.Host;

/// <summary>Files as strangers hand them in.</summary>
internal static class Cases
{
    internal static string Path(string name) => System.IO.Path.Combine(
        [System.IO.Path.GetDirectoryName(Study.DataFolder())!, "tests", "ReasonGen.Tests", "cases",
            .. name.Split('/')]);
}

/// <summary>A folder of a test's own, removed after it.</summary>
public sealed class TestFolder : IDisposable
{
    internal string Path { get; } = Directory.CreateTempSubdirectory("reasongen").FullName;

    internal string At(params string[] parts) => System.IO.Path.Combine([Path, .. parts]);

    /// <summary>Writes a file and gives its path.</summary>
    internal string Write(string name, string text)
    {
        Directory.CreateDirectory(System.IO.Path.GetDirectoryName(At(name))!);
        File.WriteAllText(At(name), text);
        return At(name);
    }

    public void Dispose() => Directory.Delete(Path, true);
}
