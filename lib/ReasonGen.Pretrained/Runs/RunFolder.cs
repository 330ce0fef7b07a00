// The folder of a run:
//   run.json            what it is made from, the command             settings.json   every setting
//   metrics.csv, validation.csv, events.out.tfevents.*                samples/        sheets of images, what was
//   thought
//   state.safetensors   what it goes on from
//   checkpoints/step-000100/, best/, model/ (at the end)    folders that other programs open, each with a training.json
//   best-next/          takes the place of best/ when the state is saved that knows of it
//   earlier-1/          what a run left whose state was removed before this one was begun
using System.Diagnostics;
using System.Globalization;
using System.IO.Hashing;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;
using ReasonGen.Grpo;

namespace ReasonGen.Runs;

/// <summary>The folder of an unattended run: one process at a time, one set of settings.</summary>
public sealed class RunFolder : IDisposable
{
    internal const string Description = "run.json", SettingsFile = "settings.json";
    private const string Claims = ".claims", Training = Safetensors.Training;

    /// <summary>Begins the names of an identity's settings of samples, as they are set: data.samplesPerStep; "data" is
    /// the data themselves. Earlier versions wrote those settings into settings.json alone.</summary>
    internal const string OfSamples = "data.";

    /// <summary>Pairs of controllers of runs of which that is not written: they had one.</summary>
    public const int PairsBefore = 1;

    // of the identity; the last was written by earlier versions, and never decided anything
    private static readonly string[] Free =
        [.. GrpoConfig.WhenToGiveUp.Select(name => $"grpo.{Settings.Name(name)}"), Settings.ModelsOwn];

    private static readonly TimeSpan Expiry = TimeSpan.FromMinutes(2), TouchInterval = TimeSpan.FromSeconds(10),
        Ending = TimeSpan.FromSeconds(15), Look = TimeSpan.FromSeconds(0.5);
    private readonly FileLease? lease;
    private readonly Timer? touching;
    private readonly Action<string>? tell;
    private readonly HashSet<string> left = []; // told of

    private RunFolder(string folder, FileLease? lease, string identity, Action<string>? tell)
    {
        (Folder, this.lease, Identity, this.tell) = (folder, lease, identity, tell);
        touching = lease is null ? null : new Timer(_ => lease.Touch(), null, TouchInterval, TouchInterval);
    }

    public string Folder { get; }

    /// <summary>Hash of all that decides the run's numbers, which every training.json names.</summary>
    public string Identity { get; }

    /// <summary>Where the state is from which the run goes on.</summary>
    public string State => In("state.safetensors");

    /// <summary>The best checkpoint by validation.</summary>
    public string Best => In("best");

    /// <summary>A better one that waits for the state to be saved: until then a killed run goes on before it.</summary>
    internal string Better => In("best-next");

    /// <summary>What the run ends with.</summary>
    public string Final => In("model");

