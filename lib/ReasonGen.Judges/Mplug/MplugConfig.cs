using System.Globalization;
using Newtonsoft.Json.Linq;
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Clip;
using ReasonGen.Checkpoints;
using YamlDotNet.Core;
using YamlDotNet.RepresentationModel;

namespace ReasonGen.Judges.Mplug;

/// <summary>Sizes of an mPLUG that answers questions.</summary>
/// <param name="Vision">CLIP's image tower.</param>
/// <param name="Text">The text encoder.</param>
/// <param name="FirstFusion">The first of the file's fusion layers that runs.</param>
/// <param name="FusionLayers">How many run.</param>
/// <param name="Stride">Every so many fusion layers, but for the first, image and text go through one jointly.</param>
/// <param name="DecoderLayers">Blocks of the decoder.</param>
/// <param name="Beams">Answers that are followed at once.</param>
/// <param name="MinLength">Tokens before which no answer ends.</param>
/// <param name="MaxLength">Most tokens of an answer.</param>
public sealed record MplugConfig(ClipVisionConfig Vision, BertConfig Text, int FirstFusion, int FusionLayers,
    int Stride,
    int DecoderLayers, int Beams, int MinLength, int MaxLength)
{
    private const string Remedy =
        "use the folder as modelscope publishes it (damo/mplug_visual-question-answering_coco_large_en)";

    /// <summary>mPLUG-large of modelscope, DPG-Bench's judge.</summary>
    public static MplugConfig Large { get; } = new(new(504, 14, 1024, 24, 16, 4096), new(30522, 768, 6, 12, 3072, 512),
        6, 6, 6, 12, 5, 1, 10);

    /// <summary>Whether sizes and search are those of the published model; how often layers are joint was not
    /// seen.</summary>
    public bool IsLarge => this with { Stride = Large.Stride } == Large;

    /// <summary>What the model is, in one line.</summary>
    public override string ToString() =>
        $"an mPLUG: images of {Vision.ImageSize} pixels in patches of {Vision.PatchSize}, "
        + $"{Vision.Layers} blocks of width {Vision.Width}; text of {Text}, {FusionLayers} layers with the image "
        + $"(joint every {Stride}), {DecoderLayers} of the decoder; {Beams} beams, {MinLength} to {MaxLength} tokens";

    /// <summary>Reads configuration.json, config.yaml and the BERT configuration that it names.</summary>
    /// <exception cref="UnusableFileException">One is missing, damaged or of another model.</exception>
    public static MplugConfig Read(string folder)
    {
        if (!Directory.Exists(folder))
        {
            throw new UnusableFileException(folder,
                "there is no such folder, and mPLUG is one: weights, configurations, vocabulary", Remedy);
        }

        var task = ConfigSection.Read(Path.Combine(folder, "configuration.json"));
        task.Expect("task", "visual-question-answering");
        var model = ReadYaml(Path.Combine(folder, "config.yaml"));
        model.Expect("task", "visual-question-answering");
        model.Expect("eos", "[SEP]");
        model.Expect("add_ocr", false);
        model.Expect("add_object", false);
        var name = model.Text("bert_config", "config_bert.json");
        var bert = ConfigSection.Read(Path.Combine(folder, name == Path.GetFileName(name) ? name
            : throw new UnusableFileException(model.Path,
                $"its 'bert_config' is '{name}', no name of a file beside it", Remedy)));
        bert.Expect("hidden_act", "gelu");
        bert.Expect("layer_norm_eps", BertConfig.Epsilon);
        int width = bert.Size("hidden_size"), all = bert.Size("num_hidden_layers"),
            fusion = Math.Min(all, bert.Size("fusion_layers")),
            towerWidth = model.Integer("clip_vision_width", 1024, 64);
        bert.Expect("encoder_width", width);
        model.Expect("vision_width", towerWidth);
        var config = new MplugConfig(
            new(model.Integer("image_res", 504, 1), model.Integer("clip_vision_patch_size", 14, 1), towerWidth,
                model.Integer("clip_vision_layers", 24, 1), towerWidth / 64, 4 * towerWidth),
            new(bert.Size("vocab_size"), width, bert.Size("text_encoder_layers"), bert.Size("num_attention_heads"),
                bert.Size("intermediate_size"), bert.Size("max_position_embeddings")),
            all - fusion, fusion, bert.Integer("stride_layer", 100, 1), bert.Size("text_decode_layers"),
            model.Integer("beam_size", 5, 1), model.Integer("min_length", 1), model.Integer("max_length", 10, 1));
        return config.Contradiction() is { } wrong
            ? throw new UnusableFileException(folder, $"its sizes are not those of an mPLUG: {wrong}", Remedy) : config;
    }

    private string? Contradiction() => Text.Contradiction()
        ?? (Vision.ImageSize % Vision.PatchSize != 0
            ? $"images of {Vision.ImageSize} pixels are no whole number of patches of {Vision.PatchSize}"
        : Vision.Width % 64 != 0 ? $"the width {Vision.Width} of its images is no multiple of 64, the width of a head"
        : Math.Max(MaxLength, MplugJudge.QuestionIds) > Text.Positions
            ? $"answers of {MaxLength} and questions of {MplugJudge.QuestionIds} tokens do not fit "
                + $"its {Text.Positions} "
                + "positions"
        : MinLength > MaxLength || Beams > Text.Vocabulary || MaxLength > 1024 ? "its search cannot end" : null);

    // plain keys and values; what is nested is of no use here
    private static ConfigSection ReadYaml(string path)
    {
        try
        {
            var stream = new YamlStream();
            stream.Load(new StringReader(TextFile.Read(path)));
            var json = new JObject();
            foreach (var pair in (stream.Documents.FirstOrDefault()?.RootNode as YamlMappingNode)?.Children.ToArray()
                ?? [])
            {
                if (pair.Key is YamlScalarNode { Value: { } name } && pair.Value is YamlScalarNode scalar)
                {
                    json[name] = Value(scalar);
                }
            }

            return json.Count > 0 ? new(path, "", json)
                : throw new UnusableFileException(path, "it holds no keys with values", Remedy);
        }
        catch (YamlException e)
        {
            throw new UnusableFileException(path, $"line {e.Start.Line} is no YAML: {e.Message.TrimEnd('.')}", Remedy,
                e);
        }
    }

    private static JToken? Value(YamlScalarNode scalar) =>
        scalar is not { Style: ScalarStyle.Plain, Value: { } text } ? scalar.Value
        : text is "" or "~" or "null" or "Null" or "NULL" ? JValue.CreateNull()
        : bool.TryParse(text, out var flag) ? flag
        : long.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var whole) ? whole
        : double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var number) ? number : text;
}
