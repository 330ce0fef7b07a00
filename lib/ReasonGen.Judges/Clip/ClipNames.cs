// Names of the same weights in the three published layouts. In open_clip's, which is OpenAI's, x W projects; Hugging
// Face stores Wᵀ, and
// queries, keys and values apart.
using ReasonGen.Checkpoints;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Clip;

/// <summary>How a published checkpoint of a CLIP names its weights.</summary>
public enum ClipLayout
{
    /// <summary>OpenAI's archive of TorchScript (.pt).</summary>
    OpenAi,

    /// <summary>open_clip's state dict, with open_clip_config.json beside it; HPSv2 too.</summary>
    OpenClip,

    /// <summary>A folder of Hugging Face: config.json and model.safetensors or pytorch_model.bin.</summary>
    HuggingFace,
}

internal static class ClipNames
{
    private const string Qkv = ".attn.qkv.";

    private static readonly (string Own, string OpenClip, string HuggingFace)[] Wholes =
    [
        ("logit_scale", "logit_scale", "logit_scale"),
        ("vision.class_embedding", "visual.class_embedding", "vision_model.embeddings.class_embedding"),
        ("vision.patches.weight", "visual.conv1.weight", "vision_model.embeddings.patch_embedding.weight"),
        ("vision.positions", "visual.positional_embedding", "vision_model.embeddings.position_embedding.weight"),
        ("vision.projection", "visual.proj", "visual_projection.weight"),
        ("text.tokens", "token_embedding.weight", "text_model.embeddings.token_embedding.weight"),
        ("text.positions", "positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("text.projection", "text_projection", "text_projection.weight"),
    ];

    private static readonly (string Own, string OpenClip, string HuggingFace)[] Parts =
    [
        ("vision.blocks.", "visual.transformer.resblocks.", "vision_model.encoder.layers."),
        ("text.blocks.", "transformer.resblocks.", "text_model.encoder.layers."),
        ("vision.norm_pre.", "visual.ln_pre.", "vision_model.pre_layrnorm."), // sic
        ("vision.norm_post.", "visual.ln_post.", "vision_model.post_layernorm."),
        ("text.norm_final.", "ln_final.", "text_model.final_layer_norm."),
        (".norm1.", ".ln_1.", ".layer_norm1."), (".norm2.", ".ln_2.", ".layer_norm2."),
        (".attn.proj.", ".attn.out_proj.", ".self_attn.out_proj."),
        (".mlp.fc1.", ".mlp.c_fc.", ".mlp.fc1."), (".mlp.fc2.", ".mlp.c_proj.", ".mlp.fc2."),
    ];

    /// <summary>The weights under a layout's names, as views of the model's own.</summary>
    internal static Dictionary<string, Tensor> Views(nn.Module model, ClipLayout layout) => model.state_dict()
        .SelectMany(pair =>
        layout == ClipLayout.HuggingFace && pair.Key.Contains(Qkv)
            ? "qkv".Zip(pair.Value.detach().chunk(3), (letter, third) =>
                KeyValuePair.Create(Name(pair.Key, layout).Replace(Qkv, $".self_attn.{letter}_proj."), third))
            : [KeyValuePair.Create(Name(pair.Key, layout), layout == ClipLayout.HuggingFace
                && pair.Key.EndsWith(".projection")
                ? pair.Value.detach().t() : pair.Value.detach())]).ToDictionary();

    /// <summary>A layout's name of a weight that it stores as the model does; null where it does not.</summary>
    internal static string? Whole(string name, ClipLayout layout) =>
        layout == ClipLayout.HuggingFace && (name.Contains(Qkv) || name.EndsWith(".projection")) ? null
            : Name(name, layout);

    /// <summary>What some files have beside the weights, and nothing here reads.</summary>
    internal static bool IsUnread(string name) => name is "input_resolution" or "context_length" or "vocab_size"
        or "text_model.embeddings.position_ids" or "vision_model.embeddings.position_ids";

    /// <summary>Whether names are those of a CLIP, and of which layout; null where they are not.</summary>
    internal static ClipLayout? LayoutOf(CheckpointFiles files)
    {
        var names = files.Entries.Select(entry => entry.Name).ToHashSet();
        return names.Contains("visual.class_embedding") && names.Contains("visual.proj")
            && names.Contains("token_embedding.weight")
                ? names.Contains("input_resolution") ? ClipLayout.OpenAi : ClipLayout.OpenClip
            : names.Contains("vision_model.embeddings.class_embedding")
                && names.Contains("text_model.embeddings.token_embedding.weight")
                && names.Contains("visual_projection.weight") ? ClipLayout.HuggingFace : null;
    }

    /// <summary>A layout's name of one of the model's tensors; of fused ones, that of the whole.</summary>
    internal static string Name(string name, ClipLayout layout)
    {
        string Pick((string Own, string OpenClip, string HuggingFace) row) => layout == ClipLayout.HuggingFace
            ? row.HuggingFace : row.OpenClip;
        var whole = Wholes.FirstOrDefault(row => row.Own == name);
        if (whole.Own is not null)
        {
            return Pick(whole);
        }

        var named = Parts.Aggregate(name, (text, row) => row.Own.StartsWith('.') ? text.Replace(row.Own, Pick(row))
            : text.StartsWith(row.Own, StringComparison.Ordinal) ? Pick(row) + text[row.Own.Length..] : text);
        return layout == ClipLayout.HuggingFace ? named : named.Replace(Qkv, ".attn.in_proj_");
    }
}
