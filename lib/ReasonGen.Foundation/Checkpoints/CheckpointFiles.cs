using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Checkpoints;

/// <summary>
/// A checkpoint as a whole, whatever its form: one safetensors or torch file, an index of shards, or a folder with
/// either. Opening reads descriptions only; weights are streamed into tensors that exist already.
/// </summary>
public sealed class CheckpointFiles
{
    private const long LargestIndex = 64 << 20;

    internal static readonly string[] UsualNames =
        ["model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json"];

    // what wrappers of a training loop put before every name
    private static readonly string[] Prefixes = ["module.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.",
        "base_model.model."];

    private CheckpointFiles(string path, IReadOnlyList<TensorEntry> entries, IReadOnlyList<string> files) =>
        (Path, Entries, Files) = (path, entries, files);

    /// <summary>What was opened: a file, an index or a folder.</summary>
    public string Path { get; }

    /// <summary>The tensors, file by file, in the order of each.</summary>
    public IReadOnlyList<TensorEntry> Entries { get; }

    /// <summary>Elements of all tensors.</summary>
    internal long Elements => Entries.Sum(entry => entry.Elements);

    /// <summary>The files that hold them.</summary>
    public IReadOnlyList<string> Files { get; }

    /// <summary>What it is where it is not the plain weights of a model, such as an adapter; null where nothing
    /// tells.</summary>
    public string? Note =>
        (Folder is var folder && FolderKinds.IsModel(folder) ? null : FolderKinds.DescribeAdapter(folder))
        ?? (FolderKinds.Explain(Entries) is var (what, remedy) ? $"{what}: {remedy}" : null);

