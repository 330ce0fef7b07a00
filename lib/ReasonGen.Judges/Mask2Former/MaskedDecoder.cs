// The transformer decoder (mmdetection: mask2former_head.py): queries q look at memory m of level i mod 3 where their
// mask so far allows it.
//   q = LN(q + attention(q + e, m + level + position, m + level; mask))
//   q = LN(q + attention(q + e, q + e, q));  q = LN(q + W₂ relu(W₁ q))
//   heads, before the first layer and after each: n = LN(q); class logits = W n; mask logits = MLP(n) · mask features
//   mask of the next layer: blocked where sigmoid(bilinear(mask logits)) < ½; who would see nothing sees all.
// Deviation: what is bilinear in the mask logits is linear in the mask features too, so these are made smaller, once
// a level, and only the last layer's masks are computed at full size.
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Memories and mask features → class logits [Q, classes + 1] and mask logits [Q, h, w].</summary>
internal sealed class MaskedDecoder(Weights weights, Mask2FormerConfig config)
{
    /// <summary>Told of every step by name; for tests.</summary>
    internal Action<string, Tensor>? Trace { get; set; }

    internal (Tensor ClassLogits, Tensor MaskLogits) Forward(Tensor[] memories, (int Height, int Width)[] shapes,
        Tensor maskFeatures)
    {
        using var scope = NewDisposeScope();
        Tensor[] values = [.. memories.Select((memory, level) => memory.add(weights["level_embed.weight"][level]))];
        Tensor[] positions =
            [.. shapes.Select((shape, level) => PixelDecoder.Sine(shape, config.Features, values[level].device)
            .to(values[level].dtype))];
        Tensor[] keys = [.. values.Zip(positions, (value, position) => value.add(position))];
        Tensor[] features = [.. shapes.Select(shape => Shrink(maskFeatures, shape))];
        Tensor query = weights["query_feat.weight"], embed = weights["query_embed.weight"];
        for (var i = 0; i < config.DecoderLayers; i++)
        {
            var level = i % Mask2FormerConfig.Levels;
            TraceHeads(i, query, maskFeatures);
            var blocked = Blocked(MaskEmbedding(Normed(query)), features[level]);
            Trace?.Invoke($"decoder{i}.blocked", blocked);
            Trace?.Invoke($"decoder{i}.key", values[level]);
            Trace?.Invoke($"decoder{i}.key_position", positions[level]);
            query = Layer(weights.At($"transformer_decoder.layers.{i}"), query, embed, keys[level], values[level],
                blocked);
            Trace?.Invoke($"decoder{i}", query);
        }

        TraceHeads(config.DecoderLayers, query, maskFeatures);
        var normed = Normed(query);
        return (weights.Linear("cls_embed", normed).MoveToOuterDisposeScope(), Masks(normed, maskFeatures)
            .MoveToOuterDisposeScope());
    }

    private Tensor Layer(Weights layer, Tensor query, Tensor embed, Tensor keys, Tensor values, Tensor blocked)
    {
        using var scope = NewDisposeScope();
        var visible = blocked.logical_not().view(1, 1, blocked.shape[0], blocked.shape[1]);
        var seen = Attend(layer.At("attentions.0.attn"), query.add(embed), keys, values, visible);
        var h = layer.LayerNorm("norms.0", seen.add_(query));
        var placed = h.add(embed);
        h = layer.LayerNorm("norms.1", Attend(layer.At("attentions.1.attn"), placed, placed, h, null).add_(h));
        return layer.LayerNorm("norms.2", layer.AddMlp("ffns.0", h, h, inner => inner.relu_()))
            .MoveToOuterDisposeScope();
    }

    private Tensor Attend(Weights attention, Tensor query, Tensor key, Tensor value, Tensor? visible)
    {
        using var scope = NewDisposeScope();
        var (matrices, biases) = (attention["in_proj_weight"].chunk(3), attention["in_proj_bias"].chunk(3));
        var heads = new[] { query, key, value }.Select((x, i) =>
            // [1, H, T, d]
            functional.linear(x, matrices[i], biases[i]).view(1, x.shape[0], config.DecoderHeads, -1).transpose(1, 2))
                .ToArray();
        var mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], visible);
        return attention.Linear("out_proj", mixed.transpose(1, 2).reshape(query.shape)).MoveToOuterDisposeScope();
    }

    private Tensor Normed(Tensor query) => weights.LayerNorm("transformer_decoder.post_norm", query);

    private Tensor MaskEmbedding(Tensor normed)
    {
        using var scope = NewDisposeScope();
        var inner = weights.Linear("mask_embed.2", weights.Linear("mask_embed.0", normed).relu_()).relu_();
        return weights.Linear("mask_embed.4", inner).MoveToOuterDisposeScope();
    }

    private Tensor Masks(Tensor normed, Tensor features)
    {
        using var scope = NewDisposeScope();
        return MaskEmbedding(normed).matmul(features.view(-1, features.shape[2]).t()).view(-1, features.shape[0],
            features.shape[1]).MoveToOuterDisposeScope();
    }

    /// <summary>What a query may not attend to, [Q, hw].</summary>
    private static Tensor Blocked(Tensor embedding, Tensor features)
    {
        using var scope = NewDisposeScope();
        var blocked = embedding.matmul(features.t()).sigmoid_().lt(0.5f);
        return blocked.logical_and(blocked.all(1, keepdim: true).logical_not()).MoveToOuterDisposeScope();
    }

    // mask features at the size of a level, [hw, C]
    private static Tensor Shrink(Tensor features, (int Height, int Width) shape)
    {
        using var scope = NewDisposeScope();
        var smaller = functional.interpolate(Weights.First(features), [shape.Height, shape.Width],
            mode: InterpolationMode.Bilinear, align_corners: false);
        return Weights.Last(smaller).view(-1, features.shape[2]).MoveToOuterDisposeScope();
    }

    private void TraceHeads(int step, Tensor query, Tensor maskFeatures)
    {
        if (Trace is { } trace)
        {
            var normed = Normed(query);
            trace($"head{step}.class_logits", weights.Linear("cls_embed", normed));
            trace($"head{step}.mask_logits", Masks(normed, maskFeatures));
        }
    }
}
