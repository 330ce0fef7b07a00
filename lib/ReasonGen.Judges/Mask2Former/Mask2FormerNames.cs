// Names of weights. Ours are those of mmdetection 2.x. mmdetection 3.x renamed the attention and inner layers of both
// decoders; the transformers library has names of its own, cuts q, k and v apart, and orders the four tokens that are
// merged by column before row, channels last.
using System.Text.RegularExpressions;
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>How a Mask2Former is laid out in files.</summary>
public enum Mask2FormerLayout
{
    /// <summary>mmdetection 2.x: what GenEval uses.</summary>
    Mmdetection2,

    /// <summary>mmdetection 3.x: the same network under other names.</summary>
    Mmdetection3,

    /// <summary>The transformers library: weights that were trained apart.</summary>
    HuggingFace,
}

internal static class Mask2FormerNames
{
    private const string Head = "panoptic_head.", Pixel = Head + "pixel_decoder.",
        Decoder = Head + "transformer_decoder.", Swin = "model.pixel_level_module.encoder.",
        HfPixel = "model.pixel_level_module.decoder.", HfDecoder = "model.transformer_module.decoder.";

    private static readonly (string Ours, string Theirs)[] ToMmdetection3 =
    [
        (@"(pixel_decoder\.encoder\.layers\.\d+)\.attentions\.0\.", "$1.self_attn."),
        (@"(transformer_decoder\.layers\.\d+)\.attentions\.0\.", "$1.cross_attn."),
        (@"(transformer_decoder\.layers\.\d+)\.attentions\.1\.", "$1.self_attn."),
        (@"(_decoder\.(?:encoder\.)?layers\.\d+)\.ffns\.0\.", "$1.ffn."),
    ];

    // a prefix and what follows it; the first that fits is taken
    private static readonly (string Ours, string Theirs)[] ToHuggingFace =
    [
        (@"^backbone\.patch_embed\.projection", Swin + "embeddings.patch_embeddings.projection"),
        (@"^backbone\.patch_embed\.norm", Swin + "embeddings.norm"),
        (@"^backbone\.norm0", Swin + "hidden_states_norms.stage1"),
        (@"^backbone\.norm1", Swin + "hidden_states_norms.stage2"),
        (@"^backbone\.norm2", Swin + "hidden_states_norms.stage3"),
        (@"^backbone\.norm3", Swin + "hidden_states_norms.stage4"),
        (@"^backbone\.stages\.(\d+)\.downsample", Swin + "encoder.layers.$1.downsample"),
        (@"^backbone\.stages\.(\d+)\.blocks\.(\d+)\.", Swin + "encoder.layers.$1.blocks.$2."),
        (@"^panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.conv", HfPixel + "input_projections.$1.0"),
        (@"^panoptic_head\.pixel_decoder\.input_convs\.(\d+)\.gn", HfPixel + "input_projections.$1.1"),
        (@"^panoptic_head\.pixel_decoder\.level_encoding\.weight", HfPixel + "level_embed"),
        (@"^panoptic_head\.pixel_decoder\.encoder\.", HfPixel + "encoder."),
        (@"^panoptic_head\.pixel_decoder\.lateral_convs\.0\.conv", HfPixel + "adapter_1.0"),
        (@"^panoptic_head\.pixel_decoder\.lateral_convs\.0\.gn", HfPixel + "adapter_1.1"),
        (@"^panoptic_head\.pixel_decoder\.output_convs\.0\.conv", HfPixel + "layer_1.0"),
        (@"^panoptic_head\.pixel_decoder\.output_convs\.0\.gn", HfPixel + "layer_1.1"),
        (@"^panoptic_head\.pixel_decoder\.mask_feature", HfPixel + "mask_projection"),
        (@"^panoptic_head\.transformer_decoder\.post_norm", HfDecoder + "layernorm"),
        (@"^panoptic_head\.transformer_decoder\.", HfDecoder),
        (@"^panoptic_head\.query_embed", "model.transformer_module.queries_embedder"),
        (@"^panoptic_head\.query_feat", "model.transformer_module.queries_features"),
        (@"^panoptic_head\.level_embed", "model.transformer_module.level_embed"),
        (@"^panoptic_head\.cls_embed", "class_predictor"),
        (@"^panoptic_head\.mask_embed\.0", HfDecoder + "mask_predictor.mask_embedder.0.0"),
        (@"^panoptic_head\.mask_embed\.2", HfDecoder + "mask_predictor.mask_embedder.1.0"),
        (@"^panoptic_head\.mask_embed\.4", HfDecoder + "mask_predictor.mask_embedder.2.0"),
    ];

