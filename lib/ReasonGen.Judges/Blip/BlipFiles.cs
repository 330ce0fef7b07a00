using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Blip;

/// <summary>A BLIP-VQA as it lies on disk: which one it is, before a weight is read, and then its weights.</summary>
public sealed class BlipFiles
{
    private const string Remedy = "check that it is the file of this model, or download it again";

    private readonly CheckpointFiles files;
    private readonly string[] unread;

    private BlipFiles(CheckpointFiles files, BlipConfig config, BlipLayout layout, string[] unread) =>
        (this.files, Config, Layout, this.unread) = (files, config, layout, unread);

    /// <summary>Sizes.</summary>
    public BlipConfig Config { get; }

    /// <summary>How it names its weights.</summary>
    public BlipLayout Layout { get; }

    /// <summary>Whether layout and sizes are those of the file that T2I-CompBench publishes. No checksum of it is
    /// known.</summary>
    public bool HasOfficialForm => Layout == BlipLayout.Original && Config == BlipConfig.Vqa;

    /// <summary>The model as results name it.</summary>
    public string Name => HasOfficialForm
        ? "BLIP-VQA (layout and sizes of T2I-CompBench's 480-pixel file; no checksum is known, other weights of these "
            + "sizes look the same)"
        : Layout == BlipLayout.HuggingFace
            ? $"BLIP-VQA in Hugging Face's layout at {Config.Vision.ImageSize} pixels, its positions "
                + $"interpolated when it was converted: not the 480-pixel model of T2I-CompBench{Sizes}"
        : Config with { Vision = Config.Vision with { StoredGrid = BlipVisionConfig.Base480.StoredGrid } }
            == BlipConfig.Vqa
            ? $"BLIP-VQA whose positions of {Config.Vision.StoredGrid}x{Config.Vision.StoredGrid} "
                + "patches are stretched to 480 pixels: not the 480-pixel model of T2I-CompBench"
        : $"BLIP-VQA's rules by {Config}";

    /// <summary>What is told besides: tensors that nothing reads. Empty where there are none.</summary>
    public string Note => unread.Where(name => !name.EndsWith("position_ids") && !name.EndsWith("decoder.bias"))
        .ToArray() is not { Length: > 0 } others ? ""
        : $"{others.Length} tensors in it are not read, such as {others[0]}"
            + (others.Count(BlipNames.IsMomentum) is > 0 and var copies ? $"; {copies} of them are momentum copies"
                : "");

    private string Sizes => Config.Text == BlipConfig.Vqa.Text ? "" : $" ({Config})";

    /// <summary>Finds out what a checkpoint is and compares all names and shapes with that; weights are not
    /// read.</summary>
    /// <param name="path">T2I-CompBench's .pth, or a folder of Hugging Face.</param>
    /// <param name="imageSize">Pixels a side to read images at; null for 480 where a .pth has BLIP-VQA's widths, else
    /// the file's own.</param>
    /// <param name="heads">Heads of image and text where a .pth has other widths than the published ones: no file says
    /// them.</param>
    /// <exception cref="UnusableFileException">It is no BLIP-VQA, or does not fit its configuration.</exception>
    public static BlipFiles Open(string path, int? imageSize = null, (int Vision, int Text)? heads = null)
    {
        var (files, layout) = Find(path) ?? throw NoBlip(path);
        var config = layout == BlipLayout.HuggingFace ? FromConfig(ConfigBeside(path))
            : new(VisionFromShapes(files, "", heads?.Vision), TextFromShapes(files, "", heads?.Text));
        var size = imageSize ?? (layout == BlipLayout.Original && config.Vision.Width == BlipVisionConfig.Base480.Width
            ? BlipVisionConfig.Base480.ImageSize : config.Vision.ImageSize);
        config = config with { Vision = config.Vision with { ImageSize = size } };
        Expect(path, config, files.Entries.Count);
        using var model = new BlipVqaModel(config, new(META, ScalarType.Float32));
        return new(files, config, layout, NamedWeights.Check(files, model, BlipNames.Vqa(layout)));
    }