    /// <summary>Takes the folder for a run, a new one or one that was interrupted.</summary>
    /// <param name="folder">Made when missing. Where its state was removed, the run begins anew, and what the one
    /// before left is set aside.</param>
    /// <param name="identity">All that decides the run's numbers; a state of another identity is refused.</param>
    /// <param name="settings">Every setting, written beside the result.</param>
    /// <param name="about">What is told besides: command, versions.</param>
    /// <param name="tell">Told in a sentence what is waited for, moved or left in the folder; it may quote
    /// files.</param>
    /// <param name="validation">Tells what it is validated with from others; null for nothing. Where it was another,
    /// the numbers and the best checkpoint by it are set aside.</param>
    /// <exception cref="UnusableFileException">Another process is at it, it holds something else, or a run that was
    /// begun otherwise; all differences
    /// are named, and nothing is changed.</exception>
    public static RunFolder Open(string folder, JObject identity, JObject settings, JObject about,
        Action<string>? tell = null, string? validation = null)
    {
        folder = Path.GetFullPath(folder);
        var description = Path.Combine(folder, Description);
        // what a run leaves that is killed in its first moment; earlier versions wrote the settings first
        string[] ours = Directory.Exists(Path.Combine(folder, Claims)) ? [Claims, SettingsFile] : [];
        if (File.Exists(folder) || (Directory.Exists(folder) && !File.Exists(description)
            && Directory.EnumerateFileSystemEntries(folder).Select(entry => Path.GetFileName(entry))
                .Any(name => !ours.Contains(name) && !AtomicFiles.IsUnfinished(name))))
        {
            throw new UnusableFileException(folder,
                $"it is {(File.Exists(folder) ? "a file" : "no folder of a run, and holds other files")}",
                "choose a new folder for the run");
        }

        // one that was just ended may still be saving, one on another host may have been killed
        string? other = null;
        var lease = FileLease.TryTake(Path.Combine(folder, Claims), "train", Expiry, Ending, (host, left) =>
        {
            other = host;
            tell?.Invoke($"A process on {host} was training in {folder}, and may have been killed: waiting for at most "
                + $"{Math.Ceiling(left.TotalSeconds):0} s for a sign of it.");
        }) ?? throw new UnusableFileException(folder, "another process is training there"
            + (other is null ? "" : $", on {other}"), "let it end, or choose another folder");
        var opened = new RunFolder(folder, lease, HashOf(identity.ToString(Formatting.None)), tell);
        try
        {
            if (File.Exists(opened.State))
            {
                opened.Expect(identity);
                validation = opened.SettleValidation(validation);
            }
            else if (EarlierRun.SetAside(opened, opened.WasBegunAs(identity)) is { } aside)
            {
                tell?.Invoke($"What an earlier run left in {folder} is in {aside} now; this one begins anew.");
            }

            opened.Write(Description,
                new JObject { ["identity"] = identity, ["validation"] = validation, ["about"] = about });
            opened.Write(SettingsFile, settings);
            return opened;
        }
        catch
        {
            opened.Dispose();
            throw;
        }
    }

    /// <summary>The folder as the other ranks of a run see it: the first has taken it and writes there.</summary>
    public static RunFolder Follow(string folder) => new(Path.GetFullPath(folder), null, "", null);

    /// <summary>What decides the numbers of the run in a folder, where it has a state; otherwise null.</summary>
    public static JToken? BegunAs(string folder)
    {
        try
        {
            using var run = Follow(folder);
            return File.Exists(run.State) ? Read(run.In(Description))["identity"] : null;
        }
        catch (UnusableFileException)
        {
            return null; // who opens the folder is told
        }
    }

    /// <summary>Tells this run and its state from others, so that ranks see whether they see the same.</summary>
    public string Fingerprint => string.Join(' ', new[] { In(Description), State }.Select(path =>
        File.Exists(path) ? HashOf(path == State ? string.Join(' ', SafetensorsHeader.Read(path).Metadata.Values)
            : File.ReadAllText(path)) : "none"));

    /// <summary>Waits until the folder is seen here as by the rank that wrote it: where machines share it, one of them
    /// may see what another made only a while later.</summary>
    /// <param name="fingerprint">The writer's <see cref="Fingerprint"/>.</param>
    /// <param name="patience">How long it waits at most.</param>
    /// <returns>Whether it is.</returns>
    internal bool Shows(string fingerprint, TimeSpan patience)
    {
        for (var watch = Stopwatch.StartNew(); !IsSeenAs(fingerprint); Thread.Sleep(Look))
        {
            if (watch.Elapsed > patience)
            {
                return false;
            }
        }

        return true;
    }

    // a file system that remembers a name as missing looks again where its folder is listed
    private bool IsSeenAs(string fingerprint)
    {
        try
        {
            foreach (var listed in new[] { Path.GetDirectoryName(Folder), Folder }.Where(Directory.Exists))
            {
                _ = Directory.EnumerateFileSystemEntries(listed!).Count();
            }

            return Fingerprint == fingerprint;
        }
        catch (Exception e) when (e is UnusableFileException || FileKinds.IsAboutFile(e))
        {
            return false; // it was replaced as it was read
        }
    }

