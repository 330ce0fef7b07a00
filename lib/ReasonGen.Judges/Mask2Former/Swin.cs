// Swin transformer (mmdetection: swin.py), one image, tokens row by row.
//   x = patches;  x += proj(attention in windows(LN x));  x += W₂ gelu(W₁ LN x), odd blocks with shifted windows
//   between stages four tokens become one: reduction(LN(channel c·4 + row·2 + column))
//   each stage's map is normed for the decoder, not for the next stage
// Attention: softmax(q kᵀ / √d + table of position biases + mask) v. A place of padding has token 0, hence key and
// value are the biases alone.
// Deviations: 1. Padding never enters a product: its query, key and value are the bias, put there as one row.
//   2. Padded places are left out of proj.
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>Image [1, 3, H, W] → maps of strides 4, 8, 16 and 32, [h, w, C] each.</summary>
internal sealed class Swin(Weights weights, Mask2FormerConfig config)
{
    /// <summary>Told of every step by name; for tests.</summary>
    internal Action<string, Tensor>? Trace { get; set; }

    /// <summary>The normed maps of the four stages. The image's sides are multiples of 32.</summary>
    internal Tensor[] Forward(Tensor image)
    {
        using var scope = NewDisposeScope();
        var embed = weights.At("patch_embed");
        var patches = functional.conv2d(image, embed["projection.weight"], embed["projection.bias"], [4, 4]);
        int height = (int)patches.shape[2], width = (int)patches.shape[3];
        var x = embed.LayerNorm("norm", patches.flatten(2).squeeze(0).t().contiguous()); // [hw, C]
        Trace?.Invoke("patch_embed", x.view(height, width, -1));
        var maps = new Tensor[4];
        for (var stage = 0; stage < 4; stage++)
        {
            x = Stage(stage, x, height, width);
            maps[stage] = weights.LayerNorm($"norm{stage}", x).view(height, width, -1).MoveToOuterDisposeScope();
            Trace?.Invoke($"stage{stage}.normed", maps[stage]);
            if (stage < 3)
            {
                x = Merge(weights.At($"stages.{stage}.downsample"), x.view(height, width, -1));
                (height, width) = ((height + 1) / 2, (width + 1) / 2);
                Trace?.Invoke($"stage{stage}.merged", x.view(height, width, -1));
            }
        }

        return maps;
    }

    private Tensor Stage(int stage, Tensor x, int height, int width)
    {
        using var still = new SwinWindows(height, width, config.WindowSize, 0, x.device, x.dtype);
        using var shifted = new SwinWindows(height, width, config.WindowSize, config.WindowSize / 2, x.device, x.dtype);
        for (var i = 0; i < config.Depths[stage]; i++)
        {
            x = Block(weights.At($"stages.{stage}.blocks.{i}"), x, i % 2 == 0 ? still : shifted, config.Heads[stage],
                config.WindowSize);
            Trace?.Invoke($"stage{stage}.block{i}", x.view(height, width, -1));
        }

        return x;
    }

    private static Tensor Block(Weights block, Tensor x, SwinWindows windows, int heads, int side)
    {
        using var scope = NewDisposeScope();
        using var normed = block.LayerNorm("norm1", x);
        using var h = Attend(block.At("attn.w_msa"), normed, windows, heads, side).add_(x);
        using var again = block.LayerNorm("norm2", h);
        return block.AddMlp("ffn", again, h, inner => functional.gelu(inner)).MoveToOuterDisposeScope();
    }

    /// <summary>Attention within windows, [hw, C] → [hw, C]; weights are those of w_msa.</summary>
    internal static Tensor Attend(Weights attention, Tensor x, SwinWindows windows, int heads, int side)
    {
        using var scope = NewDisposeScope();
        long channels = x.shape[1], area = side * side;
        var qkv = attention.Linear("qkv", x);
        if (windows.Padded)
        {
            qkv = cat([qkv, attention["qkv.bias"].unsqueeze(0)]);
        }

        // [3, n, H, w², d]
        var parts = qkv.index_select(0, windows.From).view(windows.Count, area, 3, heads, channels / heads)
            .permute(2, 0, 3, 1, 4);
        var mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2],
            Bias(attention, windows, heads, side));
        var rows = mixed.transpose(1, 2).reshape(-1, channels).index_select(0, windows.To);
        return attention.Linear("proj", rows).MoveToOuterDisposeScope();
    }

    private static Tensor Bias(Weights attention, SwinWindows windows, int heads, int side)
    {
        var table = attention["relative_position_bias_table"]; // [(2w−1)², H]
        var index = tensor(SwinWindows.RelativeIndex(side), device: table.device);
        var bias = table.index_select(0, index).t().reshape(1, heads, side * side, side * side);
        return windows.Mask is { } mask ? bias.add(mask) : bias;
    }

    /// <summary>Four tokens to one: [h, w, C] → [⌈h/2⌉ ⌈w/2⌉, 2C]; an odd side is padded with zeros.</summary>
    internal static Tensor Merge(Weights merge, Tensor map)
    {
        using var scope = NewDisposeScope();
        if (map.shape[0] % 2 + map.shape[1] % 2 > 0)
        {
            map = functional.pad(map, [0, 0, 0, map.shape[1] % 2, 0, map.shape[0] % 2]);
        }

        long height = map.shape[0] / 2, width = map.shape[1] / 2, channels = map.shape[2];
        var four = map.view(height, 2, width, 2, channels).permute(0, 2, 4, 1, 3).reshape(height * width, 4 * channels);
        return merge.Linear("reduction", merge.LayerNorm("norm", four)).MoveToOuterDisposeScope();
    }
}
