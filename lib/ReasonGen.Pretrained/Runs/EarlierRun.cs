using ReasonGen.Checkpoints;

namespace ReasonGen.Runs;

/// <summary>What an earlier run left in a folder whose state was removed, so that a new one begins there: none of it
/// may pass for the new one's, and none is deleted.</summary>
internal static class EarlierRun
{
    /// <summary>Moves it into a folder of its own, with what says how it was made.</summary>
    /// <param name="folder">The run's folder.</param>
    /// <param name="same">Whether the new run is the same: then only models are moved. What a killed run leaves besides
    /// is made again with the same numbers.</param>
    /// <returns>Where it is; null where nothing was left.</returns>
    /// <exception cref="UnusableFileException">It cannot be moved.</exception>
    internal static string? SetAside(RunFolder folder, bool same)
    {
        string[] models = [.. new[] { folder.Final, folder.Best, folder.In("checkpoints") }.Where(Path.Exists),
            .. RunFolder.StepOf(folder.Better) is null ? [] : new[] { folder.Better }];
        string[] numbers = [.. new[] { folder.In("samples"), folder.In("metrics.csv"), folder.In("validation.csv") }
            .Where(Path.Exists), .. folder.Events];
        return models.Length == 0 && (same || numbers.Length == 0) ? null : Move(folder, [.. models, .. numbers]);
    }

    /// <summary>Moves parts of a run's folder into a new one below it.</summary>
    /// <returns>The new one.</returns>
    /// <exception cref="UnusableFileException">They cannot be moved.</exception>
    internal static string Move(RunFolder folder, IReadOnlyList<string> paths)
    {
        var aside = Enumerable.Range(1, int.MaxValue).Select(i => folder.In($"earlier-{i}"))
            .First(path => !Path.Exists(path));
        try
        {
            Directory.CreateDirectory(aside);
            foreach (var about in new[] { RunFolder.Description, RunFolder.SettingsFile }
                .Where(name => File.Exists(folder.In(name))))
            {
                File.Copy(folder.In(about), Path.Combine(aside, about));
            }

            foreach (var path in paths)
            {
                Directory.Move(path, Path.Combine(aside, Path.GetFileName(path)));
            }

            return aside;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(aside,
                $"what an earlier run left cannot be moved there: {e.Message.TrimEnd('.')}",
                "move it yourself, or choose another folder for the run", e);
        }
    }
}
