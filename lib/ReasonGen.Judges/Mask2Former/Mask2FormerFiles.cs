// Mask2Former in files: mmdetection's .pth (2.x, or 3.x with renamed layers), and the folder of the transformers
// library.
using System.Security.Cryptography;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>What a file of a Mask2Former is, without its weights.</summary>
/// <param name="Layout">Whose names it has.</param>
/// <param name="Config">Its sizes.</param>
/// <param name="Sha256">Of a single file, lower case; null for the transformers library's folders.</param>
public sealed record Mask2FormerKind(Mask2FormerLayout Layout, Mask2FormerConfig Config, string? Sha256)
{
    // first digits of the SHA-256 of the two files that OpenMMLab publishes, as their names give them: for mmdetection
    // 2.x and 3.x
    private static readonly string[] PublishedHashes = ["743b7d99", "c9d0c4f2"];

    /// <summary>Whether it is the published file of GenEval's detector: architecture, layout and checksum.</summary>
    public bool IsOfficial => Layout != Mask2FormerLayout.HuggingFace && HasPublishedSizes && !Config.PreparedLike3
        && PublishedHashes.Any(hash => Sha256?.StartsWith(hash) == true);

    internal bool HasPublishedSizes => Config.Describe() == Mask2FormerConfig.Published.Describe()
        && (Config.LongSide, Config.ShortSide) == (Mask2FormerConfig.Published.LongSide,
            Mask2FormerConfig.Published.ShortSide);

    /// <summary>What to say beside a score.</summary>
    public string Label => IsOfficial ? "GenEval's official detector (Mask2Former Swin-S, mmdetection)"
        : Layout == Mask2FormerLayout.HuggingFace
            ? "Mask2Former of the transformers library, trained apart: not GenEval's official detector"
        : HasPublishedSizes && Config.PreparedLike3
            ? "Mask2Former of the official detector's sizes, images prepared as in mmdetection 3.x: "
                + "not as GenEval's scores are made"
        : HasPublishedSizes
            ? $"Mask2Former of the official detector's sizes with other weights "
            + $"(SHA-256 {Sha256?[..8]}…, published {string.Join(" or ", PublishedHashes)}): "
            + "not GenEval's official detector"
        : "Mask2Former of other sizes: not GenEval's official detector";
}

/// <summary>Reads a Mask2Former.</summary>
public static class Mask2FormerFiles
{
    private const string HuggingFaceSign =
        "model.pixel_level_module.encoder.encoder.layers.0.blocks.0.layernorm_before.weight";

    private static readonly (string Sign, string Meaning)[] Others =
    [
        ("roi_head.", "a detector of mmdetection with two stages (roi_head), such as Mask R-CNN"),
        ("bbox_head.", "a one-stage detector of mmdetection (bbox_head)"),
        ("sem_seg_head.", "a Mask2Former in detectron2's layout (sem_seg_head)"),
        ("decode_head.", "a model of mmsegmentation (decode_head)"),
        ("panoptic_head.",
            "a model of mmdetection with a panoptic_head, but not one of Mask2Former with a Swin backbone"),
        ("model.pixel_level_module.",
            "a Mask2Former or MaskFormer of the transformers library with another backbone than Swin"),
        ("backbone.", "a model with a backbone but without Mask2Former's heads"),
    ];

