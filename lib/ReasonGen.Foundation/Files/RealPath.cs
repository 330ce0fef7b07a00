namespace ReasonGen.Files;

/// <summary>Where a path leads once its links are followed, in folders too: two paths of one file give one.</summary>
internal static class RealPath
{
    private const int MostLinks = 40;

    /// <summary>The path without links; what is not there stands as it is.</summary>
    internal static string Of(string path)
    {
        path = Path.GetFullPath(path);
        var made = Path.GetPathRoot(path)!;
        var parts = new Stack<string>(path[made.Length..].Split(Path.DirectorySeparatorChar).Reverse());
        for (var links = 0; parts.TryPop(out var part);)
        {
            var next = Path.GetFullPath(Path.Combine(made, part));
            if (new FileInfo(next).LinkTarget is { } target && links++ < MostLinks)
            {
                var full = Path.GetFullPath(target, made);
                made = Path.GetPathRoot(full)!;
                foreach (var step in full[made.Length..].Split(Path.DirectorySeparatorChar).Reverse())
                {
                    parts.Push(step);
                }
            }
            else
            {
                made = next;
            }
        }

        return made;
    }
}
