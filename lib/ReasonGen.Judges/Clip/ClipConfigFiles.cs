using ReasonGen.Judges.Layers;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.Clip;

/// <summary>Sizes of a CLIP, from the configuration beside it or from the shapes of its weights.</summary>
internal static class ClipConfigFiles
{
    private const string Remedy = "check that the file is of this model, or download it again";

    // what changes nothing where it is absent, null or false; anything else would be another computation
    private static readonly string[] KnownVision = ["image_size", "patch_size", "width", "layers", "head_width",
        "mlp_ratio"],
        KnownText = ["context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"];

    /// <summary>open_clip's configuration: open_clip_config.json with its model_cfg, or the bare object of a
    /// model.</summary>
    /// <exception cref="UnusableFileException">It is damaged, or of a model that is not computed here.</exception>
    internal static ClipConfig ReadOpenClip(string path)
    {
        var file = ConfigSection.Read(path);
        var model = file.Has("model_cfg") ? file["model_cfg"] : file;
        var (vision, text) = (model["vision_cfg"], model["text_cfg"]);
        Refuse(vision, KnownVision);
        Refuse(text, KnownText);
        Refuse(model, ["embed_dim", "quick_gelu", "vision_cfg", "text_cfg"]);
        int width = vision.Integer("width"), textWidth = text.Integer("width");
        var quick = model.Flag("quick_gelu", false);
        var headWidth = Math.Max(1, vision.Integer("head_width", 64));
        if (width % headWidth != 0)
        {
            throw new UnusableFileException(path,
                $"its heads of width {headWidth} do not divide the image tower's width {width}", Remedy);
        }

        return Sound(path, new(model.Integer("embed_dim"),
            new(vision.Integer("image_size"), vision.Integer("patch_size"), width, vision.Integer("layers"),
                width / headWidth,
                (int)(width * vision.Number("mlp_ratio", 4))),
            new(text.Integer("context_length", 77), text.Integer("vocab_size", 49408), textWidth,
                text.Integer("layers"), text.Integer("heads"),
                (int)(textWidth * text.Number("mlp_ratio", 4))),
            quick ? Activation.QuickGelu : Activation.Gelu));
    }

    /// <summary>A config.json of Hugging Face, with that library's defaults for what is absent.</summary>
    /// <exception cref="UnusableFileException">It is damaged, or of a model that is not computed here.</exception>
    internal static ClipConfig ReadHuggingFace(string path)
    {
        var file = ConfigSection.Read(path);
        file.Expect("model_type", "clip");
        var (vision, text) = (file["vision_config"], file["text_config"]);
        vision.Expect("layer_norm_eps", 1e-5);
        text.Expect("layer_norm_eps", 1e-5);
        vision.Expect("num_channels", 3);
        string imageActivation = vision.Text("hidden_act", "quick_gelu"), textActivation = text.Text("hidden_act",
            "quick_gelu");
        var activation = (imageActivation, textActivation) switch
        {
            ("quick_gelu", "quick_gelu") => Activation.QuickGelu,
            ("gelu", "gelu") => Activation.Gelu,
            _ => throw new UnusableFileException(path,
                $"its towers have the activations '{imageActivation}' and '{textActivation}'; computed here are "
                + $"quick_gelu and gelu, one in both", Remedy),
        };
        return Sound(path, new(file.Integer("projection_dim", 512),
            new(vision.Integer("image_size", 224), vision.Integer("patch_size", 32), vision.Integer("hidden_size", 768),
                vision.Integer("num_hidden_layers", 12), vision.Integer("num_attention_heads", 12),
                    vision.Integer("intermediate_size", 3072)),
            new(text.Integer("max_position_embeddings", 77), text.Integer("vocab_size", 49408),
                text.Integer("hidden_size", 512),
                text.Integer("num_hidden_layers", 12), text.Integer("num_attention_heads", 8),
                    text.Integer("intermediate_size", 2048)),
            activation));
    }

    /// <summary>Sizes from open_clip's names and shapes; heads are 64 wide in both towers, as OpenAI's code has
    /// them.</summary>
    /// <exception cref="UnusableFileException">A weight that says a size is missing or of another kind.</exception>
    internal static ClipConfig FromShapes(CheckpointFiles files, Activation activation)
    {
        var shapes = new CheckpointShapes(files);
        int[] patches = shapes.Of("visual.conv1.weight", 4), positions = shapes.Of("visual.positional_embedding", 2),
            projection = shapes.Of("visual.proj", 2),
            tokens = shapes.Of("token_embedding.weight", 2), textPositions = shapes.Of("positional_embedding", 2);
        int width = patches[0], textWidth = tokens[1], side = (int)Math.Round(Math.Sqrt(positions[0] - 1));
        return Sound(files.Path, new(projection[1],
            new(side * patches[2], patches[2], width, shapes.Blocks("visual.transformer.resblocks."),
                Math.Max(1, width / 64),
                shapes.Of("visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0]),
            new(textPositions[0], tokens[0], textWidth, shapes.Blocks("transformer.resblocks."),
                Math.Max(1, textWidth / 64),
                shapes.Of("transformer.resblocks.0.mlp.c_fc.weight", 2)[0]), activation));
    }

    private static ClipConfig Sound(string path, ClipConfig config) => config.Contradiction() is { } wrong
        ? throw new UnusableFileException(path, $"its sizes are not those of a CLIP: {wrong}", Remedy) : config;

    private static void Refuse(ConfigSection section, string[] known)
    {
        foreach (var (key, value) in section.Json)
        {
            if (!known.Contains(key) && value is not null && value.ToString() is not ("" or "False" or "false"))
            {
                throw new UnusableFileException(section.Path,
                    $"its '{section.Name}{key}' is {value.ToString(Newtonsoft.Json.Formatting.None)}, "
                    + "a setting of a model that is not computed here",
                        "give a CLIP with the towers of ViT-B/32, ViT-L/14 or ViT-H/14");
            }
        }
    }
}