    /// <summary>A path in the folder.</summary>
    public string In(params ReadOnlySpan<string> names) => Path.Combine([Folder, .. names]);

    /// <summary>The checkpoint after so many steps.</summary>
    public string Checkpoint(long step) => In("checkpoints", $"step-{step:000000}");

    /// <summary>Sheet of sample images after so many steps, without its ending.</summary>
    public string Samples(long step) => In("samples", $"step-{step:000000}");

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

    public void Dispose()
    {
        if (lease is null)
        {
            return;
        }

        using ManualResetEvent touched = new(false);
        if (touching!.Dispose(touched))
        {
            touched.WaitOne(); // a lease is not touched after its end
        }

        lease.Dispose();
        FileLease.Sweep(In(Claims), Expiry);
    }

    private static string HashOf(string text) =>
        Convert.ToHexStringLower(XxHash128.Hash(Encoding.UTF8.GetBytes(text)));

    private void Expect(JObject identity)
    {
        if (DifferencesTo(identity) is { Count: > 0 } different)
        {
            throw new UnusableFileException(Folder,
                $"the run there was begun otherwise: {string.Join("; ", different)}",
                "repeat that command, or choose another folder");
        }
    }

    // numbers by two sets cannot be held against each other
    private string? SettleValidation(string? now)
    {
        var was = (Read(In(Description))["validation"] as JValue)?.Value as string;
        string[] had = [.. new[] { In("validation.csv"), Best, Better }.Where(Path.Exists)];
        if (was is not null && now is not null && was != now && had.Length > 0)
        {
            var aside = EarlierRun.Move(this, had);
            tell?.Invoke($"The run was validated with other data before: what came of it is in {aside} now.");
        }

        return now ?? was;
    }

    private bool WasBegunAs(JObject identity)
    {
        try
        {
            return File.Exists(In(Description)) && DifferencesTo(identity).Count == 0;
        }
        catch (UnusableFileException)
        {
            return false; // nobody can tell
        }
    }

    private IReadOnlyList<string> DifferencesTo(JObject identity)
    {
        var (was, now) = (Read(In(Description))["identity"], JToken.Parse(identity.ToString()));
        if (was?["entropy"] is JObject entropy && now["entropy"]?["pairs"] is not null)
        {
            entropy.TryAdd("pairs", PairsBefore);
        }

        if (was is JObject begun && now is JObject asked
            && asked.Properties().Where(one => one.Name.StartsWith(OfSamples) && !begun.ContainsKey(one.Name)).ToArray()
                is { Length: > 0 } unwritten)
        {
            var settings = Read(In(SettingsFile))["data"];
            begun.Add(unwritten.Select(one =>
                new JProperty(one.Name, settings?[one.Name[OfSamples.Length..]] ?? one.Value)));
        }

        foreach (var name in Free)
        {
            was?.SelectToken(name)?.Parent?.Remove();
            now.SelectToken(name)?.Parent?.Remove();
        }

        return SettingsDifference.Of(was, now);
    }

    private static JObject Read(string path)
    {
        try
        {
            using var reader = new JsonTextReader(new StringReader(File.ReadAllText(path)))
            {
                DateParseHandling = DateParseHandling.None,
            };
            return JObject.Load(reader);
        }
        catch (Exception e) when (e is JsonException || FileKinds.IsAboutFile(e))
        {
            throw new UnusableFileException(path,
                $"it cannot be read: {e.Message.TrimEnd('.')}", "restore it, or begin the run anew in another folder",
                    e);
        }
    }

    private void Write(string name, JObject json)
    {
        try
        {
            AtomicFile.Write(In(name), json.ToString() + "\n");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(In(name),
                $"it cannot be written: {e.Message.TrimEnd('.')}", "free space or choose a folder that can be written",
                    e);
        }
    }
}
