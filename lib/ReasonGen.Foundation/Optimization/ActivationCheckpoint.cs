// Activation checkpointing (Chen et al. 2016): a part of the forward pass keeps its inputs alone, and is computed
// again, with its graph, when its gradient is wanted: one more forward pass for the memory of the graph.
// Deviation: torch's own (reentrant) version gives weights no gradient where no input wants one, as with a frozen
// embedding; here they get theirs.
using System.Runtime.ExceptionServices;
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Optimization;

/// <summary>Parts of a forward pass whose intermediate results are not kept.</summary>
public static class ActivationCheckpoint
{
    // of the pass that this thread computes; a GPU's passes are computed by libtorch's own, which know the latest alone
    [ThreadStatic]
    private static Failure? own;
    private static Failure? latest;

    // libtorch reads gradients after a backward function has returned them: they live until the next call on this
    // thread
    [ThreadStatic]
    private static List<Tensor>? handedOut;

    /// <summary>Whether a part was recorded on this thread since someone last set this to false.</summary>
    [field: ThreadStatic]
    internal static bool Recorded { get; set; }

    /// <summary>Computes <paramref name="part"/>, now and, where a graph is recorded, once more in the backward
    /// pass.</summary>
    /// <param name="part">A pure function of its inputs and of weights; called with as many tensors as
    /// <paramref name="inputs"/>.</param>
    /// <param name="inputs">All tensors that it reads besides weights; the first one floating-point.</param>
    public static Tensor Run(Func<Tensor[], Tensor> part, params Tensor[] inputs)
    {
        if (!is_grad_enabled())
        {
            return part(inputs);
        }

        Recorded = true;
        using var scope = NewDisposeScope();
        var first =
            Array.Exists(inputs, input => input.requires_grad) ? inputs[0] : inputs[0].detach().requires_grad_();
        return Recomputed.apply([part, first, .. inputs[1..]]).MoveToOuterDisposeScope();
    }

    /// <summary>The backward pass of a loss, whose parts may be computed again. What such a part throws, out of memory
    /// say, is thrown here.</summary>
    /// <remarks>It runs on a thread of its own: libtorch calls back into managed code, and a cell that is broken off
    /// there would take the process with it. The caller's thread can be broken off; it then waits for the pass to end.
    /// A plain <c>loss.backward()</c> fails as well, but with libtorch's words about an invalid gradient.</remarks>
    public static void Backward(Tensor loss)
    {
        var failure = latest = new Failure();
        var threads = get_num_threads();
        ExceptionDispatchInfo? thrown = null;
        var pass = new Thread(() =>
        {
            try
            {
                own = failure;
                set_num_threads(threads);
                loss.backward();
            }
            catch (Exception e)
            {
                thrown = failure.First ?? ExceptionDispatchInfo.Capture(e);
            }

            Release();
        }) { IsBackground = true, Name = "backward" };
        try
        {
            pass.Start(); // in here: it may be at work before its caller comes back from this
            pass.Join();
        }
        finally // nothing is broken off in here, unless an exception ends in it, as that of a wait that is interrupted
        {
            while (pass.IsAlive)
            {
                Thread.Yield(); // which cannot be
            }
        }

        thrown?.Throw();
    }

    /// <summary>A backward pass of parts that must not fail while libtorch calls them, as one of
    /// <c>autograd.grad</c>, which would take the process with it. What one of them throws is thrown here, after the
    /// pass.</summary>
    internal static T Unfailing<T>(Func<T> pass)
    {
        var before = own;
        try
        {
            own = new Failure { GoesOn = true };
            var result = pass();
            own.First?.Throw();
            return result;
        }
        finally
        {
            own = before;
            Release();
        }
    }

    /// <summary>What a backward function gives back in place of gradients when it failed: one of no shape that fits, on
    /// which libtorch gives up, so that <see cref="Backward"/> throws; or zeros, in a pass that is
    /// <see cref="Unfailing"/>.</summary>
    /// <param name="e">What it failed with.</param>
    /// <param name="wanted">Shape of each argument of its forward function that wants a gradient, at least one; null
    /// for the others.</param>
    /// <param name="device">Where it computes.</param>
    internal static List<Tensor> Failed(Exception e, long[]?[] wanted, DeviceType device)
    {
        var failure = own ?? (device == DeviceType.CPU ? null : latest);
        if (failure is not null)
        {
            Interlocked.CompareExchange(ref failure.First, ExceptionDispatchInfo.Capture(e), null);
        }

        var first = Array.FindIndex(wanted, shape => shape is not null);
        return [.. HandOut([.. wanted.Select((shape, i) => failure is { GoesOn: true }
            ? shape is null ? null : zeros(1, device: CPU).expand(shape)
            : i == first ? zeros(0, device: CPU) : null)])];
    }

    /// <summary>Gradients as a backward function returns them, null where one is not wanted: detached from dispose
    /// scopes, and this thread's until its next call or <see cref="Release"/>.</summary>
    internal static Tensor[] HandOut(Tensor?[] gradients)
    {
        Release();
        handedOut = [.. gradients.OfType<Tensor>().Select(one => one.DetachFromDisposeScope())];
        return gradients!;
    }

    /// <summary>Lets go of what this thread's backward functions have returned, after their pass.</summary>
    internal static void Release()
    {
        handedOut?.ForEach(tensor => tensor.Dispose());
        handedOut = null;
    }

    // What went wrong first in a part of a pass that was computed again: libtorch calls it, and no exception passes
    // through libtorch.
    private sealed class Failure
    {
        internal ExceptionDispatchInfo? First;

        internal bool GoesOn { get; init; }
    }

    private sealed class Recomputed : autograd.SingleTensorFunction<Recomputed>
    {
        public override string Name => nameof(Recomputed);

        public override Tensor forward(autograd.AutogradContext context, params object[] arguments)
        {
            Tensor[] inputs = [.. arguments[1..].Cast<Tensor>()];
            context.set_materialize_grads(false);
            context.save_data("part", arguments[0]);
            context.save_for_backward([.. inputs]);
            return ((Func<Tensor[], Tensor>)arguments[0])(inputs);
        }

        public override List<Tensor> backward(autograd.AutogradContext context, Tensor gradient)
        {
            try
            {
                return Gradients(context, gradient);
            }
            catch (Exception e)
            {
                var inputs = context.get_saved_variables();
                return Failed(e, [null, .. inputs.Select(input => input.requires_grad ? input.shape : null)],
                    inputs[0].device_type);
            }
        }

        private static List<Tensor> Gradients(autograd.AutogradContext context, Tensor gradient)
        {
            using var record = enable_grad();
            using var scope = NewDisposeScope();
            Tensor[] inputs = [.. context.get_saved_variables()
                .Select(input => input.requires_grad ? input.detach().requires_grad_() : input)];
            ((Func<Tensor[], Tensor>)context.get_data("part"))(inputs).backward([gradient]);
            gradient.Dispose();
            return [null!, .. HandOut([.. inputs.Select(input => input.requires_grad ? input.grad : null)])];
        }
    }
}
