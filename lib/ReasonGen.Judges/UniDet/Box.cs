// Boxes and what is done with them (detectron2: structures/boxes.py, modeling/box_regression.py,
// modeling/anchor_generator.py), in single precision.
//   decode: centre + d·size/w,  size·exp(min(d/w, log(1000/16)))
//   anchors: at (x·stride, y·stride), of area size² and ratio height/width; sizes 32·2^(k/3)·2^level, k = 0, 1, 2
using System.Runtime.InteropServices;
using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Judges.UniDet;

/// <summary>A box by its corners, in pixels of the resized image.</summary>
internal readonly record struct Box(float X1, float Y1, float X2, float Y2)
{
    private static readonly float LargestExponent = (float)Math.Log(1000.0 / 16);
    private static readonly float[] Ratios = [0.5f, 1, 2];

    internal float Area => (X2 - X1) * (Y2 - Y1);

    internal bool HasArea => X2 - X1 > 0 && Y2 - Y1 > 0;

    internal bool IsFinite => float.IsFinite(X1) && float.IsFinite(Y1) && float.IsFinite(X2) && float.IsFinite(Y2);

    internal float Largest => MathF.Max(MathF.Max(X1, Y1), MathF.Max(X2, Y2));

    /// <summary>Cut to an image.</summary>
    internal Box Clip((int Height, int Width) size) => new(Math.Clamp(X1, 0, size.Width),
        Math.Clamp(Y1, 0, size.Height),
        Math.Clamp(X2, 0, size.Width), Math.Clamp(Y2, 0, size.Height));

    /// <summary>Moved and scaled by what a regression says; weights of centre and size.</summary>
    internal Box Decode(ReadOnlySpan<float> deltas, float centreWeight, float sizeWeight)
    {
        float width = X2 - X1, height = Y2 - Y1;
        var x = deltas[0] / centreWeight * width + (X1 + 0.5f * width);
        var y = deltas[1] / centreWeight * height + (Y1 + 0.5f * height);
        var halfWidth = 0.5f * (MathF.Exp(MathF.Min(deltas[2] / sizeWeight, LargestExponent)) * width);
        var halfHeight = 0.5f * (MathF.Exp(MathF.Min(deltas[3] / sizeWeight, LargestExponent)) * height);
        return new(x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight);
    }

    /// <summary>Boxes by the deltas of each, four a box.</summary>
    internal static Box[] Decode(IReadOnlyList<Box> boxes, float[] deltas, float centreWeight, float sizeWeight) =>
        [.. boxes.Select((box, i) => box.Decode(deltas.AsSpan(4 * i, 4), centreWeight, sizeWeight))];

    /// <summary>The anchors about one cell of a level, from the finest: sizes outside, ratios inside.</summary>
    internal static Box[] CellAnchors(int level)
    {
        var anchors = new Box[UniDetConfig.AnchorsPerCell];
        for (var i = 0; i < anchors.Length; i++)
        {
            var size = (32 << level) * Math.Pow(2, i / 3 / 3.0);
            var width = Math.Sqrt(size * size / Ratios[i % 3]);
            var height = Ratios[i % 3] * width;
            anchors[i] = new((float)(-width / 2), (float)(-height / 2), (float)(width / 2), (float)(height / 2));
        }

        return anchors;
    }

    /// <summary>All anchors of a level, in the order y, x, anchor.</summary>
    internal static Box[] Anchors(int level, int rows, int columns)
    {
        var (cell, stride) = (CellAnchors(level), (float)(8 << level));
        return [.. from y in Enumerable.Range(0, rows)
                   from x in Enumerable.Range(0, columns)
                   from anchor in cell
                   select new Box(x * stride + anchor.X1, y * stride + anchor.Y1, x * stride + anchor.X2, y * stride
                       + anchor.Y2)];
    }

    /// <summary>Rows of a tensor [n, 4].</summary>
    internal static Box[] Of(Tensor boxes) => MemoryMarshal.Cast<float, Box>(boxes.Values<float>()).ToArray();

    /// <summary>As a tensor [n, 4].</summary>
    internal static Tensor ToTensor(IReadOnlyList<Box> boxes) =>
        tensor(MemoryMarshal.Cast<Box, float>(boxes.ToArray()).ToArray(), [boxes.Count, 4], device: CPU);
}