    // inside a block or layer
    private static readonly (string Ours, string Theirs)[] Within =
    [
        (@"\.norm1\.", ".layernorm_before."),
        (@"\.norm2\.", ".layernorm_after."),
        (@"\.attn\.w_msa\.proj\.", ".attention.output.dense."),
        (@"\.attn\.w_msa\.", ".attention.self."),
        (@"\.ffn\.layers\.0\.0\.", ".intermediate.dense."),
        (@"\.ffn\.layers\.1\.", ".output.dense."),
        (@"decoder\.encoder\.(layers\.\d+)\.attentions\.0\.", "decoder.encoder.$1.self_attn."),
        (@"\.attentions\.0\.attn\.", ".cross_attn."),
        (@"\.attentions\.1\.attn\.", ".self_attn."),
        (@"\.ffns\.0\.layers\.0\.0\.", ".fc1."),
        (@"\.ffns\.0\.layers\.1\.", ".fc2."),
        (@"decoder\.encoder\.(layers\.\d+)\.norms\.0\.", "decoder.encoder.$1.self_attn_layer_norm."),
        (@"decoder\.encoder\.(layers\.\d+)\.norms\.1\.", "decoder.encoder.$1.final_layer_norm."),
        (@"\.norms\.0\.", ".cross_attn_layer_norm."),
        (@"\.norms\.1\.", ".self_attn_layer_norm."),
        (@"\.norms\.2\.", ".final_layer_norm."),
    ];

    /// <summary>Every weight of the network, in the order of mmdetection's state dict.</summary>
    internal static IEnumerable<(string Name, long[] Shape)> Shapes(Mask2FormerConfig config)
    {
        IEnumerable<(string, long[])> Linear(string name, long outputs, params long[] inputs) =>
            [($"{name}.weight", [outputs, .. inputs]), ($"{name}.bias", [outputs])];
        IEnumerable<(string, long[])> Norm(string name, long width) => Linear(name, width);
        long c = config.Features, table = (2 * config.WindowSize - 1) * (2 * config.WindowSize - 1);
        List<IEnumerable<(string, long[])>> all =
            [Linear("backbone.patch_embed.projection", config.Width, 3, Mask2FormerConfig.PatchSize,
                Mask2FormerConfig.PatchSize), Norm("backbone.patch_embed.norm", config.Width)];
        for (var stage = 0; stage < 4; stage++)
        {
            long width = config.StageWidth(stage), inner = config.StageMlpWidth(stage);
            for (var i = 0; i < config.Depths[stage]; i++)
            {
                var block = $"backbone.stages.{stage}.blocks.{i}.";
                all.AddRange([Norm(block + "norm1", width),
                    [(block + "attn.w_msa.relative_position_bias_table", [table, config.Heads[stage]])],
                    Linear(block + "attn.w_msa.qkv", 3 * width, width), Linear(block + "attn.w_msa.proj", width, width),
                        Norm(block + "norm2", width),
                    Linear(block + "ffn.layers.0.0", inner, width), Linear(block + "ffn.layers.1", width, inner)]);
            }

            if (stage < 3)
            {
                all.AddRange([Norm($"backbone.stages.{stage}.downsample.norm", 4 * width),
                    [($"backbone.stages.{stage}.downsample.reduction.weight", [2 * width, 4 * width])]]);
            }
        }

        all.AddRange(Enumerable.Range(0, 4).Select(stage => Norm($"backbone.norm{stage}", config.StageWidth(stage))));
        for (var level = 0; level < Mask2FormerConfig.Levels; level++)
        {
            all.AddRange([Linear($"{Pixel}input_convs.{level}.conv", c, config.StageWidth(3 - level), 1, 1),
                Norm($"{Pixel}input_convs.{level}.gn", c)]);
        }

        long points = config.DecoderHeads * Mask2FormerConfig.Levels * Mask2FormerConfig.Points;
        for (var i = 0; i < config.PixelLayers; i++)
        {
            var layer = $"{Pixel}encoder.layers.{i}.";
            all.AddRange([Linear(layer + "attentions.0.sampling_offsets", 2 * points, c),
                Linear(layer + "attentions.0.attention_weights", points, c),
                Linear(layer + "attentions.0.value_proj", c, c), Linear(layer + "attentions.0.output_proj", c, c),
                    Linear(layer + "ffns.0.layers.0.0", config.PixelMlpWidth, c),
                Linear(layer + "ffns.0.layers.1", c, config.PixelMlpWidth), Norm(layer + "norms.0", c),
                    Norm(layer + "norms.1", c)]);
        }

        all.AddRange([[(Pixel + "level_encoding.weight", [Mask2FormerConfig.Levels, c]),
            (Pixel + "lateral_convs.0.conv.weight", [c, config.Width, 1, 1])],
            Norm(Pixel + "lateral_convs.0.gn", c), [(Pixel + "output_convs.0.conv.weight", [c, c, 3, 3])],
                Norm(Pixel + "output_convs.0.gn", c), Linear(Pixel + "mask_feature", c, c, 1, 1)]);
        for (var i = 0; i < config.DecoderLayers; i++)
        {
            var layer = $"{Decoder}layers.{i}.";
            all.AddRange(from part in new[] { 0, 1 }
                         let name = $"{layer}attentions.{part}.attn."
                         select (IEnumerable<(string, long[])>)[(name + "in_proj_weight", [3 * c, c]),
                             (name + "in_proj_bias", [3 * c]), .. Linear(name + "out_proj", c, c)]);
            all.AddRange([Linear(layer + "ffns.0.layers.0.0", config.DecoderMlpWidth, c),
                Linear(layer + "ffns.0.layers.1", c, config.DecoderMlpWidth)]);
            all.AddRange(Enumerable.Range(0, 3).Select(norm => Norm($"{layer}norms.{norm}", c)));
        }

        all.AddRange([Norm(Decoder + "post_norm", c), [(Head + "query_embed.weight", [config.Queries, c]),
            (Head + "query_feat.weight", [config.Queries, c]),
            (Head + "level_embed.weight", [Mask2FormerConfig.Levels, c])], Linear(Head + "cls_embed", config.Classes
                + 1, c)]);
        all.AddRange(new[] { 0, 2, 4 }.Select(i => Linear($"{Head}mask_embed.{i}", c, c)));
        return all.SelectMany(part => part);
    }

