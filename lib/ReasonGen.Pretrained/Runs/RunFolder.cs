// The folder of a run:
//   run.json            what it is made from; "about", the command that began it, and "sessions", those that went on
//   settings.json       every setting                                 samples/        sheets of images, thoughts
//   metrics.csv, validation.csv, events.out.tfevents.*
//     a row of metrics.csv is of a step counted from 0: its "step" is how many were done when it began; validation.csv,
//     checkpoints, samples and training.json name how many are done: those of step 100 come behind the row of step 99
//   state.safetensors   what it goes on from
//   checkpoints/step-000100/, best/, model/ (at the end)    folders that other programs open, each with a training.json
//   best-next/          takes the place of best/ when the state is saved that knows of it
//   earlier-1/          what a run left whose state was removed before this one was begun
using System.Diagnostics;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Runs;

/// <summary>The folder of an unattended run: one process at a time, one set of settings.</summary>
public sealed partial class RunFolder : IDisposable
{
    internal const string Description = "run.json", SettingsFile = "settings.json";
    private const string Claims = ".claims";
    private static readonly TimeSpan Expiry = TimeSpan.FromMinutes(2), TouchInterval = TimeSpan.FromSeconds(10),
        Ending = TimeSpan.FromSeconds(15), Look = TimeSpan.FromSeconds(0.5);
    private readonly FileLease? lease;
    private readonly Timer? touching;
    private readonly Action<string>? tell;
    private (JObject Identity, string? Validation, JObject Settings, JObject About)? goesOn; // to be written of it

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

    /// <summary>Takes the folder for a run, a new one or one that was interrupted.</summary>
    /// <param name="folder">Made when missing. Where its state was removed, the run begins anew, and what the one
    /// before left is set aside.</param>
    /// <param name="identity">All that decides the run's numbers; a state of another identity is refused.</param>
    /// <param name="settings">Every setting, written beside the result. Of a run that goes on neither they nor
    /// <paramref name="about"/> are written before its state is accepted (<see cref="GoOn"/>).</param>
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
                opened.goesOn = (identity, opened.SettleValidation(validation), settings, about);
                return opened;
            }

            if (EarlierRun.SetAside(opened, opened.WasBegunAs(identity)) is { } aside)
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

    /// <summary>Writes down who goes on with the run, when the saved state has been accepted: what was written of those
    /// before stays. Of a new run nothing is left to be written.</summary>
    /// <param name="step">Steps done before.</param>
    /// <exception cref="UnusableFileException">It cannot be written.</exception>
    internal void GoOn(long step)
    {
        if (goesOn is not { } now)
        {
            return;
        }

        var (run, session) = (Read(In(Description)), new JObject { ["step"] = step, ["about"] = now.About });
        (run["identity"], run["validation"]) = (now.Identity, now.Validation);
        run["sessions"] = new JArray((run["sessions"] as JArray ?? []).Append(session));
        Write(Description, run);
        Write(SettingsFile, now.Settings);
        goesOn = null;
    }

    /// <summary>The folder as the other ranks of a run see it: the first has taken it and writes there.</summary>
    public static RunFolder Follow(string folder) => new(Path.GetFullPath(folder), null, "", null);

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

    /// <summary>Sheet of sample images after so many steps, without its ending.</summary>
    public string Samples(long step) => In("samples", $"step-{step:000000}");

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

    // numbers by two sets cannot be held against each other
    private string? SettleValidation(string? now)
    {
        var run = Read(In(Description));
        var was = (run["validation"] as JValue)?.Value as string;
        string[] had = [.. new[] { In("validation.csv"), Best, Better }.Where(Path.Exists)];
        if (was is not null && now is not null && was != now && had.Length > 0)
        {
            var aside = EarlierRun.Move(this, had);
            run["validation"] = now;
            Write(Description, run); // at once: the other ranks wait until they see it, and so what was moved
            tell?.Invoke("The run was validated with other data, or other rows of it, before: what came of it is in "
                + $"{aside} now.");
        }

        return now ?? was;
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
