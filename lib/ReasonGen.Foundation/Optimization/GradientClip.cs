using TorchSharp;
using TorchSharp.Modules;
using static TorchSharp.torch;

namespace ReasonGen.Optimization;

/// <summary>Clipping by the global norm, as <c>torch.nn.utils.clip_grad_norm_</c>.</summary>
public static class GradientClip
{
    /// <summary>Scales all gradients by min(1, largest / (norm + 1e-6)).</summary>
    /// <returns>The norm before clipping; NaN or infinite when a gradient is.</returns>
    public static double Apply(IEnumerable<Parameter> parameters, double largest)
    {
        using var free = no_grad();
        using var scope = NewDisposeScope();
        var gradients = parameters.Select(parameter => parameter.grad).OfType<Tensor>().ToArray();
        if (gradients.Length == 0)
        {
            return 0;
        }

        var norm = stack(gradients.Select(Norm)).norm().ToDouble();
        if (double.IsFinite(norm))
        {
            var factor = Math.Min(1, largest / (norm + 1e-6));
            foreach (var gradient in gradients)
            {
                gradient.mul_(factor);
            }
        }

        return norm;
    }

    // a copy in fp32, one gradient at a time
    private static Tensor Norm(Tensor gradient)
    {
        using var scope = NewDisposeScope();
        return gradient.to(ScalarType.Float32).norm().MoveToOuterDisposeScope();
    }
}
