// Activation checkpointing (Chen et al. 2016): a part of the forward pass keeps its inputs alone, and is computed again, with its graph, when its
// gradient is wanted: one more forward pass for the memory of the graph.
// Deviation: torch's own (reentrant) version gives weights no gradient where no input wants one, as with a frozen embedding; here they get theirs.
using TorchSharp;
using static TorchSharp.torch;

namespace ReasonGen.Core;

/// <summary>Parts of a forward pass whose intermediate results are not kept.</summary>
public static class ActivationCheckpoint
{
    /// <summary>Computes <paramref name="part"/>, now and, where a graph is recorded, once more in the backward pass.</summary>
    /// <param name="part">A pure function of its inputs and of weights; called with as many tensors as <paramref name="inputs"/>.</param>
    /// <param name="inputs">All tensors that it reads besides weights; the first one floating-point.</param>
    public static Tensor Run(Func<Tensor[], Tensor> part, params Tensor[] inputs)
    {
        if (!is_grad_enabled())
        {
            return part(inputs);
        }

        using var scope = NewDisposeScope();
        var first = Array.Exists(inputs, input => input.requires_grad) ? inputs[0] : inputs[0].detach().requires_grad_();
        return Recomputed.apply([part, first, .. inputs[1..]]).MoveToOuterDisposeScope();
    }

    private sealed class Recomputed : autograd.SingleTensorFunction<Recomputed>
    {
        // libtorch reads the gradients after backward has returned them: they live until the next call on this thread
        [ThreadStatic]
        private static List<Tensor>? handedOut;

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
            using var record = enable_grad();
            using var scope = NewDisposeScope();
            handedOut?.ForEach(tensor => tensor.Dispose());
            Tensor[] inputs = [.. context.get_saved_variables().Select(input => input.requires_grad ? input.detach().requires_grad_() : input)];
            ((Func<Tensor[], Tensor>)context.get_data("part"))(inputs).backward([gradient]);
            gradient.Dispose();
            Tensor?[] gradients = [.. inputs.Select(input => input.requires_grad ? input.grad?.DetachFromDisposeScope() : null)];
            handedOut = [.. gradients.OfType<Tensor>()];
            return [null!, .. gradients.Select(tensor => tensor!)]; // null: not wanted
        }
    }
}
