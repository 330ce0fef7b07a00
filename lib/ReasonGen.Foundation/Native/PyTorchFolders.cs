using ReasonGen.Files;

namespace ReasonGen.Native;

/// <summary>PyTorch installations of this machine, found by looking at folders: no Python is started.</summary>
internal static class PyTorchFolders
{
    /// <summary>
    /// The active environment's first, then those of the Pythons on the path; each once, with words on how it was
    /// found.
    /// </summary>
    internal static IEnumerable<LibTorchFolder> Find() => Prefixes()
        .SelectMany(found => SitePackages(found.Prefix)
            .Select(site => (Folder: Path.Combine(site, "torch", "lib"), found.How)))
        .Where(found => File.Exists(LibTorchFolder.FileIn(found.Folder, "torch_cpu")))
        .DistinctBy(found => found.Folder)
        .Select(found => new LibTorchFolder(found.Folder, "PyTorch " + found.How));

    /// <summary>The user's folder, whether it is there or not.</summary>
    internal static string Home { get; } = SystemFolder.Of(Environment.SpecialFolder.UserProfile);

    private static IEnumerable<(string Prefix, string How)> Prefixes()
    {
        foreach (var variable in new[] { "VIRTUAL_ENV", "CONDA_PREFIX" })
        {
            if (Environment.GetEnvironmentVariable(variable) is { Length: > 0 } prefix)
            {
                yield return (prefix, $"of {variable}");
            }
        }

        var path = Environment.GetEnvironmentVariable("PATH") ?? "";
        foreach (var folder in path.Split(Path.PathSeparator, StringSplitOptions.RemoveEmptyEntries))
        {
            var python = Path.Combine(folder, OperatingSystem.IsWindows() ? "python.exe" : "python3");
            if (!File.Exists(python))
            {
                continue;
            }

            var how = $"of {python}";
            if (Path.GetFileName(folder) == "shims") // pyenv: what is started is named in a file
            {
                var root = Path.Combine(folder, "..");
                var chosen = Lines(Path.Combine(root, "version")).FirstOrDefault()?.Trim() is { Length: > 0 } name
                    ? name : "none";
                yield return (Path.GetFullPath(Path.Combine(root, "versions", chosen)), how);
                continue;
            }

            yield return (Above(python), how);
            if (Target(python) is { } target && target != python)
            {
                yield return (Above(target), how); // an environment's python3 leads to the one it was made of
            }
        }

        if (!OperatingSystem.IsWindows())
        {
            yield return ("/usr/local", "of /usr/local");
            yield return (Path.Combine(Home, ".local"), "of the user");
        }
    }

    private static IEnumerable<string> SitePackages(string prefix)
    {
        if (OperatingSystem.IsWindows())
        {
            return [Path.Combine(prefix, "Lib", "site-packages")];
        }

        try
        {
            var lib = Path.Combine(prefix, "lib");
            return !Directory.Exists(lib) ? []
                : Directory.GetDirectories(lib, "python3*").OrderByDescending(Newness).SelectMany(python =>
                new[] { Path.Combine(python, "site-packages"), Path.Combine(python, "dist-packages") });
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }

    // python3.12 before python3.9; python3 without a second number last
    private static int Newness(string folder) =>
        int.TryParse(Path.GetFileName(folder).Split('.').ElementAtOrDefault(1), out var minor) ? minor : -1;

    private static string Above(string python) =>
        Path.GetFullPath(Path.Combine(Path.GetDirectoryName(python)!, OperatingSystem.IsWindows() ? "." : ".."));

    private static string? Target(string link)
    {
        try
        {
            return File.ResolveLinkTarget(link, returnFinalTarget: true)?.FullName;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    private static string[] Lines(string file)
    {
        try
        {
            return File.Exists(file) ? File.ReadAllLines(file) : [];
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return [];
        }
    }
}