    /// <summary>A model with these weights.</summary>
    /// <exception cref="UnusableFileException">Weights are damaged or not finite.</exception>
    public BlipVqaModel Load(ComputeTarget target) => NamedWeights.Fill(files, new BlipVqaModel(Config, target with
    {
        Device = META,
    }), target.Device, BlipNames.Vqa(Layout));

    /// <summary>What a file with the names of a BLIP-VQA is; its names and shapes are compared.</summary>
    /// <exception cref="UnusableFileException">It does not fit its own sizes or configuration.</exception>
    internal static string Describe(string path, CheckpointFiles files)
    {
        var unknown = LayoutOf(files) == BlipLayout.Original && !HasPublishedWidths(files, "");
        var found = Open(path, heads: unknown ? (1, 1) : null); // of the heads no shape speaks
        return (unknown ? "a BLIP-VQA of no published size, whose heads no file says" : found.Name)
            + (found.Note.Length > 0 ? $"; {found.Note}" : "");
    }

    /// <summary>Whether the heads are known from the widths under the original names.</summary>
    internal static bool HasPublishedWidths(CheckpointFiles files, string prefix) =>
        new CheckpointShapes(files) is var shapes
        && HasHeads(shapes.Of(prefix + "visual_encoder.pos_embed", 3)[2])
        && HasHeads(shapes.Of(prefix + "text_encoder.embeddings.word_embeddings.weight", 2)[1]);

    /// <summary>The weights of a BLIP-VQA and whose names they have; null for another model.</summary>
    /// <exception cref="UnusableFileException">The file is missing or unsound.</exception>
    internal static (CheckpointFiles Files, BlipLayout Layout)? Find(string path)
    {
        var files = CheckpointFiles.Open(path).Unwrapped();
        return LayoutOf(files) is { } layout ? (files, layout) : null;
    }

    internal static BlipLayout? LayoutOf(CheckpointFiles files)
    {
        var names = files.Entries.Select(entry => entry.Name).ToHashSet();
        return !names.Contains("text_decoder.cls.predictions.transform.dense.weight")
            || !names.Contains("text_encoder.embeddings.word_embeddings.weight") ? null
            : names.Contains("visual_encoder.pos_embed") ? BlipLayout.Original
            : names.Contains("vision_model.embeddings.position_embedding") ? BlipLayout.HuggingFace : null;
    }

    /// <summary>Sizes of an image encoder under the original names.</summary>
    internal static BlipVisionConfig VisionFromShapes(CheckpointFiles files, string prefix, int? heads)
    {
        var (shapes, vision) = (new CheckpointShapes(files), prefix + "visual_encoder.");
        var patches = shapes.Of(vision + "patch_embed.proj.weight", 4);
        int positions = shapes.Of(vision + "pos_embed", 3)[1] - 1, grid = (int)Math.Round(Math.Sqrt(positions));
        if (grid * grid != positions)
        {
            throw new UnusableFileException(files.Path,
                $"its positions of {positions} patches form no square of them", Remedy);
        }

        return new(grid * patches[2], patches[2], patches[0], shapes.Blocks(vision + "blocks."),
            heads ?? Heads(files.Path, patches[0], "images"), shapes.Of(vision + "blocks.0.mlp.fc1.weight", 2)[0],
            grid);
    }

    /// <summary>Sizes of a text encoder.</summary>
    internal static BertConfig TextFromShapes(CheckpointFiles files, string prefix, int? heads)
    {
        var (shapes, text) = (new CheckpointShapes(files), prefix + "text_encoder.");
        var words = shapes.Of(text + "embeddings.word_embeddings.weight", 2);
        return new(words[0], words[1], shapes.Blocks(text + "encoder.layer."), heads ?? Heads(files.Path, words[1],
            "text"), shapes.Of(text + "encoder.layer.0.intermediate.dense.weight", 2)[0],
            shapes.Of(text + "embeddings.position_embeddings.weight", 2)[0]);
    }

