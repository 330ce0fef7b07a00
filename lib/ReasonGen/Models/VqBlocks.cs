// The blocks of VQ-16, after LlamaGen's VQGAN (deepseek-ai/Janus: vq_model.py), under the checkpoint's names.
//   residual: x + conv(swish(norm(conv(swish(norm(x))))));  attention: x + proj( softmax(qᵀk / √C) v ), one head over
//     all places.
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Models;

/// <summary>Makes layers of one tokenizer alike.</summary>
internal readonly record struct VqLayers(VqConfig Config, ComputeTarget Target)
{
    internal GroupNorm Norm(int channels) =>
        GroupNorm(Config.Groups, channels, 1e-6, true, Target.Device, Target.DType);

    internal Conv2d Conv(int from, int to, int kernel = 3, int stride = 1) =>
        Conv2d(from, to, kernel, stride, stride == 1 ? kernel / 2 : 0, device: Target.Device, dtype: Target.DType);
}

internal sealed class VqResidual : Module<Tensor, Tensor>
{
    private readonly GroupNorm norm1, norm2;
    private readonly Conv2d conv1, conv2;
    private readonly Conv2d? nin_shortcut;

    internal VqResidual(VqLayers layers, int from, int to) : base("res")
    {
        norm1 = layers.Norm(from);
        conv1 = layers.Conv(from, to);
        norm2 = layers.Norm(to);
        conv2 = layers.Conv(to, to);
        nin_shortcut = from == to ? null : layers.Conv(from, to, 1);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        var h = conv1.forward(functional.silu(norm1.forward(x)));
        h = conv2.forward(functional.silu(norm2.forward(h)));
        return Operators.Add(nin_shortcut?.forward(x) ?? x, h).MoveToOuterDisposeScope();
    }
}

internal sealed class VqAttention : Module<Tensor, Tensor>
{
    private readonly GroupNorm norm;
    private readonly Conv2d q, k, v, proj_out;

    internal VqAttention(VqLayers layers, int channels) : base("attn")
    {
        norm = layers.Norm(channels);
        q = layers.Conv(channels, channels, 1);
        k = layers.Conv(channels, channels, 1);
        v = layers.Conv(channels, channels, 1);
        proj_out = layers.Conv(channels, channels, 1);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        long rows = x.shape[0], channels = x.shape[1];
        var n = norm.forward(x);
        Tensor Flat(Conv2d conv) => conv.forward(n).view(rows, channels, -1); // [B, C, h·w]
        // [B, hw, hw]
        var weights = functional.softmax(Flat(q).transpose(1, 2).bmm(Flat(k)).mul(Held.Of(1 / Math.Sqrt(channels))), 2);
        var mixed = Flat(v).bmm(weights.transpose(1, 2)).view(x.shape);
        return Operators.Add(x, proj_out.forward(mixed)).MoveToOuterDisposeScope();
    }
}

internal sealed class VqDownsample : Module<Tensor, Tensor>
{
    private readonly Conv2d conv;

    internal VqDownsample(VqLayers layers, int channels) : base("downsample")
    {
        conv = layers.Conv(channels, channels, 3, 2);
        RegisterComponents();
    }

    // one row of zeros below and one column to the right, nothing above and left
    public override Tensor forward(Tensor x) => conv.forward(functional.pad(x, [0, 1, 0, 1]));
}

internal sealed class VqUpsample : Module<Tensor, Tensor>
{
    private readonly Conv2d conv;

    internal VqUpsample(VqLayers layers, int channels) : base("upsample")
    {
        conv = layers.Conv(channels, channels);
        RegisterComponents();
    }

    // Nearest neighbour only copies, so it is exact in any type.
    public override Tensor forward(Tensor x) =>
        conv.forward(functional.interpolate(x, scale_factor: [2, 2], mode: InterpolationMode.Nearest));
}

/// <summary>One level of encoder or decoder: residual blocks, attention at the coarsest level, and a change of size at
/// its end.</summary>
internal sealed class VqLevel : Module<Tensor, Tensor>
{
    private readonly ModuleList<VqResidual> res;
    private readonly ModuleList<VqAttention>? attn;
    private readonly VqDownsample? downsample;
    private readonly VqUpsample? upsample;

    internal VqLevel(VqLayers layers, int from, int to, int blocks, bool attention, bool down, bool up) : base("level")
    {
        res = ModuleList(Enumerable.Range(0, blocks).Select(i => new VqResidual(layers, i == 0 ? from : to, to))
            .ToArray());
        attn = attention ? ModuleList(Enumerable.Range(0, blocks).Select(_ => new VqAttention(layers, to)).ToArray())
            : null;
        downsample = down ? new VqDownsample(layers, to) : null;
        upsample = up ? new VqUpsample(layers, to) : null;
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        for (var i = 0; i < res.Count; i++)
        {
            x = res[i].forward(x);
            x = attn?[i].forward(x) ?? x;
        }

        x = downsample?.forward(x) ?? upsample?.forward(x) ?? x;
        return x.MoveToOuterDisposeScope();
    }
}

/// <summary>Pixels [B, 3, H, W] → latent [B, z, h, w] where it encodes, or back.</summary>
internal sealed class VqPath : Module<Tensor, Tensor>
{
    private readonly Conv2d conv_in, conv_out;
    private readonly ModuleList<VqLevel> conv_blocks;
    private readonly ModuleList<Module<Tensor, Tensor>> mid;
    private readonly GroupNorm norm_out;
    private readonly bool encodes;

    internal VqPath(VqLayers layers, bool encodes) : base(encodes ? "encoder" : "decoder")
    {
        var config = layers.Config;
        var widths = config.Multipliers.Select(multiplier => multiplier * config.Channels).ToArray();
        int levels = widths.Length, coarsest = widths[^1];
        conv_in = layers.Conv(encodes ? 3 : config.LatentChannels, encodes ? config.Channels : coarsest);
        var blocks = encodes
            ? Enumerable.Range(0, levels)
                .Select(i => new VqLevel(layers, i == 0 ? config.Channels : widths[i - 1], widths[i],
                config.ResidualBlocks, attention: i == levels - 1, down: i < levels - 1, up: false))
            : Enumerable.Range(0, levels).Reverse()
                .Select(i => new VqLevel(layers, i == levels - 1 ? coarsest : widths[i + 1], widths[i],
                config.ResidualBlocks + 1, attention: i == levels - 1, down: false, up: i > 0));
        VqLevel[] made = blocks.ToArray();
        Module<Tensor, Tensor>[] middle =
            [new VqResidual(layers, coarsest, coarsest), new VqAttention(layers, coarsest),
                new VqResidual(layers, coarsest, coarsest)];
        conv_blocks = ModuleList(made);
        mid = ModuleList(middle);
        norm_out = layers.Norm(encodes ? coarsest : widths[0]);
        conv_out = layers.Conv(encodes ? coarsest : widths[0], encodes ? config.LatentChannels : 3);
        RegisterComponents();
        this.encodes = encodes;
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        x = conv_in.forward(x);
        IEnumerable<Module<Tensor, Tensor>> path = encodes ? [.. conv_blocks, .. mid] : [.. mid, .. conv_blocks];
        foreach (var block in path)
        {
            x = block.forward(x);
        }

        return conv_out.forward(functional.silu(norm_out.forward(x))).MoveToOuterDisposeScope();
    }
}
