namespace ReasonGen.Qwen;

/// <summary>Patches of one image (or video).</summary>
/// <param name="Time">Groups of frames; 1 for an image.</param>
/// <param name="Height">Patch rows: a multiple of the merge size.</param>
/// <param name="Width">Patch columns: a multiple of the merge size.</param>
public readonly record struct PatchGrid(int Time, int Height, int Width)
{
    /// <summary>Patches in all.</summary>
    public int Patches => Time * Height * Width;
}

/// <summary>
/// How the vision tower orders patches, so that those of one attention window stand side by side
/// (modeling_qwen2_5_vl.py get_window_index). A unit is the square of patches that becomes one token. Windows at the
/// right and lower edge are smaller; none is padded.
/// </summary>
/// <param name="Order">Unit at each place, over all images.</param>
/// <param name="WindowEnds">0, then the patch behind the end of each window.</param>
/// <param name="FrameEnds">0, then the patch behind the end of each frame: the segments of full attention.</param>
public sealed record QwenWindows(int[] Order, int[] WindowEnds, int[] FrameEnds)
{
    /// <summary>The order for images of these grids.</summary>
    public static QwenWindows Of(IReadOnlyList<PatchGrid> grids, QwenVisionConfig config)
    {
        int merge = config.MergeSize, side = config.WindowUnits, patches = merge * merge;
        List<int> order = [], windows = [0], frames = [0];
        foreach (var grid in grids)
        {
            int rows = grid.Height / merge, columns = grid.Width / merge;
            for (var frame = 0; frame < grid.Time; frame++)
            {
                var first = order.Count;
                for (var top = 0; top < rows; top += side)
                {
                    for (var left = 0; left < columns; left += side)
                    {
                        for (var row = top; row < Math.Min(top + side, rows); row++)
                        {
                            order.AddRange(Enumerable.Range(first + row * columns + left,
                                Math.Min(side, columns - left)));
                        }

                        windows.Add(order.Count * patches);
                    }
                }

                frames.Add(order.Count * patches);
            }
        }

        return new([.. order], [.. windows], [.. frames]);
    }
}
