// config.json of Janus in both layouts (janus/models/modeling_vlm.py; transformers: configuration_janus.py). Original files leave out sizes
// that the reference hard-codes; they are written only where they differ from the published ones.
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using static TorchSharp.torch;

namespace ReasonGen.Models;

internal static class JanusConfigJson
{
    // versions whose files these equal
    private const string OriginalVersion = "4.51.0", NativeVersion = "4.57.6";

    /// <exception cref="CheckpointException">There is no configuration, it is damaged, or it describes another model.</exception>
    internal static (JanusConfig Config, JanusLayout Layout) Read(string folder)
    {
        var path = Path.Combine(folder, "config.json");
        var (json, type) = Parse(path);
        var root = new Section(path, "", json);
        var (config, layout) = type switch
        {
            "multi_modality" => (Original(root), JanusLayout.Original),
            "janus" => (Native(root), JanusLayout.Native),
            _ => throw new CheckpointException(path, $"it describes a model of the type '{type}', not a Janus (multi_modality or janus)", "give the folder of a Janus"),
        };
        try
        {
            config.Validate();
            return (config, layout);
        }
        catch (ArgumentException e)
        {
            throw new CheckpointException(path, $"its sizes do not make a model: {e.Message.TrimEnd('.')}", "download the configuration again", e);
        }
    }

