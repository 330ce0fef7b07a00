// The folder of a run:
//   run.json            what it is made from, all settings, the command          metrics.csv, validation.csv,
//   events.out.tfevents.*
//   state.safetensors   what it goes on from                                     samples/step-000025.png and .txt
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
    private const string Description = "run.json", Claims = ".claims", Training = "training.json";
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
    /// <param name="about">What is told besides: settings, command, versions.</param>
    /// <exception cref="UnusableFileException">Another process is at it, it holds something else, or a run that was
    /// begun otherwise; all differences
    /// are named, and nothing is changed.</exception>
    public static RunFolder Open(string folder, JObject identity, JObject about)
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

    /// <summary>Removes all but the newest checkpoints, and those of steps that the run has not reached
    /// (again).</summary>
    internal void Prune(int keep, long reached)
    {
        var folder = In("checkpoints");
        var all = (Directory.Exists(folder) ? Directory.GetDirectories(folder, "step-*") : [])
            .Select(path => (Path: path,
            Step: long.TryParse(System.IO.Path.GetFileName(path)[5..], CultureInfo.InvariantCulture, out var step)
                ? step : -1))
            .Where(one => one.Step >= 0).OrderByDescending(one => one.Step).ToArray();
        foreach (var (path, _) in all.Where(one => one.Step > reached)
            .Concat(all.Where(one => one.Step <= reached).Skip(keep)))
        {
            Directory.Delete(path, true);
        }
    }

    /// <summary>Removes the events that are there: they are written anew.</summary>
    internal void RemoveEvents()
    {
        foreach (var file in Directory.GetFiles(Folder, "events.out.tfevents.*"))
        {
            File.Delete(file);
        }
    }

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
