// Janus on disk, in its two layouts: the one it was published in (and ReasonGen-R1 saves: our own names), and that of
// the transformers library, which renames, splits the vision tower's qkv in three and drops what nothing reads
// (convert_janus_weights_to_hf.py).
// Reading and writing share one table: a name of the file → a view of the model's tensor.
using ReasonGen.Checkpoints;
using ReasonGen.Core;
using ReasonGen.Files;
using ReasonGen.Models;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.JanusPro;

/// <summary>How a Janus is laid out in files.</summary>
public enum JanusLayout
{
    /// <summary>As published by DeepSeek and saved by ReasonGen-R1 (model_type multi_modality).</summary>
    Original,

    /// <summary>As the transformers library has it (model_type janus).</summary>
    Native,
}

/// <summary>Reads and writes a Janus as a folder of weights and config.json.</summary>
public static class JanusFiles
{
    private const string Tower = "vision_model.vision_tower.", Qkv = ".attn.qkv.",
        UsedCodes = "gen_vision_model.quantize.codebook_used";

    // what tells how a model is used, by the names that models are published with
    private static readonly string[] Settings =
    [
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
        "merges.txt", "processor_config.json", "preprocessor_config.json", "chat_template.json", "chat_template.jinja",
        "generation_config.json",
    ];

    private static readonly (string Original, string Native)[] Prefixes =
    [
        ("language_model.model.", "model.language_model."), ("language_model.lm_head.", "lm_head."),
        (Tower + "patch_embed.proj.", "model.vision_model.embeddings.patch_embedding."),
        (Tower + "pos_embed", "model.vision_model.embeddings.position_embedding.weight"),
        (Tower + "blocks.", "model.vision_model.encoder.layers."),
        (Tower + "norm.", "model.vision_model.post_layernorm."),
        ("aligner.layers.0.", "model.aligner.fc1."), ("aligner.layers.2.", "model.aligner.hidden_layers.0."),
        ("gen_aligner.layers.0.", "model.generation_aligner.fc1."),
        ("gen_aligner.layers.2.", "model.generation_aligner.hidden_layers.0."),
        ("gen_embed.", "model.generation_embeddings."),
        ("gen_head.output_mlp_projector.", "model.generation_head.proj_out."),
        ("gen_head.vision_head.", "model.generation_head.vision_head."), ("gen_vision_model.", "model.vqmodel."),
    ];

    private static readonly (string Original, string Native)[] TowerParts =
        [(".norm1.", ".layer_norm1."), (".norm2.", ".layer_norm2."), (".attn.proj.", ".self_attn.projection_layer.")];

    private static readonly (string Original, string Native)[] VqParts =
    [
        ("encoder.conv_blocks.", "encoder.down."), ("decoder.conv_blocks.", "decoder.up."), (".res.", ".block."),
        (".mid.0.", ".mid.block_1."), (".mid.1.", ".mid.attn_1."), (".mid.2.", ".mid.block_2."),
    ];

    /// <summary>The sizes that config.json gives; what it leaves out is as in the published models.</summary>
    /// <exception cref="UnusableFileException">There is none, it is damaged, or it describes another model.</exception>
    public static JanusConfig ReadConfig(string folder) => JanusConfigJson.Read(folder).Config;

    /// <summary>The type of model that config.json says a folder is of (model_type); null where there is
    /// none.</summary>
    /// <exception cref="UnusableFileException">config.json is damaged.</exception>
    public static string? ModelType(string folder) =>
        Path.Combine(folder, "config.json") is var path && File.Exists(path)
        ? ConfigSection.Read(path).Text("model_type", "") : null;

    /// <summary>
    /// Builds the model with its weights; beside them hardly any memory is taken. On a CPU and in the type of the files
    /// they are the files' own pages (Windows aside): do not overwrite those files in place while the model lives.
    /// </summary>
    /// <param name="folder">Folder with config.json and weights in either layout: safetensors or torch files, whole or
    /// in shards.</param>
    /// <param name="target">Device and type of the weights.</param>
    /// <exception cref="UnusableFileException">Something is missing, damaged, not finite, or does not fit; all names
    /// that do not are listed.</exception>
    public static Janus Load(string folder, ComputeTarget target)
    {
        var (files, model, layout) = Open(folder, target.DType);
        try
        {
            using var scope = NewDisposeScope();
            files.LoadInto(model, target.Device, name => NameInFile(name, layout), () => Names(model, layout),
                IsUnread);
            model.Target = target;
            foreach (var (name, tensor) in model.state_dict()
                .Where(pair => layout == JanusLayout.Native && IsUnread(pair.Key)))
            {
                using var free = no_grad();
                tensor.zero_(); // this layout drops what nothing reads
            }

            return model;
        }
        catch
        {
            model.Dispose();
            throw;
        }
    }

    /// <summary>Compares names and shapes of the weights with what config.json describes, without reading
    /// them.</summary>
    /// <exception cref="UnusableFileException">As for <see cref="Load"/>, but for the weights themselves.</exception>
    public static JanusLayout Check(string folder)
    {
        var (_, model, layout) = Open(folder, ScalarType.Float32);
        model.Dispose();
        return layout;
    }

