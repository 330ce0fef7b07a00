using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Models;

namespace ReasonGen.Qwen;

/// <summary>Sizes of Qwen2.5-VL's vision tower.</summary>
public sealed record QwenVisionConfig
{
    /// <summary>Blocks (depth). At least 1.</summary>
    public int Layers { get; init; } = 32;

    /// <summary>Width of the tower (hidden_size): a multiple of four times the heads, for RoPE over rows and
    /// columns.</summary>
    public int Width { get; init; } = 1280;

    /// <summary>Attention heads.</summary>
    public int Heads { get; init; } = 16;

    /// <summary>Width of the gated MLP (intermediate_size).</summary>
    public int MlpWidth { get; init; } = 3420;

    /// <summary>Pixels a side of a patch.</summary>
    public int PatchSize { get; init; } = 14;

    /// <summary>Frames a patch spans; an image is repeated so often.</summary>
    public int TemporalPatchSize { get; init; } = 2;

    /// <summary>Patches a side that become one token of the decoder (spatial_merge_size).</summary>
    public int MergeSize { get; init; } = 2;

    /// <summary>Pixels a side of an attention window: a multiple of what a token covers.</summary>
    public int WindowSize { get; init; } = 112;

    /// <summary>Blocks that attend over the whole image (fullatt_block_indexes).</summary>
    public IReadOnlyList<int> FullAttentionLayers { get; init; } = [7, 15, 23, 31];

    /// <summary>K, the width of one head.</summary>
    public int HeadWidth => Width / Heads;

    /// <summary>Tokens of the decoder along one side of a window.</summary>
    public int WindowUnits => WindowSize / MergeSize / PatchSize;

    /// <summary>Values of one patch: three channels, frames, rows, columns.</summary>
    public int PatchValues => 3 * TemporalPatchSize * PatchSize * PatchSize;
}

/// <summary>Sizes of a Qwen2.5-VL: the miniature judges and the published models differ in nothing else.</summary>
public sealed record QwenConfig
{
    /// <summary>The decoder.</summary>
    public required LlamaConfig Language { get; init; }

    /// <summary>The vision tower.</summary>
    public required QwenVisionConfig Vision { get; init; }

    /// <summary>Whether the head is the token embedding (tie_word_embeddings).</summary>
    public bool TiedHead { get; init; }

    /// <summary>Id that image features replace (image_token_id).</summary>
    public int ImageToken { get; init; } = 151655;

    /// <summary>Id that opens an image (vision_start_token_id).</summary>
    public int VisionStart { get; init; } = 151652;

    /// <summary>Ids that end an answer.</summary>
    public IReadOnlyList<int> EndTokens { get; init; } = [151645, 151643];

    /// <summary>Id that pads shorter prompts on the left.</summary>
    public int Pad { get; init; } = 151643;

    /// <summary>Qwen2.5-VL-3B-Instruct.</summary>
    public static QwenConfig Qwen3B { get; } = new()
    {
        Language = Decoder(151936, 2048, 11008, 36, 16, 2), Vision = new(), TiedHead = true,
    };

    /// <summary>Qwen2.5-VL-7B-Instruct, the paper's judge.</summary>
    public static QwenConfig Qwen7B { get; } =
        new() { Language = Decoder(152064, 3584, 18944, 28, 28, 4), Vision = new() };

    /// <summary>
    /// The miniature for 32x32 images: 16 patches, a token and a window for each cell of the world. Ids are those of
    /// the word tokenizer.
    /// </summary>
    public static QwenConfig Mini(int vocabularySize, int width, int layers, int visionWidth, int visionLayers) => new()
    {
        Language = new()
        {
            VocabularySize = vocabularySize, Width = width, MlpWidth = 2 * width, Layers = layers, Heads = width / 16,
            RopeTheta = 100,
            RopeSections = [2, 3, 3], AttentionBias = true,
        },
        Vision = new()
        {
            Layers = visionLayers, Width = visionWidth, Heads = visionWidth / 16, MlpWidth = 2 * visionWidth,
            PatchSize = 8, TemporalPatchSize = 1, WindowSize = 16,
            FullAttentionLayers = [visionLayers - 1],
        },
        TiedHead = true, ImageToken = 5, VisionStart = 3, EndTokens = [2], Pad = 0,
    };

    /// <summary>The <c>config.json</c> of a model folder, in the published layout or in that of newer libraries; ids
    /// that end an answer are those of its <c>generation_config.json</c>, too.</summary>
    /// <exception cref="UnusableFileException">It is missing, damaged, or of another architecture.</exception>
    public static QwenConfig FromFolder(string folder)
    {
        var root = ConfigSection.Read(Path.Combine(folder, "config.json"));
        if (root.Text("model_type", "") is var type && type != "qwen2_5_vl")
        {
            throw new UnusableFileException(root.Path, $"it describes a '{type}', not a 'qwen2_5_vl'",
                "give the folder of a Qwen2.5-VL-Instruct model");
        }

        root.ExpectPlainWeights();
        var generation = Path.Combine(folder, "generation_config.json");
        var config = FromSection(root, File.Exists(generation) ? ConfigSection.Read(generation) : null);
        try
        {
            config.Validate();
            return config;
        }
        catch (ArgumentException e)
        {
            throw new UnusableFileException(root.Path, $"its sizes do not make a model: {e.Message.TrimEnd('.')}",
                "download the configuration again", e);
        }
    }

