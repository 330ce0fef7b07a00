using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>A CLIP as it lies on disk: which one it is, before a weight is read, and then its weights.</summary>
public sealed class ClipFiles
{
    private const string OpenClipConfig = "open_clip_config.json";

    private readonly CheckpointFiles files;

    private ClipFiles(string path, CheckpointFiles files, ClipConfig config, ClipLayout layout) =>
        (Path, this.files, Config, Layout) = (path, files, config, layout);

    /// <summary>File or folder.</summary>
    public string Path { get; }

    /// <summary>Sizes and activation.</summary>
    public ClipConfig Config { get; }

    /// <summary>How it names its weights.</summary>
    public ClipLayout Layout { get; }

    /// <summary>Which model it is. For OpenAI's archive the file is read once, for its checksum.</summary>
    public ClipIdentity Identity => field ??= new(Config, Layout, Layout == ClipLayout.OpenAi
        ? ClipIdentity.ChecksumOf(files.Files[0]) : null);

    /// <summary>Finds out what a checkpoint is and compares all names and shapes with that; weights are not
    /// read.</summary>
    /// <param name="path">OpenAI's .pt, a folder of open_clip or Hugging Face, or a weight file of either.</param>
    /// <param name="config">Sizes of a weight file that has no configuration beside it; null to find them out.</param>
    /// <exception cref="UnusableFileException">It is no CLIP, or does not fit its configuration; nothing in it is ever
    /// executed.</exception>
    public static ClipFiles Open(string path, ClipConfig? config = null)
    {
        if (Directory.Exists(path))
        {
            return OpenFolder(path, config);
        }

        var files = OpenWeights(path);
        var layout = ClipNames.LayoutOf(files) ?? throw NoClip(path, files);
        if (TorchScriptFile.Is(path))
        {
            return Fit(path, files, ClipConfigFiles.FromShapes(files, Activation.QuickGelu), ClipLayout.OpenAi);
        }

        // a state dict says neither its heads nor its activation
        var beside = Beside(path, layout);
        config ??= !File.Exists(beside) ? throw new UnusableFileException(path,
                "it is a state dict of a CLIP without its configuration, which alone tells its heads and whether it "
                + "was trained with QuickGELU or GELU",
                $"put the {System.IO.Path.GetFileName(beside)} it was published with beside it")
            : Configuration(beside, layout);
        return Fit(path, files, config, layout == ClipLayout.OpenAi ? ClipLayout.OpenClip : layout);
    }

    /// <summary>The weights in a file or folder of any of the layouts.</summary>
    /// <exception cref="UnusableFileException">They are missing or unsound.</exception>
    internal static CheckpointFiles OpenWeights(string path) => !Directory.Exists(path)
        ? TorchScriptFile.Is(path) ? CheckpointFiles.OpenArchive(path) : CheckpointFiles.Open(path)
        : File.Exists(System.IO.Path.Combine(path, OpenClipConfig)) ? CheckpointFiles.Open(
            new[] { "open_clip_model.safetensors", "open_clip_pytorch_model.bin" }.Select(name =>
                System.IO.Path.Combine(path, name))
                .FirstOrDefault(File.Exists) ?? path)
        : LoneArchive(path) is { } archive ? CheckpointFiles.OpenArchive(archive) : CheckpointFiles.Open(path);

    /// <summary>The configuration that a weight file of a CLIP needs and has not; null where nothing is
    /// lacking.</summary>
    internal static string? LacksConfiguration(string path) => !Directory.Exists(path) && !TorchScriptFile.Is(path)
        && ClipNames.LayoutOf(OpenWeights(path)) is { } layout && Beside(path, layout) is var beside
            && !File.Exists(beside)
            ? System.IO.Path.GetFileName(beside) : null;

    /// <summary>A model with these weights.</summary>
    /// <exception cref="UnusableFileException">Weights are damaged or not finite.</exception>
    public ClipModel Load(ComputeTarget target)
    {
        var model = new ClipModel(Config, target with { Device = META });
        try
        {
            using var scope = NewDisposeScope();
            files.LoadInto(model, target.Device, name => ClipNames.Whole(name, Layout), () =>
                ClipNames.Views(model, Layout), ClipNames.IsUnread);
            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    private static ClipFiles OpenFolder(string folder, ClipConfig? config)
    {
        var (openClip, huggingFace) = (System.IO.Path.Combine(folder, OpenClipConfig), System.IO.Path.Combine(folder,
            "config.json"));
        if (File.Exists(openClip))
        {
            return Fit(folder, OpenWeights(folder), config ?? ClipConfigFiles.ReadOpenClip(openClip),
                ClipLayout.OpenClip);
        }

        if (!File.Exists(huggingFace) && config is null)
        {
            return LoneArchive(folder) is { } archive ? Open(archive) : throw new UnusableFileException(folder,
                $"it is no folder of a CLIP: it has neither {OpenClipConfig} nor config.json, nor one file .pt alone",
                "give OpenAI's .pt itself, or the folder of open_clip or Hugging Face with its configuration");
        }

        return Fit(folder, CheckpointFiles.Open(folder), config ?? ClipConfigFiles.ReadHuggingFace(huggingFace),
            ClipLayout.HuggingFace);
    }

    private static string Beside(string path, ClipLayout layout) => System.IO.Path.Combine(
        System.IO.Path.GetDirectoryName(System.IO.Path.GetFullPath(path))!, layout == ClipLayout.HuggingFace
            ? "config.json" : OpenClipConfig);

    private static string? LoneArchive(string folder) => !File.Exists(System.IO.Path.Combine(folder, "config.json"))
        && Directory.GetFiles(folder, "*.pt") is [var archive] && TorchScriptFile.Is(archive) ? archive : null;

    private static ClipConfig Configuration(string path, ClipLayout layout) =>
        layout == ClipLayout.HuggingFace ? ClipConfigFiles.ReadHuggingFace(path) : ClipConfigFiles.ReadOpenClip(path);

    private static ClipFiles Fit(string path, CheckpointFiles files, ClipConfig config, ClipLayout layout)
    {
        var found = ClipNames.LayoutOf(files) ?? throw NoClip(path, files);
        if ((found == ClipLayout.HuggingFace) != (layout == ClipLayout.HuggingFace))
        {
            throw new UnusableFileException(path,
                $"its weights have the names of {found}, its configuration is that of {layout}",
                "keep weights and configuration of one publication together");
        }

        // the number of blocks bounds what is built to compare names with
        if (Math.Max(config.Vision.Layers, config.Text.Layers) > files.Entries.Count)
        {
            throw new UnusableFileException(path,
                $"its configuration speaks of {Math.Max(config.Vision.Layers, config.Text.Layers)} blocks, "
                + $"its file holds {files.Entries.Count} tensors",
                    "keep weights and configuration of one publication together");
        }

        using var model = new ClipModel(config, new(META, ScalarType.Float32));
        using var scope = NewDisposeScope();
        files.Check(ClipNames.Views(model, layout), ClipNames.IsUnread);
        return new(path, files, config, layout);
    }

    private static UnusableFileException NoClip(string path, CheckpointFiles files) => new(path,
        $"it is no CLIP: of its {files.Entries.Count} tensors the first are "
        + $"{string.Join(", ", files.Entries.Take(4).Select(entry => $"'{entry.Name}'"))}; expected are two towers, "
        + $"as 'visual.class_embedding' and "
        + "'token_embedding.weight' or 'vision_model.…' and 'text_model.…'", "give the published weights of a CLIP");
}