    /// <exception cref="UnusableFileException">The sizes are not those of a BLIP.</exception>
    internal static void Expect(string path, BlipConfig config, int tensors)
    {
        if ((config.Vision.Contradiction() ?? config.Text.Contradiction()) is { } wrong)
        {
            throw new UnusableFileException(path, $"its sizes are not those of a BLIP: {wrong}", Remedy);
        }

        if (Math.Max(config.Vision.Layers, config.Text.Layers) > tensors) // bounds what is built to compare with
        {
            throw new UnusableFileException(path, $"its configuration speaks of "
                + $"{Math.Max(config.Vision.Layers, config.Text.Layers)} blocks, its file holds {tensors} tensors",
                Remedy);
        }
    }

    // heads of 64 in every published BLIP; a weight file does not say them
    private static int Heads(string path, int width, string of) => HasHeads(width) ? width / 64
        : throw new UnusableFileException(path,
            $"the width of its {of} is {width}, which no published BLIP has, and no weight file says how many heads "
            + $"that is",
            "give the published file, or say the heads where the model is opened from code");

    private static bool HasHeads(int width) => width is 768 or 1024;

    private static ConfigSection ConfigBeside(string path)
    {
        var folder = Directory.Exists(path) ? path : Path.GetDirectoryName(Path.GetFullPath(path))!;
        return ConfigSection.Read(Path.Combine(folder, "config.json"));
    }

    private static BlipConfig FromConfig(ConfigSection file)
    {
        file.Expect("model_type", "blip");
        var (vision, text) = (file["vision_config"], file["text_config"]);
        vision.Expect("hidden_act", "gelu");
        text.Expect("hidden_act", "gelu");
        vision.Expect("num_channels", 3);
        text.Expect("layer_norm_eps", BertConfig.Epsilon);
        int width = text.Integer("hidden_size", 768), heads = text.Integer("num_attention_heads", 8),
            image = vision.Integer("image_size", 384), patch = vision.Integer("patch_size", 16);
        return (width, heads) != (768, 8) ? new(
            new(image, patch, vision.Integer("hidden_size", 768), vision.Integer("num_hidden_layers", 12),
                vision.Integer("num_attention_heads", 12), vision.Integer("intermediate_size", 3072),
                patch == 0 ? 0 : image / patch) { Epsilon = vision.Number("layer_norm_eps", 1e-5) },
            new(text.Integer("vocab_size", 30524), width, text.Integer("num_hidden_layers", 12), heads,
                text.Integer("intermediate_size", 3072), text.Integer("max_position_embeddings", 512)))
            : throw new UnusableFileException(file.Path,
                "its text_config.num_attention_heads is 8, or absent, which means 8: a known mistake of configurations "
                + "before April 2023 (huggingface/transformers issue 22625), with which every answer is wrong",
                "set \"num_attention_heads\": 12 in its text_config, or download the configuration again");
    }

    private static UnusableFileException NoBlip(string path)
    {
        var names = CheckpointFiles.Open(path).Unwrapped().Entries.Select(entry => entry.Name).ToArray();
        const string published = "give model_base_vqa_capfilt_large.pth, which T2I-CompBench uses";
        var (what, remedy) = names.Any(name => name.StartsWith("blip.", StringComparison.Ordinal))
            ? ("it is an ImageReward, whose BLIP answers no questions", published)
            : names.Any(name => name is "itm_head.weight" or "image_queue" or "itc_head.weight")
                ? ("it is a BLIP of pretraining or retrieval, whose text decoder, where it has one, was never taught "
                    + "to answer questions", published)
            : ($"it is no BLIP-VQA: of its {names.Length} tensors the first are "
                + string.Join(", ", names.Take(4).Select(name => $"'{name}'")),
                published + ", or a folder of Hugging Face's BlipForQuestionAnswering");
        return new(path, what, remedy);
    }
}