    /// <summary>Reads a configuration; keys it does not know are passed over.</summary>
    /// <exception cref="UnusableFileException">A size is missing, or no number that could be one.</exception>
    public static QwenConfig FromJson(JObject json) => FromSection(new("the configuration", "", json));

    private static QwenConfig FromSection(ConfigSection root, ConfigSection? generation = null)
    {
        var text = root.Has("text_config") ? root["text_config"] : root;
        var vision = root.Has("vision_config") ? root["vision_config"]
            : throw new UnusableFileException(root.Path, "it has no 'vision_config'",
                "check that the configuration is of this model");
        var rope = text.Rope("default", "mrope");
        QwenConfig published = Qwen7B;
        int Token(string key, int otherwise) =>
            root.Integer(key, otherwise) is var id && (id < text.Size("vocab_size") || !root.Has(key)) ? id
            : throw new UnusableFileException(root.Path, $"its '{key}' is {id}, beyond its 'vocab_size'",
                "download the configuration again");
        text.Expect("hidden_act", "silu");
        text.Expect("use_sliding_window", false);
        vision.Expect("hidden_act", "silu");
        IReadOnlyList<int> Ends(ConfigSection section) => section.Json["eos_token_id"] is JArray
            ? section.Integers("eos_token_id", [], 0, int.MaxValue)
            : section.Has("eos_token_id") ? [section.Integer("eos_token_id")] : [];
        return new()
        {
            Language = Decoder(text.Size("vocab_size"), text.Size("hidden_size"), text.Size("intermediate_size"),
                text.Size("num_hidden_layers"),
                text.Size("num_attention_heads"), text.Size("num_key_value_heads")) with
            {
                RopeTheta = rope.Number("rope_theta", text.Number("rope_theta", 1e6)),
                RmsNormEpsilon = text.Number("rms_norm_eps", 1e-6),
                RopeSections = rope.Has("mrope_section") ? rope.Integers("mrope_section", [])
                    : throw new UnusableFileException(root.Path, "it has no 'mrope_section'",
                        "check that the configuration is of this model"),
            },
            Vision = new()
            {
                Layers = vision.Size("depth"), Width = vision.Size("hidden_size"), Heads = vision.Size("num_heads"),
                MlpWidth = vision.Size("intermediate_size"),
                PatchSize = vision.Size("patch_size"), TemporalPatchSize = vision.Integer("temporal_patch_size", 2, 1),
                MergeSize = vision.Integer("spatial_merge_size", 2, 1), WindowSize = vision.Size("window_size"),
                FullAttentionLayers = vision.Integers("fullatt_block_indexes", [7, 15, 23, 31], least: 0),
            },
            TiedHead = root.Flag("tie_word_embeddings", text.Flag("tie_word_embeddings", false)),
            ImageToken = Token("image_token_id", published.ImageToken),
            VisionStart = Token("vision_start_token_id", published.VisionStart),
            EndTokens = [.. Ends(root.Has("eos_token_id") ? root : text)
                .Concat(generation is null ? [] : Ends(generation)).Concat(published.EndTokens).Distinct()],
            Pad = root.Integer("pad_token_id", text.Integer("bos_token_id", published.Pad)),
        };
    }

    /// <exception cref="ArgumentException">A size is out of range.</exception>
    public void Validate()
    {
        Language.Validate();
        SizeRange.Check("the tower's width", Vision.Width, SizeRange.Width);
        SizeRange.Check("the width of the tower's MLP", Vision.MlpWidth, SizeRange.MlpWidth);
        SizeRange.Check("the number of the tower's layers", Vision.Layers, SizeRange.Layers);
        SizeRange.Check("the number of the tower's heads", Vision.Heads, SizeRange.Heads);
        SizeRange.Check("the side of a patch", Vision.PatchSize, SizeRange.ImageSize);
        SizeRange.Check("the side of a window", Vision.WindowSize, SizeRange.ImageSize);
        SizeRange.Check("the number of a patch's frames", Vision.TemporalPatchSize, 64);
        SizeRange.Check("the side of a merged patch", Vision.MergeSize, 64);
        if (Vision.Layers < 1 || Vision.Heads < 1 || Vision.Width % (4 * Vision.Heads) != 0)
        {
            throw new ArgumentException(
                $"the vision tower has {Vision.Layers} layers of width {Vision.Width} with {Vision.Heads} heads; "
                + "it needs at least one of each, and a head width that is a multiple of 4");
        }

        if (Vision.PatchSize < 1 || Vision.MergeSize < 1 || Vision.TemporalPatchSize < 1 || Vision.WindowUnits < 1)
        {
            throw new ArgumentException(
                $"a window of {Vision.WindowSize} pixels must hold at least one token "
                + $"of {Vision.MergeSize}x{Vision.MergeSize} patches of {Vision.PatchSize} pixels");
        }
    }

    private static LlamaConfig Decoder(int vocabulary, int width, int mlp, int layers, int heads, int keyValueHeads) =>
        new()
    {
        VocabularySize = vocabulary, Width = width, MlpWidth = mlp, Layers = layers, Heads = heads,
        KeyValueHeads = keyValueHeads, RopeTheta = 1e6,
        RopeSections = [16, 24, 24], AttentionBias = true,
    };
}
