using ReasonGen.Studies;

namespace ReasonGen.Tests;

/// <summary>Files as strangers hand them in, in the folder "cases".</summary>
internal static class HandedIn
{
    internal static string Path(string name) =>
        System.IO.Path.Combine(System.IO.Path.GetDirectoryName(Study.DataFolder())!, "tests", "ReasonGen.Tests",
            "cases", name);
}
