// The vision tower of Qwen2.5-VL (transformers: modeling_qwen2_5_vl.py), under the checkpoint's names. S patches of all
// images, in window order:
//   x = proj(patch);  x += attention(RMSNorm(x)) within the segments;  x += down(silu(gate(n)) · up(n)), n =
//     RMSNorm(x);
//   token = mlp(RMSNorm(x) of the 2x2 patches of a unit, side by side), back in image order.
// Segments are windows, or whole frames in a few blocks. RoPE turns the first half of a head's frequencies by the
// patch's row, the others by its column.
// Deviation: segments of one length run as one batch instead of under a block-diagonal mask, which gives the same
// numbers.
using ReasonGen.Core;
using ReasonGen.Models;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;
using Linear = TorchSharp.Modules.Linear;

namespace ReasonGen.Qwen;

/// <summary>Attention within segments of a row of patches: the segments of one length are computed together.</summary>
internal sealed class SegmentPlan
{
    private readonly (int Length, Tensor? Rows)[] groups;
    private readonly Tensor? back;

    /// <param name="ends">0, then the place behind the end of each segment.</param>
    internal SegmentPlan(int[] ends, Device device)
    {
        var byLength = ends.Zip(ends.Skip(1), (start, end) => (Start: start, Length: end - start))
            .GroupBy(segment => segment.Length).ToArray();
        var rows = byLength
            .Select(group =>
                group.SelectMany(segment => Enumerable.Range(segment.Start, segment.Length).Select(row => (long)row))
                    .ToArray()).ToArray();
        var single = byLength.Length == 1;
        groups = byLength.Select((group, i) => (group.Key, single ? null : tensor(rows[i], device: device))).ToArray();
        back = single ? null : tensor(rows.SelectMany(row => row).ToArray(), device: device).argsort();
    }

    /// <summary>Queries, keys and values [S, H, K] → [S, H · K].</summary>
    internal Tensor Attend(Tensor q, Tensor k, Tensor v)
    {
        var mixed = groups.Select(group =>
        {
            Tensor Segments(Tensor x) =>
                (group.Rows is null ? x : x.index_select(0, group.Rows)).view(-1, group.Length, x.shape[1], x.shape[2])
                    .transpose(1, 2);
            return functional.scaled_dot_product_attention(Segments(q), Segments(k), Segments(v)).transpose(1, 2)
                .reshape(-1, q.shape[1] * q.shape[2]);
        }).ToArray();
        return back is null ? mixed[0] : cat(mixed).index_select(0, back);
    }
}

internal sealed class QwenVisionAttention : Module
{
    private readonly Linear qkv, proj;
    private readonly int heads;

    internal QwenVisionAttention(QwenVisionConfig config, ComputeTarget target) : base("attn")
    {
        qkv = Linear(config.Width, 3 * config.Width, true, target.Device, target.DType);
        proj = Linear(config.Width, config.Width, true, target.Device, target.DType);
        RegisterComponents();
        heads = config.Heads;
    }

    internal Tensor Forward(Tensor x, Tensor cos, Tensor sin, SegmentPlan segments)
    {
        using var scope = NewDisposeScope();
        var parts = qkv.forward(x).view(x.shape[0], 3, heads, -1).unbind(1); // 3 x [S, H, K]
        Tensor Turned(Tensor part) => Rotary.Turn(part.to(ScalarType.Float32), cos, sin).to(x.dtype);
        return proj.forward(segments.Attend(Turned(parts[0]), Turned(parts[1]), parts[2])).MoveToOuterDisposeScope();
    }
}

internal sealed class QwenVisionMlp : Module<Tensor, Tensor>
{
    private readonly Linear gate_proj, up_proj, down_proj;

    internal QwenVisionMlp(QwenVisionConfig config, ComputeTarget target) : base("mlp")
    {
        gate_proj = Linear(config.Width, config.MlpWidth, true, target.Device, target.DType);
        up_proj = Linear(config.Width, config.MlpWidth, true, target.Device, target.DType);
        down_proj = Linear(config.MlpWidth, config.Width, true, target.Device, target.DType);
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return down_proj.forward(functional.silu(gate_proj.forward(x)).mul(up_proj.forward(x)))
            .MoveToOuterDisposeScope();
    }
}

internal sealed class QwenVisionBlock : Module
{
    private readonly RmsNorm norm1, norm2;
    private readonly QwenVisionAttention attn;
    private readonly QwenVisionMlp mlp;

    internal QwenVisionBlock(QwenVisionConfig config, ComputeTarget target) : base("block")
    {
        norm1 = new RmsNorm(config.Width, 1e-6, target.Device, target.DType);
        norm2 = new RmsNorm(config.Width, 1e-6, target.Device, target.DType);
        attn = new QwenVisionAttention(config, target);
        mlp = new QwenVisionMlp(config, target);
        RegisterComponents();
    }

    internal Tensor Attend(Tensor x, Tensor cos, Tensor sin, SegmentPlan segments) =>
        attn.Forward(norm1.forward(x), cos, sin, segments);

    internal Tensor Think(Tensor x) => mlp.forward(norm2.forward(x));
}

internal sealed class QwenPatchEmbed : Module<Tensor, Tensor>
{
    private readonly Conv3d proj;

    internal QwenPatchEmbed(QwenVisionConfig config, ComputeTarget target) : base("patch_embed")
    {
        (long, long, long) size = (config.TemporalPatchSize, config.PatchSize, config.PatchSize);
        proj = Conv3d(3, config.Width, size, size, bias: false, device: target.Device, dtype: target.DType);
        RegisterComponents();
    }

