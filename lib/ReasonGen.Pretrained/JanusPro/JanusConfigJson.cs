// config.json of Janus in both layouts (janus/models/modeling_vlm.py; transformers: configuration_janus.py). Original
// files leave out sizes that the reference hard-codes; they are written only where they differ from the published ones.
using Newtonsoft.Json;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;
using ReasonGen.Models;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

internal static class JanusConfigJson
{
    private static readonly VisionConfig UsualVision = new();
    private static readonly VqConfig UsualVq = new();

    /// <exception cref="UnusableFileException">There is no configuration, it is damaged, or it describes another
    /// model.</exception>
    internal static (JanusConfig Config, JanusLayout Layout) Read(string folder)
    {
        var root = ConfigSection.Read(Path.Combine(folder, "config.json"));
        var type = root.Text("model_type", "");
        root.ExpectPlainWeights();
        try
        {
            var (config, layout) = type switch
            {
                "multi_modality" => (Original(root), JanusLayout.Original),
                "janus" => (Native(root), JanusLayout.Native),
                _ => throw new UnusableFileException(root.Path,
                    $"it describes a model of the type '{type}', not a Janus (multi_modality or janus)",
                    "give the folder of a Janus"),
            };
            config.Validate();
            return (config, layout);
        }
        catch (ArgumentException e)
        {
            throw new UnusableFileException(root.Path, $"its sizes do not make a model: {e.Message.TrimEnd('.')}",
                "download the configuration again", e);
        }
    }

    /// <summary>config.json and, in the native layout, generation_config.json, by file name.</summary>
    /// <exception cref="ArgumentException">The layout cannot describe this model.</exception>
    internal static Dictionary<string, string> Write(JanusConfig config, JanusLayout layout, ScalarType type)
    {
        if (config.Vision is not { } vision || config.ImageTokenizer.Groups != UsualVq.Groups)
        {
            throw new ArgumentException(
                $"the layouts describe a whole Janus; this one has no understanding path, or another number of groups "
                + $"than {UsualVq.Groups}");
        }

        var name = ElementTypes.TorchNameOf(type);
        if (layout == JanusLayout.Original)
        {
            return new() { ["config.json"] = Original(config, vision, name) };
        }

        var ids = config.TokenIds
            ?? throw new ArgumentException(
                "the native layout keeps the ids of special tokens in its configuration; give those of the tokenizer");
        return new()
        {
            ["config.json"] = Native(config, vision, ids, name), ["generation_config.json"] = Generation(ids),
        };
    }

    private static JanusConfig Original(ConfigSection root)
    {
        ConfigSection vision = root["vision_config"]["params"], image = root["gen_vision_config"]["params"];
        vision.Expect("select_feature", "same");
        vision.Expect("select_layer", -1);
        foreach (var aligner in new[] { root["aligner_config"]["params"], root["gen_aligner_config"]["params"] })
        {
            aligner.Expect("projector_type", "mlp_gelu");
            aligner.Expect("depth", 2);
        }

        var tower =
            Tower(vision, "width", "layers", "heads") with { Name = vision.Text("model_name", UsualVision.Name) };
        var tokenizer = Tokenizer(image, "image_token_size", "n_embed", "ch", "encoder_ch_mult", "z_channels");
        image.Expect("decoder_ch_mult", new JArray(tokenizer.Multipliers));
        return new()
        {
            Language = Language(root["language_config"]), Vision = tower, ImageTokenizer = tokenizer,
            ImageTokens = tower.Patches,
        };
    }

    private static JanusConfig Native(ConfigSection root)
    {
        ConfigSection text = root["text_config"], vision = root["vision_config"], image = root["vq_config"];
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
        return new()
        {
            Language = Language(text),
            Vision = Tower(vision, "hidden_size", "num_hidden_layers", "num_attention_heads"),
            ImageTokenizer = Tokenizer(image, "num_embeddings", "embed_dim", "base_channels", "channel_multiplier",
                "latent_channels"),
            ImageTokens = vision.Integer("num_image_tokens", UsualVision.Patches),
            TokenIds = !text.Has("bos_token_id") || !root.Has("image_token_id") ? null : new(
                text.Integer("bos_token_id"), text.Integer("eos_token_id"), text.Integer("pad_token_id"),
                BeginOfImage(root.Path), root.Integer("image_token_id")),
        };
    }

    // in a file of its own
    private static int BeginOfImage(string config)
    {
        var path = Path.Combine(Path.GetDirectoryName(config)!, "generation_config.json");
        return File.Exists(path) ? ConfigSection.Read(path)["generation_kwargs"].Integer("boi_token_id") : 0;
    }

