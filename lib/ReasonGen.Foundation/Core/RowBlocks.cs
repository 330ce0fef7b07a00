using ReasonGen.Kernels;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>
/// Rows whose tokens are drawn in blocks: each block runs from its first step to its last on one thread, as many side
/// by side as libtorch has threads. What is drawn depends on neither: the noise of a step is made for all rows at once,
/// in the order of the steps.
/// </summary>
/// <typeparam name="T">What a block keeps from one draw to the next.</typeparam>
internal sealed class RowBlocks<T> : IDisposable where T : class, IDisposable
{
    private readonly ExponentialNoise source;
    private readonly Action<int>? stepDone;
    private readonly int rows;
    private readonly Block[] blocks;
    private readonly List<Tensor> noise = [];
    private readonly Lock telling = new(); // nobody who tells waits for noise
    private long classes, rowsDone;

    /// <param name="rows">N.</param>
    /// <param name="perBlock">Most rows of a block, at least 1; null for one block.</param>
    /// <param name="source">Gives the noise.</param>
    /// <param name="stepDone">Told how many steps all rows have done, from the threads of the blocks, one at a
    /// time.</param>
    internal RowBlocks(int rows, int? perBlock, ExponentialNoise source, Action<int>? stepDone)
    {
        (this.rows, this.source, this.stepDone) = (rows, source, stepDone);
        var count = (int)Math.Ceiling(rows / (double)(perBlock ?? rows));
        int Start(int block) => (int)((long)rows * block / count);
        blocks = [.. Enumerable.Range(0, count).Select(i => new Block(this, Start(i), Start(i + 1) - Start(i)))];
    }

    /// <summary>Some of the rows, n of them.</summary>
    internal sealed class Block(RowBlocks<T> all, int start, int count)
    {
        private readonly List<Tensor> tokens = [], logProbs = [];

        internal int Start => start;

        internal int Count => count;

        /// <summary>Steps of this draw so far.</summary>
        internal int Steps => tokens.Count;

        /// <summary>What is kept; the one before is disposed.</summary>
        internal T? State
        {
            get;
            set
            {
                field?.Dispose();
                field = value;
            }
        }

        /// <summary>Its part of a tensor that has so many rows for each.</summary>
        internal Tensor Of(Tensor rows, int copies = 1) => rows.narrow(0, copies * start, copies * count);

        /// <summary>Exponential noise for the step at hand, where <paramref name="like"/> is, [n, C].</summary>
        internal Tensor Noise(Tensor like) => like.device_type == DeviceType.CUDA
            ? DeviceKernels.Seeded(like, all.source.NextSeed())
            : all.NoiseOf(Steps).narrow(0, start, count).to(like.device);

        /// <summary>Ends a step: what it gave, [n, 1] each.</summary>
        /// <exception cref="OperationCanceledException">The draw is wanted no more.</exception>
        internal void Add(Tensor token, Tensor logProb)
        {
            ParallelParts.Stopping.ThrowIfCancellationRequested();
            tokens.Add(token.DetachFromDisposeScope());
            logProbs.Add(logProb.DetachFromDisposeScope());
            if (all.stepDone is { } tell)
            {
                lock (all.telling)
                {
                    tell((int)((all.rowsDone += count) / all.rows));
                }
            }
        }

        // [n, L] each
        internal (Tensor Tokens, Tensor LogProbs) Take(int steps) => (Joined(tokens, steps), Joined(logProbs, steps));

        private static Tensor Joined(List<Tensor> columns, int steps)
        {
            var joined = nn.functional.pad(cat([.. columns], 1), [0, steps - columns.Count]);
            columns.ForEach(column => column.Dispose());
            columns.Clear();
            return joined;
        }
    }

    /// <summary>Draws all blocks.</summary>
    /// <param name="from">C, what a token is drawn from.</param>
    /// <param name="stepsBefore">Steps that count as done.</param>
    /// <param name="draw">Draws a block's steps, at least one.</param>
    /// <returns>Tokens and log-probs, [N, L]: zeros behind the last step of a block that took fewer than
    /// others.</returns>
    internal (Tensor Tokens, Tensor LogProbs) Draw(long from, int stepsBefore, Action<Block> draw)
    {
        (classes, rowsDone) = (from, (long)stepsBefore * rows);
        ParallelParts.Run(blocks.Length, i =>
        {
            using var free = no_grad(); // of this thread
            using var scope = NewDisposeScope();
            draw(blocks[i]);
            return true;
        }, get_num_threads());
        ForgetNoise();
        var steps = blocks.Max(block => block.Steps);
        var parts = Array.ConvertAll(blocks, block => block.Take(steps));
        return (cat([.. parts.Select(part => part.Tokens)]), cat([.. parts.Select(part => part.LogProbs)]));
    }

    // kept while other blocks may ask for it
    private Tensor NoiseOf(int step)
    {
        lock (noise)
        {
            while (blocks.Length > 1 && noise.Count <= step)
            {
                noise.Add(source.Next(rows, classes).DetachFromDisposeScope());
            }

            return blocks.Length > 1 ? noise[step] : source.Next(rows, classes);
        }
    }

    private void ForgetNoise()
    {
        noise.ForEach(step => step.Dispose());
        noise.Clear();
    }

    /// <summary>Disposes what blocks keep.</summary>
    internal void Forget() => Array.ForEach(blocks, block => block.State = null);

    public void Dispose()
    {
        ForgetNoise();
        Forget();
    }
}
