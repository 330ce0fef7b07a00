// The proposals and the three heads of an image (detectron2: rpn.py, cascade_rcnn.py, poolers.py; UniDet:
// roi_heads/unified_roi_heads.py).
//   level of a region: ⌊4 + log₂(√area / 224 + 1e-8)⌋ within 3 to 5
//   stage: pooled → convolutions → layers → logits, deltas; its boxes, cut to the image, are the next one's regions,
//   empty ones too
//   score = (σ(z₀) + σ(z₁) + σ(z₂))·⅓ without the last column; boxes of the last stage
using ReasonGen.Core;
using ReasonGen.Judges.Mask2Former;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

/// <summary>From the pyramid's maps of one image to its detections.</summary>
internal sealed class CascadeHeads(Weights weights, UniDetConfig config, ComputeTarget target)
{
    private static readonly (float Centre, float Size)[] DeltaWeights = [(10, 5), (20, 10), (30, 15)];

    private readonly int mostShifted = target.Device.type == DeviceType.CUDA ? Suppression.MostShiftedOnCuda
        : Suppression.MostShiftedOnCpu;

    internal Action<string, Tensor>? Trace { get; set; }

    /// <summary>Proposals of the maps p3 to p7, [1, C, h, w] each.</summary>
    internal Box[] Propose(Tensor[] maps, (int Height, int Width) size)
    {
        using var scope = NewDisposeScope();
        var rpn = weights.At("proposal_generator.rpn_head");
        var levels = maps.Select((map, level) =>
        {
            var hidden = rpn.Convolve("conv", map).relu_();
            var logits = rpn.Convolve("objectness_logits", hidden).to(ScalarType.Float32);
            var deltas = rpn.Convolve("anchor_deltas", hidden).to(ScalarType.Float32);
            Trace?.Invoke($"deltas.p{level + 3}", deltas);
            var ordered = logits.permute(0, 2, 3, 1).flatten();
            Trace?.Invoke($"objectness.p{level + 3}", ordered);
            var boxes = Box.Decode(Box.Anchors(level, (int)map.shape[2], (int)map.shape[3]),
                deltas.permute(0, 2, 3, 1).Values<float>(), 1, 1);
            Trace?.Invoke($"decoded.p{level + 3}", Box.ToTensor(boxes));
            return (boxes, ordered.Values<float>());
        }).ToArray();
        var (proposals, kept) = Suppression.Proposals(levels, size, config.ProposalsPerLevel, config.Proposals,
            mostShifted);
        Trace?.Invoke("proposals", Box.ToTensor(proposals));
        Trace?.Invoke("proposal_logits", tensor(kept, device: CPU));
        return proposals;
    }

    /// <summary>What stands in the image.</summary>
    internal FoundBox[] Detect(Tensor[] maps, (int Height, int Width) size)
    {
        using var scope = NewDisposeScope();
        var boxes = Propose(maps, size);
        Tensor? sum = null;
        for (var stage = 0; stage < UniDetConfig.Stages; stage++)
        {
            boxes = stage == 0 ? boxes : [.. boxes.Select(box => box.Clip(size))];
            Trace?.Invoke($"stage{stage}.boxes_in", Box.ToTensor(boxes));
            using var inner = NewDisposeScope();
            var (logits, deltas) = Head(stage, Pool(maps, boxes, stage));
            boxes = Box.Decode(boxes, deltas.Values<float>(), DeltaWeights[stage].Centre, DeltaWeights[stage].Size);
            var scores = logits.sigmoid();
            sum = (sum is null ? scores : sum.add_(scores)).MoveToOuterDisposeScope();
        }

        var means = sum!.mul_(1.0 / UniDetConfig.Stages);
        Trace?.Invoke("boxes", Box.ToTensor(boxes));
        Trace?.Invoke("scores", means);
        return Suppression.Detections(boxes, means.Values<float>(), size, config.Detections, mostShifted);
    }

    /// <summary>The level of the pyramid that a region is taken from: 0 for p3, to 2.</summary>
    internal static int LevelOf(Box region) =>
        Math.Clamp((int)MathF.Floor(4 + MathF.Log2(MathF.Sqrt(region.Area) / 224 + 1e-8f)), 3, 5) - 3;

    /// <summary>All regions at one size, [n, C, 7, 7], channels last in memory.</summary>
    internal static Tensor Pool(IReadOnlyList<Tensor> maps, Box[] regions)
    {
        using var scope = NewDisposeScope();
        const int Side = UniDetConfig.PooledSide;
        var pooled = empty([regions.Length, Side, Side, maps[0].shape[1]], maps[0].dtype, maps[0].device);
        foreach (var level in Enumerable.Range(0, regions.Length).GroupBy(i => LevelOf(regions[i])))
        {
            var map = maps[level.Key].squeeze(0).permute(1, 2, 0).contiguous();
            using var part = RoiAlign.Pool(map, [.. level.Select(i => regions[i])], 1f / (8 << level.Key),
                (Side, Side));
            pooled.index_copy_(0, tensor(level.Select(i => (long)i).ToArray(), device: CPU).to(map.device), part);
        }

        return pooled.permute(0, 3, 1, 2).MoveToOuterDisposeScope();
    }

    private Tensor Pool(Tensor[] maps, Box[] regions, int stage)
    {
        var pooled = Pool(maps, regions);
        Trace?.Invoke($"pooled{stage}", pooled);
        return pooled;
    }

    // [n, classes + 1], [n, 4]
    private (Tensor Logits, Tensor Deltas) Head(int stage, Tensor pooled)
    {
        using var scope = NewDisposeScope();
        var (head, predictor) = (weights.At($"roi_heads.box_head.{stage}"),
            weights.At($"roi_heads.box_predictor.{stage}"));
        var x = pooled;
        for (var i = 1; i <= config.HeadConvolutions; i++)
        {
            using var last = x;
            x = head.Convolve($"conv{i}", x).relu_();
            Trace?.Invoke($"head{stage}.conv{i}", x);
        }

        x = x.flatten(1);
        for (var i = 1; i <= config.HeadLayers; i++)
        {
            x = head.Linear($"fc{i}", x);
            Trace?.Invoke($"head{stage}.fc{i}", x);
            x.relu_();
        }

        Trace?.Invoke($"box_features{stage}", x);
        var (logits, deltas) = (predictor.Linear("cls_score", x).to(ScalarType.Float32),
            predictor.Linear("bbox_pred", x).to(ScalarType.Float32));
        Trace?.Invoke($"stage{stage}.logits", logits);
        Trace?.Invoke($"stage{stage}.deltas", deltas);
        return (logits.MoveToOuterDisposeScope(), deltas.MoveToOuterDisposeScope());
    }
}
