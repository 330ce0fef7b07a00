using System.Globalization;
using Newtonsoft.Json.Linq;
using ReasonGen.Checkpoints;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Sizes of a Mask2Former with a Swin backbone. The defaults are those of GenEval's detector, mmdetection's
/// mask2former_swin-s-p4-w7-224_lsj_8x2_50e_coco.</summary>
public sealed record Mask2FormerConfig
{
    internal const int PatchSize = 4, Levels = 3, Points = 4, NormGroups = 32, SizeDivisor = 32;

    /// <summary>GenEval's detector.</summary>
    public static Mask2FormerConfig Published { get; } = new();

    /// <summary>Channels of the backbone's first stage; each later one has twice as many.</summary>
    public int Width { get; init; } = 96;

    /// <summary>Blocks of each of the four stages.</summary>
    public IReadOnlyList<int> Depths { get; init; } = [2, 2, 18, 2];

    /// <summary>Attention heads of each of the four stages.</summary>
    public IReadOnlyList<int> Heads { get; init; } = [3, 6, 12, 24];

    /// <summary>Side of the backbone's attention windows, in tokens.</summary>
    public int WindowSize { get; init; } = 7;

    /// <summary>Width of the backbone's inner layers, in channels of their stage.</summary>
    public double MlpRatio { get; init; } = 4;

    /// <summary>Channels of pixel decoder, queries and mask features.</summary>
    public int Features { get; init; } = 256;

    /// <summary>Attention heads of both decoders.</summary>
    public int DecoderHeads { get; init; } = 8;

    /// <summary>Layers of deformable attention in the pixel decoder.</summary>
    public int PixelLayers { get; init; } = 6;

    /// <summary>Width of their inner layers.</summary>
    public int PixelMlpWidth { get; init; } = 1024;

    /// <summary>Layers of the transformer decoder.</summary>
    public int DecoderLayers { get; init; } = 9;

    /// <summary>Width of their inner layers.</summary>
    public int DecoderMlpWidth { get; init; } = 2048;

    /// <summary>Objects that are looked for.</summary>
    public int Queries { get; init; } = 100;

    /// <summary>Classes, without the one for no object.</summary>
    public int Classes { get; init; } = 80;

    /// <summary>Largest long side of a resized image, in pixels. No size of the network: no weight file tells
    /// it.</summary>
    public int LongSide { get; init; } = 1333;

    /// <summary>Largest short side of a resized image, in pixels.</summary>
    public int ShortSide { get; init; } = 800;

    /// <summary>Prepare images as mmdetection 3.x does (in floats, with 0 at the border) instead of 2.x, which GenEval
    /// uses.</summary>
    public bool PreparedLike3 { get; init; }

    /// <summary>The sizes that weights have, in words; equal texts are equal sizes.</summary>
    internal string Describe() => string.Create(CultureInfo.InvariantCulture,
        $"Swin of width {Width}, depths {string.Join(", ", Depths)}, heads {string.Join(", ", Heads)}, "
        + $"windows of {WindowSize}, inner layers {MlpRatio:0.###} times as wide; "
        + $"{PixelLayers} pixel layers ({PixelMlpWidth}) and {DecoderLayers} decoder layers ({DecoderMlpWidth}) "
        + $"of width {Features} with {DecoderHeads} heads; {Queries} queries, {Classes} classes");

    /// <summary>Channels of a stage of the backbone.</summary>
    internal int StageWidth(int stage) => Width << stage;

    /// <summary>Width of the inner layers of a stage's blocks.</summary>
    internal int StageMlpWidth(int stage) => (int)(MlpRatio * StageWidth(stage));

    /// <summary>The weights whose shapes tell the sizes, and how many axes they have: what has them all is a
    /// Mask2Former with a Swin backbone.</summary>
    internal static IEnumerable<(string Name, int Axes)> Telling =>
    [
        ("backbone.patch_embed.projection.weight", 4), .. Enumerable.Range(0, 4).Select(stage => (Table(stage), 2)),
        ("backbone.stages.0.blocks.0.ffn.layers.0.0.weight", 2), ("panoptic_head.query_feat.weight", 2),
        ("panoptic_head.cls_embed.bias", 1),
        (Encoder + ".0.attentions.0.attention_weights.bias", 1), (Encoder + ".0.ffns.0.layers.0.0.weight", 2),
            (Decoder + ".0.ffns.0.layers.0.0.weight", 2),
    ];

