// The backbones with their pyramid (detectron2: backbone/resnet.py, fpn.py; UniDet: backbone/splat.py, resnest.py).
//   block: relu(shortcut(x) + conv3(inner(relu(conv1(x)))))
//   R50: inner = relu ∘ 3×3, the stride in conv1.  RS200: inner = split attention, then in the first block of a later
//   stage the mean of 3×3 at stride 2, zeros beyond the rim counted; its shortcut the mean of 2×2 before 1×1
//   split attention: u = relu(norm(3×3 in two groups)) = (u₁, u₂);  a₁ u₁ + a₂ u₂,  a = softmax over the halves of
//   fc2(relu(norm(fc1(mean of u₁ + u₂)))).  The mean is taken over the padding too, as in the reference.
//   pyramid: p_k = 3×3(1×1(res_k) + larger(p_{k+1} before its 3×3)), p6 = 3×3 of p5, p7 = 3×3 of relu(p6), both at
//   stride 2
using ReasonGen.Judges.Mask2Former;
using TorchSharp;
using static TorchSharp.torch;
using static TorchSharp.torch.nn;

namespace ReasonGen.Judges.UniDet;

/// <summary>ResNeSt or ResNet with a feature pyramid.</summary>
internal sealed class ResNet(Weights weights, UniDetConfig config)
{
    private readonly Weights body = weights.At("bottom_up");

    internal Action<string, Tensor>? Trace { get; set; }

    /// <summary>The maps p3 to p7 of a batch [B, 3, H, W].</summary>
    internal Tensor[] Forward(Tensor image)
    {
        using var scope = NewDisposeScope();
        var x = Stem(image);
        Trace?.Invoke("stem", x);
        var maps = new List<Tensor>();
        for (var stage = 2; stage <= 5; stage++)
        {
            for (var i = 0; i < config.Blocks[stage - 2]; i++)
            {
                var next = Block($"res{stage}.{i}", x, i == 0 && stage > 2);
                if (!maps.Contains(x))
                {
                    x.Dispose();
                }

                x = next;
                Trace?.Invoke($"res{stage}.{i}", x);
            }

            maps.Add(x);
        }

        return [.. Pyramid(maps).Select(map => map.MoveToOuterDisposeScope())];
    }

    private Tensor Stem(Tensor image)
    {
        using var scope = NewDisposeScope();
        var x = image;
        foreach (var (i, name) in (config.IsSplit ? new[] { "conv1_1", "conv1_2", "conv1_3" } : ["conv1"]).Index())
        {
            x = body.At("stem").Convolve(name, x, stride: i == 0 ? 2 : 1).relu_();
        }

        return functional.max_pool2d(x, 3, 2, 1).MoveToOuterDisposeScope();
    }

    private Tensor Block(string name, Tensor x, bool halves)
    {
        using var scope = NewDisposeScope();
        var block = body.At(name);
        var (early, late) = (halves && !config.IsSplit ? 2 : 1, halves && config.IsSplit);
        Tensor Traced(string part, Tensor value)
        {
            Trace?.Invoke($"{name}/{part}", value);
            return value;
        }

        var inner = Traced("conv1", block.Convolve("conv1", x, early)).relu_();
        inner = config.IsSplit ? Traced("conv2", SplitAttention(block.At("conv2"), inner, $"{name}/conv2"))
            : Traced("conv2", block.Convolve("conv2", inner)).relu_();
        if (late)
        {
            inner = Traced("avd_layer", functional.avg_pool2d(inner, 3, 2, 1));
        }

        var shortcut = x;
        if (block.Find("shortcut.weight") is not null)
        {
            shortcut = late
                ? Traced("shortcut_avgpool", functional.avg_pool2d(x, 2, 2, ceil_mode: true, count_include_pad: false))
                    : x;
            shortcut = Traced("shortcut", block.Convolve("shortcut", shortcut, early));
        }

        return Traced("conv3", block.Convolve("conv3", inner)).add_(shortcut).relu_().MoveToOuterDisposeScope();
    }

    private Tensor SplitAttention(Weights split, Tensor x, string name)
    {
        using var scope = NewDisposeScope();
        var convolved = split.Convolve("conv", x, groups: UniDetConfig.Radix);
        Trace?.Invoke(name + ".conv", convolved);
        var u = split.BatchNorm("bn0", convolved);
        Trace?.Invoke(name + ".bn0", u);
        u.relu_();
        var (batch, width) = (x.shape[0], x.shape[1]);
        var gap = u.mean([2L, 3L]).view(batch, UniDetConfig.Radix, width).sum([1L]);
        var first = split.Linear("fc1", gap);
        Trace?.Invoke(name + ".fc1", first);
        var normed = split.BatchNorm("bn1", first);
        Trace?.Invoke(name + ".bn1", normed);
        var second = split.Linear("fc2", normed.relu_());
        Trace?.Invoke(name + ".fc2", second);
        var shares = second.view(batch, UniDetConfig.Radix, width, 1, 1).softmax(1);
        var halves = u.chunk(UniDetConfig.Radix, 1);
        return halves[0].mul(shares.select(1, 0)).addcmul_(halves[1], shares.select(1, 1), 1).MoveToOuterDisposeScope();
    }

    private Tensor[] Pyramid(List<Tensor> maps)
    {
        var pyramid = new Tensor[5];
        Tensor? coarser = null;
        for (var level = 5; level >= 3; level--)
        {
            var lateral = weights.Convolve($"fpn_lateral{level}", maps[level - 2]);
            Trace?.Invoke($"lateral{level}", lateral);
            if (coarser is not null)
            {
                lateral.add_(functional.interpolate(coarser, scale_factor: [2, 2], mode: InterpolationMode.Nearest));
            }

            coarser = lateral;
            pyramid[level - 3] = weights.Convolve($"fpn_output{level}", lateral);
        }

        pyramid[3] = weights.Convolve("top_block.p6", pyramid[2], stride: 2);
        pyramid[4] = weights.Convolve("top_block.p7", pyramid[3].relu(), stride: 2);
        foreach (var (level, map) in pyramid.Index())
        {
            Trace?.Invoke($"p{level + 3}", map);
        }

        return pyramid;
    }
}