    /// <summary>What mmdetection 3.x calls it.</summary>
    internal static string Mmdetection3(string name) => ToMmdetection3.Aggregate(name, (text, rule) =>
        Regex.Replace(text, rule.Ours, rule.Theirs));

    /// <summary>What mmdetection 2.x calls what 3.x calls so.</summary>
    internal static string FromMmdetection3(string name)
    {
        name = Regex.Replace(name, @"(pixel_decoder\.encoder\.layers\.\d+)\.self_attn\.", "$1.attentions.0.");
        name = Regex.Replace(name, @"(transformer_decoder\.layers\.\d+)\.cross_attn\.", "$1.attentions.0.");
        name = Regex.Replace(name, @"(transformer_decoder\.layers\.\d+)\.self_attn\.", "$1.attentions.1.");
        return Regex.Replace(name, @"(_decoder\.(?:encoder\.)?layers\.\d+)\.ffn\.", "$1.ffns.0.");
    }

    /// <summary>What the transformers library calls it, and which part of the tensor that is.</summary>
    internal static IEnumerable<(string Name, Tensor Part)> HuggingFace(string name, Tensor tensor)
    {
        var theirs = HuggingFace(name);
        var cut = Regex.Match(theirs, @"^(.*\.self)\.qkv\.(.*)$");
        var own = Regex.Match(theirs, @"^(.*\.layers\.\d+\.self_attn)\.in_proj_(.*)$");
        return cut.Success ? new[] { "query", "key", "value" }.Zip(tensor.chunk(3), (part, third) =>
            ($"{cut.Groups[1]}.{part}.{cut.Groups[2]}", third))
            : own.Success ? "qkv".Zip(tensor.chunk(3), (part, third) => ($"{own.Groups[1]}.{part}_proj.{own.Groups[2]}",
                third)) : [(theirs, tensor)];
    }

    private static string HuggingFace(string name)
    {
        var (ours, theirs) = ToHuggingFace.First(rule => Regex.IsMatch(name, rule.Ours));
        return Within.Aggregate(Regex.Replace(name, ours, theirs), (text, rule) =>
            Regex.Replace(text, rule.Ours, rule.Theirs));
    }

    /// <summary>From the transformers library's order of four merged tokens, (column, row, channel), to (channel, row,
    /// column); in place.</summary>
    internal static void Reorder(Tensor merged)
    {
        using var scope = NewDisposeScope();
        long[] rows = merged.shape[..^1];
        long channels = merged.shape[^1] / 4;
        var parts = merged.view([.. rows, 2, 2, channels]);
        long[] order = [.. Enumerable.Range(0, rows.Length).Select(i => (long)i), rows.Length + 2, rows.Length + 1,
            rows.Length];
        merged.copy_(parts.permute(order).reshape(merged.shape).clone());
    }
}
