// A micro-batch in pieces of a few rows, several at a time, each on one thread from its first operator to its last:
// what a piece touches stays in a processor's caches, and no operator waits for another thread.
//   forward:   y = [f(piece 0); f(piece 1); …], each with a graph of its own;
//   backward:  the gradient of each weight grows by ∂y₀ᵀ g₀, then ∂y₁ᵀ g₁, …, in the order of the pieces.
// The graph is cut at y: what is computed of y (losses, means over the whole micro-batch, coefficients that look at
// them first) is the same page of code as without pieces. How many rows a piece has decides the bits, how many threads
// there are does not, as long as it is more than one; they differ from those of the undivided pass in the order of sums
// alone.
using ReasonGen.Core;
using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Optimization;

/// <summary>Rows of a forward pass that know nothing of each other, side by side on several threads.</summary>
internal static class RowPieces
{
    private const int Most = 16; // rows of a piece
    private const long MostWeights = 1 << 23; // of which each piece holds a gradient

    /// <summary>Whether this thread computes a piece, or many rows as the only thread: a model does then without
    /// libtorch's threads where it can.</summary>
    [field: ThreadStatic]
    internal static bool IsPart { get; private set; }

    /// <summary>Computes a tensor of N rows, in pieces where that is faster: few fp32 weights on a CPU, more than 16
    /// rows and more than one libtorch thread.</summary>
    /// <param name="weights">Of the model, some of them frozen perhaps: all that gradients are wanted of.</param>
    /// <param name="rows">N.</param>
    /// <param name="part">Gives so many rows from a first one, [n, …], as a pure function of weights and constants;
    /// all but n is the same for each piece. It is called from several threads, with numbers from
    /// <see cref="Held"/>.</param>
    /// <returns>[N, …]; its backward pass is <see cref="ActivationCheckpoint.Backward"/>.</returns>
    internal static Tensor Run(IEnumerable<Parameter> weights, int rows, Func<int, int, Tensor> part)
    {
        Parameter[] all = [.. weights];
        if (!Pay(all, rows))
        {
            return Part(part, 0, rows, rows > Most);
        }

        using var scope = NewDisposeScope();
        var pieces = new Pieces(Array.FindAll(all, weight => weight.requires_grad), rows, part);
        // something that wants a gradient, for libtorch to go there; two values, which that of a failure does not fit
        return (is_grad_enabled() ? Joined.apply(pieces, zeros(2, device: CPU).requires_grad_())
            : pieces.Forward(false)).MoveToOuterDisposeScope();
    }

    // a part, which is one thread's work or not
    private static Tensor Part(Func<int, int, Tensor> part, int start, int count, bool alone)
    {
        var before = IsPart;
        try
        {
            IsPart = alone;
            return part(start, count);
        }
        finally
        {
            IsPart = before;
        }
    }

    private static bool Pay(Parameter[] weights, int rows) => rows > Most && get_num_threads() > 1
        && Array.TrueForAll(weights, w => w is { dtype: ScalarType.Float32, device_type: DeviceType.CPU })
        && weights.Sum(weight => weight.numel()) <= MostWeights;

    private sealed class Pieces(Parameter[] weights, int rows, Func<int, int, Tensor> part)
    {
        private static readonly Scalar One = 1;

        private readonly int count = (rows + Most - 1) / Most;
        private (Tensor Output, bool Checkpoints)[] done = [];

        private int Start(int piece) => (int)((long)rows * piece / count);

        private Tensor Of(Tensor all, int piece) => all.narrow(0, Start(piece), Start(piece + 1) - Start(piece));

        internal Tensor Forward(bool records)
        {
            done = ParallelParts.Run(count, i =>
            {
                using var mode = set_grad_enabled(records); // of this thread, as all that follows
                using var scope = NewDisposeScope();
                ActivationCheckpoint.Recorded = false;
                var output = Part(part, Start(i), Start(i + 1) - Start(i), true).DetachFromDisposeScope();
                return (output, ActivationCheckpoint.Recorded);
            }, get_num_threads());
            var joined = cat([.. done.Select(piece => piece.Output.detach())]);
            if (!records)
            {
                Array.ForEach(done, piece => piece.Output.Dispose());
            }

            return joined;
        }

        internal void Backward(Tensor gradient)
        {
            using var scope = NewDisposeScope();
            if (Array.Exists(done, piece => piece.Checkpoints))
            {
                // what is computed again adds to the gradients of weights by itself
                for (var i = 0; i < count; i++)
                {
                    done[i].Output.backward([Of(gradient, i)]);
                    done[i].Output.Dispose();
                }

                return;
            }

            var found = ParallelParts.Run(count, Gradients, get_num_threads());
            for (var w = 0; w < weights.Length; w++)
            {
                foreach (var one in found.Select(piece => piece[w]).OfType<Tensor>())
                {
                    (weights[w].grad ??= zeros_like(weights[w])).add_(one, One);
                    one.Dispose();
                }
            }

            Tensor?[] Gradients(int piece)
            {
                using var part = NewDisposeScope();
                var some = ActivationCheckpoint.Unfailing(() => autograd.grad([done[piece].Output], weights,
                    [Of(gradient, piece)], allow_unused: true));
                done[piece].Output.Dispose();
                return [.. some.Select(one => one is { IsInvalid: false } ? one.DetachFromDisposeScope() : null)];
            }
        }
    }

    private sealed class Joined : autograd.SingleTensorFunction<Joined>
    {
        public override string Name => nameof(Joined);

        public override Tensor forward(autograd.AutogradContext context, params object[] arguments)
        {
            context.save_data("pieces", arguments[0]);
            return ((Pieces)arguments[0]).Forward(true);
        }

        public override List<Tensor> backward(autograd.AutogradContext context, Tensor gradient)
        {
            try
            {
                ((Pieces)context.get_data("pieces")).Backward(gradient);
                return [null!, null!]; // the weights have theirs
            }
            catch (Exception e)
            {
                return ActivationCheckpoint.Failed(e, [null, [2]], DeviceType.CPU);
            }
        }
    }
}
