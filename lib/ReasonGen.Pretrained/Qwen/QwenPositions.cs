// Positions of text and images (modeling_qwen2_5_vl.py get_rope_index; images only). From the first token that is not
// padding:
//   text counts on from p on all three axes;  an image of h x w tokens stands at (p, p + row, p + column);  after it p
//     = largest position + 1.
// Kept from the reference: pads have position 1, which in a batch without images also counts for the row's delta; image
// tokens count as a image only as often as a vision start precedes one.
using ReasonGen.Core;
using static TorchSharp.torch;

namespace ReasonGen.Qwen;

/// <summary>Time, row and column of every token, and how decoding goes on from there.</summary>
/// <param name="Ids">[3, B, T] int64.</param>
/// <param name="Deltas">[B, 1] int64: what to add to a column's index to get the position of a token generated
/// there.</param>
public sealed record QwenPositions(Tensor Ids, Tensor Deltas)
{
    /// <param name="ids">[B, T] int64 token ids.</param>
    /// <param name="mask">[B, T] int64, 0 on pads; null when there are none.</param>
    /// <param name="grids">One an image, over all rows in order.</param>
    /// <param name="config">Gives the ids that mark images, and the merge size.</param>
    /// <exception cref="ArgumentException">The text has places for more or larger images than those given.</exception>
    public static QwenPositions Of(Tensor ids, Tensor? mask, IReadOnlyList<PatchGrid> grids, QwenConfig config)
    {
        long[] tokens = Core.TensorValues.Values<long>(ids),
            kept = mask is null ? [.. tokens.Select(_ => 1L)] : Core.TensorValues.Values<long>(mask);
        int rows = (int)ids.shape[0], columns = (int)ids.shape[1], images = 0;
        var positions = new long[3, rows, columns];
        var deltas = new long[rows];
        for (var row = 0; row < rows; row++)
        {
            var places = Enumerable.Range(0, columns).Where(column => kept[row * columns + column] != 0).ToArray();
            var text = places.Select(column => tokens[row * columns + column]).ToArray();
            var own = Row(text, grids, ref images, config);
            var largest = -1L;
            for (var axis = 0; axis < 3; axis++)
            {
                for (var column = 0; column < columns; column++)
                {
                    positions[axis, row, column] = 1;
                }

                for (var i = 0; i < places.Length; i++)
                {
                    positions[axis, row, places[i]] = own[i][axis];
                    largest = Math.Max(largest, own[i][axis]);
                }
            }

            deltas[row] = Math.Max(largest, grids.Count == 0 && places.Length < columns ? 1 : -1) + 1 - columns;
        }

        return new(tensor(positions, device: ids.device), tensor(deltas, [rows, 1], device: ids.device));
    }

    private static List<long[]> Row(long[] text, IReadOnlyList<PatchGrid> grids, ref int next, QwenConfig config)
    {
        if (grids.Count > 0 && text.Length > 0 && text[^1] == config.VisionStart)
        {
            throw new ArgumentException("the text ends with the token that opens an image");
        }

        var positions = new List<long[]>();
        var largest = -1L;
        var count = grids.Count == 0 ? 0
            : text.Zip(text.Skip(1))
                .Count(pair => pair.First == config.VisionStart && pair.Second == config.ImageToken);
        for (var image = 0; image < count; image++)
        {
            var start = Array.IndexOf(text, config.ImageToken, positions.Count);
            Text(start - positions.Count);
            var grid = next < grids.Count ? grids[next++]
                : throw new ArgumentException($"the text has places for more than the {grids.Count} images given");
            int height = grid.Height / config.Vision.MergeSize, width = grid.Width / config.Vision.MergeSize;
            var first = largest + 1;
            for (var i = 0; i < grid.Time * height * width; i++)
            {
                // of several frames all have the time of the first
                positions.Add([first, first + i / width % height, first + i % width]);
            }

            largest = first + Math.Max(height, width) - 1;
        }

        Text(text.Length - positions.Count);
        return positions;

        void Text(int length)
        {
            if (length < 0)
            {
                throw new ArgumentException($"the images have {positions.Count} tokens, the text has places for fewer");
            }

            positions.AddRange(Enumerable.Range(0, length)
                .Select(_ => { largest++; return new[] { largest, largest, largest }; }));
        }
    }
}