    // Kernel and stride are one patch, so the convolution is a product.
    public override Tensor forward(Tensor patches) =>
        functional.linear(patches.to(proj.weight.dtype), proj.weight.flatten(1));
}

internal sealed class QwenMerger : Module<Tensor, Tensor>
{
    private readonly RmsNorm ln_q;
    private readonly ModuleList<Module<Tensor, Tensor>> mlp;
    private readonly int width;

    internal QwenMerger(QwenVisionConfig config, int outWidth, ComputeTarget target) : base("merger")
    {
        width = config.Width * config.MergeSize * config.MergeSize;
        ln_q = new RmsNorm(config.Width, 1e-6, target.Device, target.DType);
        mlp = ModuleList<Module<Tensor, Tensor>>(
            Linear(width, width, true, target.Device, target.DType), GELU(),
            Linear(width, outWidth, true, target.Device, target.DType));
        RegisterComponents();
    }

    public override Tensor forward(Tensor x)
    {
        using var scope = NewDisposeScope();
        return mlp.Aggregate(ln_q.forward(x).view(-1, width), (y, layer) => layer.forward(y)).MoveToOuterDisposeScope();
    }
}

/// <summary>Patches of any number of images of any size → one decoder-wide vector for each 2x2 of them.</summary>
internal sealed class QwenVision : Module
{
    private readonly QwenPatchEmbed patch_embed;
    private readonly ModuleList<QwenVisionBlock> blocks;
    private readonly QwenMerger merger;
    private readonly QwenVisionConfig config;

    internal QwenVision(QwenVisionConfig config, int outWidth, ComputeTarget target) : base("visual")
    {
        patch_embed = new QwenPatchEmbed(config, target);
        blocks = ModuleList(Enumerable.Range(0, config.Layers).Select(_ => new QwenVisionBlock(config, target))
            .ToArray());
        merger = new QwenMerger(config, outWidth, target);
        RegisterComponents();
        this.config = config;
    }

    /// <param name="patches">[S, channels · frames · rows · columns], in the processor's order.</param>
    /// <param name="grids">One an image; their patches add up to S.</param>
    /// <param name="observe">Handed every intermediate result by name: patch_embed, block0.attn, block0, …,
    /// merger.</param>
    /// <returns>[S / 4, D], image by image.</returns>
    internal Tensor Forward(Tensor patches, IReadOnlyList<PatchGrid> grids, Action<string, Tensor>? observe = null)
    {
        using var scope = NewDisposeScope();
        if (patches.dim() != 2 || patches.shape[0] != grids.Sum(grid => grid.Patches)
            || patches.shape[1] != config.PatchValues)
        {
            throw new ArgumentException(
                $"patches are "
                + $"[{string.Join(", ", patches.shape)}], not [{grids.Sum(grid => grid.Patches)}, "
                + $"{config.PatchValues}] as the grids say");
        }

        var device = patches.device;
        var windows = QwenWindows.Of(grids, config);
        int unit = config.MergeSize * config.MergeSize;
        var order = tensor(windows.Order.Select(i => (long)i).ToArray(), device: device);
        Tensor Reorder(Tensor x) => x.view(order.shape[0], unit, -1).index_select(0, order).view(x.shape[0], -1);
        SegmentPlan near = new(windows.WindowEnds, device), far = new(windows.FrameEnds, device);
        var (cos, sin) = Rotary.CosSin(Reorder(Angles(grids, device)).unsqueeze(1), ScalarType.Float32); // [S, 1, K]
        var x = patch_embed.forward(patches);
        observe?.Invoke("patch_embed", x);
        x = Reorder(x);
        foreach (var (i, block) in blocks.Index())
        {
            var attended = block.Attend(x, cos, sin, config.FullAttentionLayers.Contains(i) ? far : near);
            observe?.Invoke($"block{i}.attn", attended);
            x = x.add(attended);
            x = x.add(block.Think(x));
            observe?.Invoke($"block{i}", x);
        }

        var merged = merger.forward(x);
        observe?.Invoke("merger", merged);
        return merged.index_select(0, order.argsort()).MoveToOuterDisposeScope();
    }

    /// <summary>Rotary angles [S, K/2] in the processor's order: row angles, then column angles.</summary>
    internal Tensor Angles(IReadOnlyList<PatchGrid> grids, Device device)
    {
        using var scope = NewDisposeScope();
        var merge = config.MergeSize;
        var frequencies = Rotary.Frequencies(config.HeadWidth / 2, 10000, device); // [K/4]
        var places = grids.Distinct().ToDictionary(grid => grid, grid =>
        {
            var shape = new long[] { grid.Height / merge, merge, grid.Width / merge, merge };
            Tensor InOrder(Tensor along, params long[] view) =>
                along.view(view).expand(shape).permute(0, 2, 1, 3).reshape(-1);
            var rows = InOrder(arange(grid.Height, ScalarType.Float32, device), shape[0], merge, 1, 1);
            var columns = InOrder(arange(grid.Width, ScalarType.Float32, device), 1, 1, shape[2], merge);
            return stack([rows, columns], 1).unsqueeze(-1).mul(frequencies).flatten(1).repeat(grid.Time, 1);
        });
        return cat(grids.Select(grid => places[grid]).ToArray()).MoveToOuterDisposeScope();
    }
}
