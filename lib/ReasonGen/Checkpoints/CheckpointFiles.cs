using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// A checkpoint as a whole, whatever its form: one safetensors or torch file, an index of shards, or a folder with either. Opening reads
/// descriptions only; weights are streamed into tensors that exist already.
/// </summary>
public sealed class CheckpointFiles
{
    private const long LargestIndex = 64 << 20;

    private static readonly string[] UsualNames =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

    private CheckpointFiles(string path, IReadOnlyList<TensorEntry> entries, IReadOnlyList<string> files) =>
        (Path, Entries, Files) = (path, entries, files);

    /// <summary>What was opened: a file, an index or a folder.</summary>
    public string Path { get; }

    /// <summary>The tensors, file by file, in the order of each.</summary>
    public IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>The files that hold them.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>Opens a .safetensors or .bin file, a …index.json, or a folder with one of those under its usual name.</summary>
    /// <param name="path">File, index or folder.</param>
    /// <param name="unwrap">Take only the state dict where a trainer saved more than that into a .bin file.</param>
    /// <exception cref="CheckpointException">Nothing is there, a file is unsound, or the index and its files disagree.</exception>
    public static CheckpointFiles Open(string path, bool unwrap = true)
    {
        var file = Directory.Exists(path) ? Find(path) : path;
        return file.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase) ? OpenShards(path, file) : new(path, ReadFile(file, unwrap), [file]);
    }

    /// <summary>Fills tensors, converting to their type and device. Beside them one small chunk a thread is held.</summary>
    /// <param name="targets">Tensors by the names of the checkpoint; views of a model's tensors serve where it stores them otherwise.</param>
    /// <param name="optional">Names that may be missing, superfluous or of another shape; targets that go without are set to 0.</param>
    /// <param name="finite">Refuse weights that are NaN or infinite.</param>
    /// <exception cref="CheckpointException">Names or shapes differ (all that do are listed at once), or the data are damaged or not finite.</exception>
    public void LoadInto(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional = null, bool finite = true) =>
        LoadInto(targets, optional, finite, null);

    /// <summary>
    /// Gives a module that was built on the meta device its memory and its weights: the files' own pages where a weight can stay as it lies there
    /// (on the CPU, in the file's type), else memory that the files are streamed into.
    /// </summary>
    /// <param name="module">The module.</param>
    /// <param name="device">Where its weights are to live.</param>
    /// <param name="nameOf">The file's name of a whole tensor of the module; null where the file stores it otherwise.</param>
    /// <param name="targets">Asked for what <see cref="LoadInto(IReadOnlyDictionary{string, Tensor}, Func{string, bool}, bool)"/> takes, once the module has memory.</param>
    /// <param name="optional">As there.</param>
    /// <exception cref="CheckpointException">As there.</exception>
    internal void LoadInto(nn.Module module, Device device, Func<string, string?> nameOf, Func<IReadOnlyDictionary<string, Tensor>> targets,
        Func<string, bool>? optional = null)
    {
        var found = Entries.ToDictionary(entry => entry.Name);
        using var mapped = new MappedFiles();
        BareWeights.Allocate(module, device, (name, bare) =>
            nameOf(name) is { } known && found.TryGetValue(known, out var entry) ? mapped.Find(entry, bare, device) : null);
        LoadInto(targets(), optional, finite: true, mapped);
    }

    private void LoadInto(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional, bool finite, MappedFiles? mapped)
    {
        Check(targets, optional);
        var found = Entries.ToDictionary(entry => entry.Name);
        bool Fits(string name) => found.TryGetValue(name, out var entry) && entry.Shape.SequenceEqual(targets[name].shape);
        using var free = no_grad();
        foreach (var (name, target) in targets)
        {
            if (!Fits(name))
            {
                target.zero_();
            }
        }

        using var reader = new TensorReader(finite, mapped);
        reader.Fill(Entries.Where(entry => targets.ContainsKey(entry.Name) && Fits(entry.Name)).Select(entry => (entry, targets[entry.Name])));
    }

    /// <summary>Compares names and shapes, without reading weights; tensors of the meta device will do.</summary>
    /// <exception cref="CheckpointException">They differ: all differences are listed at once.</exception>
    public void Check(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional = null)
    {
        optional ??= _ => false;
        var found = Entries.ToDictionary(entry => entry.Name);
        string[] problems =
        [
            .. targets.Keys.Where(name => !found.ContainsKey(name) && !optional(name)).Select(name => $"{name} is missing"),
            .. found.Keys.Where(name => !targets.ContainsKey(name) && !optional(name)).Select(name => $"{name} is not part of the model"),
            .. targets.Keys.Where(name => found.TryGetValue(name, out var entry) && !optional(name) && !entry.Shape.SequenceEqual(targets[name].shape))
                .Select(name => $"{name} is [{string.Join(", ", found[name].Shape)}], the model has [{string.Join(", ", targets[name].shape)}]"),
        ];
        if (problems.Length > 0)
        {
            throw new CheckpointException(Path, $"{problems.Length} tensors do not fit the model: {string.Join("; ", problems.Take(20))}"
                + (problems.Length > 20 ? "; …" : ""), "use the checkpoint of this model, or the configuration that lies beside the checkpoint");
        }
    }

    /// <summary>Every tensor on the CPU, in the type it is stored in, weights that are not finite included. The caller disposes them.</summary>
    /// <exception cref="CheckpointException">The data are damaged.</exception>
    public Dictionary<string, Tensor> Load()
    {
        var tensors = Entries.ToDictionary(entry => entry.Name, entry => empty(entry.Shape, entry.Type, CPU));
        using var reader = new TensorReader(finite: false);
        reader.Fill(Entries.Select(entry => (entry, tensors[entry.Name])));
        return tensors;
    }

    private static string Find(string folder)
    {
        var usual = UsualNames.Select(name => System.IO.Path.Combine(folder, name)).FirstOrDefault(File.Exists);
        string[] others = Directory.GetFiles(folder, "*.safetensors") is { Length: > 0 } files ? files : Directory.GetFiles(folder, "*.bin");
        return usual ?? (others.Length == 1 ? others[0] : throw new CheckpointException(folder,
            others.Length == 0 ? "the folder holds no checkpoint" : $"the folder holds {others.Length} checkpoint files and no index that binds them",
            $"give the file itself, or a folder with {string.Join(", ", UsualNames)}"));
    }

    private static IReadOnlyList<TensorEntry> ReadFile(string file, bool unwrap = true) =>
        FileKinds.Of(file) == FileKind.Safetensors ? SafetensorsHeader.Read(file).Entries : TorchFile.Read(file, unwrap);

    private static CheckpointFiles OpenShards(string path, string index)
    {
        var map = ReadIndex(index);
        var folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(index))!;
        var files = map.Values.Distinct().Order(StringComparer.Ordinal).ToArray();
        if (files.FirstOrDefault(file => !File.Exists(System.IO.Path.Combine(folder, file))) is { } lost)
        {
            throw new CheckpointException(index, $"it names '{lost}', which does not lie beside it", "download the missing shard");
        }

        // a shard may hold more than the index asks it for
        TensorEntry[] entries = [.. files.SelectMany(file =>
            ReadFile(System.IO.Path.Combine(folder, file)).Where(entry => map.GetValueOrDefault(entry.Name) == file))];
        var names = entries.Select(entry => entry.Name).ToHashSet();
        var absent = map.Keys.Where(name => !names.Contains(name)).ToArray();
        return absent.Length == 0 ? new(path, entries, [.. files.Select(file => System.IO.Path.Combine(folder, file))])
            : throw new CheckpointException(index, $"{absent.Length} tensors are not in the shard it names for them: "
                + string.Join("; ", absent.Take(20).Select(name => $"{name} in {map[name]}")) + (absent.Length > 20 ? "; …" : ""),
                "download index and shards again, from one revision");
    }

    private static Dictionary<string, string> ReadIndex(string index)
    {
        try
        {
            if (new FileInfo(index).Length > LargestIndex)
            {
                throw new FormatException($"an index of more than {LargestIndex} bytes is none");
            }

            var json = JObject.Parse(File.ReadAllText(index), new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
            var map = json["weight_map"] as JObject ?? throw new FormatException("it has no weight_map from names to files");
            return map.Properties().ToDictionary(pair => pair.Name, pair => pair.Value.Type == JTokenType.String && (string)pair.Value! is var file
                && file.Length > 0 && file is not ("." or "..") && file.IndexOfAny(['/', '\\', ':', '\0']) < 0
                    ? file : throw new FormatException(
                        $"for '{pair.Name}' it names {pair.Value.ToString(Formatting.None)}, which is no name of a file beside it"));
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            throw new CheckpointException(index, $"not a sound index of shards: {e.Message.TrimEnd('.')}", "download the index again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(index, e);
        }
    }
}