    private string Folder => Directory.Exists(Path) ? Path
        : System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(Path))!;

    /// <summary>Opens a .safetensors or .bin file, a …index.json, or a folder with one of those under its usual
    /// name.</summary>
    /// <param name="path">File, index or folder.</param>
    /// <param name="unwrap">Take only the state dict where a trainer saved more than that into a .bin file.</param>
    /// <exception cref="UnusableFileException">Nothing is there, a file is unsound, or the index and its files
    /// disagree.</exception>
    public static CheckpointFiles Open(string path, bool unwrap = true)
    {
        var file = Directory.Exists(path) ? Find(path) : path;
        var opened = OpenFile(path, file, unwrap);
        if (file != path)
        {
            foreach (var other in UsualNames.Select(name => System.IO.Path.Combine(path, name))
                .Where(name => name != file && File.Exists(name)))
            {
                SecondWeights.Check(opened, other, unwrap);
            }
        }

        return opened;
    }

    internal static CheckpointFiles OpenFile(string path, string file, bool unwrap) =>
        file.EndsWith(".index.json", StringComparison.OrdinalIgnoreCase)
        ? OpenShards(path, file) : new(path, ReadFile(file, unwrap), [file]);

    /// <summary>
    /// The same weights under the names of the bare model: a prefix that every name has because a training loop wrapped
    /// the model ("module.",
    /// "_orig_mod.", "base_model.model." …) is taken off.
    /// </summary>
    public CheckpointFiles Unwrapped()
    {
        var entries = Entries;
        while (entries.Count > 0
            && Prefixes.FirstOrDefault(prefix =>
                entries.All(entry => entry.Name.StartsWith(prefix, StringComparison.Ordinal))) is { } found)
        {
            entries = [.. entries.Select(entry => entry with { Name = entry.Name[found.Length..] })];
        }

        return ReferenceEquals(entries, Entries) ? this : new(Path, entries, Files);
    }

    /// <summary>The same weights under other names.</summary>
    /// <exception cref="UnusableFileException">Two tensors would have one name.</exception>
    internal CheckpointFiles Renamed(Func<string, string> rename)
    {
        TensorEntry[] entries = [.. Entries.Select(entry => entry with { Name = rename(entry.Name) })];
        return entries.GroupBy(entry => entry.Name).FirstOrDefault(same => same.Count() > 1) is not { } twice
            ? new(Path, entries, Files)
            : throw new UnusableFileException(Path, $"it holds '{twice.Key}' twice, once under a prefix",
                "give the published file");
    }

    /// <summary>Opens an archive of TorchScript for its weights; nothing of its code is read.</summary>
    /// <exception cref="UnusableFileException">It is unsound, or no such archive.</exception>
    internal static CheckpointFiles OpenArchive(string path) => new(path, TorchScriptFile.Read(path), [path]);

    /// <summary>Fills tensors, converting to their type and device. Beside them one small chunk a thread is
    /// held.</summary>
    /// <param name="targets">Tensors by the names of the checkpoint; views of a model's tensors serve where it stores
    /// them otherwise.</param>
    /// <param name="optional">Names that may be missing, superfluous or of another shape; targets that go without are
    /// set to 0.</param>
    /// <param name="finite">Refuse weights that are NaN or infinite.</param>
    /// <exception cref="UnusableFileException">Names or shapes differ (all that do are listed at once), or the data are
    /// damaged or not finite.</exception>
    public void LoadInto(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional = null,
        bool finite = true) =>
        LoadInto(targets, optional, finite, null);

    /// <summary>
    /// Gives a module that was built on the meta device its memory and its weights: the files' own pages where a weight
    /// can stay as it lies there
    /// (on the CPU, in the file's type), else memory that the files are streamed into.
    /// </summary>
    /// <param name="module">The module.</param>
    /// <param name="device">Where its weights are to live.</param>
    /// <param name="nameOf">The file's name of a whole tensor of the module; null where the file stores it
    /// otherwise.</param>
    /// <param name="targets">Asked for what
    /// <see cref="LoadInto(IReadOnlyDictionary{string, Tensor}, Func{string, bool}, bool)"/> takes, once the module has
    /// memory.</param>
    /// <param name="optional">As there.</param>
    /// <exception cref="UnusableFileException">As there.</exception>
    internal void LoadInto(nn.Module module, Device device, Func<string, string?> nameOf,
        Func<IReadOnlyDictionary<string, Tensor>> targets,
        Func<string, bool>? optional = null)
    {
        var found = Entries.ToDictionary(entry => entry.Name);
        using var mapped = new MappedFiles();
        MetaTensors.Allocate(module, device, (name, bare) =>
            nameOf(name) is { } known && found.TryGetValue(known, out var entry) ? mapped.Find(entry, bare, device)
                : null);
        // a place may be nothing
        LoadInto(targets(), optional, finite: true, mapped,
            name => optional?.Invoke(name) != true && !name.Contains(".pos"));
    }

    private void LoadInto(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional, bool finite,
        MappedFiles? mapped,
        Func<string, bool>? filled = null)
    {
        Check(targets, optional);
        var found = Entries.ToDictionary(entry => entry.Name);
        bool Fits(string name) =>
            found.TryGetValue(name, out var entry) && entry.Shape.SequenceEqual(targets[name].shape);
        using var free = no_grad();
        foreach (var (name, target) in targets)
        {
            if (!Fits(name))
            {
                target.zero_();
            }
        }

        using var reader = new TensorReader(finite, mapped, filled);
        reader.Fill(Entries.Where(entry => targets.ContainsKey(entry.Name) && Fits(entry.Name))
            .Select(entry => (entry, targets[entry.Name])));
    }

    /// <summary>Compares names and shapes, without reading weights; tensors of the meta device will do.</summary>
    /// <exception cref="UnusableFileException">They differ: all differences are listed at once.</exception>
    public void Check(IReadOnlyDictionary<string, Tensor> targets, Func<string, bool>? optional = null)
    {
        optional ??= _ => false;
        var found = Entries.ToDictionary(entry => entry.Name);
        string[] problems =
        [
            .. targets.Keys.Where(name => !found.ContainsKey(name) && !optional(name))
                .Select(name => $"{name} is missing"),
            .. found.Keys.Where(name => !targets.ContainsKey(name) && !optional(name))
                .Select(name => $"{name} is not part of the model"),
            .. targets.Keys
                .Where(name =>
                    found.TryGetValue(name, out var entry) && !optional(name)
                        && !entry.Shape.SequenceEqual(targets[name].shape))
                .Select(name =>
                    $"{name} is [{string.Join(", ", found[name].Shape)}], the model has "
                    + $"[{string.Join(", ", targets[name].shape)}]"),
            .. targets.Where(pair => found.TryGetValue(pair.Key, out var entry) && !optional(pair.Key)
                && ElementTypes.IsFloating(entry.Type) != ElementTypes.IsFloating(pair.Value.dtype))
                .Select(pair => $"{pair.Key} is of {found[pair.Key].Type}, the model computes in {pair.Value.dtype}"),
        ];
        if (problems.Length > 0 && FolderKinds.Explain(Entries) is var (what, remedy))
        {
            throw new UnusableFileException(Path, $"its weights do not fit the model: {what}", remedy);
        }

        if (problems.Length > 0)
        {
            throw new UnusableFileException(Path,
                $"{problems.Length} tensors do not fit the model: {string.Join("; ", problems.Take(20))}"
                + (problems.Length > 20 ? "; …" : ""),
                "use the checkpoint of this model, or the configuration that lies beside the checkpoint");
        }
    }

    /// <summary>Every tensor on the CPU, in the type it is stored in, weights that are not finite included. The caller
    /// disposes them.</summary>
    /// <exception cref="UnusableFileException">The data are damaged.</exception>
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
        string[] others = Directory.GetFiles(folder, "*.safetensors") is { Length: > 0 } files ? files
            : Directory.GetFiles(folder, "*.bin");
        others = others.Length > 0 ? others : Directory.GetFiles(folder, "*.pt") is { Length: 1 } one ? one : [];
        return usual
            ?? (others.Length == 1 ? others[0] : throw FolderKinds.Explain(folder) ?? new UnusableFileException(folder,
            others.Length == 0 ? "the folder holds no checkpoint"
                : $"the folder holds {others.Length} checkpoint files and no index that binds them",
            $"give the file itself, or a folder with {string.Join(", ", UsualNames)}"));
    }

    private static IReadOnlyList<TensorEntry> ReadFile(string file, bool unwrap = true) =>
        FileKinds.Of(file) == FileKind.Safetensors ? SafetensorsHeader.Read(file).Entries
            : TorchFile.Read(file, unwrap);

    private static CheckpointFiles OpenShards(string path, string index)
    {
        var map = ReadIndex(index);
        var folder = System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(index))!;
        var files = map.Values.Distinct().Order(StringComparer.Ordinal).ToArray();
        var lost = files.Where(file => !File.Exists(System.IO.Path.Combine(folder, file))).ToArray();
        if (lost.Length > 0)
        {
            throw new UnusableFileException(index,
                $"it names {string.Join(", ", lost.Take(5).Select(file => $"'{file}'"))}, "
                + (lost.Length > 5 ? $"and {lost.Length - 5} more files, " : "") + "which does not lie beside it"
                + (FolderKinds.Unfinished(folder) is { } part ? $"; a download is not finished: '{part}'" : ""),
                "download the missing shard");
        }

        // a shard may hold more than the index asks it for
        TensorEntry[] entries = [.. files.SelectMany(file =>
            ReadFile(System.IO.Path.Combine(folder, file)).Where(entry => map.GetValueOrDefault(entry.Name) == file))];
        var names = entries.Select(entry => entry.Name).ToHashSet();
        var absent = map.Keys.Where(name => !names.Contains(name)).ToArray();
        return absent.Length == 0 ? new(path, entries, [.. files.Select(file => System.IO.Path.Combine(folder, file))])
            : throw new UnusableFileException(index, $"{absent.Length} tensors are not in the shard it names for them: "
                + string.Join("; ", absent.Take(20).Select(name => $"{name} in {map[name]}"))
                + (absent.Length > 20 ? "; …" : ""),
                "download index and shards again, from one revision");
    }

    private static Dictionary<string, string> ReadIndex(string index)
    {
        try
        {
            if (FileKinds.Length(index) > LargestIndex)
            {
                throw new FormatException($"an index of more than {LargestIndex} bytes is none");
            }

            var json = JObject.Parse(File.ReadAllText(index),
                new() { DuplicatePropertyNameHandling = DuplicatePropertyNameHandling.Error });
            var map =
                json["weight_map"] as JObject ?? throw new FormatException("it has no weight_map from names to files");
            return map.Properties().ToDictionary(pair => pair.Name,
                pair => pair.Value.Type == JTokenType.String && (string)pair.Value! is var file
                && file.Length > 0 && file is not ("." or "..") && file.IndexOfAny(['/', '\\', ':', '\0']) < 0
                    ? file : throw new FormatException(
                        $"for '{pair.Name}' it names {pair.Value.ToString(Formatting.None)}, which is no name of a "
                        + $"file beside it"));
        }
        catch (Exception e) when (e is FormatException or JsonException)
        {
            throw new UnusableFileException(index, $"not a sound index of shards: {e.Message.TrimEnd('.')}",
                "download the index again", e);
        }
        catch (Exception e) when (FileKinds.IsAboutFile(e))
        {
            throw FileKinds.Unreadable(index, e);
        }
    }
}
