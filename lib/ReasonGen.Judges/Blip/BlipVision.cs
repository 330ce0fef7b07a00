// BLIP's ViT (salesforce/BLIP models/vit.py): x = [class; patches] + positions;  blocks, norms first, exact GELU;  LN
// over all tokens. Positions of another grid: the class token's are kept, the others' are one image of the stored grid,
// interpolated bicubically (a = −¾, no antialias, corners not aligned: interpolate_pos_embed).
using ReasonGen.Judges.Bert;
using ReasonGen.Judges.Layers;
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.Blip;

/// <summary>Images [B, 3, S, S] to states of the class token and all patches, [B, 1 + (S/P)², D].</summary>
internal sealed class BlipVision : Module
{
    private readonly Parameter cls_token, pos_embed;
    private readonly PatchEmbedding patch_embed;
    private readonly ModuleList<TransformerBlock> blocks;
    private readonly LayerNorm norm;
    private readonly BlipVisionConfig config;

    internal BlipVision(BlipVisionConfig config, ComputeTarget target) : base(nameof(BlipVision))
    {
        cls_token = new Parameter(empty([1, 1, config.Width], target.DType, target.Device));
        pos_embed = new Parameter(empty([1, 1 + config.StoredGrid * config.StoredGrid, config.Width], target.DType,
            target.Device));
        patch_embed = new(config.PatchSize, config.Width, hasBias: true, target);
        blocks = BertStack.Blocks(config.Layers, new(config.Width, config.Heads, config.MlpWidth, Activation.Gelu,
            config.Epsilon), target);
        norm = LayerNorm(config.Width, config.Epsilon, device: target.Device, dtype: target.DType);
        RegisterComponents();
        this.config = config;
    }

    internal Tensor Forward(Tensor pixels, Action<string, Tensor>? observe)
    {
        if (pixels.dim() != 4 || !pixels.shape[1..].SequenceEqual([3L, config.ImageSize, config.ImageSize]))
        {
            throw new ArgumentException($"images are [{string.Join(", ", pixels.shape)}], not "
                + $"[B, 3, {config.ImageSize}, {config.ImageSize}]", nameof(pixels));
        }

        using var scope = NewDisposeScope();
        var x = patch_embed.forward(pixels.to(pos_embed.device));
        observe?.Invoke("vision.patches", x);
        x = cat([cls_token.expand(x.shape[0], 1, -1), x], 1).add_(Positions(pos_embed, config.Grid));
        observe?.Invoke("vision.embeddings", x);
        foreach (var (i, block) in blocks.Index())
        {
            var next = block.Forward(x);
            x.Dispose(); // one state at a time
            x = next;
            observe?.Invoke($"vision.block.{i}", x);
        }

        return norm.forward(x).MoveToOuterDisposeScope();
    }

    /// <summary>Positions [1, 1 + g², D] for a grid of so many patches a side.</summary>
    internal static Tensor Positions(Tensor stored, int grid)
    {
        using var scope = NewDisposeScope();
        var side = (int)Math.Sqrt(stored.shape[1] - 1);
        if (side == grid)
        {
            return stored.alias().MoveToOuterDisposeScope();
        }

        var map = stored.narrow(1, 1, side * side).reshape(1, side, side, -1).permute(0, 3, 1, 2);
        var resized = functional.interpolate(map, [grid, grid], mode: InterpolationMode.Bicubic, align_corners: false);
        return cat([stored.narrow(1, 0, 1), resized.permute(0, 2, 3, 1).flatten(1, 2)], 1).MoveToOuterDisposeScope();
    }
}
