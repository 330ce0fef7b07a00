// Names of a BLIP's weights in the original files and in transformers', which renames the image encoder alone. Its
// fused qkv is kept by both.
using ReasonGen.Judges.Bert;

namespace ReasonGen.Judges.Blip;

/// <summary>How a published BLIP names its weights.</summary>
public enum BlipLayout
{
    /// <summary>salesforce/BLIP's state dict (.pth), under "model".</summary>
    Original,

    /// <summary>A folder of transformers: config.json and model.safetensors or pytorch_model.bin.</summary>
    HuggingFace,
}

internal static class BlipNames
{
    private static readonly (string Own, string HuggingFace)[] Renamed =
    [
        ("cls_token", "embeddings.class_embedding"), ("pos_embed", "embeddings.position_embedding"),
        ("patch_embed.proj.", "embeddings.patch_embedding."), ("norm.", "post_layernorm."),
        ("blocks.", "encoder.layers."), (".attn.qkv.", ".self_attn.qkv."), (".attn.proj.", ".self_attn.projection."),
        (".norm1.", ".layer_norm1."), (".norm2.", ".layer_norm2."),
    ];

    /// <summary>Names in a file of a tensor of a <see cref="BlipVqaModel"/>.</summary>
    internal static Func<string, string[]> Vqa(BlipLayout layout) => own => own.Split('.', 2) switch
    {
        ["vision", var name] => [Vision(name, layout)],
        ["encoder", var name] => BertNames.Stack(name, "text_encoder."),
        ["decoder", var name] => BertNames.Stack(name, "text_decoder.bert."),
        [_, var name] => BertNames.Head(name, "text_decoder.cls."),
        _ => [own],
    };

    /// <summary>The name in a file of a tensor of a <see cref="BlipVision"/>.</summary>
    internal static string Vision(string own, BlipLayout layout)
    {
        var name = own.Replace("patch_embed.", "patch_embed.proj.");
        return layout == BlipLayout.Original ? "visual_encoder." + name : "vision_model." + Renamed.Aggregate(name,
            (text, row) => row.Own.StartsWith('.') ? text.Replace(row.Own, row.HuggingFace)
                : text.StartsWith(row.Own, StringComparison.Ordinal) ? row.HuggingFace + text[row.Own.Length..] : text);
    }

    /// <summary>Momentum copies, which pretraining leaves in a file: visual_encoder_m, text_encoder_m and the
    /// like.</summary>
    internal static bool IsMomentum(string name) => name.Split('.').Any(part => part.EndsWith("_m"));
}