    private static LlamaConfig Language(ConfigSection language)
    {
        language.Expect("hidden_act", "silu");
        language.Expect("attention_bias", false);
        language.Expect("mlp_bias", false);
        language.Expect("tie_word_embeddings", false);

        // what is left out is as in the library's LlamaConfig, which is how the 7B model is published
        int width = language.Integer("hidden_size", 4096), heads = language.Integer("num_attention_heads", 32);
        var shared = language.Integer("num_key_value_heads", heads, least: 1);
        language.Expect("head_dim", width / Math.Max(heads, 1));
        return new()
        {
            VocabularySize = language.Integer("vocab_size", 32000), Width = width,
            MlpWidth = language.Integer("intermediate_size", 11008),
            Layers = language.Integer("num_hidden_layers", 32), Heads = heads,
            KeyValueHeads = shared == heads ? 0 : shared,
            RopeTheta = language.Rope("default").Number("rope_theta", language.Number("rope_theta", 10000)),
            RmsNormEpsilon = language.Number("rms_norm_eps", 1e-6),
            Positions = language.Integer("max_position_embeddings", 16384),
        };
    }

    private static VisionConfig Tower(ConfigSection vision, string width, string layers, string heads) =>
        UsualVision with
    {
        ImageSize = vision.Integer("image_size", UsualVision.ImageSize),
        PatchSize = vision.Integer("patch_size", UsualVision.PatchSize, least: 1),
        Width = vision.Integer(width, UsualVision.Width), Layers = vision.Integer(layers, UsualVision.Layers),
        Heads = vision.Integer(heads, UsualVision.Heads), MlpRatio = vision.Integer("mlp_ratio", UsualVision.MlpRatio),
    };

    private static VqConfig Tokenizer(
        ConfigSection image, string codes, string width, string channels, string multipliers, string latent) =>
        UsualVq with
    {
        CodebookSize = image.Integer(codes, UsualVq.CodebookSize), CodeWidth = image.Integer(width, UsualVq.CodeWidth),
        Channels = image.Integer(channels, UsualVq.Channels),
        Multipliers = image.Integers(multipliers, UsualVq.Multipliers),
        LatentChannels = image.Integer(latent, UsualVq.LatentChannels),
        ResidualBlocks = image.Integer("num_res_blocks", UsualVq.ResidualBlocks),
    };

    private static string Original(JanusConfig config, VisionConfig vision, string type)
    {
        var (llm, vq) = (config.Language, config.ImageTokenizer);
        var usualTower = vision with { Name = UsualVision.Name } == UsualVision;
        var usualVq = (vq.Channels, vq.ResidualBlocks, vq.LatentChannels)
            == (UsualVq.Channels, UsualVq.ResidualBlocks, UsualVq.LatentChannels)
            && vq.Multipliers.SequenceEqual(UsualVq.Multipliers);
        var towerSizes = usualTower ? "" : $$"""
            , "width": {{vision.Width}}, "layers": {{vision.Layers}}, "heads": {{vision.Heads}},
            "patch_size": {{vision.PatchSize}}, "mlp_ratio": {{vision.MlpRatio}}
            """;
        var vqSizes = usualVq ? "" : $$"""
            , "ch": {{vq.Channels}}, "encoder_ch_mult": {{List(vq.Multipliers)}}, "decoder_ch_mult": {{List(vq.Multipliers)}},
            "num_res_blocks": {{vq.ResidualBlocks}}, "z_channels": {{vq.LatentChannels}}
            """;
        var llmSizes = (llm.RopeTheta, llm.RmsNormEpsilon) == (10000, 1e-6) ? "" : $$"""
            , "rope_theta": {{Float(llm.RopeTheta)}}, "rms_norm_eps": {{Float(llm.RmsNormEpsilon)}}
            """;
        return Indented($$"""
            {
              "architectures": ["MultiModalityCausalLM"],
              "vision_config": {
                "cls": "CLIPVisionTower", "model_type": "vision",
                "params": {
                  "image_size": {{vision.ImageSize}}, "model_name": {{JsonConvert.ToString(vision.Name)}},
                  "select_feature": "same", "select_layer": -1{{towerSizes}}
                }
              },
              "aligner_config": {
                "cls": "MlpProjector", "model_type": "aligner",
                "params": { "depth": 2, "input_dim": {{vision.Width}}, "n_embed": {{llm.Width}}, "projector_type": "mlp_gelu" }
              },
              "gen_vision_config": {
                "cls": "VQ-16", "model_type": "gen_vision",
                "params": { "image_token_size": {{vq.CodebookSize}}, "n_embed": {{vq.CodeWidth}}{{vqSizes}} }
              },
              "gen_aligner_config": {
                "cls": "MlpProjector", "model_type": "gen_aligner",
                "params": { "depth": 2, "input_dim": {{vq.CodeWidth}}, "n_embed": {{llm.Width}}, "projector_type": "mlp_gelu" }
              },
              "gen_head_config": {
                "cls": "vision_head", "model_type": "gen_head",
                "params": { "image_token_embed": {{llm.Width}}, "image_token_size": {{vq.CodebookSize}}, "n_embed": {{llm.Width}} }
              },
              "language_config": {
                "model_type": "llama", "vocab_size": {{llm.VocabularySize}}, "hidden_size": {{llm.Width}}, "intermediate_size": {{llm.MlpWidth}},
                "num_hidden_layers": {{llm.Layers}}, "num_attention_heads": {{llm.Heads}}, "num_key_value_heads": {{llm.KeyValueHeads}},
                "max_position_embeddings": {{llm.Positions}}, "torch_dtype": "{{type}}"{{llmSizes}}
              },
              "model_type": "multi_modality", "torch_dtype": "{{type}}", "transformers_version": "4.51.0"
            }
            """);
    }

