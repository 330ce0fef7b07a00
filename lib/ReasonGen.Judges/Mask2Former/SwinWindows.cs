// How a map of tokens falls into windows (mmdetection: swin.py). Side w, shift s = 0 or ⌊w/2⌋: the map is padded with
// zeros at the right and at the bottom to multiples of w, rolled by −s, and cut. Where s > 0, tokens that were not
// neighbours before the roll must not see each other: along each axis of length n there are three regions, [0, n −
// w), [n − w, n − s), [n − s, n), and −100 is added between tokens of different regions.
// Padding, rolling and cutting are one list of rows here, and the way back is another.
using static TorchSharp.torch;

namespace ReasonGen.Judges.Mask2Former;

/// <summary>The windows of a map of one size; hw tokens, n windows of w² places.</summary>
internal sealed class SwinWindows : IDisposable
{
    internal SwinWindows(int height, int width, int side, int shift, Device device, ScalarType type)
    {
        int rows = (height + side - 1) / side, columns = (width + side - 1) / side, area = side * side;
        int paddedHeight = rows * side, paddedWidth = columns * side;
        var (from, to, region) = (new long[rows * columns * area], new long[height * width],
            new byte[rows * columns * area]);
        for (var place = 0; place < from.Length; place++)
        {
            int window = place / area, y = window / columns * side + place % area / side, x = window % columns * side
                + place % side;
            region[place] = (byte)(3 * Region(y, paddedHeight) + Region(x, paddedWidth));
            int oldY = (y + shift) % paddedHeight, oldX = (x + shift) % paddedWidth;
            var inside = oldY < height && oldX < width;
            from[place] = inside ? oldY * width + oldX : height * width;
            if (inside)
            {
                to[from[place]] = place;
            }
        }

        Count = rows * columns;
        Padded = from.Length != to.Length;
        From = tensor(from, device: device).DetachFromDisposeScope();
        To = tensor(to, device: device).DetachFromDisposeScope();
        if (shift > 0)
        {
            using var regions = tensor(region, [Count, area], device: device);
            using var other = regions.unsqueeze(1).ne(regions.unsqueeze(2));
            Mask = other.to(type).mul_(-100).unsqueeze(1).DetachFromDisposeScope();
        }

        int Region(int at, int length) => shift == 0 || at < length - side ? 0 : at < length - shift ? 1 : 2;
    }

    /// <summary>Number of windows.</summary>
    internal int Count { get; }

    /// <summary>Whether some places hold no token of the map.</summary>
    internal bool Padded { get; }

    /// <summary>The token of each place, [n w²]; hw where there is none.</summary>
    internal Tensor From { get; }

    /// <summary>The place of each token, [hw].</summary>
    internal Tensor To { get; }

    /// <summary>What is added to attention, [n, 1, w², w²]: 0 or −100; null without a shift.</summary>
    internal Tensor? Mask { get; }

    public void Dispose()
    {
        From.Dispose();
        To.Dispose();
        Mask?.Dispose();
    }

    /// <summary>For each pair of a window's places the row of the table of position biases, [w⁴].</summary>
    internal static long[] RelativeIndex(int side) =>
    [
        .. from a in Enumerable.Range(0, side * side)
           from b in Enumerable.Range(0, side * side)
           select (long)((a / side - b / side + side - 1) * (2 * side - 1) + a % side - b % side + side - 1),
    ];
}
