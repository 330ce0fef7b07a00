using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>
/// Rows whose tokens are drawn in blocks: each block runs from its first step to its last on one thread, as many side
/// by side as libtorch has
/// threads. What is drawn depends on neither: the noise of a step is made for all rows at once, in the order of the
/// steps.
/// </summary>
internal sealed class RowBlocks : IDisposable
{
    private readonly ExponentialNoise source;
    private readonly Action<int>? stepDone;
    private readonly long rows, classes;
    private readonly int blocks;
    private readonly List<Tensor> noise = [];
    private long rowsDone;

    private RowBlocks(long rows, int blocks, long classes, ExponentialNoise source, Action<int>? stepDone) =>
        (this.rows, this.blocks, this.classes, this.source, this.stepDone) = (rows, blocks, classes, source, stepDone);

    /// <summary>Some of the rows.</summary>
    internal sealed class Block(RowBlocks all, int start, int count)
    {
        private readonly List<Tensor> tokens = [], logProbs = [];

        internal int Start => start;

        internal int Count => count;

        /// <summary>Its part of a tensor that has so many rows for each.</summary>
        internal Tensor Of(Tensor all, int copies = 1) => all.narrow(0, copies * start, copies * count);

        /// <summary>Exponential noise for the step at hand, [Count, C].</summary>
        internal Tensor Noise() => all.NoiseOf(tokens.Count).narrow(0, start, count);

        /// <summary>Ends a step: what it gave, [Count, 1] each.</summary>
        internal void Add(Tensor token, Tensor logProb)
        {
            tokens.Add(token.DetachFromDisposeScope());
            logProbs.Add(logProb.DetachFromDisposeScope());
            all.stepDone?.Invoke((int)((all.rowsDone += count) / all.rows));
        }

        internal int Steps => tokens.Count;

        // [Count, L], zeros where no step was
        internal (Tensor Tokens, Tensor LogProbs) Filled(int steps) => (Join(tokens, steps), Join(logProbs, steps));

        private static Tensor Join(List<Tensor> columns, int steps)
        {
            var joined = nn.functional.pad(cat([.. columns], 1), [0, steps - columns.Count]);
            columns.ForEach(column => column.Dispose());
            return joined;
        }
    }

    /// <summary>Draws all blocks.</summary>
    /// <param name="rows">N.</param>
    /// <param name="perBlock">Most rows of a block, at least 1; null for one block.</param>
    /// <param name="classes">C, what a token is drawn from.</param>
    /// <param name="source">Gives the noise, step by step.</param>
    /// <param name="stepDone">Told how many steps all rows have done, on this thread: blocks come one after the other
    /// then.</param>
    /// <param name="draw">Draws a block's steps, at least one.</param>
    /// <returns>Tokens and log-probs, [N, L]: zeros behind the last step of a block that took fewer than
    /// others.</returns>
    internal static (Tensor Tokens, Tensor LogProbs) Draw(
        long rows, int? perBlock, long classes, ExponentialNoise source, Action<int>? stepDone, Action<Block> draw)
    {
        var blocks = (int)Math.Ceiling(rows / (double)(perBlock ?? rows));
        using var all = new RowBlocks(rows, blocks, classes, source, stepDone);
        var drawn = ParallelParts.Run(all.blocks, i =>
        {
            using var free = no_grad(); // of this thread
            using var scope = NewDisposeScope();
            int start = (int)(rows * i / all.blocks), end = (int)(rows * (i + 1) / all.blocks);
            var block = new Block(all, start, end - start);
            draw(block);
            return block;
        }, stepDone is null ? get_num_threads() : 1);
        var steps = drawn.Max(block => block.Steps);
        var parts = Array.ConvertAll(drawn, block => block.Filled(steps));
        return (cat([.. parts.Select(part => part.Tokens)]), cat([.. parts.Select(part => part.LogProbs)]));
    }

    // kept while other blocks may ask for it
    private Tensor NoiseOf(int step)
    {
        lock (noise)
        {
            while (blocks > 1 && noise.Count <= step)
            {
                noise.Add(source.Next(rows, classes).DetachFromDisposeScope());
            }

            return blocks > 1 ? noise[step] : source.Next(rows, classes);
        }
    }

    public void Dispose() => noise.ForEach(step => step.Dispose());
}