    /// <summary>The configuration, and what type of model it says it is of.</summary>
    /// <exception cref="CheckpointException">There is none, or it is damaged.</exception>
    internal static (JObject Json, string Type) Parse(string path)
    {
        try
        {
            var json = JObject.Parse(File.ReadAllText(path));
            return (json, json["model_type"] is { Type: JTokenType.String } type ? (string)type! : "");
        }
        catch (JsonException e)
        {
            throw new CheckpointException(path, $"it is no JSON object: {e.Message.TrimEnd('.')}", "download the file again", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw FileKinds.Unreadable(path, e);
        }
    }

    /// <summary>config.json and, in the native layout, generation_config.json, by file name.</summary>
    /// <exception cref="ArgumentException">The layout cannot describe this model.</exception>
    internal static Dictionary<string, string> Write(JanusConfig config, JanusLayout layout, ScalarType type)
    {
        if (config.Vision is not { } vision || config.ImageTokenizer.Groups != 32)
        {
            throw new ArgumentException("the layouts describe a whole Janus; this one has no understanding path, or another number of groups than 32");
        }

        var text = ElementTypes.TorchNameOf(type);
        if (layout == JanusLayout.Original)
        {
            return new() { ["config.json"] = Text(Original(config, vision, text)) };
        }

        var ids = config.TokenIds ?? throw new ArgumentException("the native layout keeps the ids of special tokens in its configuration; give those of the tokenizer");
        var generation = new JObject
        {
            ["bos_token_id"] = ids.Bos, ["eos_token_id"] = ids.Eos, ["generation_kwargs"] = new JObject { ["boi_token_id"] = ids.BeginOfImage },
            ["guidance_scale"] = 5, ["pad_token_id"] = ids.Pad, ["transformers_version"] = NativeVersion,
        };
        return new() { ["config.json"] = Text(Native(config, vision, ids, text)), ["generation_config.json"] = Text(generation) };
    }

    private static JanusConfig Original(Section root)
    {
        Section vision = root["vision_config"]["params"], image = root["gen_vision_config"]["params"];
        vision.Expect("select_feature", "same");
        vision.Expect("select_layer", -1);
        foreach (var aligner in new[] { root["aligner_config"]["params"], root["gen_aligner_config"]["params"] })
        {
            aligner.Expect("projector_type", "mlp_gelu");
            aligner.Expect("depth", 2);
        }

        var sizes = new VisionConfig();
        var vq = new VqConfig();
        var multipliers = image.Integers("encoder_ch_mult", vq.Multipliers);
        image.Expect("decoder_ch_mult", new JArray(multipliers));
        sizes = sizes with
        {
            Name = vision.Text("model_name", sizes.Name), ImageSize = vision.Integer("image_size", sizes.ImageSize), PatchSize = vision.Integer("patch_size", sizes.PatchSize),
            Width = vision.Integer("width", sizes.Width), Layers = vision.Integer("layers", sizes.Layers), Heads = vision.Integer("heads", sizes.Heads),
            MlpRatio = vision.Integer("mlp_ratio", sizes.MlpRatio),
        };
        return new()
        {
            Language = Language(root["language_config"]), Vision = sizes, ImageTokens = sizes.Patches,
            ImageTokenizer = vq with
            {
                CodebookSize = image.Integer("image_token_size", vq.CodebookSize), CodeWidth = image.Integer("n_embed", vq.CodeWidth), Multipliers = multipliers,
                Channels = image.Integer("ch", vq.Channels), ResidualBlocks = image.Integer("num_res_blocks", vq.ResidualBlocks),
                LatentChannels = image.Integer("z_channels", vq.LatentChannels),
            },
        };
    }

    private static JanusConfig Native(Section root)
    {
        Section text = root["text_config"], vision = root["vision_config"], image = root["vq_config"];
        vision.Expect("hidden_act", "gelu");
        vision.Expect("attention_bias", true);
        vision.Expect("use_qk_norm", false);
        vision.Expect("num_channels", 3);
        vision.Expect("depth", 2);
        vision.Expect("layer_norm_eps", 1e-6);
        image.Expect("double_latent", false);
        image.Expect("in_channels", 3);
        image.Expect("out_channels", 3);
        image.Expect("num_hidden_layers", 2);
        var (sizes, vq) = (new VisionConfig(), new VqConfig());
        return new()
        {
            Language = Language(text),
            ImageTokens = vision.Integer("num_image_tokens", sizes.Patches),
            Vision = sizes with
            {
                ImageSize = vision.Integer("image_size", sizes.ImageSize), PatchSize = vision.Integer("patch_size", sizes.PatchSize), Width = vision.Integer("hidden_size", sizes.Width),
                Layers = vision.Integer("num_hidden_layers", sizes.Layers), Heads = vision.Integer("num_attention_heads", sizes.Heads), MlpRatio = vision.Integer("mlp_ratio", sizes.MlpRatio),
            },
            ImageTokenizer = vq with
            {
                CodebookSize = image.Integer("num_embeddings", vq.CodebookSize), CodeWidth = image.Integer("embed_dim", vq.CodeWidth), Channels = image.Integer("base_channels", vq.Channels),
                Multipliers = image.Integers("channel_multiplier", vq.Multipliers), ResidualBlocks = image.Integer("num_res_blocks", vq.ResidualBlocks),
                LatentChannels = image.Integer("latent_channels", vq.LatentChannels),
            },
            TokenIds = text.Json["bos_token_id"] is null || root.Json["image_token_id"] is null ? null
                : new(text.Integer("bos_token_id", 0), text.Integer("eos_token_id", 0), text.Integer("pad_token_id", 0), BeginOfImage(root.Path), root.Integer("image_token_id", 0)),
        };
    }

    // in a file of its own
    private static int BeginOfImage(string config)
    {
        var path = Path.Combine(Path.GetDirectoryName(config)!, "generation_config.json");
        return File.Exists(path) ? new Section(path, "", Parse(path).Json)["generation_kwargs"].Integer("boi_token_id", 0) : 0;
    }

    private static LlamaConfig Language(Section language)
    {
        language.Expect("hidden_act", "silu");
        language.Expect("attention_bias", false);
        language.Expect("mlp_bias", false);
        language.Expect("rope_scaling", null);
        language.Expect("tie_word_embeddings", false);

        // what is left out is as in the library's LlamaConfig, which is how the 7B model is published
        int width = language.Integer("hidden_size", 4096), heads = language.Integer("num_attention_heads", 32), shared = language.Integer("num_key_value_heads", heads);
        language.Expect("head_dim", width / Math.Max(heads, 1));
        return new()
        {
            VocabularySize = language.Integer("vocab_size", 32000), Width = width, Heads = heads, MlpWidth = language.Integer("intermediate_size", 11008),
            Layers = language.Integer("num_hidden_layers", 32), KeyValueHeads = shared == heads ? 0 : shared, RopeTheta = language.Number("rope_theta", 10000),
            RmsNormEpsilon = language.Number("rms_norm_eps", 1e-6), Positions = language.Integer("max_position_embeddings", 16384),
        };
    }

    private static JObject Original(JanusConfig config, VisionConfig vision, string type)
    {
        var (llm, vq) = (config.Language, config.ImageTokenizer);
        JObject Part(string cls, string kind, JObject parameters) => new() { ["cls"] = cls, ["model_type"] = kind, ["params"] = parameters };
        JObject Mlp(int from) => new() { ["depth"] = 2, ["input_dim"] = from, ["n_embed"] = llm.Width, ["projector_type"] = "mlp_gelu" };
        var tower = new JObject { ["image_size"] = vision.ImageSize, ["model_name"] = vision.Name, ["select_feature"] = "same", ["select_layer"] = -1 };
        if (vision != new VisionConfig())
        {
            tower.Merge(new JObject
            {
                ["width"] = vision.Width, ["layers"] = vision.Layers, ["heads"] = vision.Heads, ["patch_size"] = vision.PatchSize, ["mlp_ratio"] = vision.MlpRatio,
            });
        }

        var image = new JObject { ["image_token_size"] = vq.CodebookSize, ["n_embed"] = vq.CodeWidth };
        var usual = new VqConfig();
        if ((vq.Channels, vq.ResidualBlocks, vq.LatentChannels) != (usual.Channels, usual.ResidualBlocks, usual.LatentChannels) || !vq.Multipliers.SequenceEqual(usual.Multipliers))
        {
            image.Merge(new JObject
            {
                ["ch"] = vq.Channels, ["encoder_ch_mult"] = new JArray(vq.Multipliers), ["decoder_ch_mult"] = new JArray(vq.Multipliers),
                ["num_res_blocks"] = vq.ResidualBlocks, ["z_channels"] = vq.LatentChannels,
            });
        }

        var language = new JObject
        {
            ["model_type"] = "llama", ["vocab_size"] = llm.VocabularySize, ["hidden_size"] = llm.Width, ["intermediate_size"] = llm.MlpWidth, ["num_hidden_layers"] = llm.Layers,
            ["num_attention_heads"] = llm.Heads, ["num_key_value_heads"] = llm.KeyValueHeads, ["max_position_embeddings"] = llm.Positions, ["torch_dtype"] = type,
        };
        if ((llm.RopeTheta, llm.RmsNormEpsilon) != (10000, 1e-6))
        {
            language.Merge(new JObject { ["rope_theta"] = llm.RopeTheta, ["rms_norm_eps"] = llm.RmsNormEpsilon });
        }

        return new()
        {
            ["architectures"] = new JArray("MultiModalityCausalLM"),
            ["vision_config"] = Part("CLIPVisionTower", "vision", tower), ["aligner_config"] = Part("MlpProjector", "aligner", Mlp(vision.Width)),
            ["gen_vision_config"] = Part("VQ-16", "gen_vision", image), ["gen_aligner_config"] = Part("MlpProjector", "gen_aligner", Mlp(vq.CodeWidth)),
            ["gen_head_config"] = Part("vision_head", "gen_head", new() { ["image_token_embed"] = llm.Width, ["image_token_size"] = vq.CodebookSize, ["n_embed"] = llm.Width }),
            ["language_config"] = language, ["model_type"] = "multi_modality", ["torch_dtype"] = type, ["transformers_version"] = OriginalVersion,
        };
    }

    private static JObject Native(JanusConfig config, VisionConfig vision, JanusTokenIds ids, string type)
    {
        var (llm, vq) = (config.Language, config.ImageTokenizer);
        return new()
        {
            ["architectures"] = new JArray("JanusForConditionalGeneration"), ["dtype"] = type, ["image_token_id"] = ids.ImagePlaceholder, ["initializer_range"] = 0.02,
            ["model_type"] = "janus",
            ["text_config"] = new JObject
            {
                ["attention_bias"] = false, ["attention_dropout"] = 0.0, ["bos_token_id"] = ids.Bos, ["eos_token_id"] = ids.Eos, ["head_dim"] = llm.HeadWidth, ["hidden_act"] = "silu",
                ["hidden_size"] = llm.Width, ["initializer_range"] = 0.02, ["intermediate_size"] = llm.MlpWidth, ["max_position_embeddings"] = llm.Positions, ["mlp_bias"] = false,
                ["model_type"] = "llama", ["num_attention_heads"] = llm.Heads, ["num_hidden_layers"] = llm.Layers, ["num_key_value_heads"] = llm.KeyValueHeads, ["pad_token_id"] = ids.Pad,
                ["pretraining_tp"] = 1, ["rms_norm_eps"] = llm.RmsNormEpsilon, ["rope_scaling"] = null, ["rope_theta"] = llm.RopeTheta, ["use_cache"] = true,
                ["vocab_size"] = llm.VocabularySize,
            },
            ["transformers_version"] = NativeVersion,
            ["vision_config"] = new JObject
            {
                ["attention_bias"] = true, ["attention_dropout"] = 0.0, ["depth"] = 2, ["hidden_act"] = "gelu", ["hidden_dropout_rate"] = 0.0, ["hidden_size"] = vision.Width,
                ["image_size"] = vision.ImageSize, ["initializer_range"] = 0.02, ["layer_norm_eps"] = 1e-6, ["mlp_ratio"] = (double)vision.MlpRatio, ["model_type"] = "janus_vision_model",
                ["num_attention_heads"] = vision.Heads, ["num_channels"] = 3, ["num_hidden_layers"] = vision.Layers, ["num_image_tokens"] = config.ImageTokens, ["patch_size"] = vision.PatchSize,
                ["projection_dim"] = llm.Width, ["projection_dropout"] = 0.0, ["use_qk_norm"] = false,
            },
            ["vq_config"] = new JObject
            {
                ["base_channels"] = vq.Channels, ["channel_multiplier"] = new JArray(vq.Multipliers), ["double_latent"] = false, ["dropout"] = 0.0, ["embed_dim"] = vq.CodeWidth,
                ["hidden_act"] = "gelu", ["image_token_embed_dim"] = llm.Width, ["in_channels"] = 3, ["initializer_range"] = 0.02, ["latent_channels"] = vq.LatentChannels,
                ["model_type"] = "janus_vqgan", ["num_embeddings"] = vq.CodebookSize, ["num_hidden_layers"] = 2, ["num_patches"] = (int)Math.Sqrt(config.ImageTokens),
                ["num_res_blocks"] = vq.ResidualBlocks, ["out_channels"] = 3, ["projection_dim"] = llm.Width,
            },
        };
    }

    private static string Text(JObject json) => json.ToString(Formatting.Indented) + "\n";

    /// <summary>One object of a configuration file, read with errors that say where.</summary>
    private sealed record Section(string Path, string Name, JObject Json)
    {
        internal Section this[string key] => Get(key) switch
        {
            JObject inner => new(Path, $"{Name}{key}.", inner),
            null => new(Path, $"{Name}{key}.", []),
            var other => throw Wrong(key, other, "an object"),
        };

        internal int Integer(string key, int otherwise) => Get(key) switch
        {
            null => otherwise,
            { } value when IsNumber(value) && (double)value is >= 0 and <= int.MaxValue and var number && number == Math.Floor(number) => (int)number,
            var value => throw Wrong(key, value, "a whole number of at least 0"),
        };

        internal double Number(string key, double otherwise) => Get(key) switch
        {
            null => otherwise,
            { } value when IsNumber(value) && (double)value > 0 => (double)value,
            var value => throw Wrong(key, value, "a number above 0"),
        };

        internal string Text(string key, string otherwise) => Get(key) switch
        {
            null => otherwise,
            { Type: JTokenType.String } text => (string)text!,
            var value => throw Wrong(key, value, "text"),
        };

        internal IReadOnlyList<int> Integers(string key, IReadOnlyList<int> otherwise) => Get(key) switch
        {
            null => otherwise,
            JArray array when array.All(item => item.Type == JTokenType.Integer && (double)item is > 0 and < 1000) => [.. array.Select(item => (int)item)],
            var value => throw Wrong(key, value, "a list of whole numbers above 0"),
        };

        /// <summary>Only one value is implemented; null stands for none at all.</summary>
        internal void Expect(string key, JToken? only)
        {
            if (Get(key) is { } value && (only is null || !(JToken.DeepEquals(value, only) || (IsNumber(value) && IsNumber(only) && (double)value == (double)only))))
            {
                throw Wrong(key, value, only is null ? "nothing" : $"{only.ToString(Formatting.None)}, the only value that is implemented");
            }
        }

        private static bool IsNumber(JToken value) => value.Type is JTokenType.Integer or JTokenType.Float;

        private JToken? Get(string key) => Json[key] is { Type: not JTokenType.Null } value ? value : null;

        private CheckpointException Wrong(string key, JToken value, string right) =>
            new(Path, $"its '{Name}{key}' is {value.ToString(Formatting.None)} where there should be {right}", "check that the configuration is of this model, or download it again");
    }
}
