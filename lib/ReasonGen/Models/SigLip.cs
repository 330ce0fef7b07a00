// SigLIP, the tower with which Janus looks at an image (deepseek-ai/Janus: siglip_vit.py), under the checkpoint's
// names.
//   x = patches + positions;  x += attention(LN(x));  x += fc2(gelu(fc1(LN(x))));  a last LN. LayerNorm ε is 1e-6, GELU
//     exact.
// The pooling head (attn_pool) is in the published files and read by nothing.
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using FrozenLinear = TorchSharp.Modules.Linear; // the tower takes no LoRA and no kernels

namespace ReasonGen.Models;

internal sealed class SigLipMlp : Module<Tensor, Tensor>
{
    private readonly FrozenLinear fc1, fc2;

    internal SigLipMlp(VisionConfig config, ComputeTarget target) : base("mlp")
    {
        fc1 = Linear(config.Width, config.Width * config.MlpRatio, true, target.Device, target.DType);
        fc2 = Linear(config.Width * config.MlpRatio, config.Width, true, target.Device, target.DType);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return fc2.forward(functional.gelu(fc1.forward(x))).MoveToOuterDisposeScope();
    }
}

internal sealed class SigLipAttention : Module<Tensor, Tensor>
{
    private readonly FrozenLinear qkv, proj;
    private readonly int heads;

    internal SigLipAttention(VisionConfig config, ComputeTarget target) : base("attn")
    {
        qkv = Linear(config.Width, 3 * config.Width, true, target.Device, target.DType);
        proj = Linear(config.Width, config.Width, true, target.Device, target.DType);
        RegisterComponents();
        heads = config.Heads;
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        long rows = x.shape[0], tokens = x.shape[1], width = x.shape[2];
        // [3, B, H, T, K]
        var parts = qkv.forward(x).view(rows, tokens, 3, heads, width / heads).permute(2, 0, 3, 1, 4);
        var mixed = functional.scaled_dot_product_attention(parts[0], parts[1], parts[2]);
        return proj.forward(mixed.transpose(1, 2).reshape(rows, tokens, width)).MoveToOuterDisposeScope();
    }
}

internal sealed class SigLipBlock : Module<Tensor, Tensor>
{
    private readonly LayerNorm norm1, norm2;
    private readonly SigLipAttention attn;
    private readonly SigLipMlp mlp;

    internal SigLipBlock(VisionConfig config, ComputeTarget target) : base("block")
    {
        norm1 = LayerNorm(config.Width, 1e-6, device: target.Device, dtype: target.DType);
        attn = new SigLipAttention(config, target);
        norm2 = LayerNorm(config.Width, 1e-6, device: target.Device, dtype: target.DType);
        mlp = new SigLipMlp(config, target);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var h = x.add(attn.forward(norm1.forward(x)));
        return h.add(mlp.forward(norm2.forward(h))).MoveToOuterDisposeScope();
    }
}

internal sealed class SigLipPatches : Module<Tensor, Tensor>
{
    private readonly Conv2d proj;

    internal SigLipPatches(VisionConfig config, ComputeTarget target) : base("patch_embed")
    {
        proj = Conv2d(3, config.Width, config.PatchSize, config.PatchSize, device: target.Device, dtype: target.DType);
        RegisterComponents();
    }

    public override Tensor forward(Tensor images) => proj.forward(images).flatten(2).transpose(1, 2); // [B, patches, D]
}

/// <summary>Kept so that files load strictly.</summary>
internal sealed class SigLipPool : Module
{
    private readonly Parameter latent;
    private readonly FrozenLinear q, kv, proj;
    private readonly LayerNorm norm;
    private readonly SigLipMlp mlp;

    internal SigLipPool(VisionConfig config, ComputeTarget target) : base("attn_pool")
    {
        latent = new Parameter(zeros(1, 1, config.Width, target.DType, target.Device));
        q = Linear(config.Width, config.Width, true, target.Device, target.DType);
        kv = Linear(config.Width, 2 * config.Width, true, target.Device, target.DType);
        proj = Linear(config.Width, config.Width, true, target.Device, target.DType);
        norm = LayerNorm(config.Width, 1e-6, device: target.Device, dtype: target.DType);
        mlp = new SigLipMlp(config, target);
        RegisterComponents();
    }
}

internal sealed class SigLipTower : Module<Tensor, Tensor>
{
    private readonly Parameter pos_embed;
    private readonly SigLipPatches patch_embed;
    private readonly ModuleList<SigLipBlock> blocks;
    private readonly LayerNorm norm;
    private readonly SigLipPool attn_pool;

    internal SigLipTower(VisionConfig config, ComputeTarget target) : base("vision_tower")
    {
        pos_embed = new Parameter(zeros(1, config.Patches, config.Width, target.DType, target.Device));
        patch_embed = new SigLipPatches(config, target);
        blocks = ModuleList(Enumerable.Range(0, config.Layers).Select(_ => new SigLipBlock(config, target)).ToArray());
        norm = LayerNorm(config.Width, 1e-6, device: target.Device, dtype: target.DType);
        attn_pool = new SigLipPool(config, target);
        RegisterComponents();
    }

    public override Tensor forward(Tensor images)
    {
        using var scope = NewDisposeScope();
        var x = patch_embed.forward(ComputeTarget.Place(images, pos_embed)).add(pos_embed);
        foreach (var block in blocks)
        {
            x = block.forward(x);
        }

        return norm.forward(x).MoveToOuterDisposeScope();
    }
}

/// <summary>Images [B, 3, S, S] in [-1, 1] → features [B, patches, D].</summary>
public sealed class SigLip : Module<Tensor, Tensor>
{
    private readonly SigLipTower vision_tower;

    /// <param name="config">Sizes.</param>
    /// <param name="target">Device and dtype of the weights.</param>
    public SigLip(VisionConfig config, ComputeTarget target) : base(nameof(SigLip))
    {
        vision_tower = new SigLipTower(config, target);
        RegisterComponents();
    }

    public override Tensor forward(Tensor images) => vision_tower.forward(images);
}