    private static string Native(JanusConfig config, VisionConfig vision, JanusTokenIds ids, string type)
    {
        var (llm, vq) = (config.Language, config.ImageTokenizer);
        return Indented($$"""
            {
              "architectures": ["JanusForConditionalGeneration"], "dtype": "{{type}}", "image_token_id": {{ids.ImagePlaceholder}},
              "initializer_range": 0.02, "model_type": "janus",
              "text_config": {
                "attention_bias": false, "attention_dropout": 0.0, "bos_token_id": {{ids.Bos}}, "eos_token_id": {{ids.Eos}},
                "head_dim": {{llm.HeadWidth}}, "hidden_act": "silu", "hidden_size": {{llm.Width}}, "initializer_range": 0.02, "intermediate_size": {{llm.MlpWidth}},
                "max_position_embeddings": {{llm.Positions}}, "mlp_bias": false, "model_type": "llama", "num_attention_heads": {{llm.Heads}},
                "num_hidden_layers": {{llm.Layers}}, "num_key_value_heads": {{llm.KeyValueHeads}}, "pad_token_id": {{ids.Pad}}, "pretraining_tp": 1,
                "rms_norm_eps": {{Float(llm.RmsNormEpsilon)}}, "rope_scaling": null, "rope_theta": {{Float(llm.RopeTheta)}},
                "tie_word_embeddings": false, "use_cache": true,
                "vocab_size": {{llm.VocabularySize}}
              },
              "tie_word_embeddings": false, "transformers_version": "4.57.6",
              "vision_config": {
                "attention_bias": true, "attention_dropout": 0.0, "depth": 2, "hidden_act": "gelu", "hidden_dropout_rate": 0.0,
                "hidden_size": {{vision.Width}}, "image_size": {{vision.ImageSize}}, "initializer_range": 0.02, "layer_norm_eps": 1e-06,
                "mlp_ratio": {{Float(vision.MlpRatio)}}, "model_type": "janus_vision_model", "num_attention_heads": {{vision.Heads}},
                "num_channels": 3, "num_hidden_layers": {{vision.Layers}}, "num_image_tokens": {{config.ImageTokens}}, "patch_size": {{vision.PatchSize}},
                "projection_dim": {{llm.Width}}, "projection_dropout": 0.0, "use_qk_norm": false
              },
              "vq_config": {
                "base_channels": {{vq.Channels}}, "channel_multiplier": {{List(vq.Multipliers)}}, "double_latent": false, "dropout": 0.0,
                "embed_dim": {{vq.CodeWidth}}, "hidden_act": "gelu", "image_token_embed_dim": {{llm.Width}}, "in_channels": 3,
                "initializer_range": 0.02, "latent_channels": {{vq.LatentChannels}}, "model_type": "janus_vqgan",
                "num_embeddings": {{vq.CodebookSize}}, "num_hidden_layers": 2, "num_patches": {{(int)Math.Sqrt(config.ImageTokens)}}, "num_res_blocks": {{vq.ResidualBlocks}},
                "out_channels": 3, "projection_dim": {{llm.Width}}
              }
            }
            """);
    }

    private static string Generation(JanusTokenIds ids) => Indented($$"""
        {
          "bos_token_id": {{ids.Bos}}, "eos_token_id": {{ids.Eos}}, "generation_kwargs": { "boi_token_id": {{ids.BeginOfImage}} },
          "guidance_scale": 5, "pad_token_id": {{ids.Pad}}, "transformers_version": "4.57.6"
        }
        """);

    private static string Indented(string json) => JObject.Parse(json).ToString(Formatting.Indented) + "\n";

    private static string Float(double value) => JsonConvert.ToString(value);

    private static string List(IEnumerable<int> numbers) => $"[{string.Join(", ", numbers)}]";
}