    /// <summary>Writes a folder that the tools of the layout open: config.json and safetensors, in shards and with an
    /// index where large.</summary>
    /// <param name="model">The model, with its understanding path.</param>
    /// <param name="folder">The folder; it is made when missing. An earlier checkpoint in it stays whole until the new
    /// one is written.</param>
    /// <param name="layout">Names and configuration.</param>
    /// <param name="maxShardBytes">Largest size of one file.</param>
    /// <param name="storeAs">Type to store weights in; that of the model when null.</param>
    /// <param name="ids">Ids of special tokens, for the configuration of the native layout; those the model was loaded
    /// with when null.</param>
    /// <param name="from">Folder whose files of tokenizer, processor and chat template are put beside the weights;
    /// those of an earlier model that this one has not are removed. Null leaves all such files alone.</param>
    /// <exception cref="ArgumentException">The model has no understanding path, or the native layout lacks token
    /// ids.</exception>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public static void Save(Janus model, string folder, JanusLayout layout,
        long maxShardBytes = Safetensors.UsualShardBytes,
        ScalarType? storeAs = null, JanusTokenIds? ids = null, string? from = null)
    {
        var config = model.Config with { TokenIds = ids ?? model.Config.TokenIds };
        var texts = JanusConfigJson.Write(config, layout, storeAs ?? model.Target.DType);
        string[] patterns = from is null ? []
            : ["*token*.json", "*processor_config.json", "chat_template.*", "vocab.json", "merges.txt"];
        foreach (var path in patterns.SelectMany(pattern => Directory.GetFiles(from!, pattern)))
        {
            texts[Path.GetFileName(path)] = File.ReadAllText(path);
        }

        using var scope = NewDisposeScope();
        Safetensors.SaveFolder(folder, Names(model, layout), maxShardBytes, storeAs, texts,
            from is null || Real(from) == Real(folder) ? [] : Settings);
        static string Real(string path) => Path.TrimEndingDirectorySeparator(RealPath.Of(path));
    }

    /// <summary>Writes the configuration alone, for weights that come from elsewhere.</summary>
    /// <exception cref="ArgumentException">The layout cannot describe the model.</exception>
    /// <exception cref="UnusableFileException">The folder cannot be written.</exception>
    public static void SaveConfig(JanusConfig config, string folder, JanusLayout layout, ScalarType storedAs) =>
        Safetensors.SaveFolder(folder, [], texts: JanusConfigJson.Write(config, layout, storedAs));

    private static (CheckpointFiles Files, Janus Model, JanusLayout Layout) Open(string folder, ScalarType type)
    {
        var (config, layout) = JanusConfigJson.Read(folder);
        var files = CheckpointFiles.Open(folder).Unwrapped();
        if (files.Entries.FirstOrDefault(entry => entry.Name == UsedCodes)
            is { Shape: [> 0 and <= int.MaxValue and var length] })
        {
            config = config with { ImageTokenizer = config.ImageTokenizer with { UsedCodes = (int)length } };
        }

        var model = new Janus(config, new ComputeTarget(META, type));
        using var scope = NewDisposeScope();
        files.Check(Names(model, layout), IsUnread);
        return (files, model, layout);
    }

    // what some files have and nothing here reads
    private static bool IsUnread(string name) =>
        name == UsedCodes || name.StartsWith(Tower + "attn_pool.") || name.EndsWith(".rotary_emb.inv_freq");

    internal static Dictionary<string, Tensor> Names(Janus model, JanusLayout layout) =>
        layout == JanusLayout.Original ? model.state_dict()
        : model.state_dict().Where(pair => !IsUnread(pair.Key))
            .SelectMany(pair => Native(pair.Key, pair.Value.detach())).ToDictionary();

    // null for what the file stores in parts, or not at all
    private static string? NameInFile(string name, JanusLayout layout) =>
        layout == JanusLayout.Original ? name : IsUnread(name) || name.Contains(Qkv) ? null : NativeName(name);

    private static IEnumerable<KeyValuePair<string, Tensor>> Native(string name, Tensor tensor) => name.Contains(Qkv)
        ? "qkv".Zip(tensor.chunk(3),
            (letter, third) => KeyValuePair.Create(NativeName(name).Replace(Qkv, $".self_attn.{letter}_proj."), third))
        : [KeyValuePair.Create(NativeName(name), name == Tower + "pos_embed" ? tensor.squeeze(0) : tensor)];

    internal static string NativeName(string name)
    {
        var (original, native) = Prefixes.First(prefix => name.StartsWith(prefix.Original, StringComparison.Ordinal));
        var parts = original == Tower + "blocks." ? TowerParts : original == "gen_vision_model." ? VqParts : [];
        return native
            + parts.Aggregate("." + name[original.Length..],
                (text, part) => text.Replace(part.Original, part.Native))[1..];
    }
}