    private const string Stages = "backbone.stages", Head = "panoptic_head", Encoder = Head
        + ".pixel_decoder.encoder.layers", Decoder = Head + ".transformer_decoder.layers";

    private static string Table(int stage) => $"{Stages}.{stage}.blocks.0.attn.w_msa.relative_position_bias_table";

    /// <summary>The sizes that the shapes of a checkpoint tell, by mmdetection's names.</summary>
    /// <param name="shapes">Shapes by name; those of <see cref="Telling"/> must be there.</param>
    internal static Mask2FormerConfig OfShapes(IReadOnlyDictionary<string, long[]> shapes)
    {
        int Size(string name, int axis) => (int)shapes[name][axis];
        int Count(string prefix) => Enumerable.Range(0, 1000)
            .TakeWhile(i => shapes.Keys.Any(name => name.StartsWith($"{prefix}.{i}.", StringComparison.Ordinal)))
            .Count();
        var stages = Enumerable.Range(0, Count(Stages)).ToArray();
        var width = Size("backbone.patch_embed.projection.weight", 0);
        return new()
        {
            Width = width,
            Depths = [.. stages.Select(stage => Count($"{Stages}.{stage}.blocks"))],
            Heads = [.. stages.Select(stage => Size(Table(stage), 1))],
            WindowSize = ((int)Math.Sqrt(Size(Table(0), 0)) + 1) / 2,
            MlpRatio = Size($"{Stages}.0.blocks.0.ffn.layers.0.0.weight", 0) / (double)width,
            Features = Size($"{Head}.query_feat.weight", 1),
            DecoderHeads = Size($"{Encoder}.0.attentions.0.attention_weights.bias", 0) / (Levels * Points),
            PixelLayers = Count(Encoder),
            PixelMlpWidth = Size($"{Encoder}.0.ffns.0.layers.0.0.weight", 0),
            DecoderLayers = Count(Decoder),
            DecoderMlpWidth = Size($"{Decoder}.0.ffns.0.layers.0.0.weight", 0),
            Queries = Size($"{Head}.query_feat.weight", 0),
            Classes = Size($"{Head}.cls_embed.bias", 0) - 1,
        };
    }

    /// <summary>The sizes in config.json of Hugging Face's layout.</summary>
    /// <exception cref="UnusableFileException">It is missing, damaged, or of another model.</exception>
    internal static Mask2FormerConfig ReadHuggingFace(string folder)
    {
        var config = ConfigSection.Read(Path.Combine(folder, "config.json"));
        var type = config.Text("model_type", "");
        if (type != "mask2former")
        {
            throw new UnusableFileException(config.Path,
                $"it describes a model of the type '{type}' where a mask2former was expected",
                "give a folder with a Mask2Former of the transformers library");
        }

        var backbone = config["backbone_config"];
        backbone.Expect("model_type", "swin");
        backbone.Expect("patch_size", PatchSize);
        backbone.Expect("hidden_act", "gelu");
        backbone.Expect("use_absolute_embeddings", false);
        backbone.Expect("qkv_bias", true);
        config.Expect("activation_function", "relu");
        config.Expect("pre_norm", false);
        config.Expect("enforce_input_projection", false);
        config.Expect("common_stride", 4);
        config.Expect("feature_strides", new JArray(4, 8, 16, 32));
        return new()
        {
            Width = backbone.Integer("embed_dim", 96), Depths = backbone.Integers("depths", [2, 2, 6, 2]),
                Heads = backbone.Integers("num_heads", [3, 6, 12, 24]),
            WindowSize = backbone.Integer("window_size", 7), MlpRatio = backbone.Number("mlp_ratio", 4),
                Features = config.Integer("hidden_dim", 256),
            DecoderHeads = config.Integer("num_attention_heads", 8), PixelLayers = config.Integer("encoder_layers", 6),
            PixelMlpWidth = config.Integer("encoder_feedforward_dim", 1024),
            DecoderLayers = config.Integer("decoder_layers", 10) - 1, // it counts the prediction before the layers
            DecoderMlpWidth = config.Integer("dim_feedforward", 2048), Queries = config.Integer("num_queries", 100),
            Classes = config.Json["id2label"] is JObject names ? names.Count : 80,
        };
    }
}
