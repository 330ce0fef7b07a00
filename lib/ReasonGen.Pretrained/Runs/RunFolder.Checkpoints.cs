using System.Globalization;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Runs;

/// <remarks>Its models and checkpoints, which other programs open: made whole, replaced and cleared away.</remarks>
public sealed partial class RunFolder
{
    private const string Training = Safetensors.Training;
    private readonly HashSet<string> left = []; // told of

    /// <summary>The best checkpoint by validation.</summary>
    public string Best => In("best");

    /// <summary>A better one that waits for the state to be saved: until then a killed run goes on before it.</summary>
    internal string Better => In("best-next");

    /// <summary>What the run ends with.</summary>
    public string Final => In("model");

    /// <summary>The checkpoint after so many steps.</summary>
    public string Checkpoint(long step) => In("checkpoints", $"step-{step:000000}");

    /// <summary>Whether a path leads into a model or checkpoint of a run in this folder: the run replaces those, and
    /// moves them where it begins anew.</summary>
    /// <param name="folder">The run's folder, which need not be there.</param>
    /// <param name="path">By whatever links.</param>
    internal static bool Replaces(string folder, string path)
    {
        using var run = Follow(folder);
        var real = RealPath.Of(path) + Path.DirectorySeparatorChar;
        return new[] { run.Final, run.Best, run.Better, run.In("checkpoints") }.Any(own =>
            real.StartsWith(RealPath.Of(own) + Path.DirectorySeparatorChar, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>Steps behind a folder that other programs open; null where it is not there or not whole.</summary>
    public static long? StepOf(string folder) => OriginOf(folder)?.Step;

    /// <summary>Whether a folder that other programs open is whole, and of this run after so many steps.</summary>
    internal bool Holds(string folder, long step) => OriginOf(folder) == (step, Identity);

    private static (long? Step, string? Run)? OriginOf(string folder)
    {
        try
        {
            var path = Path.Combine(folder, Training);
            return File.Exists(path) && JObject.Parse(File.ReadAllText(path)) is var training
                ? ((long?)training["step"], (string?)training["run"]) : null;
        }
        catch (Exception e) when (e is JsonException or ArgumentException or FormatException or OverflowException
            || FileKinds.IsAboutFile(e))
        {
            return null;
        }
    }

    /// <summary>Fills a folder that other programs open, and says in it what it is of; that comes last, so that it
    /// tells that all is there.</summary>
    internal static void Fill(string folder, Action<string> write, JObject training)
    {
        if (Directory.Exists(folder))
        {
            File.Delete(Path.Combine(folder, Training));
        }

        write(folder);
        AtomicFile.Write(Path.Combine(folder, Training), training.ToString() + "\n");
    }

    /// <summary>Removes all but the newest checkpoints.</summary>
    internal void Prune(int keep)
    {
        foreach (var (_, path) in Steps("checkpoints").OrderByDescending(one => one.Step).Skip(keep))
        {
            _ = Remove(path);
        }
    }

    /// <summary>How a folder is deleted; replaced in tests.</summary>
    internal Action<string> Delete { get; set; } = static folder => Directory.Delete(folder, true);

    // What says that it is whole goes first, should this be killed on the way. What cannot be removed, as a network's
    // file system keeps a file that somebody has open, ends no run.
    private bool Remove(string folder)
    {
        try
        {
            File.Delete(Path.Combine(folder, Training));
            Delete(folder);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            if (left.Add(folder))
            {
                tell?.Invoke($"{folder} is not needed any more, and could not be removed: {e.Message.TrimEnd('.')}. "
                    + (StepOf(folder) is null ? "What is left of it counts as no checkpoint." : "Remove it yourself."));
            }

            return false;
        }
    }

    /// <summary>Makes the better checkpoint the best, where one waits that is whole; it goes on waiting while the one
    /// before cannot be removed.</summary>
    internal void TakeBetter()
    {
        if (StepOf(Better) is not null && (!Directory.Exists(Best) || Remove(Best)))
        {
            Directory.Move(Better, Best);
        }
    }

    /// <summary>Sees to it that the best checkpoint is of the step that is the best by the table of a run that goes on:
    /// one of a step that is to be made again is none.</summary>
    /// <param name="step">That step; null where none was validated.</param>
    /// <param name="comes">Whether it is exported yet, where it is missing: until then an older one stays.</param>
    internal void SettleBest(long? step, bool comes = false)
    {
        if (Directory.Exists(Better) && (StepOf(Better) is not { } better || better != step))
        {
            _ = Remove(Better);
        }
        else
        {
            TakeBetter();
        }

        if (Directory.Exists(Best) && (StepOf(Best) is not { } kept || (kept != step && !(comes && kept < step))))
        {
            var aside = EarlierRun.Move(this, [Best]);
            tell?.Invoke($"The checkpoint in {Best} is of a step that the saved state does not know of; it is in "
                + $"{aside} now.");
        }
    }

    /// <summary>Removes what a killed run made of steps that it goes on before, and the events, which are written
    /// anew.</summary>
    internal void Forget(long reached)
    {
        foreach (var (_, path) in Steps("checkpoints").Concat(Steps("samples")).Where(one => one.Step > reached)
            .Concat(Events.Select(path => (reached, path))))
        {
            if (Directory.Exists(path))
            {
                _ = Remove(path);
            }
            else
            {
                File.Delete(path);
            }
        }
    }

    /// <summary>Files of TensorBoard.</summary>
    internal string[] Events => Directory.GetFiles(Folder, "events.out.tfevents.*");

    private (long Step, string Path)[] Steps(string folder) => !Directory.Exists(In(folder)) ? []
        : [.. Directory.GetFileSystemEntries(In(folder), "step-*").Select(path =>
            (long.TryParse(System.IO.Path.GetFileNameWithoutExtension(path)[5..], CultureInfo.InvariantCulture,
                out var step) ? step : -1, path)).Where(one => one.Item1 >= 0)];
}
