// The folder of a run:
//   run.json            what it is made from, the command             settings.json   every setting
//   metrics.csv, validation.csv, events.out.tfevents.*                samples/        sheets of images, what was
//   thought
//   state.safetensors   what it goes on from
//   checkpoints/step-000100/, best/, model/ (at the end)    folders that other programs open, each with a training.json
using System.Globalization;
using System.IO.Hashing;
using System.Text;
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Files;

namespace ReasonGen.Runs;

/// <summary>The folder of an unattended run: one process at a time, one set of settings.</summary>
public sealed class RunFolder : IDisposable
{
    private const string Description = "run.json", SettingsFile = "settings.json", Claims = ".claims",
        Training = "training.json";
    private static readonly TimeSpan Expiry = TimeSpan.FromMinutes(2), TouchInterval = TimeSpan.FromSeconds(10);
    private readonly FileLease? lease;
    private readonly Timer? touching;

    private RunFolder(string folder, FileLease? lease)
    {
        (Folder, this.lease) = (folder, lease);
        touching = lease is null ? null : new Timer(_ => lease.Touch(), null, TouchInterval, TouchInterval);
    }

    public string Folder { get; }

    /// <summary>Where the state is from which the run goes on.</summary>
    public string State => In("state.safetensors");

    /// <summary>The best checkpoint by validation.</summary>
    public string Best => In("best");

    /// <summary>What the run ends with.</summary>
    public string Final => In("model");

    /// <summary>Takes the folder for a run, a new one or one that was interrupted.</summary>
    /// <param name="folder">Made when missing.</param>
    /// <param name="identity">All that decides the run's numbers; a state of another identity is refused.</param>
    /// <param name="settings">Every setting, written beside the result.</param>
    /// <param name="about">What is told besides: command, versions.</param>
    /// <exception cref="UnusableFileException">Another process is at it, it holds something else, or a run that was
    /// begun otherwise; all differences
    /// are named, and nothing is changed.</exception>
    public static RunFolder Open(string folder, JObject identity, JObject settings, JObject about)
    {
        folder = Path.GetFullPath(folder);
        var description = Path.Combine(folder, Description);
        if (File.Exists(folder) || (Directory.Exists(folder) && !File.Exists(description)
            && Directory.EnumerateFileSystemEntries(folder).Any(entry => Path.GetFileName(entry) != Claims)))
        {
            throw new UnusableFileException(folder,
                $"it is {(File.Exists(folder) ? "a file" : "no folder of a run, and holds other files")}",
                "choose a new folder for the run");
        }

        var lease = FileLease.TryTake(Path.Combine(folder, Claims), "train", Expiry)
            ?? throw new UnusableFileException(folder, "another process is training there", "let it end, or choose "
                + "another folder");
        try
        {
            var opened = new RunFolder(folder, lease);
            if (File.Exists(opened.State))
            {
                opened.Expect(identity);
            }

            opened.Write(SettingsFile, settings);
            opened.Write(Description, new JObject { ["identity"] = identity, ["about"] = about });
            return opened;
        }
        catch
        {
            lease.Dispose();
            throw;
        }
    }

    /// <summary>The folder as the other ranks of a run see it: the first has taken it and writes there.</summary>
    public static RunFolder Follow(string folder) => new(Path.GetFullPath(folder), null);

    /// <summary>Tells this run and its state from others, so that ranks see whether they see the same.</summary>
    public string Fingerprint => string.Join(' ', new[] { In(Description), State }.Select(path =>
        File.Exists(path) ? Convert.ToHexStringLower(XxHash128.Hash(Encoding.UTF8.GetBytes(path == State
            ? string.Join(' ', SafetensorsHeader.Read(path).Metadata.Values) : File.ReadAllText(path)))) : "none"));

    /// <summary>A path in the folder.</summary>
    public string In(params ReadOnlySpan<string> names) => Path.Combine([Folder, .. names]);

    /// <summary>The checkpoint after so many steps.</summary>
    public string Checkpoint(long step) => In("checkpoints", $"step-{step:000000}");

    /// <summary>Sheet of sample images after so many steps, without its ending.</summary>
    public string Samples(long step) => In("samples", $"step-{step:000000}");

    /// <summary>Steps behind a folder that other programs open; null where it is not there or not whole.</summary>
    public static long? StepOf(string folder)
    {
        try
        {
            var path = Path.Combine(folder, Training);
            return File.Exists(path) ? (long?)JObject.Parse(File.ReadAllText(path))["step"] : null;
        }
        catch (Exception e) when (e is JsonException or ArgumentException or FormatException
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
            Directory.Delete(path, true);
        }
    }

    /// <summary>Removes what a killed run made of steps that it goes on before, and the events, which are written
    /// anew.</summary>
    internal void Forget(long reached)
    {
        foreach (var (_, path) in Steps("checkpoints").Concat(Steps("samples")).Where(one => one.Step > reached)
            .Concat(Directory.GetFiles(Folder, "events.out.tfevents.*").Select(path => (reached, path))))
        {
            if (Directory.Exists(path))
            {
                Directory.Delete(path, true);
            }
            else
            {
                File.Delete(path);
            }
        }
    }

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

        touching!.Dispose();
        lease.Dispose();
        FileLease.Sweep(In(Claims), Expiry);
    }

    private void Expect(JObject identity)
    {
        var path = In(Description);
        JToken? was;
        try
        {
            using var reader = new JsonTextReader(new StringReader(File.ReadAllText(path))) { DateParseHandling =
                DateParseHandling.None };
            was = JObject.Load(reader)["identity"];
        }
        catch (Exception e) when (e is JsonException || FileKinds.IsAboutFile(e))
        {
            throw new UnusableFileException(path,
                $"it cannot be read: {e.Message.TrimEnd('.')}", "restore it, or begin the run anew in another folder",
                    e);
        }

        if (SettingsDifference.Of(was, JToken.Parse(identity.ToString())) is { Count: > 0 } different)
        {
            throw new UnusableFileException(Folder,
                $"the run there was begun otherwise: {string.Join("; ", different)}",
                "repeat that command, or choose another folder");
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
