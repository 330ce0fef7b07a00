// Suppression of boxes that overlap a better one (torchvision 0.15: ops/boxes.py, nms_kernel.cpp), and what stands
// around it (detectron2: proposal_utils.py, fast_rcnn.py). IoU without +1, suppressed above the threshold, equal scores
// in order.
//   by groups: boxes + group·(largest coordinate + 1) in single precision, so that groups do not meet; beyond so many
//   boxes group by group
// Kept: the shift rounds the corners of late classes to 1/32 pixel, which decides some pairs otherwise; NaN sorts
// before all else.
namespace ReasonGen.Judges.UniDet;

/// <summary>A box that was found; <paramref name="Class"/> counts from 0.</summary>
internal readonly record struct FoundBox(int Class, float Score, Box Box);

internal static class Suppression
{
    /// <summary>Up to so many boxes the groups are told apart by a shift, on the CPU and on CUDA.</summary>
    internal const int MostShiftedOnCpu = 1000, MostShiftedOnCuda = 5000;

    private static readonly Comparer<float> NaNFirst = Comparer<float>.Create((one, other) =>
        float.IsNaN(one) ? float.IsNaN(other) ? 0 : -1 : float.IsNaN(other) ? 1 : other.CompareTo(one));

    /// <summary>Indices by falling score; equal ones in order.</summary>
    internal static int[] Sorted(float[] scores) => [.. Enumerable.Range(0, scores.Length)
        .OrderBy(i => scores[i], NaNFirst)];

    /// <summary>Indices of the boxes that stay, by falling score.</summary>
    internal static int[] Keep(Box[] boxes, float[] scores, double threshold)
    {
        var kept = new List<int>();
        var (order, gone) = (Sorted(scores), new bool[boxes.Length]);
        for (var i = 0; i < order.Length; i++)
        {
            if (gone[i])
            {
                continue;
            }

            var box = boxes[order[i]];
            kept.Add(order[i]);
            for (var j = i + 1; j < order.Length; j++)
            {
                var other = boxes[order[j]];
                var width = MathF.Max(0, MathF.Min(box.X2, other.X2) - MathF.Max(box.X1, other.X1));
                var both = width * MathF.Max(0, MathF.Min(box.Y2, other.Y2) - MathF.Max(box.Y1, other.Y1));
                gone[j] |= both / (box.Area + other.Area - both) > threshold;
            }
        }

        return [.. kept];
    }

    /// <summary>The same within each group.</summary>
    /// <param name="boxes">Boxes.</param>
    /// <param name="scores">Their scores.</param>
    /// <param name="groups">Their groups.</param>
    /// <param name="threshold">Largest overlap of two that stay.</param>
    /// <param name="mostShifted">Above so many boxes the groups are gone through one by one.</param>
    internal static int[] KeepByGroup(Box[] boxes, float[] scores, int[] groups, double threshold, int mostShifted)
    {
        if (boxes.Length > mostShifted)
        {
            int[] kept = [.. Enumerable.Range(0, boxes.Length).GroupBy(i => groups[i]).SelectMany(group =>
            {
                int[] own = [.. group];
                return Keep([.. own.Select(i => boxes[i])], [.. own.Select(i => scores[i])], threshold)
                    .Select(i => own[i]);
            }).Order()];
            return [.. kept.OrderBy(i => scores[i], NaNFirst)];
        }

        var step = boxes.Length == 0 ? 0 : boxes.Max(box => box.Largest) + 1;
        return Keep([.. boxes.Select((box, i) => groups[i] * step is var shift
            ? new Box(box.X1 + shift, box.Y1 + shift, box.X2 + shift, box.Y2 + shift) : box)], scores, threshold);
    }

    /// <summary>The proposals of an image.</summary>
    /// <param name="levels">Boxes and logits of each level, in the order of its anchors.</param>
    /// <param name="size">Height and width of the image without padding.</param>
    /// <param name="perLevel">Most of a level; those that are not finite take up places.</param>
    /// <param name="most">Most altogether.</param>
    /// <param name="mostShifted">As for <see cref="KeepByGroup"/>.</param>
    internal static (Box[] Boxes, float[] Logits) Proposals(IReadOnlyList<(Box[] Boxes, float[] Logits)> levels,
        (int Height, int Width) size, int perLevel, int most, int mostShifted)
    {
        (Box Box, float Logit, int Level)[] all =
        [
            .. levels.SelectMany((level, number) => Sorted(level.Logits).Take(perLevel)
                .Select(i => (level.Boxes[i], level.Logits[i], number)))
                .Where(one => one.Item1.IsFinite && float.IsFinite(one.Item2))
                .Select(one => (one.Item1.Clip(size), one.Item2, one.number)).Where(one => one.Item1.HasArea),
        ];
        var kept = KeepByGroup([.. all.Select(one => one.Box)], [.. all.Select(one => one.Logit)],
            [.. all.Select(one => one.Level)], UniDetConfig.ProposalOverlap, mostShifted).Take(most).ToArray();
        return ([.. kept.Select(i => all[i].Box)], [.. kept.Select(i => all[i].Logit)]);
    }

    /// <summary>The detections of an image. A proposal may stand under several classes; boxes without an area may still
    /// be among them.</summary>
    /// <param name="boxes">Box of each proposal.</param>
    /// <param name="scores">A row of each, its last column the background, which only keeps rows with a score that is
    /// not finite away.</param>
    /// <param name="size">Height and width of the image without padding.</param>
    /// <param name="most">Most detections.</param>
    /// <param name="mostShifted">As for <see cref="KeepByGroup"/>.</param>
    internal static FoundBox[] Detections(Box[] boxes, float[] scores, (int Height, int Width) size, int most,
        int mostShifted)
    {
        var columns = boxes.Length == 0 ? 1 : scores.Length / boxes.Length;
        var found = new List<FoundBox>();
        for (var row = 0; row < boxes.Length; row++)
        {
            var own = scores.AsSpan(row * columns, columns);
            var sound = boxes[row].IsFinite;
            foreach (var score in own)
            {
                sound &= float.IsFinite(score);
            }

            for (var column = 0; sound && column < columns - 1; column++)
            {
                if (own[column] > UniDetConfig.LeastScore)
                {
                    found.Add(new(column, own[column], boxes[row].Clip(size)));
                }
            }
        }

        return [.. KeepByGroup([.. found.Select(one => one.Box)], [.. found.Select(one => one.Score)],
            [.. found.Select(one => one.Class)], UniDetConfig.BoxOverlap, mostShifted).Take(most)
                .Select(i => found[i])];
    }
}