    /// <summary>Builds the detector's network from its published file.</summary>
    /// <param name="path">mmdetection's .pth file, or a folder of the transformers library.</param>
    /// <param name="target">Device and dtype; fp32 where scores are to be compared with published ones.</param>
    /// <param name="expected">The sizes it must have; those of GenEval's detector when null.</param>
    /// <param name="anySize">Takes other sizes than the expected ones too.</param>
    /// <exception cref="UnusableFileException">It is missing, damaged, not finite, or of another model, layout or size;
    /// the message says which.</exception>
    public static (Mask2FormerModel Model, Mask2FormerKind Kind) Load(string path, ComputeTarget target,
        Mask2FormerConfig? expected = null, bool anySize = false)
    {
        expected ??= Mask2FormerConfig.Published;
        var files = CheckpointFiles.Open(path);
        var kind = Recognise(path, files) is { } found
            ? found with { Config = found.Config with { LongSide = expected.LongSide, ShortSide = expected.ShortSide,
                PreparedLike3 = expected.PreparedLike3 } }
            : throw new UnusableFileException(path,
                $"{Foreign(files)}. Expected was GenEval's detector, a Mask2Former with a Swin backbone in "
                + "mmdetection's layout ('backbone.stages…', 'panoptic_head.pixel_decoder.encoder…') "
                + "or in that of the transformers library",
                "download mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco_20220504_001756-743b7d99.pth from OpenMMLab");
        if (!anySize && kind.Config.Describe() != expected.Describe())
        {
            throw new UnusableFileException(path,
                $"it is a Mask2Former in {Name(kind.Layout)} layout of other sizes: "
                + $"{kind.Config.Describe()}. Expected was: {expected.Describe()}",
                "give the file of that model");
        }

        kind = kind with { Sha256 = Hash(path, files) };
        var model = new Mask2FormerModel(kind.Config, target);
        try
        {
            var targets = new Dictionary<string, Tensor>();
            foreach (var (name, tensor) in model.Tensors.SelectMany(pair => Named(kind.Layout, pair.Key, pair.Value)))
            {
                targets.Add(name, tensor);
            }

            files.LoadInto(targets, IsUnread);
            foreach (var merged in model.Tensors.Where(pair => kind.Layout == Mask2FormerLayout.HuggingFace
                && pair.Key.Contains(".downsample.")))
            {
                using var free = no_grad();
                Mask2FormerNames.Reorder(merged.Value);
            }

            return (model, kind);
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>What a checkpoint is, as far as names and shapes tell; null where it is no Mask2Former with a Swin
    /// backbone.</summary>
    /// <exception cref="UnusableFileException">A folder of the transformers library has no sound
    /// config.json.</exception>
    public static Mask2FormerKind? Recognise(string path, CheckpointFiles files)
    {
        var shapes = files.Entries.ToDictionary(entry => entry.Name, entry => entry.Shape);
        if (shapes.ContainsKey(HuggingFaceSign))
        {
            return new(Mask2FormerLayout.HuggingFace, Mask2FormerConfig.ReadHuggingFace(Folder(path)), null);
        }

        var renamed = shapes.Keys.Any(name => name.StartsWith("panoptic_head.transformer_decoder.layers.0.cross_attn.",
            StringComparison.Ordinal));
        var layout = renamed ? Mask2FormerLayout.Mmdetection3 : Mask2FormerLayout.Mmdetection2;
        shapes = renamed ? shapes.ToDictionary(pair => Mask2FormerNames.FromMmdetection3(pair.Key), pair => pair.Value)
            : shapes;
        return Mask2FormerConfig.Telling.All(weight => shapes.GetValueOrDefault(weight.Name)?.Length == weight.Axes)
            ? new(layout, Mask2FormerConfig.OfShapes(shapes), null) : null;
    }

    /// <summary>A line for people; null where it is no Mask2Former.</summary>
    /// <exception cref="UnusableFileException">As for <see cref="Recognise"/>.</exception>
    public static string? Describe(string path, CheckpointFiles files) =>
        files.Entries.Any(entry => entry.Name == HuggingFaceSign)
            && !File.Exists(Path.Combine(Folder(path), "config.json"))
            ? "Mask2Former of the transformers library, without the config.json that tells its sizes"
        : Recognise(path, files) is not { } kind ? null
        : (kind.HasPublishedSizes ? kind with { Sha256 = Hash(path, files) } : kind).Label
            + $"; {Name(kind.Layout)} layout, {kind.Config.Describe()}";

    private static string Folder(string path) =>
        Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;

    private static string Name(Mask2FormerLayout layout) => layout switch
    {
        Mask2FormerLayout.Mmdetection2 => "mmdetection 2.x's",
        Mask2FormerLayout.Mmdetection3 => "mmdetection 3.x's",
        _ => "the transformers library's",
    };

    private static IEnumerable<(string Name, Tensor Part)> Named(Mask2FormerLayout layout, string name,
        Tensor tensor) => layout switch
    {
        Mask2FormerLayout.Mmdetection2 => [(name, tensor)],
        Mask2FormerLayout.Mmdetection3 => [(Mask2FormerNames.Mmdetection3(name), tensor)],
        _ => Mask2FormerNames.HuggingFace(name, tensor),
    };

    // follows from the window's size; weights of the training loss
    private static bool IsUnread(string name) => name.EndsWith(".relative_position_index", StringComparison.Ordinal)
        || name == "criterion.empty_weight";

    private static string Foreign(CheckpointFiles files)
    {
        var names = files.Entries.Select(entry => entry.Name).ToArray();
        var meaning = Others.FirstOrDefault(other =>
            names.Any(name => name.StartsWith(other.Sign, StringComparison.Ordinal))).Meaning;
        return $"it is {meaning ?? "no Mask2Former"}; it holds {names.Length} tensors" + (names.Length == 0 ? ""
            : $" such as '{names[0]}' and '{names[^1]}'");
    }

    // OpenMMLab's files carry the first eight digits in their names
    private static string? Hash(string path, CheckpointFiles files)
    {
        if (files.Files is not [var file] || Directory.Exists(path))
        {
            return null;
        }

        string hash;
        try
        {
            using var stream = File.OpenRead(file);
            hash = Convert.ToHexStringLower(SHA256.HashData(stream));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new UnusableFileException(file, $"it could not be read: {e.Message.TrimEnd('.')}", "", e);
        }

        var name = Path.GetFileNameWithoutExtension(file);
        var promised = name.LastIndexOf('-') is >= 0 and var dash ? name[(dash + 1)..] : "";
        return promised.Length != 8 || !promised.All(char.IsAsciiHexDigitLower) || hash.StartsWith(promised) ? hash
            : throw new UnusableFileException(file,
                $"its name promises a SHA-256 that begins with {promised}, its content has {hash[..8]}…",
                "download it again, or give it another name if it was changed on purpose");
    }
}
